"""The tables of `catalog.db`, as migrations: each is applied once, in the same transaction as its record.

Beware: never edit a migration that was released; add a new one.
"""

from __future__ import annotations

import hashlib
import json

from sqlite_utils import Database, Migrations

FORMAT = 1
FULL_CRAWL_KEY = "full_crawl"
"""The key in `settings` for the last crawl that asked every entity."""
migrations = Migrations("migrator")

_TABLES = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    run_id INTEGER PRIMARY KEY AUTOINCREMENT, command TEXT NOT NULL, status TEXT NOT NULL,
    started_at TEXT NOT NULL, ended_at TEXT, summary TEXT
);
CREATE TABLE entities (
    kind TEXT NOT NULL, entity_id TEXT NOT NULL, title TEXT NOT NULL, url TEXT NOT NULL, raw TEXT,
    error TEXT, note TEXT, first_run INTEGER NOT NULL, last_run INTEGER NOT NULL,
    PRIMARY KEY (kind, entity_id)
);
CREATE TABLE attachments (
    attachment_id TEXT PRIMARY KEY, kind TEXT NOT NULL, entity_id TEXT NOT NULL, comment_id TEXT,
    name TEXT NOT NULL, size INTEGER, media_type TEXT NOT NULL, description TEXT NOT NULL,
    created_at TEXT NOT NULL, created_by TEXT NOT NULL, sha256 TEXT, status TEXT NOT NULL, error TEXT,
    locator TEXT NOT NULL, raw TEXT NOT NULL, first_run INTEGER NOT NULL, last_run INTEGER NOT NULL,
    stored_run INTEGER
);
CREATE INDEX attachments_by_owner ON attachments (kind, entity_id);
CREATE INDEX attachments_by_blob ON attachments (sha256);
CREATE INDEX attachments_unfinished ON attachments (attachment_id) WHERE status IN ('pending', 'failed');
CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, problem TEXT) WITHOUT ROWID;
CREATE TABLE checkpoints (stream TEXT PRIMARY KEY, cursor TEXT, done INTEGER NOT NULL, run_id INTEGER NOT NULL);
CREATE TABLE uploads (
    target TEXT NOT NULL, attachment_id TEXT NOT NULL, target_kind TEXT NOT NULL, target_id TEXT NOT NULL,
    remote_id TEXT, name TEXT, status TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, error TEXT, run_id INTEGER,
    PRIMARY KEY (target, attachment_id, target_kind, target_id)
);
CREATE INDEX uploads_by_entity ON uploads (target, target_kind, target_id);
CREATE INDEX uploads_unsettled ON uploads (target, target_kind, target_id)
    WHERE status IN ('planned', 'in_doubt', 'failed');
"""


# Who put the file there: `sent_run` is the load that sent it, null if it was found there; `seen` lists (as JSON) the
# files of the same name and size that were there before and belong to somebody else; `sent_sha256` is what was sent.
# For files that an earlier version found after a crash this is unknown, so they have no run.
_WHOSE = """
ALTER TABLE uploads ADD COLUMN sent_run INTEGER;
ALTER TABLE uploads ADD COLUMN seen TEXT;
ALTER TABLE uploads ADD COLUMN sent_sha256 TEXT;
UPDATE uploads SET sent_run = run_id WHERE attempts > 0 AND (status IN ('uploaded', 'in_doubt') OR
    (status = 'failed' AND remote_id IS NOT NULL));
UPDATE uploads SET sent_sha256 = (SELECT a.sha256 FROM attachments a WHERE a.attachment_id = uploads.attachment_id)
    WHERE attempts > 0;
"""

# A crawl of a selection (`partial`) has checkpoints of its own, beside those of the full crawl.
_CRAWLS = """
ALTER TABLE checkpoints RENAME TO checkpoints_of_one;
CREATE TABLE checkpoints (
    partial INTEGER NOT NULL, stream TEXT NOT NULL, cursor TEXT, done INTEGER NOT NULL, run_id INTEGER NOT NULL,
    PRIMARY KEY (partial, stream)
);
INSERT INTO checkpoints SELECT 0, stream, cursor, done, run_id FROM checkpoints_of_one;
DROP TABLE checkpoints_of_one;
"""


def _run_all(db: Database, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations(name="0001_format_1")
def _format_1(db: Database) -> None:
    _run_all(db, _TABLES)


@migrations(name="0002_whose_upload")
def _whose_upload(db: Database) -> None:
    _run_all(db, _WHOSE)


@migrations(name="0003_crawls_of_a_selection")
def _crawls_of_a_selection(db: Database) -> None:
    _run_all(db, _CRAWLS)


@migrations(name="0004_proof_of_uploads")
def _proof_of_uploads(db: Database) -> None:
    """Where a file is at the target, if its id doesn't say; and whether its content, read back, was the same."""
    db.execute("ALTER TABLE uploads ADD COLUMN remote_locator TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE uploads ADD COLUMN content_check TEXT")


