"""Map: list the target -> match -> add rows to the mapping file.

The target is read like a source, for its entities only; those of the source are in the catalog. What the rules match
becomes rows of the mapping file; the rest is listed for a person.

Beware: a person may edit the file while the target is listed, which may take minutes. What counts is what the file
holds when the rows are added.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from typing_extensions import override

from migrator import errors
from migrator.mapping import Index, Mapping, Match, NewRow, Rule, match
from migrator.model import NOBODY, Entity, EntityRef, RunStatus
from migrator.pipeline.run import DRY_RUN, Job, RunContext, run_context
from migrator.pipeline.summary import MapCounts, MapSummary, OpenEntity, ProposedRow, TargetRef
from migrator.ports import Source
from migrator.printable import BYTE_ORDER_MARK, spreadsheet_cell
from migrator.progress import Progress, Silent
from migrator.store import Catalog

NO_ENTITY = "files that no entity owns; only a person can say where they belong"


@dataclass(frozen=True, slots=True)
class MapSettings:
    """The settings of a map. `known` is the current mapping.

    `add_rows` adds rows to the mapping file and returns how many it accepted; it is not called in a `dry_run`.
    """

    rules: Sequence[Rule]
    known: Mapping
    add_rows: Callable[[Sequence[NewRow]], int]
    dry_run: bool = False


async def propose(
    target: Source, catalog: Catalog, settings: MapSettings, *, progress: Progress | None = None
) -> MapSummary:
    """One run: adds a row for each entity of the archive that has none and was found at the target.

    The caller holds the archive. The summary lists, as `ambiguous` and `unmatched`, entities with files only. Nothing
    is in flight while the target is listed, so this is stopped by cancelling it.
    """
    command = f"map{DRY_RUN}" if settings.dry_run else "map"
    async with run_context(catalog, command, mends_journal=False) as context:
        return await context.execute(_Map(target, settings, context, progress or Silent()))


class _Map(Job[MapSummary]):
    def __init__(self, target: Source, settings: MapSettings, context: RunContext, progress: Progress) -> None:
        self._target, self._settings, self._context, self._progress = target, settings, context, progress
        self._summary = MapSummary()

    @override
    async def work(self) -> None:
        index = await _read_index(self._target, self._settings.rules, self._progress)
        call, catalog = self._context.executor.call, self._context.catalog
        self._summary = await call(_add_matches, catalog, index, self._settings)

    @override
    async def flush(self) -> None:
        """Rows are added to the mapping file in one step."""

    @override
    def summary(self, status: RunStatus) -> MapSummary:
        return self._summary


def open_rows(summary: MapSummary) -> str:
    """A CSV file of the entities that were not mapped, for a person to continue from."""
    written = io.StringIO(newline="")
    rows = csv.writer(written, lineterminator="\n")
    written.write(BYTE_ORDER_MARK)
    rows.writerow(["source_kind", "source_id", "title", "url", "why", "candidates"])
    for entity in (*summary.ambiguous, *summary.unmatched):
        candidates = "; ".join(map(str, entity.candidates))
        cells = (entity.kind, entity.entity, entity.title, entity.url, entity.why, candidates)
        rows.writerow([spreadsheet_cell(cell) for cell in cells])
    return written.getvalue()


async def _read_index(target: Source, rules: Sequence[Rule], progress: Progress) -> Index:
    """Read all entities of the target, also those that other entities only refer to."""
    index, only_referred_to = Index(rules), {}
    for stream in target.capabilities.entity_streams or target.capabilities.streams:
        cursor = None
        while True:
            try:
                page = await target.read(stream, cursor)
            except errors.ItemFailedError as error:
                raise errors.TrackerUnreachableError(
                    f"the target's listing {stream!r} can't be read: {error}"
                ) from error
            for entity in (*page.entities, *page.ask):
                if entity.raw is None:
                    only_referred_to[entity.ref] = entity
                else:
                    index.add(entity)
            progress.entities(len(page.entities))
            cursor = page.next
            if cursor is None:
                break
    for entity in only_referred_to.values():
        index.add(entity)
    return index


def _add_matches(catalog: Catalog, index: Index, settings: MapSettings) -> MapSummary:
    """Match the entities without a row, and add a row for each match. Blocks."""
    entities = {entity.ref: entity for entity in catalog.entities.all()}
    unmapped = [entity for entity in entities.values() if entity.ref not in settings.known]
    taken = [to for targets in settings.known.values() for to in targets]
    matches = list(match(unmapped, index, taken))
    rows = [_new_row(made, made.target, entities, index) for made in matches if made.target]
    with_files = dict(catalog.entities.owners())
    left = [failed for failed in matches if failed.target is None and failed.source in with_files]
    unlinked = [NOBODY] if with_files.get(NOBODY) and NOBODY not in settings.known else []
    ambiguous = tuple(_open_entity(failed, entities) for failed in left if failed.candidates)
    unmatched = tuple(_open_entity(failed, entities) for failed in left if not failed.candidates)
    return MapSummary(
        dry_run=settings.dry_run or None,
        entities=len(entities),
        targets=len(index),
        rows=MapCounts(
            kept=len(entities) - len(unmapped),
            proposed=len(rows) if settings.dry_run else settings.add_rows(rows),
            ambiguous=len(ambiguous),
            unmatched=len(unmatched) + len(unlinked),
            without_files=len(matches) - len(rows) - len(left),
        ),
        found_by=dict(Counter(row.found_by for row in rows)),
        sure=dict(Counter(row.sure for row in rows)),
        proposals=tuple(map(_proposal, rows)),
        ambiguous=ambiguous,
        unmatched=(*unmatched, *(OpenEntity(ref.kind, ref.id, "", "", NO_ENTITY, ()) for ref in unlinked)),
    )


def _new_row(made: Match, target: EntityRef, entities: dict[EntityRef, Entity], index: Index) -> NewRow:
    source, label = entities[made.source], index.label(target)
    titles, urls = (source.title, label.title), (source.url, label.url)
    return NewRow(made.source, target, made.found_by, made.sure, made.why, *titles, *urls)


def _proposal(row: NewRow) -> ProposedRow:
    return ProposedRow(
        kind=row.source.kind,
        entity=row.source.id,
        title=row.source_title,
        url=row.source_url,
        target_kind=row.target.kind,
        target_id=row.target.id,
        target_title=row.target_title,
        target_url=row.target_url,
        found_by=row.found_by,
        sure=row.sure,
        why=row.why,
    )


def _open_entity(failed: Match, entities: dict[EntityRef, Entity]) -> OpenEntity:
    entity, candidates = entities[failed.source], tuple(map(TargetRef.of, failed.candidates))
    return OpenEntity(entity.ref.kind, entity.ref.id, entity.title, entity.url, failed.why, candidates)
