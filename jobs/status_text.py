"""`status` and `accept` as text: how the archive is, and which failures count."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migrator.jobs.lists import print_failures, print_general_failures, print_line, print_problems, shown
from migrator.model import UploadStatus
from migrator.pipeline import summary as summaries
from migrator.pipeline.summary import in_words
from migrator.units import counted, human_size, local_time

VERDICT_COLOURS = {"fine": "green", "warning": "yellow", "bad": "red"}
"""Colours of the verdicts on a backup's health, and of a report."""
MIN_TABLE_COLUMNS = 72
"""On a narrower terminal the runs are lines, as a table would break its cells."""


def print_status(out: Console, summary: summaries.StatusSummary) -> None:
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
    if kept := summary.for_older_snapshots:
        out.print(shown(_kept_text(kept)))
    if holder := summary.at_work:
        process = f"process {holder['pid']} on {holder['host']}, since {local_time(holder['since'])}"
        out.print(shown(f"`{holder['command']}` is at work ({process})"))
    _print_counts(out, summary)
    if totals.altered:
        what = counted(totals.altered, "upload was", "uploads were")
        out.print(f"{what} altered by the target; the report says how")
    if totals.crawl_under_way:
        out.print("a listing is unfinished: the next backup continues it")
    _print_runs(out, summary.runs)
    print_failures(out, summary.failures, summary.accepted)


def _kept_text(kept: summaries.ForOlderSnapshots) -> str:
    """What only older snapshots need, and what a prune would free of it."""
    text = f"kept only for older snapshots: {counted(kept.blobs, 'blob')}, {human_size(kept.bytes)}"
    if kept.freed_blobs is None:
        return f"{text}; `migrator prune ARCHIVE --help` says how to free that"
    freed = (
        f"{counted(kept.freed_blobs, 'blob')}, {human_size(kept.freed_bytes or 0)}" if kept.freed_blobs else "nothing"
    )
    return f"{text}; by [retention], `migrator prune ARCHIVE` would free {freed} now"


def _print_counts(out: Console, summary: summaries.StatusSummary) -> None:
    totals = summary.totals
    uploads = {f"uploads to {target}": statuses for target, statuses in (totals.targets or {}).items()}
    by_status = {"attachments": totals.attachments} | (uploads or {"uploads": totals.uploads})
    for name, statuses in (by_status | ({"restored": totals.restored} if totals.restored else {})).items():
        words = (
            f"{count:,} {_status_words(status, at_work=bool(summary.at_work))}" for status, count in statuses.items()
        )
        out.print(shown(f"{name}: {', '.join(words) or 'none'}"))


def _print_runs(out: Console, runs: Sequence[summaries.RunRow]) -> None:
    """The runs as a table, then why some of them broke off."""
    table = Table("run", "command", "status", "started", "ended", box=None, pad_edge=False)
    for run in runs:
        status, started = "killed" if run.killed else run.status, local_time(run.started_at)
        if out.width < MIN_TABLE_COLUMNS:
            print_line(out, f"run {run.run}: {run.command} {status}, {started}")
        else:
            table.add_row(str(run.run), run.command, status, started, local_time(run.ended_at) if run.ended_at else "")
    if table.row_count or out.width >= MIN_TABLE_COLUMNS:
        out.print(table)
    by_reason: dict[str, list[str]] = {}
    for run in runs:
        if error := (run.summary or {}).get("error"):
            by_reason.setdefault(error["message"], []).append(str(run.run))
    for reason, failed in by_reason.items():
        print_line(out, f"{'run' if len(failed) == 1 else 'runs'} {', '.join(failed)} failed: {reason}")


def _status_words(status: str, *, at_work: bool) -> str:
    """The status of files or uploads. What is in doubt while a run is at work is only being sent."""
    return "under way" if at_work and status == UploadStatus.IN_DOUBT else in_words(status)


def print_accept(out: Console, summary: summaries.AcceptSummary) -> None:
    """How many failures were changed, and all that there are."""
    if summary.changed:
        out.print(f"{counted(summary.changed, 'failure')} changed")
    out.print(f"failures: {len(summary.failures):,} that count, {len(summary.accepted):,} accepted")
    print_failures(out, print_general_failures(out, summary.failures), summary.accepted)
