"""The part of the catalog that a backup writes: what was listed, what was stored, how far the crawl has come.

A crawl may span several runs: one run starts it, and later ones resume it from its checkpoints. What was seen since its
start is what the source holds now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from migrator.model import Attachment, Blob, Cursor, Entity, EntityRef, Link, Outcome, Status
from migrator.store.catalog.database import CatalogDatabase
from migrator.store.content_change import CONTENT_CHANGED

COLUMNS = (
    "attachment_id, kind, entity_id, comment_id, name, size, media_type, description, created_at, created_by, "
    "locator, raw"
)
# Once an owner is known, it is never removed. New content (see `content_change`) has to be fetched again. A file that
# was gone and is listed again is back; if it was its download that said "gone" (such rows carry an error), it is tried
# again, once in each run. A stored file that this run skips keeps its old size and date, so that the run that fetches
# it later can still see the change.
_LEFT = "excluded.status = 'skipped' AND status = 'stored'"
_ATTACHMENTS = f"""
INSERT INTO attachments ({COLUMNS}, status, first_run, last_run)
SELECT * FROM (VALUES {{rows}}) WHERE column1 IS NOT NULL
ON CONFLICT (attachment_id) DO UPDATE SET
    kind = iif(excluded.kind = 'Unlinked', kind, excluded.kind),
    entity_id = iif(excluded.kind = 'Unlinked', entity_id, excluded.entity_id),
    comment_id = coalesce(excluded.comment_id, comment_id),
    name = excluded.name, size = iif({_LEFT}, size, coalesce(excluded.size, size)), media_type = excluded.media_type,
    description = excluded.description,
    created_at = iif(excluded.created_at = '' OR {_LEFT}, created_at, excluded.created_at),
    created_by = excluded.created_by,
    error = iif(excluded.status = 'skipped' AND status != 'stored', NULL, error),
    locator = excluded.locator, raw = excluded.raw, last_run = excluded.last_run,
    status = CASE
        WHEN excluded.status = 'skipped' THEN iif(status = 'stored', 'stored', 'skipped')
        WHEN {CONTENT_CHANGED} THEN 'pending'
        WHEN status = 'gone' AND last_run = excluded.last_run THEN 'gone'
        WHEN status = 'gone' THEN iif(sha256 IS NULL OR error IS NOT NULL, 'pending', 'stored')
        WHEN status = 'skipped' THEN 'pending'
        ELSE status END
"""
_ENTITIES = """
INSERT INTO entities (kind, entity_id, title, url, raw, first_run, last_run)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT DO UPDATE SET
    title = iif(excluded.title = '', title, excluded.title), url = iif(excluded.url = '', url, excluded.url),
    raw = coalesce(excluded.raw, raw), last_run = excluded.last_run,
    error = iif(excluded.raw IS NULL, error, NULL), note = iif(excluded.raw IS NULL, note, NULL)
