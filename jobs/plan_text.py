"""A dry run of `load` or `restore` as text: what it would do, and nothing of what was done before."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from migrator.jobs.lists import (
    print_by_reason,
    print_changed,
    print_first,
    print_general_failures,
    print_headline,
    print_left,
)
from migrator.pipeline import summary as summaries
from migrator.units import counted, human_size

UPLOAD = "upload"
"""What a row of a dry run says of a file that would be sent."""


def print_plan(out: Console, summary: summaries.LoadSummary | summaries.RestoreSummary) -> None:
    """What would be uploaded, renamed and skipped, and what would fail and why; of a restore, the files by name."""
    print_headline(out, summary, f"{summary.command} --dry-run")
    failures = print_general_failures(out, summary.failures)
    rows, counts = summary.rehearsal or (), summary.dry_run
    sent = [row for row in rows if row.what == UPLOAD]
    if isinstance(summary, summaries.LoadSummary) and (stubs := (summary.stubs or {}).get("would_create")):
        out.print(
            f"would create {counted(stubs, 'entity', 'entities')}, and upload their files, which are not listed here"
        )
    out.print(f"would upload {counted(len(sent), 'file')} ({human_size(counts.would_send_bytes if counts else 0)})")
    if isinstance(summary, summaries.RestoreSummary):
        print_first(out, [_name(row) for row in sent])
    if renamed := [row for row in sent if row.name_at_target not in {None, row.name}]:
        out.print(Text(f"would rename {counted(len(renamed), 'file')}", "yellow"))
        print_first(out, [f"{_name(row)}: as {row.name_at_target}" for row in renamed])
    if counts and counts.already_there:
        out.print(f"would skip {counted(counts.already_there, 'file')}: already present")
    if summary.uploads.skipped:
        out.print(f"would skip {counted(summary.uploads.skipped, 'file')}: left out by the filters")
    if isinstance(summary, summaries.LoadSummary):
        _print_load_only(out, summary)
    print_by_reason(out, failures, "would fail", "yellow")


def _print_load_only(out: Console, summary: summaries.LoadSummary) -> None:
    if done := summary.uploads.uploaded + summary.uploads.already_there:
        out.print(f"would skip {counted(done, 'file')}: recorded as there by earlier loads")
    if summary.moved:
        out.print(f"would delete {counted(summary.moved.planned, 'file')} at former entities")
    print_changed(out, summary)
    print_left(out, summary)


def _name(row: summaries.DryRunRow) -> str:
    return f"{row.kind} {row.entity}".strip() + f" {row.name}"
