"""`status` and `accept` as text: how the archive is, and which failures count."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migrator.jobs.lists import counted, print_failures, print_general_failures, print_problems, shown
from migrator.pipeline.summary import AcceptSummary, StatusSummary, in_words
from migrator.units import human_size

VERDICT_COLOURS = {"fine": "green", "warning": "yellow", "bad": "red"}
"""Colours of the verdicts on a backup's health, and of a report."""


def print_status(out: Console, summary: StatusSummary) -> None:
    """The answer first, then what is damaged, what there is, the runs, and what failed."""
    totals = summary.totals
    if health := summary.health:
        out.print(shown(health.answer, VERDICT_COLOURS[health.verdict]))
    if summary.problems:
        out.print(Text(f"damaged: {counted(len(summary.problems), 'problem')}", "red"))
        print_problems(out, summary.problems)
    blobs = f"{counted(totals.blobs.count, 'blob')}, {human_size(totals.blobs.bytes)}"
    entities = counted(totals.entities, "entity", "entities")
    out.print(shown(f"archive of {summary.source or 'nothing yet'}: {blobs}, {entities}"))
    if holder := summary.at_work:
        process = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
        out.print(shown(f"`{holder['command']}` is at work ({process})"))
    uploads = {f"uploads to {target}": statuses for target, statuses in (totals.targets or {}).items()}
    by_status = {"attachments": totals.attachments} | (uploads or {"uploads": totals.uploads})
    for name, statuses in (by_status | ({"restored": totals.restored} if totals.restored else {})).items():
        counts = ", ".join(f"{count} {in_words(status)}" for status, count in statuses.items())
        out.print(shown(f"{name}: {counts or 'none'}"))
    if totals.altered:
        out.print(f"{totals.altered} uploads were altered by the target; the report says how")
    if totals.crawl_under_way:
        out.print("a crawl is under way: the next backup goes on with it")
    table = Table("run", "command", "status", "started", "ended", box=None, pad_edge=False)
    for run in summary.runs:
        status = "killed" if run.killed else run.status
        table.add_row(str(run.run), run.command, status, run.started_at, run.ended_at or "")
    out.print(table)
    print_failures(out, summary.failures, summary.accepted)


def print_accept(out: Console, summary: AcceptSummary) -> None:
    """How many failures were changed, and all that there are."""
    if summary.changed:
        out.print(f"{counted(summary.changed, 'failure')} changed")
    out.print(f"failures: {len(summary.failures)} that count, {len(summary.accepted)} accepted")
    print_failures(out, print_general_failures(out, summary.failures), summary.accepted)
