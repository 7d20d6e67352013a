"""A night in lines, for the terminal and for messages."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from jobs.commands.lists import counted, print_failures, print_problems, print_whole_failures
from jobs.terminal import printable
from migrator.units import human_duration, human_size

_COLOURS = {"complete": "green", "incomplete": "yellow", "interrupted": "yellow"}


def print_nightly(out: Console, summary: dict[str, Any]) -> None:
    """Each configuration with its steps, and with what failed in them."""
    for night in summary["results"]:
        out.print(
            Text(printable(f"{night['config']}: ")),
            Text(night["status"], _COLOURS.get(night["status"], "red")),
            f" in {human_duration(night['seconds'])}",
            sep="",
        )
        for line in step_lines(night):
            out.print(Text(printable(f"  {line}")))
        print_failures(out, print_whole_failures(out, night["backup"].get("failures", [])))
        if night["verify"].get("problems"):
            print_problems(out, night["verify"])


def step_lines(night: dict[str, Any]) -> list[str]:
    """A line for each step that was done, and one for the error. `night` is a `NightResult` as JSON."""
    lines = [make(night[step]) for step, make in _LINES.items() if night[step]]
    if problems := night.get("problems"):
        lines.append(f"damaged since earlier: {counted(len(problems), 'blob')}")
    return [*lines, *([night["error"]["message"]] if "error" in night else [])]


def _backup(backup: dict[str, Any]) -> str:
    files, changes = backup["attachments"], backup["changes"]
    counts = f"{counted(files['listed'], 'file')} listed, {files['stored']} stored ({human_size(backup['bytes'])})"
    changed = ", ".join(f"{count} {what}" for what, count in changes.items() if count) or "nothing changed"
    return f"backup {backup['status']}: {counts}, {files['failed']} failed; {changed}"


def _verify(verify: dict[str, Any]) -> str:
    looked_at = f"{verify['blobs']} of {counted(verify.get('of', 0), 'blob')}, {human_size(verify['bytes'])}"
    return f"verify {verify['status']}: {looked_at}, {counted(len(verify['problems']), 'problem')}"


def _prune(prune: dict[str, Any]) -> str:
    kept, removed = (len(prune["snapshots"][what]) for what in ("kept", "removed"))
    return f"prune {prune['status']}: {kept} snapshots kept, {removed} removed, {human_size(prune['bytes'])} freed"


def _report(report: dict[str, Any]) -> str:
    return f"report written: {report['out']}"


_LINES = {"backup": _backup, "verify": _verify, "prune": _prune, "report": _report}
