"""The queries behind the pages, on the tables that `migrator.store.add_search` makes.

`at` is the run of a snapshot, or `PRESENT`. A search looks for words by their beginnings. Everything between words is
ignored, so no text that somebody types is an error.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from migrator.model import Blob, EntityRef

Row = Mapping[str, Any]
Execute = Callable[[str, Mapping[str, Any]], Awaitable[list[Row]]]

ROWS_PER_PAGE = 50
MAX_WORDS = 12
_WORD = re.compile(r"[^\W_]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_FOUND_FILES = """
SELECT f.*, b.size AS blob_size, b.problem FROM browse_files_words w JOIN browse_files f ON f.id = w.rowid
LEFT JOIN blobs b USING (sha256)
WHERE browse_files_words MATCH :match AND :at BETWEEN f.from_run AND f.until_run
ORDER BY w.rowid LIMIT :limit OFFSET :offset
"""
_ALL_FILES = """
SELECT f.*, b.size AS blob_size, b.problem FROM browse_files f LEFT JOIN blobs b USING (sha256)
WHERE :at BETWEEN f.from_run AND f.until_run ORDER BY f.id LIMIT :limit OFFSET :offset
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
_FOUND_ENTITIES = """
SELECT e.* FROM browse_entities_words w JOIN browse_entities e ON e.id = w.rowid
WHERE browse_entities_words MATCH :match AND :at BETWEEN e.from_run AND e.until_run
ORDER BY w.rowid LIMIT :limit OFFSET :offset
"""
_ALL_ENTITIES = """
SELECT e.* FROM browse_entities e WHERE :at BETWEEN e.from_run AND e.until_run
ORDER BY e.id LIMIT :limit OFFSET :offset
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
        """Entities whose title or id has these words; all if there is no text."""
        return await self._page(_FOUND_ENTITIES if text else _ALL_ENTITIES, at, page, match=match(text))

    async def files(self, text: str, at: int, page: int) -> Found:
        """Files whose name or description has these words; all if there is no text."""
        return await self._page(_FOUND_FILES if text else _ALL_FILES, at, page, match=match(text))

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

    async def _page(self, statement: str, at: int, page: int, **values: str) -> Found:
        if values.get("match") == "" and ":match" in statement:
            return Found([], more=False)
        bounds = {"at": at, "limit": ROWS_PER_PAGE + 1, "offset": page * ROWS_PER_PAGE}
        rows = await self._execute(statement, {**bounds, **values})
        return Found(rows[:ROWS_PER_PAGE], len(rows) > ROWS_PER_PAGE)


def match(text: str) -> str:
    """A query in FTS5's language for rows with a word that begins with each of these; empty if there are none."""
    return " ".join(f'"{word}"*' for word in _WORD.findall(text)[:MAX_WORDS])


def blob_of(row: Row) -> Blob | None:
    """The blob of a file; None if the archive never had it."""
    known = row["blob_size"] is not None and _SHA256.fullmatch(row["sha256"] or "")
    return Blob(row["sha256"], row["blob_size"]) if known else None
