"""Compare the catalog with its manifest, row by row. Reads only, and works even if the catalog can't be opened.

Replaying the manifest up to the catalog's position must give exactly the catalog's rows, in every column. So a flipped
bit in either is noticed, though SQLite itself has no checksums.

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
    SEEN_COLUMN,
    JournalPosition,
    Replay,
    Table,
    manifest,
    recorded_position,
    replay,
    tables_of,
)
from migrator.store.layout import CATALOG, JOURNAL
from migrator.store.schema import checkpoint_checksum

Finding = tuple[str, str, str]
"""Code (see `pipeline.verify.CODES`), file, and detail."""
MAX_ROWS_NAMED = 100
"""At most this many rows are named."""
_MAGIC = b"SQLite format 3\0"
_FIXED = b"\2\2\0\x40\x20\x20", b"\1\1\0\x40\x20\x20"
_NUMBERS = struct.pack(">7I20x", 4, 0, 0, 1, 0, 0, 0), bytes(48)
"""WAL, or the journal mode that another program may have set until we open the file again; UTF-8, no auto-vacuum, no
user version; zeros before there are tables. See the file format at sqlite.org.
"""


def audit(root: Path) -> list[Finding]:
    """What is wrong with an archive's catalog and manifest. Call it before the catalog is opened for writing.

    `ArchiveLockedError` or `StorageError` if the catalog can't be read now, which says nothing about its health.
    """
    with disk_errors(str(root / CATALOG)):
        return _findings(root, manifest.path_in(root))


def _findings(root: Path, path: Path) -> list[Finding]:
    if not (root / CATALOG).exists():
        return [("E10", CATALOG, "it is not there; `migrator rebuild` makes it anew")]
    if not _has_our_header(root / CATALOG):
        return [("E11", CATALOG, "its header")]
    try:
        with sqlite_errors(root), closing(_opened(root)) as db:
            return _audited(db, path)
    except (ArchiveDamagedError, sqlite3.Error, UnicodeError, TypeError) as error:
        return [("E11", CATALOG, str(error.__cause__ or error))]


def _audited(db: Database, path: Path) -> list[Finding]:
    position = _position(db)
    if findings := [] if position is None else list(_manifest(path, position)):
        return findings + _unsound(db)
    if isinstance(position, str) or not path.exists():
        return _unsound(db)
    until = position if position and manifest.is_at(path, position) else None
    if damage := _damage(path, position, until):
        return damage + _unsound(db)
    if findings := _unsound(db):
        return findings
    with closing((made := replay(path, until)).db):
        return list(_compare(db, made))


def _damage(path: Path, position: JournalPosition | None, until: JournalPosition | None) -> list[Finding]:
    """What was written to a manifest and is no longer there, up to the position if a batch ends there."""
    bad, end = [] if manifest.schema(path) else ["its first line"], 0
    for batch in takewhile(lambda batch: until is None or batch.end.length <= until.length, manifest.batches(path)):
        end = batch.end.length
        if not batch.sound:
            bad.append(f"batch {batch.end.batch}")
    if position and end < position.length:
        bad.append("its end")
    return [("E21", JOURNAL, what) for what in bad]


def _has_our_header(catalog: Path) -> bool:
    """Whether the constant bytes of the file header are right; SQLite ignores some of them."""
    with catalog.open("rb") as file:
        head = file.read(100)
    return not head or (head[:16] == _MAGIC and head[18:24] in _FIXED and head[44:92] in _NUMBERS)


def _opened(root: Path) -> Database:
    db = opened_to_read(root / CATALOG)
    db.conn.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    return db


def _position(db: Database) -> JournalPosition | str | None:
    """None for an archive that has no manifest yet."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'settings'").fetchone():
        return None
    return recorded_position(db)


def _manifest(path: Path, position: JournalPosition | str) -> Iterator[Finding]:
    """What is wrong with the manifest, judged by the position that the catalog has recorded."""
    if isinstance(position, str):
        if position:
            yield position, JOURNAL, "found before; the next run that works on the archive writes it anew"
    elif not path.exists():
        yield "E22", JOURNAL, "the catalog knows of it"
    elif path.stat().st_size < position.length:
        yield "E23", JOURNAL, f"{path.stat().st_size} bytes, of {position.length} that the catalog knows of"


def _unsound(db: Database) -> list[Finding]:
    """What is wrong with the catalog by itself. `sqlite3.Error` if it can't be read."""
    results = [str(row[0]) for row in db.execute("PRAGMA integrity_check(1)").fetchall()]
    return [] if results == ["ok"] else [("E11", CATALOG, " ".join(results))]


def _compare(db: Database, made: Replay) -> Iterator[Finding]:
    if _schema(db) != _schema(made.db):
        yield "E11", CATALOG, "its tables are not those that the manifest tells of"
        return
    position = recorded_position(db)
    if isinstance(position, JournalPosition) and position != made.end:
        yield "E12", CATALOG, "settings manifest"
    left = MAX_ROWS_NAMED
    crawl = _crawl_under_way(db)
    for table in tables_of(made.db):
        if table.name == "checkpoints":
            continue
        for finding in _differing(db, made.db, table, crawl):
            if left := left - 1:
                yield finding
            else:
                return
    yield from _damaged_checkpoints(db)
    sequences, expected = (_rows(each, "SELECT * FROM sqlite_sequence") for each in (db, made.db))
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


def _differing(
    db: Database, replayed: Database, table: Table, crawl: tuple[int, int] | None = None
) -> Iterator[Finding]:
    """Rows that differ, are missing or are unknown; both sides are sorted by key.

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
