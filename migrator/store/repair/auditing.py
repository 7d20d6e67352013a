"""Compares the catalog with its manifest, row by row. Only reads, and works even if the catalog can't be opened.

Replaying the manifest up to the catalog's position must give exactly the catalog's rows, in every column. So a flipped
bit in either of them is found, although SQLite itself has no checksums.

Beware: a catalog that can't be read at all is a finding here, not an error.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from itertools import takewhile
from pathlib import Path

from sqlite_utils import Database

from migrator.errors import ArchiveDamagedError
from migrator.store.catalog import opened_to_read, sqlite_errors
from migrator.store.disk import disk_errors
from migrator.store.journal import (
    MIGRATIONS,
    SEEN_COLUMN,
    JournalPosition,
    Replay,
    Table,
    manifest,
    recorded_base,
    recorded_position,
    replay,
    tables_of,
)
from migrator.store.layout import CATALOG, JOURNAL
from migrator.store.schema import checkpoint_checksum, has_table, migrations

Finding = tuple[str, str, str]
"""Code (see `pipeline.verify.CODES`), file, and detail."""
MAX_ROWS_NAMED = 100
"""How many wrong rows are reported."""
_MAGIC = b"SQLite format 3\0"
_BYTES_18_TO_23 = b"\2\2\0\x40\x20\x20", b"\1\1\0\x40\x20\x20"
"""Constant bytes of the header (see the file format at sqlite.org): WAL, or the journal mode that another program may
have set until we open the file again."""
_BYTES_44_TO_91 = struct.pack(">7I20x", 4, 0, 0, 1, 0, 0, 0), bytes(48)
"""UTF-8, no auto-vacuum, no user version; all zeros before there are tables."""


def audit(root: Path) -> list[Finding]:
    """What is wrong with an archive's catalog and manifest. Call it before the catalog is opened for writing.

    `ArchiveLockedError` or `StorageError` if the catalog can't be read now, which says nothing about its health.
    """
    with disk_errors(str(root / CATALOG)):
        return _audit(root, manifest.path_in(root))


def _audit(root: Path, path: Path) -> list[Finding]:
    if not (root / CATALOG).exists():
        return [("E10", CATALOG, "it is missing; `migrator rebuild ARCHIVE` recreates it")]
    if not _has_our_header(root / CATALOG):
        return [("E11", CATALOG, "its header")]
    try:
        with sqlite_errors(root), closing(_opened(root)) as db:
            return _audit_opened(db, path)
    except (ArchiveDamagedError, sqlite3.Error, UnicodeError, TypeError) as error:
        return [("E11", CATALOG, str(error.__cause__ or error))]


def _audit_opened(db: Database, path: Path) -> list[Finding]:
    position = recorded_position(db, path) if has_table(db, "settings") else None
    if findings := [] if position is None else list(_missing_manifest(path, position)):
        return findings + _damaged_catalog(db)
    if isinstance(position, str) or not path.exists():
        return _damaged_catalog(db)
    until = position if position and manifest.is_at(path, position) else None
    if findings := _damaged_manifest(path, position, until):
        return findings + _damaged_catalog(db)
    if findings := _damaged_catalog(db):
        return findings
    with closing((replayed := replay(path, until)).db):
        _migrate_like(db, replayed.db)
        return [*_misplaced(db, path, replayed), *_compare(db, replayed)]


def _migrate_like(db: Database, replayed: Database) -> None:
    """Apply to the replayed tables the migrations that only the catalog has had.

    A run that opens an archive of an older version applies them first, and then writes the manifest anew; it may have
    been killed in between.
    """
    if not has_table(db, MIGRATIONS) or not has_table(replayed, MIGRATIONS):
        return
    times = dict(db.execute(f"SELECT name, applied_at FROM {MIGRATIONS}").fetchall())
    missing = [migration.name for migration in migrations.pending(replayed)]
    migrations.apply(replayed, stop_before=[name for name in missing if name not in times])
    for name in missing:
        replayed.execute(f"UPDATE {MIGRATIONS} SET applied_at = ? WHERE name = ?", [times.get(name), name])


def _damaged_manifest(path: Path, position: JournalPosition | None, until: JournalPosition | None) -> list[Finding]:
    """The parts of a manifest that are not as they were written. `until` is the position, if a batch ends there."""
    damage, end = [] if manifest.schema(path) else ["its first line"], 0
    for batch in takewhile(lambda batch: until is None or batch.end.length <= until.length, manifest.batches(path)):
        end = batch.end.length
        if not batch.sound:
            damage.append(f"batch {batch.end.batch}")
    if position and end < position.length:
        damage.append("its end")
    return [("E21", JOURNAL, part) for part in damage]


def _has_our_header(catalog: Path) -> bool:
    """Whether the constant bytes of the file header are right; SQLite itself doesn't check all of them."""
    with catalog.open("rb") as file:
        head = file.read(100)
    return not head or (head[:16] == _MAGIC and head[18:24] in _BYTES_18_TO_23 and head[44:92] in _BYTES_44_TO_91)