# Counts and failures are read from these indexes alone, not from the rows, which are large: each holds the tracker's
# own JSON. None begins with just `status`, because SQLite would prefer it to an index that finds few rows, and read
# them all. For the same reason the queries for entities_faulty say `+last_run`, which rules an index out.
_COUNTED = """
CREATE INDEX attachments_counted ON attachments (stored_run, status, last_run);
CREATE INDEX attachments_failed ON attachments (kind, entity_id, attachment_id) WHERE status = 'failed';
CREATE INDEX entities_counted ON entities (last_run);
CREATE INDEX attachments_skipped ON attachments (kind) WHERE status = 'skipped';
CREATE INDEX entities_faulty ON entities (kind, entity_id) WHERE coalesce(error, note) IS NOT NULL;
CREATE INDEX uploads_counted ON uploads (target, status);
CREATE INDEX blobs_lost ON blobs (sha256) WHERE problem IS NOT NULL;
CREATE INDEX uploads_open ON uploads (attachment_id) WHERE status IN ('failed', 'in_doubt');
"""


@migrations(name="0005_a_million_rows")
def _a_million_rows(db: Database) -> None:
    _run_all(db, _COUNTED)


@migrations(name="0006_blobs_of_stored_files")
def _blobs_of_stored_files(db: Database) -> None:
    """Index only rows that have a blob: pending rows were inserted into the index and moved again once stored."""
    db.execute("DROP INDEX attachments_by_blob")
    db.execute("CREATE INDEX attachments_by_blob ON attachments (sha256) WHERE sha256 IS NOT NULL")


@migrations(name="0007_no_index_by_blob")
def _no_index_by_blob(db: Database) -> None:
    """Drop the index: only a repair used it, and it slowed recording by 20 %, as each hash changes another page."""
    db.execute("DROP INDEX attachments_by_blob")


@migrations(name="0008_warnings_of_files")
def _warnings_of_files(db: Database) -> None:
    """What was odd about a file that was stored anyway, such as a size other than the listed one."""
    db.execute("ALTER TABLE attachments ADD COLUMN warning TEXT")


# What a target made of a file: it was sent as `sent_name` and is called `name` there; `altered` (JSON) is what differs.
# `sent_at` is when it was last sent; `accepted` is 1 if the target accepted it, but no list has shown it yet.
_ALTERED = """
ALTER TABLE uploads ADD COLUMN sent_name TEXT;
ALTER TABLE uploads ADD COLUMN sent_at TEXT;
ALTER TABLE uploads ADD COLUMN accepted INTEGER;
ALTER TABLE uploads ADD COLUMN altered TEXT;
CREATE INDEX uploads_unlisted ON uploads (target, target_kind, target_id) WHERE accepted = 1;
CREATE INDEX uploads_altered ON uploads (target, run_id) WHERE altered IS NOT NULL;
"""


@migrations(name="0009_altered_by_the_target")
def _altered_by_the_target(db: Database) -> None:
    _run_all(db, _ALTERED)


