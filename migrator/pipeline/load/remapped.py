"""Uploads whose mapping row changed after they were sent.

A load only reports them. Deleting them is a rollback of exactly these files, which looks, compares, deletes and records
like any other; this module says which files they are.

Beware: a row that was simply removed names no new place, so what it brought stays. And nothing is deleted before it has
arrived wherever the mapping points now.
"""

from __future__ import annotations

from collections.abc import Iterable

from migrator.mapping import Mapping
from migrator.model import EntityRef, Upload
from migrator.pipeline.summary import ChangedRow
from migrator.store import Catalog

Remapped = frozenset[tuple[str, EntityRef]]
"""Attachments, each with the target entity that it should no longer be on."""


def former(catalog: Catalog, identity: str, mapping: Mapping) -> tuple[ChangedRow, ...]:
    """For the summary of a load: each file at a former entity, where it belongs now, and why it stays, if it has to.

    To be called after the load has planned by this mapping.
    """
    return tuple(_row(catalog, identity, upload, mapping) for upload in catalog.uploads.strays(identity))


def _row(catalog: Catalog, identity: str, upload: Upload, mapping: Mapping) -> ChangedRow:
    of, now = upload.attachment, mapping.get(upload.attachment.owner, ())
    stays = None
    if not now:
        stays = "its row is gone, and no other says where it belongs"
    elif upload.sent_run is None:
        stays = "it was there before, or may have been: no load is known to have sent it"
    elif not set(now) <= catalog.uploads.arrived_at(identity, of.id):
        stays = "it has not arrived at the new entity"
    return ChangedRow(
        of.owner.kind,
        of.owner.id,
        of.id,
        of.name,
        upload.to.kind,
        upload.to.id,
        upload.remote_id,
        tuple({"target_kind": to.kind, "target_id": to.id} for to in now),
        stays,
    )


def to_delete(changed: Iterable[ChangedRow]) -> Remapped:
    """Which of them may go."""
    return frozenset((row.attachment, EntityRef(row.target_kind, row.target_id)) for row in changed if not row.stays)
