"""Makes a catalog from the manifest: its lines are applied in order, to empty tables or to older rows.

After the batch that a catalog has recorded as its last, the replayed rows equal those of the catalog. By this a catalog
is rebuilt (`rebuild`), completed after a kill, and checked (`audit`).

Beware: lines may be damaged, so only names of existing tables and columns are put into a statement.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from migrator.store.journal import manifest
from migrator.store.journal.changes import PRESENT, SEEN_COLUMN, Table, tables_of
from migrator.store.journal.manifest import JournalPosition
from migrator.store.schema import migrations


@dataclass(slots=True)
class Replay:
    """The result of a replay. `damage` lists the batches that were changed since; `end` is the last position."""

    db: Database
    end: JournalPosition = field(default_factory=JournalPosition)
    damage: list[str] = field(default_factory=list)


def replay(path: Path, until: JournalPosition | None = None, into: str = "") -> Replay:
    """Replay a manifest up to a position, or to its end, into a new database file `into`; if empty, a temporary one.

    Of damaged batches every readable line is applied. `ValueError` if a newer program wrote the manifest.
    """
    connection = sqlite3.connect(into, check_same_thread=False, isolation_level=None)
    db = Database(connection, execute_plugins=False)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -16000"):
        db.execute(f"PRAGMA {pragma}")
    names = manifest.schema(path)
    result = Replay(db)
    for statement in _statements(None if names is None else tuple(names)):
        db.execute(statement)
    if names is None:
        result.damage.append("its first line")
    lines = LineReplayer(db)
    db.execute("BEGIN")
    for batch in manifest.batches(path):
        if until is not None and batch.end.length > until.length:
            break
        lost = lines.apply(batch.lines, strict=batch.sound and not result.damage)  # later lines may need lost ones
        result.end = batch.end
        if lost or not batch.sound:
            result.damage.append(f"batch {batch.end.batch}" + (f", {lost} of its lines lost" if lost else ""))
    db.execute("COMMIT")
    return result


@cache
def _statements(names: tuple[str, ...] | None) -> list[str]:
    """The SQL that creates the tables as these migrations do; None stands for all migrations."""
    db = Database(memory=True, execute_plugins=False)
    known = [migration.name for migration in migrations.pending(db)]
    if newer := set(names or ()) - set(known):
        raise ValueError(f"made by a newer version of this program: {', '.join(sorted(newer))}")
    migrations.apply(db, stop_before=[name for name in known if names is not None and name not in names])
    select = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY rowid"
    return [sql for (sql,) in db.execute(select).fetchall()]


def applied(db: Database) -> list[str]:
    """The names of the migrations that a catalog has had."""
    return [migration.name for migration in migrations.applied(db)]


class LineReplayer:
    """Applies lines to a database that has the tables."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._tables = {table.name: table for table in tables_of(db)}

    def apply(self, lines: Iterable[bytes], *, strict: bool = True) -> int:
        """Apply lines in order; returns how many could not be applied. `strict`: raise instead."""
        lost = 0
        for line in lines:
            try:
                self._apply_line(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, sqlite3.Error, OverflowError):
                if strict:
                    raise
                lost += 1
        return lost

    def _apply_line(self, change: dict[str, Any]) -> None:
        name, row = next(iter(change.items()))
        if name == "manifest":
            return
        table = self._tables[name]
        values = {column: value for column, value in change.items() if column != name}
        if isinstance(row, list):
            self._apply_seen(table, row, values[SEEN_COLUMN], all_but=values.get("all_but") is True)
        elif values.get("deleted") is True:
            self._db.execute(f"DELETE FROM {name} WHERE {table.key} = ?", [row])
        else:
            self._apply_row(table, row, values)

    def _apply_seen(self, table: Table, ranges: list[list[int]], run: int, *, all_but: bool) -> None:
        """Set `last_run` of the rows that a run saw: those in the ranges.

        `all_but`: the ranges are exceptions; it saw the other present rows, and of these rows those that are absent.
        """
        if not all_but:
            self._set_seen(table, "1", [(run, *bounds) for bounds in ranges])
            return
        present, in_range = PRESENT[table.name], f"{table.key} BETWEEN ? AND ?"
        unseen = [
            row
            for bounds in ranges
            for row in self._db.execute(
                f"SELECT {SEEN_COLUMN}, {table.key}, {table.key} FROM {table.name} WHERE {in_range} AND {present}",
                bounds,
            ).fetchall()
        ]
        self._db.execute(f"UPDATE {table.name} SET {SEEN_COLUMN} = ? WHERE {present}", [run])
        self._set_seen(table, "1", unseen)
        self._set_seen(table, f"NOT ({present})", [(run, *bounds) for bounds in ranges])

    def _set_seen(self, table: Table, condition: str, values: list[tuple[int, ...]]) -> None:
        self._db.conn.executemany(
            f"UPDATE {table.name} SET {SEEN_COLUMN} = ? WHERE {table.key} BETWEEN ? AND ? AND {condition}", values
        )

    def _apply_row(self, table: Table, row: object, values: dict[str, object]) -> None:
        if not values.keys() <= set(table.columns):
            raise KeyError(f"{table.name} has no such columns: {values.keys() - set(table.columns)}")
        if len(values) < len(table.columns):
            sets = ", ".join(f"{column} = ?" for column in values)
            if self._db.execute(
                f"UPDATE {table.name} SET {sets} WHERE {table.key} = ?", [*values.values(), row]
            ).rowcount:
                return
        columns, placeholders = ", ".join([table.key, *values]), ", ".join("?" * (1 + len(values)))
        self._db.execute(
            f"INSERT OR REPLACE INTO {table.name} ({columns}) VALUES ({placeholders})", [row, *values.values()]
        )