def _opened(root: Path) -> Database:
    db = opened_to_read(root / CATALOG)
    db.conn.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    return db


def _missing_manifest(path: Path, position: JournalPosition | str) -> Iterator[Finding]:
    """The finding if the manifest is missing, is shorter than the recorded position, or was found damaged before."""
    if isinstance(position, str):
        if position:
            yield position, JOURNAL, "found before; the next run that works on the archive rewrites it"
    elif not path.exists():
        yield "E22", JOURNAL, "the catalog knows of it"
    elif path.stat().st_size < position.length:
        yield "E23", JOURNAL, f"{path.stat().st_size} bytes, of {position.length} that the catalog knows of"


def _damaged_catalog(db: Database) -> list[Finding]:
    """What SQLite's own check finds wrong with the catalog. `sqlite3.Error` if it can't be read."""
    results = [str(row[0]) for row in db.execute("PRAGMA integrity_check(1)").fetchall()]
    return [] if results == ["ok"] else [("E11", CATALOG, " ".join(results))]


def _misplaced(db: Database, path: Path, replayed: Replay) -> Iterator[Finding]:
    """The finding if the catalog records another place in the manifest than that of its rows."""
    position, base = recorded_position(db, path), recorded_base(db)
    elsewhere = isinstance(position, JournalPosition) and position != replayed.end
    if elsewhere or (base and not manifest.ends_batch(path, base)):
        yield "E12", CATALOG, "settings manifest"


def _compare(db: Database, replayed: Replay) -> Iterator[Finding]:
    if _schema(db) != _schema(replayed.db):
        yield "E11", CATALOG, "its tables are not those of the manifest"
        return
    remaining = MAX_ROWS_NAMED
    crawl = _crawl_under_way(db)
    for table in tables_of(replayed.db):
        if table.name == "checkpoints":
            continue
        for finding in _differing_rows(db, replayed.db, table, crawl):
            if remaining := remaining - 1:
                yield finding
            else:
                return
    yield from _damaged_checkpoints(db)
    sequences, expected = (_rows(each, "SELECT * FROM sqlite_sequence") for each in (db, replayed.db))
    if sequences != expected:
        yield "E12", CATALOG, f"sqlite_sequence: {sequences}, not {expected}"


def _schema(db: Database) -> list[str]:
    return _rows(db, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2")


def _rows(db: Database, statement: str) -> list[str]:
    return [repr(row) for row in db.execute(statement).fetchall()]


def _crawl_under_way(db: Database) -> tuple[int, int] | None:
    """The first run of the oldest crawl that has not ended, and the last run; None if all have ended."""
    first, last = db.execute("SELECT min(run_id), (SELECT max(run_id) FROM runs) FROM checkpoints").fetchone()
    return None if first is None else (first, last or first)


def _damaged_checkpoints(db: Database) -> Iterator[Finding]:
    for *row, checksum in db.execute("SELECT * FROM checkpoints").fetchall():
        if checksum != checkpoint_checksum(*row):
            yield "E12", CATALOG, f"checkpoints {row[1]}"


def _differing_rows(
    db: Database, replayed: Database, table: Table, crawl: tuple[int, int] | None = None
) -> Iterator[Finding]:
    """The rows that differ, are missing or are unknown; both sides are read in the order of their keys.

    The journal learns which rows a crawl saw again when it ends; until then their `last_run` may be ahead.
    """
    seen = table.columns.index(SEEN_COLUMN) + 1 if crawl and SEEN_COLUMN in table.columns else None
    columns = ", ".join([table.key, *table.columns])
    statement = f"SELECT {columns} FROM {table.name} WHERE {table.without_position} ORDER BY {table.key}"
    actual, expected = iter(db.execute(statement)), iter(replayed.execute(statement))
    row, wanted = next(actual, None), next(expected, None)
    while row is not None or wanted is not None:
        if wanted is None or (row is not None and row[0] < wanted[0]):
            yield "E14", CATALOG, f"{table.name} {row[0]}" if row else ""
            row = next(actual, None)
        elif row is None or wanted[0] < row[0]:
            yield "E13", CATALOG, f"{table.name} {wanted[0]}"
            wanted = next(expected, None)
        else:
            if seen is not None and crawl and isinstance(row[seen], int) and crawl[0] <= row[seen] <= crawl[1]:
                wanted = (*wanted[:seen], row[seen], *wanted[seen + 1 :])
            if repr(row) != repr(wanted):
                yield "E12", CATALOG, f"{table.name} {row[0]}"
            row, wanted = next(actual, None), next(expected, None)
