"""A night in lines, for the terminal and for messages."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from migrator.jobs.lists import (
    not_asked_text,
    print_failures,
    print_general_failures,
    print_line,
    print_problems,
    shown,
)
from migrator.pipeline.summary import (
    BackupSummary,
    NightlySummary,
    NightResult,
    PruneSummary,
    ReportSummary,
    VerifySummary,
)
from migrator.units import counted, human_duration, human_size

_COLOURS = {"complete": "green", "incomplete": "yellow", "interrupted": "yellow"}


def print_nightly(out: Console, summary: NightlySummary) -> None:
    """Each configuration with its steps, and with what failed in them."""
    for night in summary.results:
        status = Text(str(night.status), _COLOURS.get(night.status, "red"))
        out.print(shown(f"{night.config}: "), status, f" in {human_duration(night.seconds)}", sep="")
        for line in step_lines(night):
            print_line(out, f"  {line}")
        if isinstance(night.backup, BackupSummary):
            print_failures(out, print_general_failures(out, night.backup.failures))
        tonight = night.verify.problems if isinstance(night.verify, VerifySummary) else ()
        if problems := (*tonight, *(night.problems or ())):
            print_problems(out, problems)


def step_lines(night: NightResult) -> list[str]:
    """A line for each step that was done, and one for the error."""
    lines = []
    if isinstance(night.backup, BackupSummary):
        lines.append(_backup(night.backup))
        if night.backup.not_asked:
            lines.append(not_asked_text(night.backup.not_asked))
    if isinstance(night.verify, VerifySummary):
        lines.append(_verify(night.verify))
    if isinstance(night.prune, PruneSummary):
        lines.append(_prune(night.prune))
    if isinstance(night.report, ReportSummary):
        lines.append(f"report written: {night.report.out}")
    if night.problems:
        lines.append(f"damaged since earlier: {counted(len(night.problems), 'blob')}")
    return [*lines, *([night.error.message] if night.error else [])]


def _backup(backup: BackupSummary) -> str:
    files = backup.attachments
    counts = f"{counted(files['listed'], 'file')} listed, {files['stored']:,} stored ({human_size(backup.bytes)})"
    changed = ", ".join(f"{count:,} {change}" for change, count in backup.changes.items() if count) or "nothing changed"
    return f"backup {backup.status}: {counts}, {files['failed']:,} failed; {changed}"


def _verify(verify: VerifySummary) -> str:
    read = "names and sizes only" if verify.hashed is False else human_size(verify.bytes)
    looked_at = f"{verify.blobs:,} of {counted(verify.of or 0, 'blob')}, {read}"
    return f"verify {verify.status}: {looked_at}, {counted(len(verify.problems), 'problem')}"


def _prune(prune: PruneSummary) -> str:
    kept, removed = (len(prune.snapshots[name]) for name in ("kept", "removed"))
    snapshots = f"{counted(kept, 'snapshot')} kept, {removed:,} removed"
    return f"prune {prune.status}: {snapshots}, {human_size(prune.bytes)} freed"
