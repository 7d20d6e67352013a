"""A private copy of a catalog, made ready for searching and for queries that somebody writes.

The copy is taken in one step, so that it shows one moment, a running backup hardly notices, and nothing is held
afterwards. Two tables are added, each with an index of words: `browse_files` and `browse_entities` have a row for the
present and for each earlier state. A snapshot is the rows whose `from_run` and `until_run` span its run; what the
archive has now is those that span `PRESENT`.

Beware: a reader of a catalog in WAL mode leaves files beside it. So while there is no log, the catalog is opened as
immutable, and copied again if a run has changed it meanwhile.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from migrator.errors import ConfigError
from migrator.store import disk
from migrator.store.catalog.database import is_archive, opened, opened_to_read, sqlite_errors
from migrator.store.layout import CATALOG
from migrator.store.schema import has_table, migrations

PRESENT = 2**63 - 1
"""The run that stands for now; it is later than any other."""
ATTEMPTS = 3
"""Copies of a catalog without a log, before it is read as one that is being written."""
_FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}
_FORBIDDEN_ACTIONS = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH}

_STATE = "attachment_id, kind, entity_id, name, size, media_type, description, created_at, created_by, sha256"
_SINCE = f"coalesce(changed_run, {PRESENT})"
_TABLES = f"""
CREATE TABLE browse_entities (
    id INTEGER PRIMARY KEY, kind TEXT, entity_id TEXT, title TEXT, url TEXT, error TEXT,
    from_run INTEGER, until_run INTEGER
);
INSERT INTO browse_entities (kind, entity_id, title, url, error, from_run, until_run)
SELECT kind, entity_id, title, url, coalesce(error, note), {_SINCE}, {PRESENT} FROM entities
UNION ALL SELECT kind, entity_id, title, url, NULL, changed_run, until_run FROM past_entities
ORDER BY kind, entity_id;
CREATE INDEX browse_entities_by_id ON browse_entities (kind, entity_id);
CREATE TABLE browse_files (
    id INTEGER PRIMARY KEY, attachment_id TEXT, kind TEXT, entity_id TEXT, name TEXT, size INTEGER, media_type TEXT,
    description TEXT, created_at TEXT, created_by TEXT, sha256 TEXT, status TEXT, error TEXT, warning TEXT,
    from_run INTEGER, until_run INTEGER
);
INSERT INTO browse_files ({_STATE}, status, error, warning, from_run, until_run)
SELECT {_STATE}, status, error, warning, {_SINCE}, {PRESENT} FROM attachments
UNION ALL SELECT {_STATE}, 'stored', NULL, NULL, changed_run, until_run FROM past_attachments
ORDER BY kind, entity_id, name;
CREATE INDEX browse_files_by_id ON browse_files (attachment_id);
CREATE INDEX browse_files_by_owner ON browse_files (kind, entity_id);
CREATE VIRTUAL TABLE browse_entities_words USING fts5 (
    title, entity_id, content='browse_entities', content_rowid='id', tokenize='unicode61 remove_diacritics 2'
);
INSERT INTO browse_entities_words (browse_entities_words) VALUES ('rebuild');
CREATE VIRTUAL TABLE browse_files_words USING fts5 (
    name, description, content='browse_files', content_rowid='id', tokenize='unicode61 remove_diacritics 2'
);
INSERT INTO browse_files_words (browse_files_words) VALUES ('rebuild');
"""


def copy_catalog(root: Path, folder: Path) -> None:
    """Copy the catalog of the archive `root` into a folder, whatever is at work there. Writes nothing to the archive.

    `ConfigError` if there is none.
    """
    if not is_archive(root):
        raise ConfigError(f"{root} is not an archive (no {CATALOG} in it)")
    source, copy = root / CATALOG, folder / CATALOG
    with sqlite_errors(root), disk.disk_errors(str(root)):
        for _ in range(ATTEMPTS):
            before = _marks(source)
            if any(mark[0] for mark in before[1:]):
                break
            with closing(opened(source, "mode=ro&immutable=1")) as db:
                _copy(db, copy)
            if _marks(source) == before:
                return
        with closing(opened_to_read(source)) as db:
            _copy(db, copy)


def add_search(folder: Path) -> None:
    """Add the tables and indexes for searching to the copy in this folder, in the newest format."""
    with sqlite_errors(), closing(opened(folder / CATALOG, "mode=rw")) as db:
        if not has_table(db, "settings"):
            raise ConfigError(f"this is not an archive yet: its {CATALOG} is empty")
        db.execute("PRAGMA journal_mode=OFF").close()
        db.execute("PRAGMA synchronous=OFF")
        migrations.apply(db)
        db.conn.executescript(_TABLES)


def forbid_all_but_reading(connection: sqlite3.Connection) -> None:
    """From now on, a statement on this connection can change nothing, and reach no other file."""
    connection.execute("PRAGMA query_only=1").close()
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_authorize)


def _authorize(action: int, _first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    forbidden = action in _FORBIDDEN_ACTIONS or (
        action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN_FUNCTIONS
    )
    return sqlite3.SQLITE_DENY if forbidden else sqlite3.SQLITE_OK


def _copy(db: Database, path: Path) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as copy:
        db.conn.backup(copy)


def _marks(catalog: Path) -> list[tuple[int, int]]:
    """Size and time of the catalog, of its log and of its rollback journal: what changes when it is written."""
    marks = []
    for path in (catalog, *(catalog.with_name(f"{CATALOG}{ending}") for ending in ("-wal", "-journal"))):
        try:
            facts = path.stat()
        except FileNotFoundError:
            marks.append((0, 0))
        else:
            marks.append((facts.st_size, facts.st_mtime_ns))
    return marks
