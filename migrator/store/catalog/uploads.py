"""The part of the catalog that a load writes: one row for each pair of attachment and target entity.

The intent (`in_doubt`) is committed before the bytes are sent, and the result after the answer. If an upload is still
`in_doubt` when a run begins, the run looks at the target before it sends anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from sqlite_utils import Database

from migrator.model import Altered, Attachment, EntityRef, Upload, UploadStatus
from migrator.store.catalog.database import CatalogDatabase
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.rows import COLUMNS_OF_A, attachment_from
from migrator.store.catalog.upload_rows import (
    IS_MAPPED,
    OURS,
    SENT_BLOB,
    SENT_IF_IN_DOUBT,
    SETTLED,
    SOURCE_BLOB,
    TO_ENTITY,
    TO_SETTLE,
    UNSETTLED,
    uploads_where,
)


class UploadRecords(CatalogPart):
    """What a load plans, sends and confirms. `target` identifies a target tracker: its name and address."""

    def __init__(self, database: CatalogDatabase) -> None:
        super().__init__(database)
        self._together = False

    def plan(self, run: int, target: str, pairs: Iterable[tuple[EntityRef, EntityRef]]) -> None:
        """Add a row for every stored attachment of each source entity and its target entity, unless there is one.

        Rows that no run has sent are removed if the mapping no longer asks for them, or the source no longer has the
        file. What was rolled back is planned again.
        """
        prepare_mapped_table(self._db)
        with self._database.transaction():
            self._db.execute("DELETE FROM mapped")
            self._db.conn.executemany(
                "INSERT OR IGNORE INTO mapped VALUES (?, ?, ?, ?)",
                [(source.kind, source.id, to.kind, to.id) for source, to in pairs],
            )
            self._db.execute(
                "DELETE FROM uploads WHERE target = ? AND remote_id IS NULL AND status IN ('planned', 'failed') "
                "AND NOT EXISTS (SELECT 1 FROM mapped m JOIN attachments a ON a.kind = m.kind AND a.entity_id = m.id "
                "WHERE a.attachment_id = uploads.attachment_id AND a.status != 'gone' "
                "AND m.target_kind = uploads.target_kind AND m.target_id = uploads.target_id)",
                [target],
            )
            self._db.execute(
                "INSERT OR IGNORE INTO uploads (target, attachment_id, target_kind, target_id, status, run_id) "
                "SELECT ?, a.attachment_id, m.target_kind, m.target_id, 'planned', ? FROM mapped m "
                "JOIN attachments a ON a.kind = m.kind AND a.entity_id = m.id "
                "WHERE a.status = 'stored'",
                [target, run],
            )
            self._db.execute(
                "UPDATE uploads SET status = 'planned', remote_id = NULL, name = NULL, attempts = 0, error = NULL, "
                "sent_run = NULL, seen = NULL, sent_sha256 = NULL, sent_name = NULL, sent_at = NULL, "
                "accepted = NULL, altered = NULL, run_id = ? "
                "WHERE target = ? AND status = 'rolled_back' AND EXISTS (SELECT 1 FROM mapped m "
                "JOIN attachments a ON a.kind = m.kind AND a.entity_id = m.id "
                "WHERE a.attachment_id = uploads.attachment_id AND a.status = 'stored' "
                "AND m.target_kind = uploads.target_kind AND m.target_id = uploads.target_id)",
                [run, target],
            )

    def planned(self, target: str) -> Iterator[tuple[Attachment, EntityRef, UploadStatus]]:
        """Every upload that isn't rolled back, by source entity: attachment (with the blob's size), target, status.

        Beware: nothing else may use the catalog until the iteration has ended.
        """
        rows = self._db.execute(
            f"SELECT u.target_kind, u.target_id, u.status, b.size, {COLUMNS_OF_A} FROM uploads u "
            "JOIN attachments a USING (attachment_id) JOIN blobs b USING (sha256) "
            "WHERE target = ? AND u.status != 'rolled_back' ORDER BY a.kind, a.entity_id, a.attachment_id",
            [target],
        )
        for kind, id_, status, size, *attachment in rows:
            yield replace(attachment_from(attachment), size=size), EntityRef(kind, id_), UploadStatus(status)

    def unsettled_entities(self, target: str) -> list[EntityRef]:
        """Target entities with uploads still to be settled, those with one in doubt last.

        By then the other entities may have shown how soon this target lists an uploaded file.
        """
        rows = self._db.execute(
            "SELECT target_kind, target_id FROM ("
            f"SELECT target_kind, target_id, status FROM uploads WHERE target = ? AND {UNSETTLED} UNION ALL "
            "SELECT target_kind, target_id, status FROM uploads WHERE target = ? AND accepted = 1) "
            "GROUP BY 1, 2 ORDER BY max(status = 'in_doubt')",
            [target, target],
        )
        return [EntityRef(kind, id_) for kind, id_ in rows.fetchall()]

    def unsettled(self, target: str, to: EntityRef) -> list[Upload]:
        """The uploads to one target entity that are not settled, or not yet listed there; those in doubt first.

        What is in doubt has the blob that was sent, even if the source has replaced or lost the file since: it may have
        arrived. So is what had arrived and was not found there later, once the source no longer has it: nothing is sent
        for it.
        """
        return self._uploads(
            SENT_IF_IN_DOUBT,
            f"{TO_SETTLE} ORDER BY u.status != 'in_doubt', a.created_at, a.attachment_id",
            [target, to.kind, to.id],
        )

    def settled_entities(self, target: str) -> dict[EntityRef, int]:
        """Target entities with files that are recorded as arrived and listed, and how many each."""
        rows = self._db.execute(
            "SELECT u.target_kind, u.target_id, count(*) FROM uploads u JOIN attachments a USING (attachment_id) "
            f"WHERE u.target = ? AND {SETTLED} GROUP BY 1, 2",
            [target],
        )
        return {EntityRef(kind, id_): count for kind, id_, count in rows.fetchall()}

    def settled_before(self, target: str, to: EntityRef, run: int) -> list[Upload]:
        """The same uploads to one target entity, without those that this run has settled."""
        wanted = f"coalesce(u.run_id, 0) != ? AND {SETTLED} ORDER BY a.attachment_id"
        return self._uploads(SENT_BLOB, wanted, [target, to.kind, to.id, run])

    def strays(self, target: str) -> list[Upload]:
        """Uploads on target entities to which the mapping of the last plan no longer sends their owner."""
        return self._uploads(
            SENT_BLOB,
            f"u.remote_id IS NOT NULL AND u.status IN ('uploaded', 'already_there') AND NOT {IS_MAPPED} "
            "ORDER BY a.kind, a.entity_id, a.attachment_id",
            [target],
            to="",
        )

    def arrived_at(self, target: str, attachment_id: str) -> set[EntityRef]:
        """The target entities at which an attachment has arrived."""
        rows = self._db.execute(
            "SELECT target_kind, target_id FROM uploads WHERE target = ? AND attachment_id = ? "
            "AND status IN ('uploaded', 'already_there')",
            [target, attachment_id],
        )
        return {EntityRef(kind, id_) for kind, id_ in rows.fetchall()}

    def _uploads(self, blob: str, wanted: str, values: Sequence[object], to: str = TO_ENTITY) -> list[Upload]:
        return uploads_where(self._db, blob, wanted, values, to)

    def entities_to_roll_back(self, target: str, run: int | None = None) -> dict[EntityRef, int]:
        """Target entities that hold, or may hold, what loads (or one load) sent, and how many files each."""
        rows = self._db.execute(
            "SELECT target_kind, target_id, count(*) FROM uploads u WHERE target = ? AND (? IS NULL OR sent_run = ?) "
            f"AND {OURS} GROUP BY 1, 2",
            [target, run, run],
        )
        return {EntityRef(kind, id_): count for kind, id_, count in rows.fetchall()}

    def to_roll_back(self, target: str, to: EntityRef, run: int | None = None) -> list[Upload]:
        """The uploads that loads sent to one target entity, each with the blob that was sent."""
        return self._uploads(
            SENT_BLOB,
            f"(? IS NULL OR u.sent_run = ?) AND {OURS} ORDER BY u.remote_id IS NULL, a.attachment_id",
            [target, to.kind, to.id, run, run],
        )

    def arrived(self, target: str, to: EntityRef) -> dict[str, tuple[str, str, str]]:
        """Remote id, name and `sent_at` of each attachment known to have arrived at a target entity."""
        rows = self._db.execute(
            "SELECT attachment_id, remote_id, name, coalesce(sent_at, '') FROM uploads "
            "WHERE target = ? AND target_kind = ? AND target_id = ? "
            "AND remote_id IS NOT NULL AND status != 'rolled_back'",
            [target, to.kind, to.id],
        )
        return {str(id_): (str(remote), str(name), str(at)) for id_, remote, name, at in rows.fetchall()}

    def record_together(self, records: Iterable[Callable[[], object]]) -> None:
        """Several calls of the methods below in one transaction: all of them are kept, or none."""
        with self._database.transaction():
            self._together = True
            try:
                for record in records:
                    record()
            finally:
                self._together = False

    def _transaction(self) -> AbstractContextManager[None]:
        """A transaction, unless this is a part of one."""
        return nullcontext() if self._together else self._database.transaction()

    def record(
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
        ours: bool = True,
        accepted: bool = False,
        altered: Altered | None = None,
    ) -> None:
        """Record the result of one upload, or of deleting it. `ours`: a load sent it, and it was not there before.

        `accepted`: the target accepted it, but no listing has shown it yet. `name`, `remote_id`, `locator` and
        `altered` stay unchanged if None is given. Once the file is known, the record of which files were there before
        (`seen`) is dropped.
        """
        altered_json = None if altered is None else json.dumps(altered, ensure_ascii=False) if altered else ""
        with self._transaction():
            self._db.execute(
                "UPDATE uploads SET status = ?, name = coalesce(?, name), remote_id = coalesce(?, remote_id), "
                "remote_locator = coalesce(?, remote_locator), error = ?, sent_run = iif(?, sent_run, NULL), "
                "seen = iif(? IN ('uploaded', 'already_there', 'rolled_back'), NULL, seen), "
                "accepted = iif(?, 1, iif(? IN ('uploaded', 'already_there'), NULL, accepted)), "
                "altered = iif(? IS NULL, altered, nullif(?, '')), "
                f"run_id = ?, content_check = iif(? = 'failed', content_check, NULL) {_ROW}",
                [
                    *(status, name, remote_id, locator, error, ours),
                    *(status, accepted, status, altered_json, altered_json, run, status),
                    *_key(target, upload),
                ],
            )

    def record_intent(
        self, run: int, target: str, upload: Upload, name: str, seen: Iterable[str], sent_at: str = ""
    ) -> None:
        """Record that a file is about to be sent under this name.

        `seen` are the files that are already there and belong to no upload of this archive. If the previous attempt is
        in doubt, the `seen` of the first attempt stays. What was known about an earlier file is dropped.
        """
        before = json.dumps(sorted(seen)) if seen else None
        with self._transaction():
            self._db.execute(
                "UPDATE uploads SET status = 'in_doubt', name = ?, sent_name = ?, sent_at = ?, error = NULL, "
                "attempts = attempts + 1, run_id = ?, sent_run = ?, "
                "seen = iif(status = 'in_doubt' AND remote_id IS NULL, seen, ?), "
                f"sent_sha256 = ?, accepted = NULL, altered = NULL, remote_id = NULL {_ROW}",
                [name, name, sent_at, run, run, before, upload.blob.sha256, *_key(target, upload)],
            )

    def record_content_check(
        self, target: str, upload: Upload, problem: str | None, altered: Altered | None = None
    ) -> None:
        """Record the result of reading an upload back; `problem` says how it differs and makes it failed.

        `altered` is what the target is now known to have altered; None keeps the recorded value.
        """
        altered_json = json.dumps(altered, ensure_ascii=False) if altered else None
        with self._transaction():
            self._db.execute(
                "UPDATE uploads SET content_check = ?, status = iif(? IS NULL, status, 'failed'), error = ?, "
                f"altered = coalesce(?, altered) {_ROW}",
                ["differs" if problem else "same", problem, problem, altered_json, *_key(target, upload)],
            )

    def all_arrived(self, target: str, run: int | None = None) -> dict[EntityRef, list[Upload]]:
        """The uploads that are recorded as arrived, by target entity: all of them, or those that one run settled."""
        by_entity: dict[EntityRef, list[Upload]] = {}
        for upload in self._uploads(
            SOURCE_BLOB,
            "u.status IN ('uploaded', 'already_there') AND u.run_id = coalesce(?, u.run_id) "
            "ORDER BY u.target_kind, u.target_id, u.attachment_id",
            [target, run],
            to="",
        ):
            by_entity.setdefault(upload.to, []).append(upload)
        return by_entity


def prepare_mapped_table(db: Database) -> None:
    """Create the temporary table `mapped` for a load's mapping. It is empty until the load is planned."""
    db.execute(
        "CREATE TEMP TABLE IF NOT EXISTS mapped (kind, id, target_kind, target_id, "
        "PRIMARY KEY (kind, id, target_kind, target_id)) WITHOUT ROWID"
    )


_ROW = "WHERE target = ? AND attachment_id = ? AND target_kind = ? AND target_id = ?"


def _key(target: str, upload: Upload) -> tuple[str, str, str, str]:
    return target, upload.attachment.id, upload.to.kind, upload.to.id
