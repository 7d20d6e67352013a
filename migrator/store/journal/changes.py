"""Which rows a transaction changed, as lines of the manifest.

Temporary triggers record the key of every row that is written, by whatever statement, so code that writes to the
catalog need not think of the journal. SQLite itself formats the lines.

Beware: a crawl that finds nothing new still updates `last_run` in every row. Such rows are written as ranges, a few
bytes per page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

MARK = "manifest"
"""The key in `settings` under which the catalog keeps its position in the manifest; it never appears in the manifest.
"""
MIGRATIONS = "_sqlite_migrations"
SEEN = "last_run"
FATES = {"attachments": {"sha256", "status", "error", "stored_run", "warning"}, "entities": {"error", "note"}}
"""Columns that may change without the others; such a change is written without the rest of the row."""
PIECE = 1000

_GONE, _ROW, _FATE, _SEEN = 3, 2, 1, 0


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the catalog. `key` identifies a row; `columns` are the others, in order."""

    name: str
    key: str
    columns: tuple[str, ...]

    def line(self, columns: Iterable[str]) -> str:
        """SQL for a line with these columns of a row."""
        told = "".join(f", '{column}', {column}" for column in columns)
        return f"json_object('{self.name}', {self.key}{told})"

    @property
    def unmarked(self) -> str:
        """SQL for the rows that the manifest contains: all except its own position."""
        return f"{self.key} != '{MARK}'" if self.name == "settings" else "1"


def tables_of(db: Database) -> list[Table]:
    """Every table of the catalog, as it is in this database."""
    found = db.execute(
        "SELECT name, sql LIKE '%WITHOUT ROWID' FROM main.sqlite_master "
        "WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    return [_table(db, name, rowless=bool(rowless)) for name, rowless in found]


def _table(db: Database, name: str, *, rowless: bool) -> Table:
    columns = db.execute("SELECT name, type, pk FROM pragma_table_info(?)", [name]).fetchall()
    keys = [column for column, kind, pk in columns if pk and (rowless or kind == "INTEGER")]
    key = keys[0] if len(keys) == 1 else "rowid"
    return Table(name, key, tuple(column for column, _, _ in columns if column != key))


class Changes:
    """The changes that one connection makes in one transaction; call `clear` at its end."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.tables = tables_of(db)
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("CREATE TEMP TABLE changed (place INTEGER, key, level INTEGER)")
        for place, table in enumerate(self.tables):
            if table.name != MIGRATIONS:
                self._watch(place, table)

    def _watch(self, place: int, table: Table) -> None:
        fates = FATES.get(table.name, set())
        seen = {SEEN} & set(table.columns)
        whole = set(table.columns) - fates - seen
        self._note(place, table, "INSERT", "new", _ROW)
        self._note(place, table, "DELETE", "old", _GONE)
        self._note(place, table, "UPDATE", "new", _ROW, whole)
        self._note(place, table, "UPDATE", "new", _FATE, fates)
        self._note(place, table, "UPDATE", "new", _SEEN, seen)

    def _note(
        self, place: int, table: Table, event: str, row: str, level: int, columns: Iterable[str] | None = None
    ) -> None:
        """Create a trigger that records a row on this event; for updates, only if one of these columns changes."""
        if columns is not None and not columns:
            return
        of = f" OF {', '.join(sorted(columns))}" if columns is not None else ""
        when = _differ(columns) if columns is not None else "1"
        marked = f" AND {row}.{table.key} != '{MARK}'" if table.name == "settings" else ""
        self._db.execute(
            f"CREATE TEMP TRIGGER {table.name}_{event}_{level} AFTER {event}{of} ON main.{table.name} "
            f"WHEN ({when}){marked} BEGIN INSERT INTO changed VALUES ({place}, {row}.{table.key}, {level}); END"
        )

    def clear(self) -> None:
        """Forget the recorded changes."""
        self._db.execute("DELETE FROM changed")

    def lines(self) -> Iterator[bytes]:
        """What the transaction changed, in chunks of complete lines; nothing if it changed nothing."""
        touched = self._db.execute(
            "SELECT place, min(level), max(level), count(*) FROM changed GROUP BY 1 ORDER BY 1"
        ).fetchall()
        told = [part for place, low, high, _ in touched for part in self._told(place, self.tables[place], low, high)]
        if told:
            few = sum(count for *_, count in touched) <= PIECE
            yield from self._pieces(" UNION ALL ".join(told), at_once=few)
        for place, low, _, _ in touched:
            if low == _SEEN:
                yield from self._seen(place, self.tables[place])

    def everything(self) -> Iterator[bytes]:
        """Every row there is, in chunks of complete lines."""
        for table in self.tables:
            yield from self._pieces(
                f"SELECT {table.line(table.columns)} AS line FROM main.{table.name} WHERE {table.unmarked}"
            )

    def _told(self, place: int, table: Table, low: int, high: int) -> Iterator[str]:
        """SQL for the lines of one table's rows that changed at these levels, except those only seen again."""
        if high == _GONE:
            yield (
                f"SELECT json_object('{table.name}', key, 'deleted', json('true')) AS line FROM (SELECT DISTINCT key "
                f"FROM changed WHERE place = {place}) "
                f"WHERE NOT EXISTS (SELECT 1 FROM main.{table.name} WHERE {table.key} = key)"
            )
        if high >= _ROW:
            yield self._lines(place, table, table.columns, _ROW)
        if low <= _FATE <= high:
            fates = [column for column in table.columns if column in {*FATES.get(table.name, ()), SEEN}]
            yield self._lines(place, table, fates, _FATE)

    def _lines(self, place: int, table: Table, columns: Iterable[str], level: int) -> str:
        return f"SELECT {table.line(columns)} AS line FROM main.{table.name} WHERE {_at(place, table, level)}"

    def _seen(self, place: int, table: Table) -> Iterator[bytes]:
        """Lines for the rows of one table that were only seen again."""
        rows = self._db.execute(
            f"SELECT run, json_group_array(row) FROM (SELECT {SEEN} AS run, {table.key} AS row FROM main.{table.name} "
            f"WHERE {_at(place, table, _SEEN)} ORDER BY 1, 2) GROUP BY run"
        ).fetchall()
        for run, found in rows:
            told = {table.name: _ranges(json.loads(found)), SEEN: run}
            yield json.dumps(told, separators=(",", ":")).encode() + b"\n"

    def _pieces(self, statement: str, *, at_once: bool = False) -> Iterator[bytes]:
        """The lines that a statement selects. `at_once`: fetch them as one row, because each fetch releases the GIL."""
        if at_once:
            statement = f"SELECT group_concat(line, char(10)) FROM ({statement})"
        cursor = self._db.execute(statement)
        while some := cursor.fetchmany(PIECE):
            yield "".join(f"{line}\n" for (line,) in some if line is not None).encode()


def _differ(columns: Iterable[str]) -> str:
    """SQL: whether any of these columns changed."""
    return " OR ".join(f"old.{column} IS NOT new.{column}" for column in sorted(columns)) or "0"


def _at(place: int, table: Table, level: int) -> str:
    keys = f"SELECT key FROM changed WHERE place = {place} GROUP BY key HAVING min(max(level), {_ROW}) = {level}"
    return f"{table.key} IN ({keys})"


def _ranges(rows: list[Any]) -> list[list[int]]:
    """Sorted row numbers as the first and last of each unbroken range."""
    found: list[list[int]] = []
    for row in rows:
        if found and row == found[-1][1] + 1:
            found[-1][1] = row
        else:
            found.append([row, row])
    return found
