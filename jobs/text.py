"""Summaries as text and tables for people."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migrator.jobs.found_text import print_found, print_got
from migrator.jobs.lists import (
    not_asked_text,
    print_altered,
    print_by_reason,
    print_changed,
    print_failures,
    print_general_failures,
    print_headline,
    print_kept,
    print_left,
    print_problems,
    print_table,
    rows_of,
    shown,
)
from migrator.jobs.map_text import print_map
from migrator.jobs.plan_text import print_plan
from migrator.jobs.setup_text import print_completion, print_init
from migrator.jobs.snapshots_text import print_copy, print_diff, print_prune, print_snapshots
from migrator.jobs.status_text import VERDICT_COLOURS, print_accept, print_status
from migrator.pipeline import summary as summaries
from migrator.pipeline.summary import Summary
from migrator.units import counted, human_number, human_size

DEFAULT_WIDTH = 140
"""Columns, if there is no terminal to ask."""


def summary_text(summary: Summary) -> str:
    """The summary of any command, coloured where stdout is a terminal."""
    terminal, written = sys.stdout.isatty(), io.StringIO()
    width = None if terminal else DEFAULT_WIDTH
    out = Console(file=written, force_terminal=terminal, highlight=False, emoji=False, soft_wrap=True, width=width)
    _print(out, summary)
    print_kept(out, summary)
    return written.getvalue()


def _print(out: Console, summary: Summary) -> None:  # noqa: C901 - one case for each command
    """Beware: a case imports the module of its summary, so those of the commands that run most often come first."""
    match summary:
        case summaries.BackupSummary():
            _print_backup(out, summary)
        case summaries.StatusSummary():
            print_status(out, summary)
        case summaries.LoadSummary() | summaries.RestoreSummary() if summary.dry_run:
            print_plan(out, summary)
        case summaries.LoadSummary():
            _print_load(out, summary)
        case summaries.RestoreSummary():
            _print_restore(out, summary)
        case summaries.RollbackSummary():
            _print_rollback(out, summary)
        case summaries.MapSummary():
            print_map(out, summary)
        case summaries.MigrateSummary():
            _print_migrate(out, summary)
        case summaries.VerifySummary():
            _print_verify(out, summary)
        case summaries.RebuildSummary():
            _print_rebuild(out, summary)
        case summaries.ExportSummary():
            _print_export(out, summary)
        case summaries.ReportSummary():
            _print_report(out, summary)
        case summaries.CheckSummary():
            _print_check(out, summary)
        case summaries.AcceptSummary():
            print_accept(out, summary)
        case summaries.FindSummary():
            print_found(out, summary)
        case summaries.GetSummary():
            print_got(out, summary)
        case summaries.SnapshotsSummary():
            print_snapshots(out, summary)
        case summaries.DiffSummary():
            print_diff(out, summary)
        case summaries.PruneSummary():
            print_prune(out, summary)
        case summaries.CopySummary():
            print_copy(out, summary)
        case summaries.NightlySummary():
            from migrator.jobs.nightly import print_nightly

            print_nightly(out, summary)
        case summaries.DemoSummary():
            _print_demo(out, summary)
        case summaries.InitSummary():
            print_init(out, summary)
        case summaries.CompletionSummary():
            print_completion(out, summary)


def _print_backup(out: Console, summary: summaries.BackupSummary) -> None:
    print_headline(out, summary)
    failures = print_general_failures(out, summary.failures)
    entities, size = ("entities", human_number(summary.entities)), ("bytes", human_size(summary.bytes))
    if summary.taken is not None:
        taken = counted(summary.taken, "entity", "entities")
        out.print(f"--limit: {taken} taken of {human_number(summary.entities)} listed")
    print_table(out, [entities, *rows_of(summary.attachments), size])
    if changes := summary.changes:
        out.print(
            f"against the archive as it was: {', '.join(f'{count:,} {change}' for change, count in changes.items())}"
        )
    if rechecked := summary.rechecked:
        counts = f"{rechecked['replaced']:,} had other content, {rechecked['failed']:,} failed"
        out.print(f"fetched again and compared: {counted(rechecked['files'], 'file')}, {counts}")
    if summary.not_asked:
        out.print(not_asked_text(summary.not_asked))
    print_failures(out, failures, summary.accepted)


def _print_load(out: Console, summary: summaries.LoadSummary) -> None:
    print_headline(out, summary)
    failures = print_general_failures(out, summary.failures)
    groups = {"content": summary.content, "stubs": summary.stubs, "moved": summary.moved}
    rows = [*rows_of(summary.uploads)]
    for group, counts in groups.items():
        rows += rows_of(counts, group) if counts is not None else ()
    print_table(out, [*rows, ("bytes", human_size(summary.bytes))])
    print_altered(out, summary)
    print_changed(out, summary)
    print_left(out, summary)
    print_failures(out, failures)


def _print_restore(out: Console, summary: summaries.RestoreSummary) -> None:
    print_headline(out, summary)
    print_table(out, [*rows_of(summary.uploads), ("bytes", human_size(summary.bytes))])
    print_altered(out, summary)
    print_failures(out, summary.failures)


def _print_rollback(out: Console, summary: summaries.RollbackSummary) -> None:
    print_headline(out, summary, "rollback --dry-run" if summary.dry_run else "")
    failures = print_general_failures(out, summary.failures)
    print_table(out, [*rows_of(summary.deletions), *rows_of(summary.dry_run or {}, "dry run")])
    print_by_reason(out, failures, "not deleted", "yellow")


def _print_migrate(out: Console, summary: summaries.MigrateSummary) -> None:
    _print_backup(out, summary.backup)
    if summary.map and not summary.asked:
        print_map(out, summary.map)
    if isinstance(summary.load, summaries.LoadSummary):
        _print_load(out, summary.load)
    print_headline(out, summary)
    if summary.declined and summary.map:
        out.print(shown(f"nothing was loaded; the mapping that you did not accept is in {summary.map.mapping}"))


def _print_verify(out: Console, summary: summaries.VerifySummary) -> None:
    print_headline(out, summary)
    partial = summary.round_complete is False
    blobs = counted(summary.of or 0, "blob") if partial else counted(summary.blobs, "blob")
    share, rest = (
        (f"{human_number(summary.blobs)} of ", "; the next partial verify continues there") if partial else ("", "")
    )
    read = "names and sizes only" if summary.hashed is False else human_size(summary.bytes)
    out.print(f"{share}{blobs}, {read}, {counted(len(summary.problems), 'problem')}{rest}")
    print_problems(out, summary.problems)


def _print_rebuild(out: Console, summary: summaries.RebuildSummary) -> None:
    print_headline(out, summary)
    holds = (
        counted(summary.entities, "entity", "entities"),
        counted(summary.attachments, "attachment"),
        counted(summary.blobs, "blob"),
        counted(summary.uploads, "upload"),
    )
    out.print(f"made from the {summary.made_from}: " + ", ".join(holds))
    print_problems(out, summary.problems)


def _print_export(out: Console, summary: summaries.ExportSummary) -> None:
    print_headline(out, summary)
    written = f"{counted(summary.files, 'file')}, {human_size(summary.bytes)} in {summary.destination}"
    out.print(shown(f"{written}, {counted(len(summary.problems), 'damaged or missing blob')}"))
    print_failures(out, summary.failures)


def _print_report(out: Console, summary: summaries.ReportSummary) -> None:
    for path in (summary.out, summary.redirects):
        if path:
            out.print(shown(f"written: {path}"))
    entities, attachments = counted(summary.entities, "entity", "entities"), counted(summary.attachments, "attachment")
    out.print(shown(summary.sentence, VERDICT_COLOURS[summary.verdict]))
    counts = f"{summary.missing} missing, {summary.altered} renamed or altered, {summary.intended} left out on purpose"
    out.print(f"{entities}, {attachments}: {counts}")


def _mark(check: summaries.Check) -> Text:
    if not check.ok:
        return Text("FAIL", "red")
    return Text("warn", "yellow") if check.warning else Text("ok  ", "green")


def _print_check(out: Console, summary: summaries.CheckSummary) -> None:
    for side, checked in (("source", summary.source), ("target", summary.target)):
        if isinstance(checked, summaries.CheckedSide):
            out.print(f"{side}: {checked.tracker}")
            _print_checks(out, checked.checks)
    if summary.nightly:
        out.print("nightly:")
        _print_checks(out, summary.nightly)
    print_headline(out, summary)


def _print_checks(out: Console, checks: Iterable[summaries.Check]) -> None:
    for check in checks:
        out.print("  ", _mark(check), " ", shown(f"{check.check}: {check.detail}"), sep="")
        if check.means:
            out.print("       ", shown(check.means), sep="")


def _print_demo(out: Console, summary: summaries.DemoSummary) -> None:
    table = Table("step", "what happened", box=None, pad_edge=False)
    for step in summary.steps:
        failed = "" if step.ok else "FAIL: "
        table.add_row(Text(step.step, "red" if failed else "green"), Text(failed + step.what))
    out.print(table)
    print_headline(out, summary)
    if summary.kept:
        out.print(Text(f"kept in {summary.kept}; try: migrator status {summary.kept}/archive"))
