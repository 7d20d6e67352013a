"""The queries behind the pages, on the tables that `migrator.store.add_search` makes.

`at` is the run of a snapshot, or `PRESENT`. A search looks for words as `migrator find` does: each has to occur
somewhere, and no text that somebody types is an error.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from migrator.model import Blob, EntityRef
from migrator.store import glob, trigram_query

Row = Mapping[str, Any]
Execute = Callable[[str, Mapping[str, Any]], Awaitable[list[Row]]]

ROWS_PER_PAGE = 50
MAX_WORDS = 12
_SHA256 = re.compile(r"[0-9a-f]{64}")

_FILES = """
SELECT f.*, b.size AS blob_size, b.problem FROM browse_files f LEFT JOIN blobs b USING (sha256)
WHERE {condition} AND :at BETWEEN f.from_run AND f.until_run ORDER BY f.id LIMIT :limit OFFSET :offset
"""
_FILES_OF = """
SELECT f.*, b.size AS blob_size, b.problem FROM browse_files f LEFT JOIN blobs b USING (sha256)
WHERE f.kind = :kind AND f.entity_id = :entity AND :at BETWEEN f.from_run AND f.until_run
ORDER BY f.id LIMIT :limit OFFSET :offset
"""
_FILE = """
SELECT f.*, b.size AS blob_size, b.problem FROM browse_files f LEFT JOIN blobs b USING (sha256)
WHERE f.attachment_id = :id AND :at BETWEEN f.from_run AND f.until_run
"""
_IN_INDEX = "f.id IN (SELECT rowid FROM {index} WHERE {index} MATCH :query)"
_ENTITIES = """
SELECT f.* FROM browse_entities f
WHERE {condition} AND :at BETWEEN f.from_run AND f.until_run ORDER BY f.id LIMIT :limit OFFSET :offset
"""
_ENTITY = """
SELECT e.* FROM browse_entities e
WHERE e.kind = :kind AND e.entity_id = :entity AND :at BETWEEN e.from_run AND e.until_run
"""


@dataclass(frozen=True)
class Found:
    """The rows of one page of a list, and whether there are more."""

    rows: list[Row]
    more: bool


class Queries:
    """Reads entities and files as they were at a run. `execute` runs a statement of SQL."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def entities(self, text: str, at: int, page: int) -> Found:
        """Entities with these words in title, kind or id; all if there is no text."""
        return await self._search(_ENTITIES, "browse_entities_words", text, at, page)

    async def files(self, text: str, at: int, page: int) -> Found:
        """Files with these words in name or description; all if there is no text."""
        return await self._search(_FILES, "browse_files_words", text, at, page)

    async def files_of(self, owner: EntityRef, at: int, page: int) -> Found:
        """The files of one entity."""
        return await self._page(_FILES_OF, at, page, kind=owner.kind, entity=owner.id)

    async def entity(self, owner: EntityRef, at: int) -> Row | None:
        """One entity; None if there was none."""
        rows = await self._execute(_ENTITY, {"kind": owner.kind, "entity": owner.id, "at": at})
        return next(iter(rows), None)

    async def file(self, attachment: str, at: int) -> Row | None:
        """One file; None if there was none."""
        return next(iter(await self._execute(_FILE, {"id": attachment, "at": at})), None)

    async def _search(self, statement: str, index: str, text: str, at: int, page: int) -> Found:
        """Rows that hold all words. The index only says which rows to look at."""
        words = text.split()[:MAX_WORDS]
        patterns = {f"word{number}": f"*{glob(word)}*" for number, word in enumerate(words)}
        conditions = [f"f.search GLOB :{name}" for name in patterns]
        if query := trigram_query(words):
            conditions.insert(0, _IN_INDEX.format(index=index))
        condition = " AND ".join(conditions) or "1"
        return await self._page(statement.format(condition=condition), at, page, query=query, **patterns)

    async def _page(self, statement: str, at: int, page: int, **values: str) -> Found:
        bounds = {"at": at, "limit": ROWS_PER_PAGE + 1, "offset": page * ROWS_PER_PAGE}
        rows = await self._execute(statement, {**bounds, **values})
        return Found(rows[:ROWS_PER_PAGE], len(rows) > ROWS_PER_PAGE)


def blob_of(row: Row) -> Blob | None:
    """The blob of a file; None if the archive never had it."""
    known = row["blob_size"] is not None and _SHA256.fullmatch(row["sha256"] or "")
    return Blob(row["sha256"], row["blob_size"]) if known else None
