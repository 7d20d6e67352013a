"""The made-up world of `sandbox --like`: the entities and files of an archive as the sandboxes take them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from migrator.jobs.runtime import read_archive
from migrator.model import NOBODY, EntityRef, Status
from migrator.sandbox import RealEntity, RealFile, World, world_like
from migrator.store import Catalog

if TYPE_CHECKING:
    from migrator.jobs.place import Place


def world_of(archive: Place, seed: int) -> World:
    """What the source of an archive holds now, in other words, with made-up bytes."""
    with read_archive(archive) as catalog:
        return world_like(_entities(catalog), _files(catalog), seed)


def _entities(catalog: Catalog) -> Iterator[RealEntity]:
    for row in catalog.exports.entities():
        ref = EntityRef(row["kind"], row["entity_id"])
        if ref != NOBODY:
            yield RealEntity(ref, ref.kind, row["title"])


def _files(catalog: Catalog) -> Iterator[RealFile]:
    """Those that the source no longer has are left out. The size of the stored bytes counts, if they were stored."""
    for file, state in catalog.exports.attachments():
        if state["status"] == Status.GONE:
            continue
        yield RealFile(
            owner=None if file.owner == NOBODY else file.owner,
            in_comment=file.comment_id is not None,
            name=file.name,
            size=state["stored_size"] if state["stored_size"] is not None else file.size,
            media_type=file.media_type,
            description=file.description,
            content=state["sha256"],
        )
