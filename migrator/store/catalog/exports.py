"""Everything in a catalog, in order: the files of an export, the rows of a report.

Beware: a report may read while a run writes, so it needs a `read_transaction`; and an archive that no newer program has
opened yet may lack the newest columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from migrator.model import Attachment
from migrator.store.catalog.lineage import OWN_SOURCE
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.rows import COLUMNS, COLUMNS_OF_A, attachment_from
from migrator.store.schema import columns_of

_FILES = """
SELECT a.kind, a.entity_id, coalesce(e.title, '') AS title, coalesce(e.url, '') AS url, a.attachment_id, a.name,
    a.description, a.created_at, a.created_by, b.sha256, b.size
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
_ATTACHMENTS = f"""
SELECT {COLUMNS_OF_A}, a.status AS status, a.error AS error, a.sha256 AS sha256, b.size AS stored_size,
    b.problem AS problem, a.first_run AS first_run
FROM attachments a LEFT JOIN blobs b USING (sha256) ORDER BY kind, entity_id, attachment_id
"""


class Exports(CatalogPart):
    """Rows in the order of kind, entity and attachment id."""

    @contextmanager
    def read_transaction(self) -> Iterator[None]:
        """Everything that is read inside is as it was at one moment, whatever a run writes meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def _dicts(self, statement: str, *values: object) -> Iterator[dict[str, Any]]:
        cursor = self._db.execute(statement, list(values))
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def files(self, *, gone: bool = False) -> Iterator[dict[str, Any]]:
        """Every file with a blob, entity by entity; `gone`: also those that the source no longer has."""
        return self._dicts(_FILES, gone)

    def size(self, *, gone: bool = False) -> tuple[int, int]:
        """The number of those files, and their bytes."""
        row = self._db.execute(f"SELECT count(*), coalesce(sum(size), 0) FROM ({_FILES})", [gone]).fetchone()
        return int(row[0]), int(row[1])

    def entities(self) -> Iterator[dict[str, Any]]:
        """Every entity that was seen or owns a file, by kind and id."""
        return self._dicts(_ENTITIES)

    def attachments(self) -> Iterator[tuple[Attachment, dict[str, Any]]]:
        """Every attachment in the order of `entities`, with status, error, sha256, stored_size, problem, first_run."""
        width = len(COLUMNS.split(", "))
        for row in self._dicts(_ATTACHMENTS):
            values = list(row.values())
            yield attachment_from(values[:width]), dict(list(row.items())[width:])

    def targets(self) -> dict[str, int | None]:
        """Every target to which something was loaded, with the run of the last load of all.

        None for a target from which everything was rolled back.
        """
        (last,) = self._db.execute("SELECT coalesce(max(run_id), 0) FROM runs WHERE command = 'load'").fetchone()
        rows = self._db.execute(
            "SELECT target, max(status != 'rolled_back') FROM uploads WHERE target != ? GROUP BY 1 ORDER BY 1",
            [OWN_SOURCE],
        )
        return {target: int(last) if in_use else None for target, in_use in rows}

    def uploads(self) -> Iterator[dict[str, Any]]:
        """Every upload to a target, in the order of `attachments`; not what was restored to the source."""
        known = columns_of(self._db, "uploads")
        newer = ", ".join(
            f"u.{column}" if column in known else f"'' AS {column}"
            for column in ("remote_locator", "content_check", "altered")
        )
        return self._dicts(
            "SELECT u.attachment_id, target, target_kind, target_id, remote_id, u.name, u.status, u.error, "
            f"{newer} FROM uploads u JOIN attachments a USING (attachment_id) WHERE target != ? "
            "ORDER BY a.kind, a.entity_id, u.attachment_id, target, target_kind, target_id",
            OWN_SOURCE,
        )

    def changed_names(self) -> dict[str, str]:
        """The name under which each attachment was sent, by attachment id, where that is not its own name."""
        rows = self._db.execute(
            "SELECT attachment_id, u.name FROM uploads u JOIN attachments a USING (attachment_id) "
            "WHERE u.name != a.name"
        )
        return dict(rows.fetchall())
