"""Entities that were not changed since their files were last asked for, and the last crawl that asked for everything.

An entity's `files_as_of` is the date of its last change, as the tracker listed it before its files were asked for. It
is NULL as long as a second change could have the same date.

Beware: the files of an unchanged entity are taken over as seen, but only those that the crawl before has seen, and only
if it has seen the entity. A crawl that could not tell what is gone leaves others behind, which look stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from sqlite_utils import Database

from migrator.model import Entity, EntityRef
from migrator.store.catalog.part import CatalogPart
from migrator.store.schema import FULL_CRAWL_KEY

# A file that failed or was left out makes its entity be asked, and so does one whose download said that it is gone.
_UNCHANGED = """
SELECT e.kind, e.entity_id FROM json_each(?) listed
JOIN entities e ON e.kind = json_extract(listed.value, '$[0]') AND e.entity_id = json_extract(listed.value, '$[1]')
WHERE e.files_as_of = json_extract(listed.value, '$[2]') AND e.last_run >= ? AND coalesce(e.error, e.note) IS NULL
AND NOT EXISTS (
    SELECT 1 FROM attachments a WHERE a.kind = e.kind AND a.entity_id = e.entity_id AND a.status != 'stored'
    AND (a.status != 'gone' OR a.error IS NOT NULL)
)
"""
_SEEN = """
SELECT e.kind, e.entity_id FROM json_each(?) listed
JOIN entities e ON e.kind = json_extract(listed.value, '$[0]') AND e.entity_id = json_extract(listed.value, '$[1]')
WHERE e.last_run BETWEEN ? AND ?
"""
_TAKE_OVER = """
UPDATE attachments SET last_run = ? WHERE status = 'stored' AND last_run >= ?
AND (kind, entity_id) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
"""


@dataclass(frozen=True, slots=True)
class FullCrawl:
    """The last crawl that asked every entity: what it looked for, and when it began (ISO 8601, UTC).

    `latest` is the first run of the latest crawl that came to its end, this one or one that asked less. `newest` is the
    newest date of a change that any of them has seen; empty if there was none.
    """

    scope: str
    started_at: str
    latest: int
    newest: str = ""


class UnchangedRecords(CatalogPart):
    """What a crawl needs in order to ask only entities that were changed."""

    def full_crawl(self) -> FullCrawl | None:
        """The last full crawl; None if the next crawl has to be one, whatever the date."""
        row = self._db.execute("SELECT value FROM settings WHERE key = ?", [FULL_CRAWL_KEY]).fetchone()
        try:
            return None if row is None else FullCrawl(**json.loads(row[0]))
        except (ValueError, TypeError):  # from another version
            return None

    def require_full_crawl(self) -> None:
        """From now on, the next crawl has to be a full one."""
        with self._database.transaction():
            record_full_crawl(self._db, None)

    def under_way(self, scope: str) -> bool:
        """Whether a crawl of everything with this scope is under way."""
        query = "SELECT 1 FROM checkpoints WHERE NOT partial AND stream = '' AND cursor = ?"
        return self._db.execute(query, [scope]).fetchone() is not None

    def among(self, entities: Iterable[Entity], latest: int) -> set[EntityRef]:
        """Those of these listed entities that need not be asked; `latest` is that of the last full crawl."""
        listed = [(*entity.ref, entity.modified_at) for entity in entities if entity.modified_at]
        rows = self._db.execute(_UNCHANGED, [json.dumps(listed), latest]).fetchall() if listed else []
        return {EntityRef(kind, id_) for kind, id_ in rows}

    def seen_earlier(self, entities: Iterable[Entity], crawl_start: int, run: int) -> set[EntityRef]:
        """Those of these entities that an earlier run of the crawl has seen than this one."""
        if crawl_start == run:
            return set()
        listed = [tuple(entity.ref) for entity in entities]
        rows = self._db.execute(_SEEN, [json.dumps(listed), crawl_start, run - 1]).fetchall()
        return {EntityRef(kind, id_) for kind, id_ in rows}

    def take_over(self, run: int, refs: Iterable[EntityRef], latest: int) -> None:
        """Record the stored files of these entities as seen by this run."""
        with self._database.transaction():
            self._db.execute(_TAKE_OVER, [run, latest, json.dumps([(ref.kind, ref.id) for ref in refs])])

    def record(self, asked: Iterable[tuple[EntityRef, str | None]]) -> None:
        """Record `files_as_of` of entities that were asked, after their files. What didn't change is not written."""
        with self._database.transaction():
            self._db.conn.executemany(
                "UPDATE entities SET files_as_of = ?3 WHERE kind = ?1 AND entity_id = ?2 AND files_as_of IS NOT ?3",
                [(ref.kind, ref.id, date) for ref, date in asked],
            )


def record_full_crawl(db: Database, full_crawl: FullCrawl | None) -> None:
    """Record the last full crawl; None deletes the record."""
    db.execute("DELETE FROM settings WHERE key = ? AND ? IS NULL", [FULL_CRAWL_KEY, full_crawl and 1])
    if full_crawl is not None:
        db.execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            [FULL_CRAWL_KEY, json.dumps(asdict(full_crawl))],
        )
