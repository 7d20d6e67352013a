"""Snapshots, what changed between two of them, what a prune removed and a copy brought, as text."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from migrator.jobs.lists import print_headline, print_line, print_problems, print_table
from migrator.pipeline import summary as summaries
from migrator.units import counted, human_number, human_size, local_time

MIN_SNAPSHOT_COLUMNS = 104
"""On a narrower terminal the snapshots are lines, as a table would lose parts of its cells."""


def print_snapshots(out: Console, summary: summaries.SnapshotsSummary) -> None:
    """A table, or on a narrow terminal two lines for each snapshot."""
    if not summary.snapshots:
        out.print("no snapshot yet; a complete backup makes one")
        return
    if out.width < MIN_SNAPSHOT_COLUMNS:
        for row in summary.snapshots:
            _print_snapshot(out, row)
        return
    table = Table(box=None, pad_edge=False)
    columns = ("run", "at", "entities", "attachments", "bytes", "added", "removed", "renamed", "moved", "replaced")
    for column in columns:
        table.add_column(column, justify="left" if column == "at" else "right", no_wrap=True)
    for row in summary.snapshots:
        counts = (row.added, row.removed, row.renamed, row.moved, row.replaced)
        held = (human_number(row.entities), human_number(row.attachments), human_size(row.bytes))
        table.add_row(str(row.run), local_time(row.at), *held, *map(human_number, counts))
    out.print(table)


def _print_snapshot(out: Console, row: summaries.SnapshotRow) -> None:
    """One snapshot in two lines: what it holds, and what it changed."""
    entities, files = counted(row.entities, "entity", "entities"), counted(row.attachments, "attachment")
    out.print(f"run {row.run}, {local_time(row.at)}: {entities}, {files}, {human_size(row.bytes)}")
    changes = {name: getattr(row, name) for name in ("added", "removed", "renamed", "moved", "replaced")}
    out.print("  " + (", ".join(f"{count:,} {name}" for name, count in changes.items() if count) or "nothing changed"))


def print_diff(out: Console, summary: summaries.DiffSummary) -> None:
    """The counts, and a line for each change."""
    counts = ", ".join(f"{count:,} {change}" for change, count in summary.counts.items())
    out.print(f"from snapshot {summary.older} to {summary.newer}: {counts}")
    for row in summary.changes:
        owner = f"{row.kind} {row.entity}".strip()
        was = f" (was {row.was})" if row.was is not None else ""
        print_line(out, f"  {row.change:8} {owner} {row.name}{was}")


def print_prune(out: Console, summary: summaries.PruneSummary) -> None:
    """What was kept and removed, or would be."""
    print_headline(out, summary, "prune --dry-run" if summary.dry_run else "")
    kept, removed, blobs = summary.snapshots["kept"], summary.snapshots["removed"], summary.blobs
    which = f": {', '.join(map(str, removed))}" if removed else ""
    out.print(f"snapshots: {len(kept):,} kept, {len(removed):,} removed{which}")
    out.print(f"blobs: {blobs['kept']:,} kept, {blobs['removed']:,} removed, {human_size(summary.bytes)} freed")


def print_copy(out: Console, summary: summaries.CopySummary) -> None:
    """What came to the other archive, and what could not."""
    print_headline(out, summary)
    print_table(out, [*((name.replace("_", " "), human_number(count)) for name, count in summary.blobs.items())])
    out.print(f"{human_size(summary.bytes)} were copied to {summary.to}")
    print_problems(out, summary.problems)
