"""The part of the catalog for output: the files of an export, the rows of a report, and content checks.

Beware: a report reads while a run writes, so it reads from one snapshot (`snapshot`); and the newest columns may be
missing from an archive that no newer program has opened yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from migrator.model import Altered, Attachment, Blob, EntityRef, Upload, UploadStatus
from migrator.store.catalog.crawl import COLUMNS, attachment_from
from migrator.store.catalog.database import CatalogDatabase

_FILES = """
SELECT a.kind, a.entity_id, coalesce(e.title, '') AS title, a.attachment_id, a.name, a.created_at, b.sha256, b.size
FROM attachments a JOIN blobs b USING (sha256) LEFT JOIN entities e USING (kind, entity_id)
WHERE a.status = 'stored' OR (? AND a.status = 'gone')
ORDER BY a.kind, a.entity_id, a.attachment_id
"""
_ENTITIES = """
SELECT kind, entity_id, title, url, coalesce(error, '') AS error, coalesce(note, '') AS note FROM entities
UNION ALL
SELECT DISTINCT kind, entity_id, '', '', '', '' FROM attachments a
WHERE NOT EXISTS (SELECT 1 FROM entities e WHERE e.kind = a.kind AND e.entity_id = a.entity_id)
ORDER BY 1, 2
"""
_OF = ", ".join(f"a.{column}" for column in COLUMNS.split(", "))
_ATTACHMENTS = f"""
SELECT {_OF}, a.status AS status, a.error AS error, a.sha256 AS sha256, b.size AS stored_size, b.problem AS problem
FROM attachments a LEFT JOIN blobs b USING (sha256) ORDER BY kind, entity_id, attachment_id
"""


class ExportTables(CatalogDatabase):
    """Methods of `Catalog`."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is from one moment, whatever a run writes meanwhile."""
        self.db.execute("BEGIN")
        try:
            yield
        finally:
            self.db.execute("ROLLBACK")

    def _dicts(self, statement: str, *values: object) -> Iterator[dict[str, Any]]:
        cursor = self.db.execute(statement, list(values))
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def exportable(self, *, gone: bool = False) -> Iterator[dict[str, Any]]:
        """Every file with a blob, entity by entity; those `gone` from the source only on request."""
        return self._dicts(_FILES, gone)

    def exportable_size(self, *, gone: bool = False) -> tuple[int, int]:
        """The number of those files, and their bytes."""
        row = self.db.execute(f"SELECT count(*), coalesce(sum(size), 0) FROM ({_FILES})", [gone]).fetchone()
        return int(row[0]), int(row[1])

    def all_entities(self) -> Iterator[dict[str, Any]]:
        """Every entity that was seen or owns a file, by kind and id."""
        return self._dicts(_ENTITIES)

    def all_attachments(self) -> Iterator[tuple[Attachment, dict[str, Any]]]:
        """Every attachment, in the order of `all_entities`, with its status, error, sha256, stored_size and problem."""
        width = len(COLUMNS.split(", "))
        for row in self._dicts(_ATTACHMENTS):
            values = list(row.values())
            yield attachment_from(values[:width]), dict(list(row.items())[width:])

    def all_uploads(self) -> Iterator[dict[str, Any]]:
        """Every upload, in the order of `all_attachments`."""
        known = {row[1] for row in self.db.execute("PRAGMA table_info(uploads)").fetchall()}
        newer = ", ".join(
            f"u.{column}" if column in known else f"'' AS {column}"
            for column in ("remote_locator", "content_check", "altered")
        )
        return self._dicts(
            "SELECT u.attachment_id, target, target_kind, target_id, remote_id, u.name, u.status, u.error, "
            f"{newer} FROM uploads u JOIN attachments a USING (attachment_id) "
            "ORDER BY a.kind, a.entity_id, u.attachment_id, target, target_kind, target_id"
        )

    def arrived_uploads(self, target: str, run: int | None = None) -> dict[EntityRef, list[Upload]]:
        """The uploads recorded as being at a target, by target entity: all of them, or those that one run settled."""
        rows = self.db.execute(
            "SELECT target_kind, target_id, u.status, u.remote_id, u.name, u.attempts, u.remote_locator, u.altered, "
            f"u.accepted, b.sha256, b.size, {_OF} "
            "FROM uploads u JOIN attachments a USING (attachment_id) JOIN blobs b USING (sha256) "
            "WHERE target = ? AND u.status IN ('uploaded', 'already_there') AND u.run_id = coalesce(?, u.run_id) "
            "ORDER BY target_kind, target_id, u.attachment_id",
            [target, run],
        )
        by_entity: dict[EntityRef, list[Upload]] = {}
        for row in rows.fetchall():
            to = EntityRef(row[0], row[1])
            known = (UploadStatus(row[2]), row[3], row[4], row[5])
            upload = Upload(
                attachment_from(row[11:]),
                Blob(row[9], row[10]),
                to,
                *known,
                locator=row[6],
                altered=json.loads(row[7] or "{}"),
                accepted=bool(row[8]),
            )
            by_entity.setdefault(to, []).append(upload)
        return by_entity

    def record_content_check(
        self, target: str, upload: Upload, problem: str | None, altered: Altered | None = None
    ) -> None:
        """Record the result of reading an upload back: None if it was the same, otherwise how it differs and so failed.

        `altered` is what the target is now known to have altered; None leaves it as it was.
        """
        altered_json = json.dumps(altered, ensure_ascii=False) if altered else None
        key = (target, upload.attachment.id, upload.to.kind, upload.to.id)
        with self.transaction():
            self.db.execute(
                "UPDATE uploads SET content_check = ?, status = iif(? IS NULL, status, 'failed'), error = ?, "
                "altered = coalesce(?, altered) "
                "WHERE target = ? AND attachment_id = ? AND target_kind = ? AND target_id = ?",
                ["differs" if problem else "same", problem, problem, altered_json, *key],
            )
