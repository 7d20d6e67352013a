"""Queries about the files in a catalog, for a backup's decisions and for summaries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from migrator.model import Attachment, EntityRef
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.rows import COLUMNS, COLUMNS_OF_A, attachment_from


class Files(CatalogPart):
    """Queries about attachments."""

    def of(self, owners: Iterable[EntityRef]) -> Iterator[dict[str, str]]:
        """The stored files of these entities, as a summary shows them."""
        for owner in owners:
            for id_, name in self._db.execute(
                "SELECT attachment_id, name FROM attachments WHERE kind = ? AND entity_id = ? AND status = 'stored' "
                "ORDER BY attachment_id",
                [owner.kind, owner.id],
            ).fetchall():
                yield {"kind": owner.kind, "entity": owner.id, "attachment": id_, "name": name}

    def count_listed(self, since_run: int) -> int:
        """How many files were listed since a run."""
        (count,) = self._db.execute("SELECT count(*) FROM attachments WHERE last_run >= ?", [since_run]).fetchone()
        return int(count)

    def sample(self, entities: int) -> list[Attachment]:
        """Stored files of this many entities, the same ones each time. Reads all attachments.

        Files that an entity's own list may lack are left out: images inside a text, and those of comments, unless there
        are no others.
        """
        return self._sample(entities, "comment_id IS NULL") or self._sample(entities, "comment_id IS NOT NULL")

    def _sample(self, entities: int, condition: str) -> list[Attachment]:
        own = f"status = 'stored' AND {condition} AND attachment_id NOT LIKE 'inline:%'"
        rows = self._db.execute(
            f"SELECT {COLUMNS} FROM attachments WHERE {own} AND (kind, entity_id) IN (SELECT kind, entity_id "
            f"FROM attachments WHERE {own} GROUP BY kind, entity_id ORDER BY min(sha256) LIMIT ?) "
            "ORDER BY kind, entity_id, attachment_id LIMIT 500",
            [entities],
        ).fetchall()
        return [attachment_from(row) for row in rows]

    def stored_of_unlisted_size(self) -> Attachment | None:
        """The smallest stored file that is not empty and whose size the tracker doesn't list."""
        row = self._db.execute(
            f"SELECT {COLUMNS_OF_A} FROM attachments a JOIN blobs b USING (sha256) WHERE a.status = 'stored' "
            "AND coalesce(a.size, -1) < 0 AND b.size > 0 ORDER BY b.size LIMIT 1"
        ).fetchone()
        return attachment_from(row) if row else None

    def bytes_to_come(self, since_run: int, largest: int) -> int:
        """The least space that pending files need on disk, in bytes.

        Files of equal size count once, because equal files are stored once. A size above `largest` can't be true, and
        counts as nothing.
        """
        row = self._db.execute(
            "SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT size FROM attachments WHERE status = 'pending' "
            "AND last_run >= ? AND size <= ? AND size NOT IN (SELECT size FROM blobs))",
            [since_run, largest],
        ).fetchone()
        return int(row[0])

    def with_content(self, hashes: Iterable[str], limit: int = 100) -> dict[str, list[dict[str, str]]]:
        """The files that have these blobs, at most `limit` for each blob. Reads all attachments."""
        rows = self._db.execute(
            "SELECT sha256, kind, entity_id, attachment_id, name, status FROM attachments "
            "WHERE sha256 IN (SELECT value FROM json_each(?)) ORDER BY kind, entity_id, attachment_id",
            [json.dumps([*hashes])],
        )
        by_blob: dict[str, list[dict[str, str]]] = {}
        keys = ("kind", "entity", "attachment", "name", "status")
        for sha256, *values in rows:
            if len(files := by_blob.setdefault(sha256, [])) < limit:
                files.append(dict(zip(keys, values, strict=True)))
        return by_blob