# `changed_run` is the run since which the archive has held a row as it is, a file with its bytes. It is NULL while a
# file was never stored, while its changed content is not fetched yet, and once the source no longer has it. When a
# state ends that a snapshot holds, it is copied to a `past_` table; `until_run` is the last snapshot that holds it.
# See migrator/store/catalog/history.py. `removed_blobs` are blobs that a prune has forgotten, and not yet deleted.
_HISTORY = """
ALTER TABLE attachments ADD COLUMN changed_run INTEGER;
ALTER TABLE entities ADD COLUMN changed_run INTEGER;
UPDATE attachments SET changed_run = coalesce(stored_run, last_run) WHERE status = 'stored';
UPDATE entities SET changed_run = last_run;
CREATE INDEX attachments_changed ON attachments (changed_run) WHERE changed_run IS NOT NULL;
DROP INDEX entities_counted;
CREATE INDEX entities_counted ON entities (last_run, changed_run);
CREATE TABLE past_attachments (
    attachment_id TEXT NOT NULL, kind TEXT NOT NULL, entity_id TEXT NOT NULL, comment_id TEXT, name TEXT NOT NULL,
    size INTEGER, media_type TEXT NOT NULL, description TEXT NOT NULL, created_at TEXT NOT NULL,
    created_by TEXT NOT NULL, sha256 TEXT NOT NULL, changed_run INTEGER NOT NULL, until_run INTEGER NOT NULL,
    PRIMARY KEY (attachment_id, until_run)
);
CREATE INDEX past_attachments_by_end ON past_attachments (until_run);
CREATE INDEX past_attachments_by_start ON past_attachments (changed_run);
CREATE TABLE past_entities (
    kind TEXT NOT NULL, entity_id TEXT NOT NULL, title TEXT NOT NULL, url TEXT NOT NULL,
    changed_run INTEGER NOT NULL, until_run INTEGER NOT NULL,
    PRIMARY KEY (kind, entity_id, until_run)
);
CREATE INDEX past_entities_by_end ON past_entities (until_run);
CREATE TABLE snapshots (
    run_id INTEGER PRIMARY KEY, at TEXT NOT NULL, entities INTEGER NOT NULL, attachments INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE TABLE removed_blobs (sha256 TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIEW history AS
SELECT attachment_id, kind, entity_id, name, size, sha256, description, created_at, created_by,
    (SELECT min(run_id) FROM snapshots WHERE run_id >= p.changed_run) AS from_run,
    (SELECT max(run_id) FROM snapshots WHERE run_id <= p.until_run) AS to_run
FROM past_attachments p
WHERE EXISTS (SELECT 1 FROM snapshots WHERE run_id BETWEEN p.changed_run AND p.until_run)
UNION ALL
SELECT attachment_id, kind, entity_id, name, size, sha256, description, created_at, created_by,
    (SELECT min(run_id) FROM snapshots WHERE run_id >= a.changed_run), NULL
FROM attachments a
WHERE a.changed_run <= (SELECT max(run_id) FROM snapshots);
ALTER TABLE checkpoints ADD COLUMN checksum TEXT NOT NULL DEFAULT '';
"""


@migrations(name="0010_history")
def _history(db: Database) -> None:
    _run_all(db, _HISTORY)
    for row in db.execute("SELECT partial, stream, cursor, done, run_id FROM checkpoints").fetchall():
        values = [checkpoint_checksum(*row), *row[:2]]
        db.execute("UPDATE checkpoints SET checksum = ? WHERE partial = ? AND stream = ?", values)


# A row of `accepted_failures` is about a file (only its `attachment_id` is set), or about an entity whose files can't
# be listed (only `kind` and `entity_id` are). `failed_rechecks` are stored files that could not be fetched again.
_ACCEPTED = """
CREATE TABLE accepted_failures (
    attachment_id TEXT NOT NULL, kind TEXT NOT NULL, entity_id TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (attachment_id, kind, entity_id)
);
CREATE TABLE failed_rechecks (attachment_id TEXT PRIMARY KEY, reason TEXT NOT NULL, run_id INTEGER NOT NULL);
"""


@migrations(name="0011_accepted_failures")
def _accepted_failures(db: Database) -> None:
    _run_all(db, _ACCEPTED)


@migrations(name="0012_unchanged_entities")
def _unchanged_entities(db: Database) -> None:
    """The date of an entity's last change up to which its recorded files are complete; NULL: it has to be asked."""
    db.execute("ALTER TABLE entities ADD COLUMN files_as_of TEXT")


# For people, who look at the catalog with `sqlite3` or Datasette. There are no foreign keys beside it: SQLite adds none
# to a column that exists, so each archive would have to write its largest table anew, and keys of two columns, such as
# that of an entity, are no links in Datasette anyway.
_FILES = """
CREATE VIEW files AS
SELECT a.kind, a.entity_id, e.title, a.name, coalesce(b.size, a.size) AS size, a.created_at, a.created_by,
    a.description, a.status, a.error, 'blobs/' || substr(b.sha256, 1, 2) || '/' || b.sha256 AS path, e.url,
    a.media_type, a.comment_id, a.attachment_id, b.sha256
FROM attachments a LEFT JOIN entities e USING (kind, entity_id) LEFT JOIN blobs b USING (sha256)
"""


@migrations(name="0013_view_of_files")
def _view_of_files(db: Database) -> None:
    """What a person wants to know about a file, in one row."""
    db.execute(_FILES)


def has_table(db: Database, name: str) -> bool:
    """Whether the catalog has this table; an archive that no newer program has worked on may lack it."""
    return db.execute("SELECT 1 FROM main.sqlite_master WHERE name = ?", [name]).fetchone() is not None


def columns_of(db: Database, table: str) -> set[str]:
    """The names of a table's columns; an archive that no newer program has worked on may lack the newest."""
    return {row[1] for row in db.execute(f"PRAGMA table_info({table})").fetchall()}


def checkpoint_checksum(partial: bool, stream: str, cursor: str | None, done: bool, run: int) -> str:
    """The `checksum` of a row of `checkpoints`, 16 hex digits: this table is not in the journal to compare with."""
    text = json.dumps([bool(partial), stream, cursor, bool(done), run])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
