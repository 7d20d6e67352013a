"""The part of the catalog that a load writes: one row for each pair of attachment and target entity.

The intent (`in_doubt`) is committed before the bytes are sent, and the result after the answer. Whatever is `in_doubt`
when a run begins is looked up at the target first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from migrator.model import Altered, Attachment, Blob, EntityRef, Upload, UploadStatus
from migrator.store.catalog.crawl import COLUMNS, attachment_from
from migrator.store.catalog.database import IS_MAPPED, CatalogDatabase

_UNSETTLED = "status IN ('planned', 'in_doubt', 'failed')"
_OURS = (
    "u.sent_run IS NOT NULL AND (u.status IN ('uploaded', 'already_there', 'in_doubt') "
    "OR (u.status = 'failed' AND u.remote_id IS NOT NULL))"
)
_TO = "u.target_kind = ? AND u.target_id = ? AND "


class UploadTables(CatalogDatabase):
    """Methods of `Catalog`. `target` identifies a target tracker: its name and address."""

    def owners(self) -> Iterator[tuple[EntityRef, int]]:
        """Every entity with stored files, and their number, in a fixed order."""
        for kind, entity, count in self.db.execute(
            "SELECT kind, entity_id, count(*) FROM attachments WHERE status = 'stored' GROUP BY kind, entity_id"
        ):
            yield EntityRef(kind, entity), count

    def known_refs(self) -> set[EntityRef]:
        """Every entity that was seen, or owns a file."""
        rows = self.db.execute("SELECT kind, entity_id FROM entities UNION SELECT kind, entity_id FROM attachments")
        return {EntityRef(kind, id_) for kind, id_ in rows}

    def files_of(self, owners: Iterable[EntityRef]) -> Iterator[dict[str, str]]:
        """The stored files of these entities, as a summary shows them."""
        for owner in owners:
            for id_, name in self.db.execute(
                "SELECT attachment_id, name FROM attachments WHERE kind = ? AND entity_id = ? AND status = 'stored' "
                "ORDER BY attachment_id",
                [owner.kind, owner.id],
            ).fetchall():
                yield {"kind": owner.kind, "entity": owner.id, "attachment": id_, "name": name}

    def plan_uploads(self, run: int, target: str, pairs: Iterable[tuple[EntityRef, EntityRef]]) -> None:
        """Add a row for every stored attachment of each source entity and its target entity, unless there is one.

        What an earlier mapping planned, and no run has sent, is removed; what was rolled back is planned again.
        """
        self.prepare_mapped_table()
        with self.transaction():
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
            self.db.execute(
                "UPDATE uploads SET status = 'planned', remote_id = NULL, name = NULL, attempts = 0, error = NULL, "
                "sent_run = NULL, seen = NULL, sent_sha256 = NULL, sent_name = NULL, sent_at = NULL, "
                "accepted = NULL, altered = NULL, run_id = ? "
                "WHERE target = ? AND status = 'rolled_back' AND EXISTS (SELECT 1 FROM mapped m "
                "JOIN attachments a ON a.kind = m.kind AND a.entity_id = m.id "
                "WHERE a.attachment_id = uploads.attachment_id AND a.status = 'stored' "
                "AND m.target_kind = uploads.target_kind AND m.target_id = uploads.target_id)",
                [run, target],
            )

    def planned_uploads(self, target: str) -> Iterator[tuple[Attachment, EntityRef, UploadStatus]]:
        """Every upload that isn't rolled back: its attachment with the blob's size, by source entity in a fixed order.

        Beware: nothing else may use the catalog until the iteration has ended.
        """
        columns = ", ".join(f"a.{column}" for column in COLUMNS.split(", "))
        rows = self.db.execute(
            f"SELECT u.target_kind, u.target_id, u.status, b.size, {columns} FROM uploads u "
            "JOIN attachments a USING (attachment_id) JOIN blobs b USING (sha256) "
            "WHERE target = ? AND u.status != 'rolled_back' ORDER BY a.kind, a.entity_id, a.attachment_id",
            [target],
        )
        for kind, id_, status, size, *attachment in rows:
            yield replace(attachment_from(attachment), size=size), EntityRef(kind, id_), UploadStatus(status)

    def unsettled_entities(self, target: str) -> list[EntityRef]:
        """Target entities with uploads still to be settled, those with one in doubt last.

        By then the other entities may have shown how soon this target lists what was sent.
        """
        rows = self.db.execute(
            "SELECT target_kind, target_id FROM ("
            f"SELECT target_kind, target_id, status FROM uploads WHERE target = ? AND {_UNSETTLED} UNION ALL "
            "SELECT target_kind, target_id, status FROM uploads WHERE target = ? AND accepted = 1) "
            "GROUP BY 1, 2 ORDER BY max(status = 'in_doubt')",
            [target, target],
        )
        return [EntityRef(kind, id_) for kind, id_ in rows.fetchall()]

    def unsettled_uploads(self, target: str, to: EntityRef) -> list[Upload]:
        """The uploads to one target entity that are not settled, or not yet seen on a list; those in doubt first."""
        return self._uploads(
            "b.sha256 = a.sha256",
            f"(u.{_UNSETTLED} OR u.accepted = 1) AND a.status = 'stored' "
            "ORDER BY u.status != 'in_doubt', a.created_at, a.attachment_id",
            [target, to.kind, to.id],
        )

    def strays(self, target: str) -> list[Upload]:
        """Uploads on target entities to which the mapping of the last plan no longer sends their owner."""
        return self._uploads(
            "b.sha256 = coalesce(u.sent_sha256, a.sha256)",
            f"u.remote_id IS NOT NULL AND u.status IN ('uploaded', 'already_there') AND NOT {IS_MAPPED} "
            "ORDER BY a.kind, a.entity_id, a.attachment_id",
            [target],
            to="",
        )

    def arrived_at(self, target: str, attachment_id: str) -> set[EntityRef]:
        """The target entities at which an attachment has arrived."""
        rows = self.db.execute(
            "SELECT target_kind, target_id FROM uploads WHERE target = ? AND attachment_id = ? "
            "AND status IN ('uploaded', 'already_there')",
            [target, attachment_id],
        )
        return {EntityRef(kind, id_) for kind, id_ in rows.fetchall()}

    def _uploads(self, of: str, wanted: str, args: Sequence[object], to: str = _TO) -> list[Upload]:
        """Uploads that match `wanted`, by default to one target entity; `of` selects the blob."""
        columns = ", ".join(f"a.{column}" for column in COLUMNS.split(", "))
        rows = self.db.execute(
            "SELECT u.target_kind, u.target_id, u.status, u.remote_id, u.name, u.attempts, u.sent_run, u.seen, "
            "u.content_check = 'differs', "
            "u.status = 'in_doubt' AND u.run_id IN (SELECT run_id FROM runs WHERE command = 'rollback'), "
            "u.remote_locator, coalesce(u.sent_name, u.name), u.sent_at, u.accepted, u.altered, "
            f"b.sha256, b.size, {columns} FROM uploads u JOIN attachments a USING (attachment_id) JOIN blobs b ON {of} "
            f"WHERE u.target = ? AND {to}{wanted}",
            args,
        )
        return [upload_from(row) for row in rows.fetchall()]

    def entities_to_roll_back(self, target: str, run: int | None = None) -> dict[EntityRef, int]:
        """Target entities that hold, or may hold, what loads (or one load) sent, and how many files each."""
        rows = self.db.execute(
            "SELECT target_kind, target_id, count(*) FROM uploads u WHERE target = ? AND (? IS NULL OR sent_run = ?) "
            f"AND {_OURS} GROUP BY 1, 2",
            [target, run, run],
        )
        return {EntityRef(kind, id_): count for kind, id_, count in rows.fetchall()}

    def uploads_to_roll_back(self, target: str, to: EntityRef, run: int | None = None) -> list[Upload]:
        """What loads sent to one target entity, each with the blob that was sent, whatever the source holds now."""
        return self._uploads(
            "b.sha256 = coalesce(u.sent_sha256, a.sha256)",
            f"(? IS NULL OR u.sent_run = ?) AND {_OURS} ORDER BY u.remote_id IS NULL, a.attachment_id",
            [target, to.kind, to.id, run, run],
        )

    def is_load(self, run: int) -> bool:
        """Whether this is the id of a load."""
        row = self.db.execute("SELECT 1 FROM runs WHERE run_id = ? AND command = 'load'", [run]).fetchone()
        return row is not None

    def arrived(self, target: str, to: EntityRef) -> dict[str, tuple[str, str, str]]:
        """Remote id, name and `sent_at` of each attachment known to have arrived at a target entity."""
        rows = self.db.execute(
            "SELECT attachment_id, remote_id, name, coalesce(sent_at, '') FROM uploads "
            "WHERE target = ? AND target_kind = ? AND target_id = ? "
            "AND remote_id IS NOT NULL AND status != 'rolled_back'",
            [target, to.kind, to.id],
        )
        return {str(id_): (str(remote), str(name), str(at)) for id_, remote, name, at in rows.fetchall()}

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
        ours: bool = True,
        accepted: bool = False,
        altered: Altered | None = None,
    ) -> None:
        """Record the result of one upload, or of deleting it. A known name or id stays; not `ours`: it was found there.

        `accepted`: the target accepted it, but no list has shown it yet. `altered` stays as it is if None is given.
        Once the file is known, the record of which files were there before (`seen`) is dropped.
        """
        altered_json = None if altered is None else json.dumps(altered, ensure_ascii=False) if altered else ""
        with self.transaction():
            self.db.execute(
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
        with self.transaction():
            self.db.execute(
                "UPDATE uploads SET status = 'in_doubt', name = ?, sent_name = ?, sent_at = ?, error = NULL, "
                "attempts = attempts + 1, run_id = ?, sent_run = ?, "
                "seen = iif(status = 'in_doubt' AND remote_id IS NULL, seen, ?), "
                f"sent_sha256 = ?, accepted = NULL, altered = NULL, remote_id = NULL {_ROW}",
                [name, name, sent_at, run, run, before, upload.blob.sha256, *_key(target, upload)],
            )

    def altered_uploads(self, target: str, run: int) -> list[dict[str, Any]]:
        """What the target altered in the files that one run settled, as its summary shows it."""
        rows = self.db.execute(
            "SELECT a.kind, a.entity_id, a.attachment_id, a.name, u.target_kind, u.target_id, u.altered "
            "FROM uploads u JOIN attachments a USING (attachment_id) WHERE u.target = ? AND u.run_id = ? "
            "AND u.altered IS NOT NULL AND u.status IN ('uploaded', 'already_there') ORDER BY 1, 2, 3",
            [target, run],
        )
        keys = ("kind", "entity", "attachment", "name", "target_kind", "target_id", "how")
        return [dict(zip(keys, [*row[:-1], json.loads(row[-1])], strict=True)) for row in rows.fetchall()]


_ROW = "WHERE target = ? AND attachment_id = ? AND target_kind = ? AND target_id = ?"


def _key(target: str, upload: Upload) -> tuple[str, str, str, str]:
    return target, upload.attachment.id, upload.to.kind, upload.to.id


def upload_from(row: Sequence[Any]) -> Upload:
    """The upload in a row that `_uploads` selected."""
    kind, id_, status, remote_id, name, attempts, sent_run, seen, differs, deleting, *sent = row[:15]
    locator, sent_name, sent_at, accepted, altered = sent
    sha256, size, *attachment = row[15:]
    return Upload(
        attachment_from(attachment),
        Blob(sha256, size),
        EntityRef(kind, id_),
        UploadStatus(status),
        remote_id,
        name,
        attempts,
        sent_run,
        frozenset(json.loads(seen or "[]")),
        differs=bool(differs),
        deleting=bool(deleting),
        locator=locator,
        sent_name=sent_name,
        sent_at=sent_at or "",
        accepted=bool(accepted),
        altered=json.loads(altered or "{}"),
    )
