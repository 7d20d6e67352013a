"""Map: list the target -> match -> add rows to the mapping file.

The target is read like a source, for its entities alone; the archive's catalog knows those of the source. What the
rules match becomes rows of the mapping file; what they don't match is listed for a person.

Beware: listing the target may take minutes, in which a person may edit the file. What counts is what the file holds
when the rows are added.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from migrator import errors
from migrator.mapping import Index, Mapping, Match, NewRow, Rule, match
from migrator.model import Entity, EntityRef, RunStatus
from migrator.pipeline.summary import MapCounts, MapSummary, OpenEntity
from migrator.ports import Source
from migrator.progress import Progress, Silent
from migrator.store import Catalog


@dataclass(frozen=True, slots=True)
class MapSettings:
    """`known` is the current mapping; `add_rows` adds rows to it and returns how many it accepted."""

    rules: Sequence[Rule]
    known: Mapping
    add_rows: Callable[[Sequence[NewRow]], int]


async def propose(
    target: Source, catalog: Catalog, settings: MapSettings, *, progress: Progress | None = None
) -> MapSummary:
    """One run: adds a row for each entity of the archive that has none and was found at the target.

    Gives the summary; its lists are `ambiguous` and `unmatched`, of entities with files only. Whoever calls holds the
    archive. May be cancelled while it lists.
    """
    began, progress = time.monotonic(), progress or Silent()
    run = catalog.runs.begin("map")
    status = RunStatus.FAILED
    summary: MapSummary | None = None
    try:
        index = await _listed(target, settings.rules, progress)
        summary = await asyncio.to_thread(_proposed, catalog, index, settings)
        status = RunStatus.COMPLETE
    except asyncio.CancelledError:
        status = RunStatus.INTERRUPTED
        raise
    finally:
        seconds = time.monotonic() - began
        told: dict[str, Any] = {"command": "map", "run": run, "status": str(status), "seconds": round(seconds, 2)}
        if summary is not None:
            summary = replace(summary, run=run, status=status, seconds=seconds)
            told = {key: value for key, value in summary.as_json().items() if key not in {"ambiguous", "unmatched"}}
        catalog.runs.end(run, status, told)
    return summary


async def _listed(target: Source, rules: Sequence[Rule], progress: Progress) -> Index:
    """All entities of the target. Those that are only referred to count if nothing more is known of them."""
    index, bare = Index(rules), {}
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
                    bare[entity.ref] = entity
                else:
                    index.add(entity)
            progress.entities(len(page.entities))
            cursor = page.next
            if cursor is None:
                break
    for entity in bare.values():
        index.add(entity)
    return index


def _proposed(catalog: Catalog, index: Index, settings: MapSettings) -> MapSummary:
    entities = {entity.ref: entity for entity in catalog.entities.all()}
    fresh = [entity for entity in entities.values() if entity.ref not in settings.known]
    taken = [to for targets in settings.known.values() for to in targets]
    found = list(match(fresh, index, taken))
    rows = [NewRow(one.source, one.target, one.found_by, one.sure) for one in found if one.target]
    with_files = {ref for ref, _ in catalog.entities.owners()}
    left = [one for one in found if one.target is None and one.source in with_files]
    ambiguous = tuple(_open(one, entities) for one in left if one.candidates)
    unmatched = tuple(_open(one, entities) for one in left if not one.candidates)
    return MapSummary(
        entities=len(entities),
        targets=len(index),
        rows=MapCounts(
            kept=len(entities) - len(fresh),
            proposed=settings.add_rows(rows),
            ambiguous=len(ambiguous),
            unmatched=len(unmatched),
            without_files=len(found) - len(rows) - len(left),
        ),
        found_by=dict(Counter(row.found_by for row in rows)),
        sure=dict(Counter(row.sure for row in rows)),
        ambiguous=ambiguous,
        unmatched=unmatched,
    )


def _open(one: Match, entities: dict[EntityRef, Entity]) -> OpenEntity:
    entity = entities[one.source]
    return OpenEntity(
        one.source.kind,
        one.source.id,
        entity.title,
        entity.url,
        one.why,
        tuple({"target_kind": ref.kind, "target_id": ref.id} for ref in one.candidates),
    )
