"""Summaries as text and tables for people."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migrator.jobs.lists import (
    MAX_SHOWN,
    counted,
    not_asked_text,
    print_altered,
    print_changed,
    print_failures,
    print_general_failures,
    print_headline,
    print_left,
    print_line,
    print_problems,
    print_table,
    rows_of,
    shown,
)
from migrator.jobs.status_text import VERDICT_COLOURS, print_accept, print_status
from migrator.pipeline.summary import (
    AcceptSummary,
    BackupSummary,
    Check,
    CheckedSide,
    CheckSummary,
    DemoSummary,
    DiffSummary,
    ExportSummary,
    LoadSummary,
    MapSummary,
    MigrateSummary,
    NightlySummary,
    OpenEntity,
    PruneSummary,
    RebuildSummary,
    ReportSummary,
    RestoreSummary,
    RollbackSummary,
    SnapshotsSummary,
    StatusSummary,
    Summary,
    VerifySummary,
)
from migrator.units import human_size

DEFAULT_WIDTH = 140
"""Columns, if there is no terminal to ask."""


def summary_text(summary: Summary) -> str:
    """The summary of any command, coloured where stdout is a terminal."""
    terminal, written = sys.stdout.isatty(), io.StringIO()
    width = None if terminal else DEFAULT_WIDTH
    out = Console(file=written, force_terminal=terminal, highlight=False, soft_wrap=True, width=width)
    _print(out, summary)
    return written.getvalue()


def _print(out: Console, summary: Summary) -> None:  # noqa: C901 - one case for each command
    match summary:
        case BackupSummary():
            _print_backup(out, summary)
        case LoadSummary():
            _print_load(out, summary)
        case RestoreSummary():
            _print_restore(out, summary)
        case RollbackSummary():
            _print_rollback(out, summary)
        case MapSummary():
            _print_map(out, summary)
        case MigrateSummary():
            _print_migrate(out, summary)
        case VerifySummary():
            _print_verify(out, summary)
        case RebuildSummary():
            _print_rebuild(out, summary)
        case ExportSummary():
            _print_export(out, summary)
        case ReportSummary():
            _print_report(out, summary)
        case CheckSummary():
            _print_check(out, summary)
        case StatusSummary():
            print_status(out, summary)
        case AcceptSummary():
            print_accept(out, summary)
        case SnapshotsSummary():
            _print_snapshots(out, summary)
        case DiffSummary():
            _print_diff(out, summary)
        case PruneSummary():
            _print_prune(out, summary)
        case NightlySummary():
            from migrator.jobs.nightly import print_nightly

            print_nightly(out, summary)
        case DemoSummary():
            _print_demo(out, summary)


def _print_backup(out: Console, summary: BackupSummary) -> None:
    print_headline(out, summary)
    failures = print_general_failures(out, summary.failures)
    entities, size = ("entities", str(summary.entities)), ("bytes", human_size(summary.bytes))
    print_table(out, [entities, *rows_of(summary.attachments), size])
    if changes := summary.changes:
        out.print(
            f"against the archive as it was: {', '.join(f'{count} {change}' for change, count in changes.items())}"
        )
    if rechecked := summary.rechecked:
        counts = f"{rechecked['replaced']} had other content, {rechecked['failed']} failed"
        out.print(f"fetched again and compared: {counted(rechecked['files'], 'file')}, {counts}")
    if summary.not_asked:
        out.print(not_asked_text(summary.not_asked))
    print_failures(out, failures, summary.accepted)


def _print_load(out: Console, summary: LoadSummary) -> None:
    print_headline(out, summary)
    failures = print_general_failures(out, summary.failures)
    groups = {"dry run": summary.dry_run, "content": summary.content, "stubs": summary.stubs, "moved": summary.moved}
    rows = [*rows_of(summary.uploads)]
    for group, counts in groups.items():
        rows += rows_of(counts, group) if counts is not None else ()
    print_table(out, [*rows, ("bytes", human_size(summary.bytes))])
    print_altered(out, summary)
    print_changed(out, summary)
    print_left(out, summary)
    print_failures(out, failures)


def _print_restore(out: Console, summary: RestoreSummary) -> None:
    print_headline(out, summary)
    dry_run = rows_of(summary.dry_run, "dry run") if summary.dry_run else ()
    print_table(out, [*rows_of(summary.uploads), *dry_run, ("bytes", human_size(summary.bytes))])
    print_altered(out, summary)
    print_failures(out, summary.failures)


def _print_rollback(out: Console, summary: RollbackSummary) -> None:
    print_headline(out, summary)
    failures = print_general_failures(out, summary.failures)
    print_table(out, [*rows_of(summary.deletions), *rows_of(summary.dry_run or {}, "dry run")])
    print_failures(out, failures)


def _print_map(out: Console, summary: MapSummary) -> None:
    print_headline(out, summary)
    out.print(f"{summary.entities} entities in the archive, {summary.targets} at the target")
    by_rule = ((f"found by: {rule}", str(count)) for rule, count in summary.found_by.items())
    by_certainty = ((f"sure: {sure}", str(count)) for sure, count in summary.sure.items())
    print_table(out, [*rows_of(summary.rows), *by_rule, *by_certainty])
    _print_open(out, "ambiguous", summary.ambiguous)
    _print_open(out, "unmatched", summary.unmatched)
    out.print(Text(f"rows are in {summary.mapping}, what is left in {summary.open}"))


def _print_open(out: Console, group: str, entities: tuple[OpenEntity, ...]) -> None:
    for entity in entities[:MAX_SHOWN]:
        print_line(out, f"  {group}: {entity.kind} {entity.entity} {entity.title!r}: {entity.why}")
    if len(entities) > MAX_SHOWN:
        out.print(f"  ... and {len(entities) - MAX_SHOWN} more {group}")


def _print_migrate(out: Console, summary: MigrateSummary) -> None:
    _print_backup(out, summary.backup)
    if isinstance(summary.load, LoadSummary):
        _print_load(out, summary.load)
    print_headline(out, summary)


def _print_snapshots(out: Console, summary: SnapshotsSummary) -> None:
    if not summary.snapshots:
        out.print("no snapshot yet; a complete backup makes one")
        return
    table = Table(box=None, pad_edge=False)
    columns = ("run", "at", "entities", "attachments", "bytes", "added", "removed", "renamed", "moved", "replaced")
    for column in columns:
        table.add_column(column, justify="left" if column == "at" else "right", no_wrap=True)
    for row in summary.snapshots:
        at = datetime.fromisoformat(row.at).astimezone().isoformat(" ", "minutes")
        held = (row.run, at, row.entities, row.attachments, human_size(row.bytes))
        table.add_row(*map(str, (*held, row.added, row.removed, row.renamed, row.moved, row.replaced)))
    out.print(table)


def _print_prune(out: Console, summary: PruneSummary) -> None:
    print_headline(out, summary, "prune, dry run" if summary.dry_run else "")
    kept, removed, blobs = summary.snapshots["kept"], summary.snapshots["removed"], summary.blobs
    which = f": {', '.join(map(str, removed))}" if removed else ""
    out.print(f"snapshots: {len(kept)} kept, {len(removed)} removed{which}")
    out.print(f"blobs: {blobs['kept']} kept, {blobs['removed']} removed, {human_size(summary.bytes)} freed")


def _print_diff(out: Console, summary: DiffSummary) -> None:
    counts = ", ".join(f"{count} {change}" for change, count in summary.counts.items())
    out.print(f"from snapshot {summary.older} to {summary.newer}: {counts}")
    for row in summary.changes:
        owner = f"{row.kind} {row.entity}".strip()
        was = f" (was {row.was})" if row.was is not None else ""
        print_line(out, f"  {row.change:8} {owner} {row.name}{was}")


def _print_verify(out: Console, summary: VerifySummary) -> None:
    print_headline(out, summary)
    partial = summary.round_complete is False
    rest = f" of {summary.of}, the next such verify goes on from there" if partial else ""
    checked = f"{counted(summary.blobs, 'blob')}{rest}, {human_size(summary.bytes)}"
    out.print(f"{checked}, {counted(len(summary.problems), 'problem')}")
    print_problems(out, summary.problems)


def _print_rebuild(out: Console, summary: RebuildSummary) -> None:
    print_headline(out, summary)
    holds = (
        counted(summary.entities, "entity", "entities"),
        counted(summary.attachments, "attachment"),
        counted(summary.blobs, "blob"),
        counted(summary.uploads, "upload"),
    )
    out.print(f"made from the {summary.made_from}: " + ", ".join(holds))
    print_problems(out, summary.problems)


def _print_export(out: Console, summary: ExportSummary) -> None:
    print_headline(out, summary)
    written = f"{counted(summary.files, 'file')}, {human_size(summary.bytes)} in {summary.destination}"
    out.print(shown(f"{written}, {counted(len(summary.problems), 'damaged or missing blob')}"))
    print_failures(out, summary.failures)


def _print_report(out: Console, summary: ReportSummary) -> None:
    for path in (summary.out, summary.redirects):
        if path:
            out.print(shown(f"written: {path}"))
    entities, attachments = counted(summary.entities, "entity", "entities"), counted(summary.attachments, "attachment")
    out.print(shown(summary.sentence, VERDICT_COLOURS[summary.verdict]))
    counts = f"{summary.missing} missing, {summary.altered} renamed or altered, {summary.intended} left out on purpose"
    out.print(f"{entities}, {attachments}: {counts}")


def _mark(check: Check) -> Text:
    if not check.ok:
        return Text("FAIL", "red")
    return Text("warn", "yellow") if check.warning else Text("ok  ", "green")


def _print_check(out: Console, summary: CheckSummary) -> None:
    for side, checked in (("source", summary.source), ("target", summary.target)):
        if isinstance(checked, CheckedSide):
            out.print(f"{side}: {checked.tracker}")
            _print_checks(out, checked.checks)
    if summary.nightly:
        out.print("nightly:")
        _print_checks(out, summary.nightly)
    print_headline(out, summary)


def _print_checks(out: Console, checks: Iterable[Check]) -> None:
    for check in checks:
        out.print("  ", _mark(check), " ", shown(f"{check.check}: {check.detail}"), sep="")


def _print_demo(out: Console, summary: DemoSummary) -> None:
    table = Table("step", "what happened", box=None, pad_edge=False)
    for step in summary.steps:
        table.add_row(Text(step.step, "green" if step.ok else "red"), Text(step.what))
    out.print(table)
    print_headline(out, summary)
    if summary.kept:
        out.print(Text(f"kept in {summary.kept}; try: migrator status {summary.kept}/archive"))
