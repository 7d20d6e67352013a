"""The database file itself: opened safely, written in transactions, its disk errors told in our words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from migrator.dates import same_moment
from migrator.errors import ArchiveDamagedError, ArchiveLockedError, ConfigError, MigratorError, StorageError
from migrator.store import disk
from migrator.store.catalog.holders import holders_of
from migrator.store.journal import Journal, catch_up, manifest
from migrator.store.layout import CATALOG
from migrator.store.schema import migrations

MAPPED = (
    "EXISTS (SELECT 1 FROM mapped m WHERE m.kind = a.kind AND m.id = a.entity_id "
    "AND m.target_kind = u.target_kind AND m.target_id = u.target_id)"
)
"""Whether the mapping names the target of an upload `u` for the owner of its attachment `a`."""
WHOLE = "failures"
"""The key in `settings` of what the last backup failed at that is of no file and no entity."""
REBUILD = "`migrator rebuild` makes a new one from what the archive holds"
LOG_PAGES = 10_000
"""The log (40 MB) goes into the catalog after so many pages: hashes have no order, so each batch changes pages all over
it, and many batches change the same one. With the 1,000 that SQLite has by itself, recording costs a fifth more.
"""
_LOOK = "SELECT 1 FROM sqlite_master LIMIT 1"
BUSY = 10.0
"""Seconds for which another program may hold the catalog. A run that is stopped has to end within 15."""
OLDEST = (3, 35, 0)
"""The first SQLite that knows what is asked of it here (`RETURNING`)."""
_HELD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REFUSED = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_PROTOCOL,
}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_DAMAGE = ("no such table", "no such column", "could not decode", "has no column", "malformed", "unsupported file")
_DISK = ("disk is full", "disk i/o error", "readonly database", "unable to open")
"""The words of errors that have no code of their own."""


def is_archive(root: Path) -> bool:
    """Whether there is a catalog in this folder; `StorageError` where this account may not look."""
    with disk.disk_errors(str(root)):
        return (root / CATALOG).is_file()


class CatalogDatabase:
    """The catalog file in the folder `root`. Safe to open again after any crash; `close` may be called twice."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        path = root / CATALOG
        if not path.exists() and manifest.latest_run(manifest.path_in(root)):
            raise ArchiveDamagedError(f"{root} has no {CATALOG}; {REBUILD}")
        self.read_only = read_only
        if read_only and not is_archive(root):
            raise ConfigError(f"{root} is no archive: it has no {CATALOG}")
        self._root = root
        expect_sqlite(sqlite3.sqlite_version_info)
        with sqlite_errors(root), disk.disk_errors(str(path)):
            self.db = opened_to_read(path) if read_only else _opened(path, "mode=rwc")
            self.db.conn.create_function("same_moment", 2, same_moment, deterministic=True)
            if read_only:
                self._expect_tables(root)
            else:
                if path.stat().st_mode & 0o077:
                    path.chmod(0o600)
                # It gives a row, and as long as somebody has its cursor nothing can be committed.
                self.db.execute("PRAGMA journal_mode=WAL").close()
                self.db.execute("PRAGMA synchronous=FULL")
                self.db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
                catch_up(self.db, root)
                with self.db.atomic():  # the library's own table too, or a kill leaves that one without its index
                    migrations.apply(self.db)
                self._journal = Journal(self.db, root)

    def _expect_tables(self, root: Path) -> None:
        """A run that was killed in its first moment leaves a catalog without tables."""
        if not self.db.execute("SELECT 1 FROM sqlite_master WHERE name = 'settings'").fetchone():
            self.db.close()
            raise ConfigError(f"{root} is no archive yet: its {CATALOG} is empty")

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    def expect_mapped(self) -> None:
        """The mapping of a load, for as long as this connection is open; empty until a load plans by it."""
        self.db.execute(
            "CREATE TEMP TABLE IF NOT EXISTS mapped (kind, id, target_kind, target_id, "
            "PRIMARY KEY (kind, id, target_kind, target_id)) WITHOUT ROWID"
        )

    def keep_manifest(self, *, anew: bool = False) -> None:
        """Before a run that works on the archive: from now on every change is in the manifest, and all before it.

        `anew`: the catalog was just made from it, so it is not asked whether it knows more. May be called again.
        """
        with sqlite_errors(self._root):
            self._journal.keep(anew=anew)

    def distrust_manifest(self, code: str) -> None:
        """It was found damaged, see `pipeline.verify.CODES`: the next run that works on the archive writes it anew."""
        with sqlite_errors(self._root):
            self._journal.distrust(code)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction; a disk that refuses becomes `StorageError`, and nothing of it is kept.

        What it changes is safe in the manifest before it is committed.
        """
        with sqlite_errors(self._root):
            with self.db.atomic():
                yield
                mark = self._journal.append()
            self._journal.mark = mark


def _opened(path: Path, how: str) -> Database:
    uri = f"{path.absolute().as_uri()}?{how}"
    return Database(sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=BUSY))


def expect_sqlite(version: tuple[int, ...]) -> None:
    """`ConfigError` where this version of SQLite is older than `OLDEST`."""
    if version < OLDEST:
        shown, oldest = ".".join(map(str, version)), ".".join(map(str, OLDEST[:2]))
        raise ConfigError(f"this Python comes with SQLite {shown}; {oldest} or later is needed")


def opened_to_read(path: Path) -> Database:
    """SQLite keeps files beside a catalog even for reading; where it can't, it has to be told that nobody writes.

    What a killed program left undone is undone first. `StorageError` where that needs rights that this account lacks.
    """
    db = _opened(path, "mode=ro")
    try:
        db.execute(_LOOK).fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        if not isinstance(_meaning(error, None), StorageError):
            raise
        writable = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
        beside = [path.with_name(f"{CATALOG}{ending}") for ending in ("-wal", "-journal")]
        if left := [file.name for file in beside if file.exists() and file.stat().st_size]:
            if not writable:
                what = f"{left[0]} holds what a run or program that was killed left behind"
                raise StorageError(f"{CATALOG}: {what}; it can be read once the folder can be written") from error
            _recover(path)
        elif writable:
            raise
        return _opened(path, "mode=ro" if left else "mode=ro&immutable=1")
    return db


def _recover(path: Path) -> None:
    """What SQLite does by itself for any reader who may write, see sqlite.org/lockingv3.html on hot journals."""
    db = _opened(path, "mode=rw")
    try:
        db.execute(_LOOK).fetchone()
    finally:
        db.close()


@contextmanager
def sqlite_errors(root: Path | None = None) -> Iterator[None]:
    """SQLite's errors as ours: the catalog of the archive `root` is held by another program, refused, or damaged."""
    try:
        yield
    except sqlite3.Error as error:
        if (meant := _meaning(error, root)) is None:
            raise
        raise meant from error


def _meaning(error: sqlite3.Error, root: Path | None) -> MigratorError | None:
    """By SQLite's result code (sqlite.org/rescode.html), whose last eight bits are the kind; None for a bug of ours."""
    code, words = getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error)
    known = words.lower()
    if code in _HELD:
        return ArchiveLockedError(_held(words, root))
    if code in _REFUSED or any(refusal in known for refusal in _DISK):
        return StorageError(f"{CATALOG}: {words}; nothing is lost, run the same command again once it can be written")
    if type(error) is sqlite3.DatabaseError or code in _CORRUPT or any(damage in known for damage in _DAMAGE):
        return ArchiveDamagedError(f"{CATALOG} is damaged: {words}; {REBUILD}")
    return None


def _held(words: str, root: Path | None) -> str:
    who = ", ".join(holders_of(root / CATALOG)) if root else ""
    by = who or "another program (a database browser?)"
    remedy = "Save or undo the change there; nothing is lost, run the same command again"
    return f"{CATALOG} is held by {by}: {words}. {remedy}"