"""
_BLOBS = """
INSERT INTO blobs (sha256, size)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT DO UPDATE SET size = excluded.size, problem = NULL
"""
_STORED = """
WITH done (id, hash, oddity) AS (VALUES {rows}) UPDATE attachments
SET sha256 = hash, status = 'stored', error = NULL, warning = oddity, stored_run = ? FROM done WHERE attachment_id = id
"""
_LINK = """
UPDATE attachments SET kind = ?, entity_id = ?, comment_id = coalesce(?, comment_id)
WHERE attachment_id = ? AND kind = 'Unlinked'
"""


ROWS_PER_STATEMENT = 512
"""Rows per SQL statement. Each statement releases the GIL, and may wait for milliseconds to get it back."""


def _statements_for(statement: str, rows: Sequence[Sequence[object]]) -> Iterator[tuple[str, list[object]]]:
    """Statements that write these rows, each with its parameters; `{rows}` in `statement` is the place of the rows.

    SQLite compiles the statement anew for each number of rows. So that there are few such numbers, each batch is filled
    up to a power of two with NULL rows, which the statement has to skip.
    """
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        batch = rows[start : start + ROWS_PER_STATEMENT]
        width, length = len(batch[0]), 1 << (len(batch) - 1).bit_length()
        placeholders = f"({', '.join('?' * width)})"
        padding = [None] * (width * (length - len(batch)))
        yield statement.format(rows=", ".join([placeholders] * length)), [*chain.from_iterable(batch), *padding]


@dataclass(frozen=True, slots=True)
class Crawl:
    """How far the crawl is: its first run, and the cursor of each stream that has begun, None where it is done.

    A `partial` crawl follows a selection, and says nothing about what it doesn't see.
    """

    start: int
    cursors: dict[str, Cursor | None]
    partial: bool = False


class CrawlTables(CatalogDatabase):
    """Methods of `Catalog`."""

    def begin_crawl(self, run: int, scope: str, kinds: Sequence[str] = (), *, partial: bool = False) -> Crawl:
        """Resume the crawl under way, or start one if there is none or its scope was different.

        A partial crawl leaves the checkpoints of the full crawl alone. A full crawl ends a partial one, and requeues
        what that skipped of its `kinds`.
        """
        rows = self.db.execute(
            "SELECT stream, cursor, done, run_id FROM checkpoints WHERE partial = ?", [partial]
        ).fetchall()
        same_scope = [row for row in rows if row[0] == "" and row[1] == scope]
        with self.transaction():
            if not partial:
                self._end_partial(kinds)
            if not same_scope:
                self.db.execute("DELETE FROM checkpoints WHERE partial = ?", [partial])
                self.db.execute("INSERT INTO checkpoints VALUES (?, '', ?, 0, ?)", [partial, scope, run])
                return Crawl(run, {}, partial)
        cursors = {stream: None if done else cursor for stream, cursor, done, _ in rows if stream}
        return Crawl(same_scope[0][3], cursors, partial)

    def _end_partial(self, kinds: Sequence[str]) -> None:
        of_kinds = f"AND kind IN ('Unlinked', {', '.join('?' * len(kinds))})" if kinds else ""
        self.db.execute("DELETE FROM checkpoints WHERE partial")
        self.db.execute(
            f"UPDATE attachments SET status = 'pending' WHERE status = 'skipped' AND error IS NULL {of_kinds}", [*kinds]
        )

    def record_listing(
        self, run: int, entities: Sequence[Entity], attachments: Iterable[tuple[Attachment, Status]]
    ) -> set[str]:
        """Record what a page lists; returns the ids of attachments that still have to be fetched."""
        seen = [(*e.ref, e.title, e.url, e.raw, run, run) for e in entities]
        listed = [(*_row(attachment), status.value, run, run) for attachment, status in attachments]
        with self.transaction():
            for statement, values in (*_statements_for(_ENTITIES, seen), *_statements_for(_ATTACHMENTS, listed)):
                self.db.execute(statement, values)
        return self._unfinished([row[0] for row in listed])

    def _unfinished(self, ids: Sequence[object]) -> set[str]:
        unfinished: set[str] = set()
        for start in range(0, len(ids), 500):
            batch = ids[start : start + 500]
            row = self.db.execute(
                "SELECT json_group_array(attachment_id) FROM attachments WHERE status IN ('pending', 'failed') "
                f"AND attachment_id IN ({', '.join('?' * len(batch))})",
                batch,
            ).fetchone()
            unfinished.update(json.loads(row[0]))
        return unfinished

    def record_entity_error(self, run: int, entity: Entity, error: str | None, *, expected: bool = False) -> None:
        """The attachments of this entity could not be listed. `expected`: this is reported, but is not a failure.

        None: they can be listed again. An entity that no page has listed gets its row here, or its error would be lost.
        """
        column = "note" if expected else "error"
        with self.transaction():
            self.db.execute(
                f"INSERT INTO entities (kind, entity_id, title, url, raw, first_run, last_run, {column}) "
                f"VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                f"ON CONFLICT DO UPDATE SET {column} = excluded.{column}, last_run = excluded.last_run",
                [entity.ref.kind, entity.ref.id, entity.title, entity.url, entity.raw, run, run, error],
            )

    def failed_entities(self, crawl: Crawl) -> list[Entity]:
        """The entities whose attachments an earlier run of this crawl could not list."""
        rows = self.db.execute(
            "SELECT kind, entity_id, title, url, raw FROM entities "
            "WHERE coalesce(error, note) IS NOT NULL AND error IS NOT NULL AND +last_run >= ?",
            [crawl.start],
        ).fetchall()
        return [Entity(EntityRef(kind, id_), title, url, raw) for kind, id_, title, url, raw in rows]

    def sample_of_files(self, entities: int) -> list[Attachment]:
        """Stored files of this many entities: any, but the same ones each time. Reads all attachments.

        Files that an entity's own list may lack are left out: those of comments, and images inside a text.
        """
        own = "status = 'stored' AND comment_id IS NULL AND attachment_id NOT LIKE 'inline:%'"
        rows = self.db.execute(
            f"SELECT {COLUMNS} FROM attachments WHERE {own} AND (kind, entity_id) IN (SELECT kind, entity_id "
            f"FROM attachments WHERE {own} GROUP BY kind, entity_id ORDER BY min(sha256) LIMIT ?) "
            "ORDER BY kind, entity_id, attachment_id LIMIT 500",
            [entities],
        ).fetchall()
        return [attachment_from(row) for row in rows]

    def record_outcomes(self, run: int, outcomes: Iterable[Outcome]) -> None:
        """Record the outcome of each file. Its blob must be safe on disk before."""
        outcomes = list(outcomes)
        stored = [(o.attachment.id, o.blob, o.warning) for o in outcomes if o.blob]
        others = [(o.status.value, o.error, o.attachment.id) for o in outcomes if not o.blob]
        with self.transaction():
            if stored:
                self._record_stored(run, stored)
            if others:
                self.db.conn.executemany("UPDATE attachments SET status = ?, error = ? WHERE attachment_id = ?", others)

    def _record_stored(self, run: int, stored: Sequence[tuple[str, Blob, str | None]]) -> None:
        blobs = [*{blob.sha256: (blob.sha256, blob.size) for _, blob, _ in stored}.values()]
        done = [(id_, blob.sha256, warning) for id_, blob, warning in stored]
        for statement, values in _statements_for(_BLOBS, blobs):
            self.db.execute(statement, values)
        for statement, values in _statements_for(_STORED, done):
            self.db.execute(statement, [*values, run])

    def record_checkpoint(
        self, run: int, stream: str, cursor: Cursor | None, links: Iterable[Link] = (), *, partial: bool = False
    ) -> None:
        """All of a page is recorded: the stream continues at `cursor`; None means it is done."""
        with self.transaction():
            self.db.conn.executemany(_LINK, [(x.owner.kind, x.owner.id, x.comment_id, x.attachment_id) for x in links])
            self.db.execute(
                "INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?) ON CONFLICT (partial, stream) DO UPDATE SET "
                "cursor = excluded.cursor, done = excluded.done, run_id = excluded.run_id",
                [partial, stream, cursor, cursor is None, run],
            )

    def stored_of_unlisted_size(self) -> Attachment | None:
        """The smallest stored file that is not empty and whose size the tracker doesn't list."""
        columns = ", ".join(f"a.{column}" for column in COLUMNS.split(", "))
        row = self.db.execute(
            f"SELECT {columns} FROM attachments a JOIN blobs b USING (sha256) WHERE a.status = 'stored' "
            "AND coalesce(a.size, -1) < 0 AND b.size > 0 ORDER BY b.size LIMIT 1"
        ).fetchone()
        return attachment_from(row) if row else None

    def unfinished(self, crawl: Crawl, after: str = "") -> list[Attachment]:
        """What this crawl has listed and still has to fetch: the next few hundred, by id.

        For a partial crawl that includes what was skipped, as its owner may have become known since.
        """
        wanted = "status IN ('pending', 'failed')" + (" OR status = 'skipped' AND error IS NULL" * crawl.partial)
        rows = self.db.execute(
            f"SELECT {COLUMNS} FROM attachments WHERE ({wanted}) "
            "AND attachment_id > ? AND last_run >= ? ORDER BY attachment_id LIMIT 500",
            [after, crawl.start],
        ).fetchall()
        return [attachment_from(row) for row in rows]

    def record_problems(self, problems: Mapping[str, str], *, whole: bool) -> None:
        """Record what `verify` found of each blob. A check of the `whole` archive also clears earlier problems."""
        if self.read_only:
            return
        with self.transaction():
            if whole:
                self.db.execute("UPDATE blobs SET problem = NULL WHERE problem IS NOT NULL")
            self.db.conn.executemany(
                "UPDATE blobs SET problem = ? WHERE sha256 = ?",
                [(problem, sha256) for sha256, problem in problems.items()],
            )

    def requeue(self, lost: Iterable[str]) -> int:
        """Queue the attachments of these damaged or missing blobs to be fetched again; returns how many there are."""
        with self.transaction():
            return self.db.execute(
                "UPDATE attachments SET status = 'pending', error = 'its blob is damaged or missing' "
                "WHERE status = 'stored' AND sha256 IN (SELECT value FROM json_each(?))",
                [json.dumps([*lost])],
            ).rowcount


def _row(attachment: Attachment) -> tuple[object, ...]:
    """The values of `COLUMNS`."""
    return (
        attachment.id,
        attachment.owner.kind,
        attachment.owner.id,
        attachment.comment_id,
        attachment.name,
        attachment.size,
        attachment.media_type,
        attachment.description,
        attachment.created_at,
        attachment.created_by,
        attachment.locator,
        attachment.raw,
    )


def attachment_from(row: Sequence[object]) -> Attachment:
    """The attachment in a row of `COLUMNS`."""
    (id_, kind, entity, comment, name, size, media_type, description, created_at, created_by, locator, raw) = row
    return Attachment(
        id=str(id_),
        owner=EntityRef(str(kind), str(entity)),
        name=str(name),
        size=size if isinstance(size, int) else None,
        comment_id=None if comment is None else str(comment),
        media_type=str(media_type),
        description=str(description),
        created_at=str(created_at),
        created_by=str(created_by),
        locator=str(locator),
        raw=str(raw),
    )
