"""The database file itself: opened safely, written in transactions, its disk errors told in our words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from migrator import disk, manifest
from migrator.catalog.journal import Journal, catch_up
from migrator.catalog.schema import migrations
from migrator.dates import same_moment
from migrator.errors import ArchiveDamaged, ConfigError, DiskRefused

NAME = "catalog.db"
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
_DAMAGE = ("no such table", "no such column", "could not decode", "has no column")
_DISK = ("disk is full", "disk i/o error", "readonly database", "unable to open")


def is_archive(root: Path) -> bool:
    """Whether there is a catalog in this folder; `DiskRefused` where this account may not look."""
    with disk.disk_errors(str(root)):
        return (root / NAME).is_file()


class Store:
    """The catalog file in the folder `root`. Safe to open again after any crash; `close` may be called twice."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        path = root / NAME
        if not path.exists() and manifest.latest_run(manifest.path_in(root)):
            raise ArchiveDamaged(f"{root} has no {NAME}; {REBUILD}")
        self.read_only = read_only
        if read_only and not is_archive(root):
            raise ConfigError(f"{root} is no archive: it has no {NAME}")
        with disk_errors(), disk.disk_errors(str(path)):
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
            raise ConfigError(f"{root} is no archive yet: its {NAME} is empty")

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
        with disk_errors():
            self._journal.keep(anew=anew)

    def distrust_manifest(self, code: str) -> None:
        """It was found damaged, see `pipeline.verify.CODES`: the next run that works on the archive writes it anew."""
        with disk_errors():
            self._journal.distrust(code)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction; a disk that refuses becomes `DiskRefused`, and nothing of it is kept.

        What it changes is safe in the manifest before it is committed.
        """
        with disk_errors():
            with self.db.atomic():
                yield
                mark = self._journal.append()
            self._journal.mark = mark


def _opened(path: Path, how: str) -> Database:
    uri = f"{path.absolute().as_uri()}?{how}"
    return Database(sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=30))


def opened_to_read(path: Path) -> Database:
    """SQLite keeps files beside a catalog even for reading; where it can't, it has to be told that nobody writes."""
    db = _opened(path, "mode=ro")
    try:
        db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        db.close()
        wal = path.with_name(f"{NAME}-wal")
        if os.access(path.parent, os.W_OK) or (wal.exists() and wal.stat().st_size):
            raise  # the last run left rows there, which would be missing
        return _opened(path, "mode=ro&immutable=1")
    return db


@contextmanager
def disk_errors() -> Iterator[None]:
    """SQLite's words for a disk that refuses, or a file that is no database, as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if any(words in str(error).lower() for words in _DISK):
            raise DiskRefused(
                f"{NAME}: {error}; nothing is lost, run the same command again once it can be written"
            ) from error
        if any(words in str(error).lower() for words in _DAMAGE):
            raise ArchiveDamaged(f"{NAME} is damaged: {error}; {REBUILD}") from error
        raise
    except sqlite3.DatabaseError as error:
        if type(error) is sqlite3.DatabaseError:
            raise ArchiveDamaged(f"{NAME} is damaged: {error}; {REBUILD}") from error
        raise
