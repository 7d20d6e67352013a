"""`map` as text: the proposed rows for a review, the least sure first, and what is left for a person."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migrator.jobs.lists import MAX_SHOWN, print_headline, print_line, print_table, rows_of, shown
from migrator.pipeline import summary as summaries
from migrator.units import counted, human_number

MAX_PROPOSALS = 20
"""Proposed rows that are shown; all are in the mapping file and in the JSON document."""
_COLOURS = {"low": "red", "medium": "yellow", "high": "green"}
"""Certainties, the least first."""


def print_map(out: Console, summary: summaries.MapSummary) -> None:
    """The counts, the proposed rows as a table, and the entities that were left open."""
    print_headline(out, summary, "map --dry-run" if summary.dry_run else "")
    entities = counted(summary.entities, "entity", "entities")
    out.print(f"{entities} in the archive, {human_number(summary.targets)} at the target")
    by_rule = ((f"found by: {rule}", human_number(count)) for rule, count in summary.found_by.items())
    by_certainty = ((f"sure: {sure}", human_number(count)) for sure, count in summary.sure.items())
    print_table(out, [*rows_of(summary.rows), *by_rule, *by_certainty])
    _print_proposals(out, summary.proposals)
    _print_open(out, "ambiguous", summary.ambiguous)
    _print_open(out, "unmatched", summary.unmatched)
    if summary.mapping:
        out.print(Text(f"rows are in {summary.mapping}, what is left in {summary.open}"))
    else:
        out.print("nothing was written")


def _print_proposals(out: Console, proposals: tuple[summaries.ProposedRow, ...]) -> None:
    if not proposals:
        return
    certainties = [*_COLOURS]
    table = Table("sure", "source", "target", "why", box=None, pad_edge=False)
    for row in sorted(proposals, key=lambda row: certainties.index(row.sure))[:MAX_PROPOSALS]:
        source = _entity(row.kind, row.entity, row.title)
        target = _entity(row.target_kind, row.target_id, row.target_title)
        table.add_row(Text(row.sure, _COLOURS[row.sure]), source, target, shown(row.why))
    out.print(table)
    if len(proposals) > MAX_PROPOSALS:
        out.print(
            f"... and {human_number(len(proposals) - MAX_PROPOSALS)} more proposed rows, as sure as the last or surer"
        )


def _entity(kind: str, id_: str, title: str) -> Text:
    return shown(" ".join(f"{kind} {id_} {title}".split()))


def _print_open(out: Console, group: str, entities: tuple[summaries.OpenEntity, ...]) -> None:
    for entity in entities[:MAX_SHOWN]:
        title = f" {entity.title!r}" if entity.title else ""
        print_line(out, f"  {group}: {f'{entity.kind} {entity.entity}'.strip()}{title}: {entity.why}")
    if len(entities) > MAX_SHOWN:
        out.print(f"  ... and {human_number(len(entities) - MAX_SHOWN)} more {group}")
