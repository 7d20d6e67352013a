"""Which rows a transaction changed, as lines of the manifest.

Temporary triggers record the key of every row that any statement writes, so code that writes to the catalog need not
think of the journal. SQLite itself formats the lines.

Beware: a crawl that finds nothing new still updates `last_run` in every row, and saves a checkpoint for each page.
Neither goes to the manifest while it runs; when it ends, one line says which rows it saw. Until then only the catalog
has this: after a rebuild in the middle of a crawl, that crawl starts again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sqlite_utils import Database

JOURNAL_KEY = "manifest"
"""The key in `settings` under which the catalog keeps its position in the manifest; it never appears in the manifest.
"""
MIGRATIONS = "_sqlite_migrations"
SEEN_COLUMN = "last_run"
OUTCOME_COLUMNS = {
    "attachments": {"sha256", "status", "error", "stored_run", "warning", "changed_run"},
    "entities": {"error", "note", "changed_run", "files_as_of"},
}
"""Columns that often change without the others; such a change is written without the rest of the row."""
PRESENT = {"attachments": "status != 'gone'", "entities": "changed_run IS NOT NULL"}
"""SQL: which rows count as present; a complete crawl sees them, with few exceptions."""
UNRECORDED = {MIGRATIONS, "checkpoints"}
"""Tables whose changes are not written."""
ROWS_PER_CHUNK = 1000


class Change(IntEnum):
    """What a transaction did to a row; of several changes the one with the highest value counts."""

    OUTCOME = 1
    ROW = 2
    DELETED = 3


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the catalog. `key` identifies a row; `columns` are the others, in order."""

    name: str
    key: str
    columns: tuple[str, ...]

    def line(self, columns: Iterable[str]) -> str:
        """SQL for a line with these columns of a row."""
        values = "".join(f", '{column}', {column}" for column in columns)
        return f"json_object('{self.name}', {self.key}{values})"

    @property
    def without_position(self) -> str:
        """SQL for the rows that the manifest contains: all except its own position."""
        return f"{self.key} != '{JOURNAL_KEY}'" if self.name == "settings" else "1"


