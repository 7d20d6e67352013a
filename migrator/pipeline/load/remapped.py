"""Uploads whose mapping row changed after they were sent.

A load only reports them; this module says which files they are. Deleting them is a rollback of exactly these files,
with all its checks.

Beware: a row that was removed names no new entity, so its files stay. And no file is deleted before it has arrived
everywhere the mapping sends it now.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from migrator.mapping import Mapping
from migrator.model import EntityRef, Upload
from migrator.pipeline.summary import ChangedRow, TargetRef
from migrator.store import Catalog

Placed = AbstractSet[tuple[str, EntityRef]]
"""Attachments, each with a target entity."""
Remapped = frozenset[tuple[str, EntityRef]]
"""Attachments, each with the target entity that it should no longer be on."""


def remapped_uploads(
    catalog: Catalog, identity: str, mapping: Mapping, would_arrive: Placed = frozenset()
) -> tuple[ChangedRow, ...]:
    """Each file at a former entity, where it belongs now, and why it stays, if so. Call this after planning.

    In a dry run, what `would_arrive` counts as having arrived.
    """
    return tuple(_row(catalog, identity, upload, mapping, would_arrive) for upload in catalog.uploads.strays(identity))


def _row(catalog: Catalog, identity: str, upload: Upload, mapping: Mapping, would_arrive: Placed) -> ChangedRow:
    file, now = upload.attachment, mapping.get(upload.attachment.owner, ())
    arrived = catalog.uploads.arrived_at(identity, file.id) | {to for to in now if (file.id, to) in would_arrive}
    stays = None
    if not now:
        stays = "its row is gone, and no other row says where it belongs"
    elif upload.sent_run is None:
        stays = "it was there before, or may have been: no load is known to have sent it"
    elif not set(now) <= arrived:
        stays = "it has not arrived at the new entity"
    return ChangedRow(
        file.owner.kind,
        file.owner.id,
        file.id,
        file.name,
        upload.to.kind,
        upload.to.id,
        upload.remote_id,
        tuple(map(TargetRef.of, now)),
        stays,
    )


def deletable(changed: Iterable[ChangedRow]) -> Remapped:
    """Those that may be deleted."""
    return frozenset((row.attachment, EntityRef(row.target_kind, row.target_id)) for row in changed if not row.stays)
