"""The message about a night: whether there is one, and what it says.

A finding is reported as new once. While it stands, a reminder comes each week.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from migrator.filenames import readable
from migrator.jobs.given import pasteable
from migrator.jobs.nightly.findings import Finding
from migrator.jobs.nightly.memory import Memory
from migrator.jobs.nightly.text import step_lines
from migrator.pipeline.summary import NightResult
from migrator.printable import printable
from migrator.units import counted

REMINDER_SECONDS = 6.5 * 86_400
"""Half a day less than a week, as no night ends at exactly the same time as the one before."""
MAX_LISTED = 5
MAX_LINE_CHARACTERS = 200

NEXT = {
    0: "migrator snapshots {config}",
    1: "migrator -v nightly {config}",
    2: "migrator check {config}",
    3: "migrator status {config}",
    4: "migrator check {config}",
    5: "migrator status {config}",
    6: "migrator status {config}",
    7: "migrator nightly {config}",
}
"""The command to run next, by the exit status of the night."""


@dataclass(frozen=True, slots=True)
class Message:
    """What people are sent. `text` is both, for a receiver that knows no title."""

    title: str
    body: str
    failed: bool

    @property
    def text(self) -> str:
        """Title and body."""
        return f"{self.title}\n\n{self.body}"


@dataclass(frozen=True, slots=True)
class News:
    """The findings of a night beside those that a message reported before."""

    findings: Sequence[Finding]
    new: Sequence[Finding]
    resolved: int
    last: float | None
    reminder: bool

    def to_send(self, on: str) -> bool:
        """Whether there is something to say; `on` is that of [notify]."""
        return on == "always" or bool(self.new) or self.reminder or (on == "change" and self.resolved > 0)


def news(findings: Sequence[Finding], memory: Memory, now: float) -> News:
    """Compare the findings of a night with those that were reported before."""
    present = {finding.fingerprint for finding in findings}
    due = memory.reported_at is not None and now - memory.reported_at >= REMINDER_SECONDS
    return News(
        findings=findings,
        new=[finding for finding in findings if finding.fingerprint not in memory.reported],
        resolved=len(memory.reported - present),
        last=memory.reported_at,
        reminder=bool(findings) and due,
    )


def message(night: NightResult, code: int, path: Path, fresh: News) -> Message:
    """The message about a night that ended with this exit status."""
    title = f"migrator: {readable(Path(path.name))}: {_headline(night, fresh)}"
    found = [pasteable(line, str(path.absolute())) for line in (*step_lines(night), *_listed(fresh))]
    lines = [*found, f"next: {_next_command(code, path)}"]
    if code == 7:
        lines.insert(-1, "Make room on the disk first; nothing is lost.")
    return Message(_line(title), "\n".join(map(_line, lines)), failed=code != 0)


def _headline(night: NightResult, fresh: News) -> str:
    if not fresh.findings:
        return "all is well" if night.status == "complete" else str(night.status)
    what = f"{counted(len(fresh.findings), 'failure')}, {len(fresh.new):,} new"
    return f"reminder: {what}" if fresh.reminder and not fresh.new else f"{night.status}: {what}"


def _listed(fresh: News) -> list[str]:
    """The first new findings, and how many there are besides. A reminder lists the old ones."""
    lines: list[str] = []
    shown = fresh.new or (fresh.findings if fresh.reminder else ())
    lines += [f"- {finding.text}" for finding in shown[:MAX_LISTED]]
    if len(shown) > MAX_LISTED:
        lines.append(f"- ... and {len(shown) - MAX_LISTED} more")
    if (old := len(fresh.findings) - len(fresh.new)) and fresh.last is not None:
        day = datetime.fromtimestamp(fresh.last, UTC).astimezone().date().isoformat()
        stand = "still stands" if old == 1 else "still stand"
        lines.append(f"{counted(old, 'earlier failure')} {stand} (last message: {day}).")
    if fresh.resolved:
        lines.append(f"{counted(fresh.resolved, 'earlier failure')} {'is' if fresh.resolved == 1 else 'are'} over.")
    return lines


def _next_command(code: int, path: Path) -> str:
    return NEXT.get(code, NEXT[3]).format(config=shlex.quote(readable(path.absolute())))


def _line(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= MAX_LINE_CHARACTERS else line[: MAX_LINE_CHARACTERS - 4] + " ..."
