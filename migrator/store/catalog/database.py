"""The database file: opens it safely, writes it in transactions, and turns SQLite's errors into ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from migrator.dates import same_moment
from migrator.errors import ArchiveDamagedError, ArchiveLockedError, ConfigError, MigratorError, StorageError
from migrator.store import disk
from migrator.store.catalog.history import KEEP_PAST
from migrator.store.catalog.holders import holders_of
from migrator.store.journal import Journal, catch_up, manifest
from migrator.store.layout import CATALOG
from migrator.store.schema import has_table, migrations

FAILURES_KEY = "failures"
"""The key in `settings` for failures of the last backup that belong to no file or entity."""
REBUILD = "`migrator rebuild ARCHIVE` makes a new one from what the archive holds"
WAL_CHECKPOINT_PAGES = 10_000
"""Pages of the write-ahead log (40 MB) after which SQLite merges it into the catalog. Hashes are in no order, so each
batch changes pages all over the catalog, and many batches change the same pages. With SQLite's default of 1,000,
recording takes a fifth longer.
"""
_PROBE = "SELECT 1 FROM sqlite_master LIMIT 1"
BUSY_SECONDS = 10.0
"""Seconds to wait while another program holds the catalog. A run that is stopped has to end within 15."""
OLDEST_SQLITE = (3, 35, 0)
"""The first version with everything that is used here (`RETURNING`)."""
_LOCKED_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REFUSED_CODES = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_PROTOCOL,
}
_DAMAGE_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_DAMAGE_WORDS = (
    "no such table",
    "no such column",
    "could not decode",
    "has no column",
    "malformed",
    "unsupported file",
)
_REFUSED_WORDS = ("disk is full", "disk i/o error", "readonly database", "unable to open")
"""Parts of messages that identify errors without a code of their own."""


def is_archive(root: Path) -> bool:
    """Whether this folder has a catalog; `StorageError` if this account may not look."""
    with disk.disk_errors(str(root)):
        return (root / CATALOG).is_file()


class CatalogDatabase:
    """The catalog file in the folder `root`. It may be opened again after any crash; `close` may be called twice.

    `viewed_snapshot` is the snapshot whose files and entities are read instead of the present ones; see `Snapshots`.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        path = root / CATALOG
        if not path.exists() and manifest.latest_run(manifest.path_in(root)):
            raise ArchiveDamagedError(f"{root} has no {CATALOG}; {REBUILD}")
        self.read_only = read_only
        self.viewed_snapshot: int | None = None
        if read_only and not is_archive(root):
            raise ConfigError(f"{root} is not an archive (no {CATALOG} in it)")
        self._root = root
        require_sqlite(sqlite3.sqlite_version_info)
        with sqlite_errors(root), disk.disk_errors(str(path)):
            self.db = opened_to_read(path) if read_only else opened(path, "mode=rwc")
            self._require_tables_of_journal(root)
            self.db.conn.create_function("same_moment", 2, same_moment, deterministic=True)
            if read_only:
                self._require_tables(root)
            else:
                if path.stat().st_mode & 0o077:
                    path.chmod(0o600)
                # This PRAGMA returns a row; an open cursor on it would block every commit.
                self.db.execute("PRAGMA journal_mode=WAL").close()
                self.db.execute("PRAGMA synchronous=FULL")
                self.db.execute(f"PRAGMA wal_autocheckpoint={WAL_CHECKPOINT_PAGES}")
                catch_up(self.db, root)
                with self.db.atomic():  # includes the library's own table, or a kill could leave it without its index
                    migrations.apply(self.db)
                self._journal = Journal(self.db, root)
                for trigger in KEEP_PAST:
                    self.db.execute(trigger)

    def _require_tables_of_journal(self, root: Path) -> None:
        """`ArchiveDamagedError` if the catalog is empty, and its manifest is not."""
        if not has_table(self.db, "settings") and manifest.latest_run(manifest.path_in(root)):
            self.db.close()
            raise ArchiveDamagedError(f"the {CATALOG} of {root} is empty; {REBUILD}")

    def _require_tables(self, root: Path) -> None:
        """Require tables: a run that was killed right at its start leaves a catalog without any."""
        if not has_table(self.db, "settings"):
            self.db.close()
            raise ConfigError(f"{root} is not an archive yet (its {CATALOG} is empty)")

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def ensure_journal(self, *, anew: bool = False) -> None:
        """Before a run that works on the archive: make the manifest complete, and add every later change to it.

        `anew`: the catalog was just rebuilt from the manifest, so it isn't compared with it. May be called again.
        """
        with sqlite_errors(self._root):
            self._journal.ensure(anew=anew)

    def mark_journal_damaged(self, code: str) -> None:
        """Mark the manifest as damaged, by a code of `pipeline.verify.CODES`: the next run rewrites it."""
        with sqlite_errors(self._root):
            self._journal.mark_damaged(code)

    def journal_seen(self, since_run: int) -> None:
        """A crawl that began with this run ends in this transaction; see `migrator.store.journal.changes`."""
        self._journal.note_seen(since_run)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction. If the disk refuses it, `StorageError`, and nothing of it is kept.

        The changes are durable in the manifest before they are committed.
        """
        with sqlite_errors(self._root):
            with self.db.atomic():
                yield
                position = self._journal.append()
            self._journal.position = position


def opened(path: Path, parameters: str) -> Database:
    """Open a catalog with these parameters of SQLite's URI, such as `mode=ro`.

    It has no plugins of sqlite-utils: to look for some takes 30 ms, as that reads the metadata of every distribution.
    """
    uri = f"{path.absolute().as_uri()}?{parameters}"
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=BUSY_SECONDS)
    return Database(connection, execute_plugins=False)


def copied(path: Path, to: Path) -> None:
    """Copy a catalog as it is at one moment into a file without any beside it."""
    disk.remove(to)
    disk.write_file(to, b"")
    with closing(opened_to_read(path)) as db, closing(opened(to, "mode=rw")) as copy:
        db.conn.backup(copy.conn)
        copy.execute("PRAGMA journal_mode = DELETE").close()


def require_sqlite(version: tuple[int, ...]) -> None:
    """`ConfigError` where this version of SQLite is older than `OLDEST_SQLITE`."""
    if version < OLDEST_SQLITE:
        shown, oldest = ".".join(map(str, version)), ".".join(map(str, OLDEST_SQLITE[:2]))
        raise ConfigError(f"this Python comes with SQLite {shown}; {oldest} or later is needed")


def opened_to_read(path: Path) -> Database:
    """Open a catalog read-only, even where SQLite can't create the files that it keeps beside it.

    If a killed program left a transaction unfinished, it is completed or undone first; `StorageError` if this account
    lacks the rights for that.
    """
    db = opened(path, "mode=ro")
    try:
        db.execute(_PROBE).fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        if not isinstance(_translated(error, None), StorageError):
            raise
        writable = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
        beside = [path.with_name(f"{CATALOG}{ending}") for ending in ("-wal", "-journal")]
        if left := [file.name for file in beside if file.exists() and file.stat().st_size]:
            if not writable:
                reason = f"{left[0]} holds what a run or program that was killed left behind"
                raise StorageError(f"{CATALOG}: {reason}; it can be read once the folder can be written") from error
            _recover(path)
        elif writable:
            raise
        return opened(path, "mode=ro" if left else "mode=ro&immutable=1")
    return db


def _recover(path: Path) -> None:
    """Let SQLite roll back a hot journal, as it does for any reader that may write; see sqlite.org/lockingv3.html."""
    db = opened(path, "mode=rw")
    try:
        db.execute(_PROBE).fetchone()
    finally:
        db.close()


@contextmanager
def sqlite_errors(root: Path | None = None) -> Iterator[None]:
    """Turn SQLite's errors into ours: the catalog of the archive `root` is locked, refused or damaged."""
    try:
        yield
    except sqlite3.Error as error:
        if (translated := _translated(error, root)) is None:
            raise
        raise translated from error


def _translated(error: sqlite3.Error, root: Path | None) -> MigratorError | None:
    """Our error for one of SQLite's, by its result code (sqlite.org/rescode.html, low 8 bits); None if it is a bug."""
    code, message = getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error)
    lowered = message.lower()
    if code in _LOCKED_CODES:
        return ArchiveLockedError(_lock_message(message, root))
    if code in _REFUSED_CODES or any(words in lowered for words in _REFUSED_WORDS):
        return StorageError(f"{CATALOG}: {message}; nothing is lost, run the same command again once it can be written")
    if (
        type(error) is sqlite3.DatabaseError
        or code in _DAMAGE_CODES
        or any(words in lowered for words in _DAMAGE_WORDS)
    ):
        return ArchiveDamagedError(f"{CATALOG} is damaged: {message}; {REBUILD}")
    return None


def _lock_message(message: str, root: Path | None) -> str:
    holders = ", ".join(holders_of(root / CATALOG)) if root else ""
    name = holders or "another program (a database browser?)"
    remedy = "Save or undo the change there; nothing is lost, run the same command again"
    return f"{CATALOG} is held by {name}: {message}. {remedy}"