def tables_of(db: Database) -> list[Table]:
    """Every table of the catalog, as it is in this database."""
    tables = db.execute(
        "SELECT name, sql LIKE '%WITHOUT ROWID' FROM main.sqlite_master "
        "WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    return [_table(db, name, rowless=bool(rowless)) for name, rowless in tables]


def _table(db: Database, name: str, *, rowless: bool) -> Table:
    columns = db.execute("SELECT name, type, pk FROM pragma_table_info(?)", [name]).fetchall()
    keys = [(column, kind) for column, kind, pk in columns if pk]
    # Older journals have lines of `checkpoints` by its first column, which was taken for the key.
    is_key = name == "checkpoints" or (len(keys) == 1 and (rowless or keys[0][1] == "INTEGER"))
    key = keys[0][0] if is_key else "rowid"
    return Table(name, key, tuple(column for column, _, _ in columns if column != key))


class Changes:
    """The changes that one connection makes in one transaction; call `clear` at its end."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.tables = tables_of(db)
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("CREATE TEMP TABLE changed (table_index INTEGER, key, change INTEGER)")
        for index, table in enumerate(self.tables):
            if table.name not in UNRECORDED:
                self._watch(index, table)
        self._seen_since: int | None = None

    def note_seen(self, since_run: int) -> None:
        """A crawl that began with this run ends in this transaction."""
        self._seen_since = min(since_run, self._seen_since or since_run)

    def _watch(self, index: int, table: Table) -> None:
        outcome = OUTCOME_COLUMNS.get(table.name, set())
        whole = set(table.columns) - outcome - {SEEN_COLUMN}
        self._create_trigger(index, table, "INSERT", "new", Change.ROW)
        self._create_trigger(index, table, "DELETE", "old", Change.DELETED)
        self._create_trigger(index, table, "UPDATE", "new", Change.ROW, whole)
        self._create_trigger(index, table, "UPDATE", "new", Change.OUTCOME, outcome)

    def _create_trigger(
        self, index: int, table: Table, event: str, row: str, change: Change, columns: Iterable[str] | None = None
    ) -> None:
        """Create the trigger that records a row on this event; for updates, only if one of these columns changes."""
        if columns is not None and not columns:
            return
        of = f" OF {', '.join(sorted(columns))}" if columns is not None else ""
        condition = _differ(columns) if columns is not None else "1"
        if table.name == "settings":
            condition = f"({condition}) AND {row}.{table.key} != '{JOURNAL_KEY}'"
        self._db.execute(
            f"CREATE TEMP TRIGGER {table.name}_{event}_{change} AFTER {event}{of} ON main.{table.name} "
            f"WHEN {condition} BEGIN INSERT INTO changed VALUES ({index}, {row}.{table.key}, {change}); END"
        )

    def clear(self) -> None:
        """Forget the recorded changes."""
        self._db.execute("DELETE FROM changed")
        self._seen_since = None

    def lines(self) -> Iterator[bytes]:
        """What the transaction changed, in chunks of complete lines; nothing if it changed nothing."""
        touched = self._db.execute(
            "SELECT table_index, min(change), max(change), count(*) FROM changed GROUP BY 1 ORDER BY 1"
        ).fetchall()
        selects = [sql for index, low, high, _ in touched for sql in self._changed_lines(index, low, high)]
        if selects:
            few = sum(count for *_, count in touched) <= ROWS_PER_CHUNK
            yield from self._chunks(" UNION ALL ".join(selects), single_row=few)
        if self._seen_since is not None:
            for table in self.tables:
                if table.name in PRESENT:
                    yield from self._seen_lines(table, self._seen_since)

    def everything(self) -> Iterator[bytes]:
        """Every row of the catalog, in chunks of complete lines."""
        for table in self.tables:
            if table.name == "checkpoints":
                continue
            yield from self._chunks(
                f"SELECT {table.line(table.columns)} AS line FROM main.{table.name} WHERE {table.without_position}"
            )

    def _changed_lines(self, index: int, low: int, high: int) -> Iterator[str]:
        """SQL for the lines of one table's rows that changed.

        `low` and `high` are the least and the greatest `Change` among its rows.
        """
        table = self.tables[index]
        if high == Change.DELETED:
            yield (
                f"SELECT json_object('{table.name}', key, 'deleted', json('true')) AS line FROM (SELECT DISTINCT key "
                f"FROM changed WHERE table_index = {index}) "
                f"WHERE NOT EXISTS (SELECT 1 FROM main.{table.name} WHERE {table.key} = key)"
            )
        if high >= Change.ROW:
            yield self._lines(index, table.columns, Change.ROW)
        if low <= Change.OUTCOME <= high:
            wanted = {*OUTCOME_COLUMNS.get(table.name, ()), SEEN_COLUMN}
            yield self._lines(index, [column for column in table.columns if column in wanted], Change.OUTCOME)

    def _lines(self, index: int, columns: Iterable[str], change: Change) -> str:
        table = self.tables[index]
        return f"SELECT {table.line(columns)} AS line FROM main.{table.name} WHERE {_was_changed(index, table, change)}"

    def _seen_lines(self, table: Table, since_run: int) -> Iterator[bytes]:
        """Lines for the rows of one table that a crawl saw: they list those rows, or the exceptions if fewer."""
        for run, seen in self._seen_by_run(table, since_run):
            exceptions = f"({PRESENT[table.name]}) != ({SEEN_COLUMN} = {run})"
            (count,) = self._db.execute(f"SELECT count(*) FROM main.{table.name} WHERE {exceptions}").fetchone()
            rows = self._db.execute(
                f"SELECT {table.key} FROM main.{table.name} "
                f"WHERE {exceptions if count < seen else f'{SEEN_COLUMN} = {run}'} ORDER BY 1"
            )
            line: dict[str, Any] = {table.name: _ranges(row for (row,) in rows), SEEN_COLUMN: run}
            if count < seen:
                line["all_but"] = True
            yield json.dumps(line, separators=(",", ":")).encode() + b"\n"

    def _seen_by_run(self, table: Table, since_run: int) -> Iterator[tuple[int, int]]:
        """Each run from this one on that saw rows last, and how many. GROUP BY would sort all rows in memory."""
        runs = f"SELECT min({SEEN_COLUMN}) FROM main.{table.name} WHERE {SEEN_COLUMN} >= ?"
        while (run := self._db.execute(runs, [since_run]).fetchone()[0]) is not None:
            rows = f"SELECT count(*) FROM main.{table.name} WHERE {SEEN_COLUMN} = ?"
            yield run, self._db.execute(rows, [run]).fetchone()[0]
            since_run = run + 1

    def _chunks(self, statement: str, *, single_row: bool = False) -> Iterator[bytes]:
        """The lines that a statement selects. `single_row`: as one row, because each fetch releases the GIL."""
        if single_row:
            statement = f"SELECT group_concat(line, char(10)) FROM ({statement})"
        cursor = self._db.execute(statement)
        while rows := cursor.fetchmany(ROWS_PER_CHUNK):
            yield "".join(f"{line}\n" for (line,) in rows if line is not None).encode()


def _differ(columns: Iterable[str]) -> str:
    """SQL: whether any of these columns changed."""
    return " OR ".join(f"old.{column} IS NOT new.{column}" for column in sorted(columns)) or "0"


def _was_changed(index: int, table: Table, change: Change) -> str:
    """SQL: whether this is the greatest change of a row. One that was deleted and inserted again has `Change.ROW`."""
    greatest = f"min(max(change), {Change.ROW})"
    keys = f"SELECT key FROM changed WHERE table_index = {index} GROUP BY key HAVING {greatest} = {change}"
    return f"{table.key} IN ({keys})"


def _ranges(rows: Iterable[int]) -> list[list[int]]:
    """Sorted row ids as ranges, each with its first and last id."""
    ranges: list[list[int]] = []
    for row in rows:
        if ranges and row == ranges[-1][1] + 1:
            ranges[-1][1] = row
        else:
            ranges.append([row, row])
    return ranges
