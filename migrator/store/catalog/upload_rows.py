"""Which uploads a query means, in SQL; `u` is the upload, `a` its attachment."""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database

from migrator.model import Upload
from migrator.store.catalog.rows import COLUMNS_OF_A, upload_from

IS_MAPPED = (
    "EXISTS (SELECT 1 FROM mapped m WHERE m.kind = a.kind AND m.id = a.entity_id "
    "AND m.target_kind = u.target_kind AND m.target_id = u.target_id)"
)
"""SQL: whether the mapping sends the owner of attachment `a` to the target entity of upload `u`."""
UNSETTLED = "status IN ('planned', 'in_doubt', 'failed')"
OURS = (
    "u.sent_run IS NOT NULL AND (u.status IN ('uploaded', 'already_there', 'in_doubt') "
    "OR (u.status = 'failed' AND u.remote_id IS NOT NULL))"
)
TO_ENTITY = "u.target_kind = ? AND u.target_id = ? AND "
SOURCE_BLOB = "b.sha256 = a.sha256"
SENT_BLOB = "b.sha256 = coalesce(u.sent_sha256, a.sha256)"
"""SQL: the blob that the source holds now, and the one that was sent."""
_IN_DOUBT = "(u.status = 'in_doubt' OR u.accepted = 1)"
_TO_FORGET = "(a.status = 'gone' AND u.status = 'failed' AND u.remote_id IS NOT NULL)"
"""SQL: an upload that had arrived, of a file that the source no longer has; only a look says whether it is there."""
TO_SETTLE = f"(u.{UNSETTLED} OR u.accepted = 1) AND (a.status = 'stored' OR {_IN_DOUBT} OR {_TO_FORGET})"
SENT_IF_IN_DOUBT = f"b.sha256 = iif({_IN_DOUBT}, coalesce(u.sent_sha256, a.sha256), a.sha256)"
"""SQL: whether upload `u` has to be settled, and its blob then: that which was sent, if it is in doubt."""

SETTLED = (
    "u.status IN ('uploaded', 'already_there') AND u.accepted IS NULL AND u.remote_id IS NOT NULL "
    f"AND a.status = 'stored' AND {IS_MAPPED}"
)
"""SQL: an upload that arrived, was listed there, and that source and mapping still ask for."""


def uploads_where(db: Database, blob: str, wanted: str, values: Sequence[object], to: str = TO_ENTITY) -> list[Upload]:
    """Uploads with the blob that the condition `blob` selects; all conditions are SQL, `values` their parameters.

    They match `wanted` and go to the target entities `to`, by default a single one.
    """
    rows = db.execute(
        "SELECT u.target_kind, u.target_id, u.status, u.remote_id, u.name, u.attempts, u.sent_run, u.seen, "
        "u.content_check = 'differs', "
        "u.status = 'in_doubt' AND u.run_id IN (SELECT run_id FROM runs WHERE command = 'rollback'), "
        "u.remote_locator, coalesce(u.sent_name, u.name), u.sent_at, u.accepted, u.altered, "
        f"b.sha256, b.size, c.sha256, c.size, {COLUMNS_OF_A} "
        f"FROM uploads u JOIN attachments a USING (attachment_id) JOIN blobs b ON {blob} "
        "LEFT JOIN blobs c ON c.sha256 = a.sha256 AND a.status = 'stored' "
        f"WHERE u.target = ? AND {to}{wanted}",
        values,
    )
    return [upload_from(row) for row in rows.fetchall()]
