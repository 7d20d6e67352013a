"""The part of the catalog that a load writes: one row for each attachment and target entity.

The one idea: the intent (`in_doubt`) is committed before the bytes go out, the result after the answer; whatever
stands `in_doubt` when a run begins is looked up at the target first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrator.catalog.crawl import COLUMNS, attachment_from
from migrator.catalog.store import Store
from migrator.model import Blob, EntityRef, Upload, UploadStatus

_UNSETTLED = "status IN ('planned', 'in_doubt', 'failed')"


class UploadTables(Store):
    """Methods of `Catalog`. `target` names one target tracker, see `targets.identity`."""

    def owners(self) -> Iterator[tuple[EntityRef, int]]:
        """Every entity with stored files, and how many, in a fixed order."""
        for kind, entity, count in self.db.execute(
            "SELECT kind, entity_id, count(*) FROM attachments WHERE status = 'stored' GROUP BY kind, entity_id"
        ):
            yield EntityRef(kind, entity), count

    def plan_uploads(self, run: int, target: str, pairs: Iterable[tuple[EntityRef, EntityRef]]) -> None:
        """A row for every stored attachment of each source entity and the target entity it goes to; none twice.

        What was planned by an earlier mapping, and never sent, is forgotten.
        """
        with self.writing():
            self.db.execute(
                "CREATE TEMP TABLE IF NOT EXISTS mapped (kind, id, target_kind, target_id, "
                "PRIMARY KEY (kind, id, target_kind, target_id)) WITHOUT ROWID"
            )
            self.db.execute("DELETE FROM mapped")
            self.db.conn.executemany(
                "INSERT OR IGNORE INTO mapped VALUES (?, ?, ?, ?)",
                [(of.kind, of.id, to.kind, to.id) for of, to in pairs],
            )
            self.db.execute(
                "DELETE FROM uploads WHERE target = ? AND remote_id IS NULL AND status IN ('planned', 'failed') "
                "AND NOT EXISTS (SELECT 1 FROM mapped m JOIN attachments a ON a.kind = m.kind AND a.entity_id = m.id "
                "WHERE a.attachment_id = uploads.attachment_id "
                "AND m.target_kind = uploads.target_kind AND m.target_id = uploads.target_id)",
                [target],
            )
            self.db.execute(
                "INSERT OR IGNORE INTO uploads (target, attachment_id, target_kind, target_id, status, run_id) "
                "SELECT ?, a.attachment_id, m.target_kind, m.target_id, 'planned', ? FROM mapped m "
                "JOIN attachments a ON a.kind = m.kind AND a.entity_id = m.id "
                "WHERE a.status = 'stored'",
                [target, run],
            )

    def unsettled_entities(self, target: str) -> list[EntityRef]:
        """Target entities that still have uploads to come."""
        rows = self.db.execute(
            f"SELECT DISTINCT target_kind, target_id FROM uploads WHERE target = ? AND {_UNSETTLED}", [target]
        )
        return [EntityRef(kind, id_) for kind, id_ in rows.fetchall()]

    def unsettled_uploads(self, target: str, to: EntityRef) -> list[Upload]:
        """The uploads to one target entity that are not settled; those in doubt first."""
        columns = ", ".join(f"a.{column}" for column in COLUMNS.split(", "))
        rows = self.db.execute(
            f"SELECT u.status, u.remote_id, u.name, u.attempts, u.content_check, b.sha256, b.size, {columns} "
            "FROM uploads u JOIN attachments a USING (attachment_id) JOIN blobs b USING (sha256) "
            f"WHERE target = ? AND target_kind = ? AND target_id = ? AND u.{_UNSETTLED} AND a.status = 'stored' "
            "ORDER BY u.status != 'in_doubt', a.created_at, a.attachment_id",
            [target, to.kind, to.id],
        ).fetchall()
        return [
            Upload(
                attachment_from(row[7:]),
                Blob(row[5], row[6]),
                to,
                UploadStatus(row[0]),
                row[1],
                row[2],
                row[3],
                row[4] == "differs",
            )
            for row in rows
        ]

    def arrived(self, target: str, to: EntityRef) -> dict[str, tuple[str, str]]:
        """For each attachment that is known to have arrived on a target entity: its remote id and name there."""
        rows = self.db.execute(
            "SELECT attachment_id, remote_id, name FROM uploads WHERE target = ? AND target_kind = ? AND target_id = ? "
            "AND remote_id IS NOT NULL AND status != 'rolled_back'",
            [target, to.kind, to.id],
        )
        return {str(id_): (str(remote), str(name)) for id_, remote, name in rows.fetchall()}

    def record_upload(
        self,
        run: int,
        target: str,
        upload: Upload,
        status: UploadStatus,
        *,
        name: str | None = None,
        remote_id: str | None = None,
        locator: str | None = None,
        error: str | None = None,
    ) -> None:
        """Intent or result of one upload. An intent counts as an attempt; a name or id once known stays."""
        attempt = status is UploadStatus.IN_DOUBT and error is None
        with self.writing():
            self.db.execute(
                "UPDATE uploads SET status = ?, name = coalesce(?, name), remote_id = coalesce(?, remote_id), "
                "remote_locator = coalesce(?, remote_locator), error = ?, attempts = attempts + ?, run_id = ?, "
                "content_check = iif(? = 'failed', content_check, NULL) "
                "WHERE target = ? AND attachment_id = ? AND target_kind = ? AND target_id = ?",
                [
                    status,
                    name,
                    remote_id,
                    locator,
                    error,
                    attempt,
                    run,
                    status,
                    target,
                    upload.attachment.id,
                    upload.to.kind,
                    upload.to.id,
                ],
            )
