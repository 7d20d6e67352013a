"""Finds files by what people remember of them: a part of a name, title or description, or an id.

A text is searched for anywhere, whatever its case and accents; `*` and `?` stand for any characters, as in a shell. Ids
have to match as a whole, because a part of a number is in far too many of them.

One search reads all rows. Building an index first, with FTS5's trigrams, would take two to three times as long as that
(0.9 s instead of 0.4 s for 300,000 files), so only `browse`, which is asked many times, has one; see `browsing`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from migrator.store.catalog.part import CatalogPart

_COLUMNS = """
a.attachment_id AS attachment, a.kind, a.entity_id AS entity, a.name, coalesce(e.title, '') AS title,
coalesce(e.url, '') AS url, coalesce(b.size, a.size) AS size, a.description, a.created_at, a.created_by, a.status,
b.sha256
"""
_FROM = "FROM attachments a LEFT JOIN entities e USING (kind, entity_id) LEFT JOIN blobs b USING (sha256)"
_ORDER = "ORDER BY a.kind, length(a.entity_id), a.entity_id, a.name, a.attachment_id"
_TEXT = "folded(a.name || char(10) || coalesce(e.title, '') || char(10) || a.description)"
_IDS = ("a.kind || ':' || a.entity_id", "a.entity_id", "a.attachment_id")
_FOUND = f"({_TEXT} GLOB ? OR {' OR '.join(f'folded({id_}) GLOB ?' for id_ in _IDS)})"

TRIGRAM = 3
"""Characters that a text must have to be looked up in an index of trigrams."""
_WILDCARDS = re.compile(r"[*?\0]+")


class Searching(CatalogPart):
    """Looks for files; each is a row with the keys of `pipeline.summary.FoundFile`."""

    def find(self, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The files in which all these texts occur. Reads all files."""
        self._db.conn.create_function("folded", 1, folded, deterministic=True)
        patterns = [pattern for text in texts for pattern in (f"*{glob(text)}*", *[glob(text)] * len(_IDS))]
        return self._rows(" AND ".join([_FOUND] * len(texts)) or "1", patterns)

    def owned_by(self, owner: str) -> list[dict[str, Any]]:
        """The files of the entities that `KIND:ID` or an id names."""
        named = (
            "a.entity_id = :owner OR a.kind || ':' || a.entity_id = :owner OR (a.entity_id = '' AND a.kind = :owner)"
        )
        return list(self._rows(named, {"owner": owner}))

    def with_id(self, attachment: str) -> list[dict[str, Any]]:
        """The file with this id; one or none."""
        return list(self._rows("a.attachment_id = ?", [attachment]))

    def _rows(self, condition: str, values: Sequence[str] | dict[str, str]) -> Iterator[dict[str, Any]]:
        cursor = self._db.execute(f"SELECT {_COLUMNS} {_FROM} WHERE {condition} {_ORDER}", values)
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)


def folded(text: str) -> str:
    """The text in small letters without accents, for comparisons."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def glob(text: str) -> str:
    """A pattern for SQLite's GLOB that matches this text, folded; `*` and `?` keep their meaning."""
    return folded(text).replace("[", "[[]")


def trigram_query(texts: Sequence[str]) -> str:
    """A query for an FTS5 index of trigrams that finds all rows that `glob` matches, and more; empty if it can't."""
    runs = (run for text in texts for run in _WILDCARDS.split(folded(text)) if len(run) >= TRIGRAM)
    return " AND ".join('"{}"'.format(run.replace('"', '""')) for run in runs)
