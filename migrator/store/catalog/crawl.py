"""The part of the catalog that a backup writes: what was listed, what was stored, how far the crawl has come.

A crawl may span several runs: one run starts it, and later ones resume it from its checkpoints. When it ends, the
source holds exactly what was seen since its start.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from migrator.model import Attachment, Blob, Cursor, Entity, EntityRef, Link, Outcome, Status
from migrator.store.catalog.changed_content import RECORD_LISTED
from migrator.store.catalog.database import FAILURES_KEY
from migrator.store.catalog.lineage import forget_deleted
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.rows import COLUMNS, attachment_from, row_of, statements_for
from migrator.store.catalog.scope import files_condition, requeue_skipped, skip_left_out
from migrator.store.catalog.settings import Settings
from migrator.store.catalog.unchanged import FullCrawl, record_full_crawl
from migrator.store.schema import checkpoint_checksum

_ENTITIES = """
INSERT INTO entities (kind, entity_id, title, url, raw, first_run, last_run, changed_run)
SELECT *, column7 FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT DO UPDATE SET
    changed_run = iif(changed_run IS NULL OR excluded.title NOT IN ('', title), excluded.last_run, changed_run),
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
SET sha256 = hash, status = 'stored', error = NULL, warning = oddity, stored_run = ?,
    changed_run = iif(changed_run IS NOT NULL AND sha256 = hash, changed_run, ?)
FROM done WHERE attachment_id = id
"""
_LINK = """
UPDATE attachments SET kind = ?, entity_id = ?, comment_id = coalesce(?, comment_id),
    changed_run = iif(changed_run IS NULL, NULL, ?)
WHERE attachment_id = ? AND kind = 'Unlinked'
"""
FEW_GONE_FILES = 10
"""This many files may vanish at once, whatever their share of the archive."""
_SELECTED_KEY = "taken"
"""The key in `settings` for the entities that a crawl with a limit has selected."""


@dataclass(frozen=True, slots=True)
class Crawl:
    """How far a crawl has come: its first run (`start`), and the cursor of each stream that was begun; None if done.

    A `partial` crawl follows a selection, and says nothing about entities and files that it doesn't see.
    """

    start: int
    cursors: dict[str, Cursor | None]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Vanished:
    """What the archive held as present and a complete crawl did not list: `files` out of `held`.

    `believed` is False if too many vanished at once; they then stay present.
    """

    files: int = 0
    held: int = 0
    believed: bool = True


class CrawlRecords(CatalogPart):
    """What a backup records as it goes: pages, outcomes, checkpoints, and what is gone at the end.

    Beware: a file that is not listed is gone only if the whole source was seen and not too many vanish at once.
    """

    def begin(
        self,
        run: int,
        scope: str,
        kinds: Sequence[str] = (),
        *,
        partial: bool = False,
        left_out_ids: Sequence[str] = (),
    ) -> Crawl:
        """Resume the crawl under way, or start one if there is none or its scope was different.

        A partial crawl leaves the checkpoints of the full crawl alone. A full crawl ends a partial one, and requeues
        the files of its `kinds` that the partial one skipped, without those whose ids begin with one of `left_out_ids`.
        """
        starts, cursors = list[int](), dict[str, Cursor | None]()
        for *row, checksum in self._db.execute("SELECT * FROM checkpoints WHERE partial = ?", [partial]).fetchall():
            if checksum != checkpoint_checksum(*row):
                continue
            _, stream, cursor, done, first_run = row
            if stream:
                cursors[stream] = None if done else cursor
            elif cursor == scope:  # the row without a stream has the scope, and the run that began the crawl
                starts.append(first_run)
        with self._database.transaction():
            if not partial:
                self._drop_checkpoints(partial=True)
                requeue_skipped(self._db, kinds, left_out_ids)
            if not starts:
                self._drop_checkpoints(partial=partial)
                self._write_checkpoint(partial, "", scope, 0, run)
                return Crawl(run, {}, partial)
        return Crawl(starts[0], cursors, partial)

    def selected_entities(self, crawl: Crawl) -> list[EntityRef]:
        """The entities that a crawl with a limit has selected so far."""
        start, refs = json.loads(Settings(self._database).get(_SELECTED_KEY) or "[0, []]")
        return [EntityRef(kind, id_) for kind, id_ in refs] if crawl.partial and start == crawl.start else []

    def record_selected(self, crawl: Crawl, selected: Iterable[EntityRef]) -> None:
        """Record the entities that a crawl with a limit has selected, before anything of them is recorded."""
        refs = json.dumps([crawl.start, [(ref.kind, ref.id) for ref in selected]])
        Settings(self._database).set(_SELECTED_KEY, refs)

    def record_listing(
        self, run: int, entities: Sequence[Entity], attachments: Iterable[tuple[Attachment, Status]]
    ) -> set[str]:
        """Record what a page lists; returns the ids of attachments that still have to be fetched."""
        seen = [(*entity.ref, entity.title, entity.url, entity.raw, run, run) for entity in entities]
        listed = [(*row_of(attachment), status.value, run, run) for attachment, status in attachments]
        with self._database.transaction():
            for statement, values in (*statements_for(_ENTITIES, seen), *statements_for(RECORD_LISTED, listed)):
                self._db.execute(statement, values)
        return self._among([row[0] for row in listed], "status IN ('pending', 'failed')")

    def failed_among(self, ids: Sequence[str]) -> set[str]:
        """Those of these attachments that have failed."""
        return self._among(ids, "status = 'failed'")

    def _among(self, ids: Sequence[object], condition: str) -> set[str]:
        row = self._db.execute(  # a cross join asks for each id, whatever else is indexed
            "SELECT json_group_array(attachment_id) FROM json_each(?) CROSS JOIN attachments ON attachment_id = value "
            f"WHERE {condition}",
            [json.dumps(ids)],
        ).fetchone()
        return set(json.loads(row[0]))

    def record_entity_error(self, run: int, entity: Entity, error: str | None, *, expected: bool = False) -> None:
        """Record that the attachments of this entity could not be listed, or with None that they can be again.

        `expected`: it is reported, but not as a failure. An entity that no page has listed gets its row here, or its
        error would be lost.
        """
        column = "note" if expected else "error"
        with self._database.transaction():
            self._db.execute(
                f"INSERT INTO entities (kind, entity_id, title, url, raw, first_run, last_run, changed_run, {column}) "
                f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                f"ON CONFLICT DO UPDATE SET {column} = excluded.{column}, last_run = excluded.last_run, "
                f"changed_run = coalesce(changed_run, excluded.changed_run)",
                [*entity.ref, entity.title, entity.url, entity.raw, run, run, run, error],
            )

    def failed_entities(self, crawl: Crawl) -> list[Entity]:
        """The entities whose attachments an earlier run of this crawl could not list."""
        rows = self._db.execute(
            "SELECT kind, entity_id, title, url, raw FROM entities "
            "WHERE coalesce(error, note) IS NOT NULL AND error IS NOT NULL AND +last_run >= ?",
            [crawl.start],
        ).fetchall()
        return [Entity(EntityRef(kind, id_), title, url, raw) for kind, id_, title, url, raw in rows]

    def record_outcomes(self, run: int, outcomes: Iterable[Outcome]) -> None:
        """Record the outcome of each file. Its blob must be safe on disk before."""
        outcomes = list(outcomes)
        stored = [(each.attachment.id, each.blob, each.warning) for each in outcomes if each.blob]
        others = [(each.status.value, each.error, each.attachment.id) for each in outcomes if not each.blob]
        with self._database.transaction():
            if stored:
                self._record_stored(run, stored)
            if others:
                self._db.conn.executemany(
                    "UPDATE attachments SET status = ?1, error = ?2, changed_run = iif(?1 = 'gone', NULL, changed_run) "
                    "WHERE attachment_id = ?3",
                    others,
                )

    def _record_stored(self, run: int, stored: Sequence[tuple[str, Blob, str | None]]) -> None:
        blobs = [*{blob.sha256: (blob.sha256, blob.size) for _, blob, _ in stored}.values()]
        done = [(id_, blob.sha256, warning) for id_, blob, warning in stored]
        for statement, values in statements_for(_BLOBS, blobs):
            self._db.execute(statement, values)
        for statement, values in statements_for(_STORED, done):
            self._db.execute(statement, [*values, run, run])

    def record_checkpoint(
        self, run: int, stream: str, cursor: Cursor | None, links: Iterable[Link] = (), *, partial: bool = False
    ) -> None:
        """Record that all of a page is recorded, so the stream continues at `cursor`; None means that it is done."""
        with self._database.transaction():
            self._db.conn.executemany(
                _LINK, [(*link.owner, link.comment_id, run, link.attachment_id) for link in links]
            )
            self._write_checkpoint(partial, stream, cursor, cursor is None, run)

    def _write_checkpoint(self, *values: Any) -> None:
        self._db.execute(
            "INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (partial, stream) DO UPDATE SET "
            "cursor = excluded.cursor, done = excluded.done, run_id = excluded.run_id, checksum = excluded.checksum",
            [*values, checkpoint_checksum(*values)],
        )

    def _drop_checkpoints(self, *, partial: bool) -> None:
        """End or abandon a crawl: which rows it saw goes to the journal now."""
        start = self._db.execute("SELECT min(run_id) FROM checkpoints WHERE partial = ?", [partial]).fetchone()[0]
        if start is not None:
            self._database.journal_seen(start)
            self._db.execute("DELETE FROM checkpoints WHERE partial = ?", [partial])

    def unfinished(self, crawl: Crawl, after: str = "") -> list[Attachment]:
        """The next few hundred files, by id, that this crawl has listed and still has to fetch.

        For a partial crawl they include skipped files, whose owner may have become known since.
        """
        wanted = "status IN ('pending', 'failed')" + (" OR status = 'skipped' AND error IS NULL" * crawl.partial)
        rows = self._db.execute(
            f"SELECT {COLUMNS} FROM attachments WHERE ({wanted}) "
            "AND attachment_id > ? AND last_run >= ? ORDER BY attachment_id LIMIT 500",
            [after, crawl.start],
        ).fetchall()
        return [attachment_from(row) for row in rows]

    def requeue(self, lost: Iterable[str]) -> int:
        """Set the attachments of these damaged or missing blobs back to pending; returns how many there are."""
        with self._database.transaction():
            return self._db.execute(
                "UPDATE attachments SET status = 'pending', error = 'its blob is damaged or missing' "
                "WHERE status = 'stored' AND sha256 IN (SELECT value FROM json_each(?))",
                [json.dumps([*lost])],
            ).rowcount

    def record_general_failures(self, failures: Sequence[tuple[str, str]]) -> None:
        """Replace the failures (name, reason) that belong to no file or entity by those of this backup."""
        text = json.dumps([*failures], ensure_ascii=False)
        settings = Settings(self._database)
        if text != (settings.get(FAILURES_KEY) or "[]"):
            settings.set(FAILURES_KEY, text)

    def end(
        self,
        crawl: Crawl,
        kinds: Sequence[str] = (),
        *,
        left_out: Sequence[str] = (),
        left_out_ids: Sequence[str] = (),
        whole: bool = True,
        max_gone: float | None = None,
        full_crawl: FullCrawl | None = None,
    ) -> Vanished:
        """Finish the crawl: the next backup starts a new one, and files that this one did not see are marked gone.

        Only files of these `kinds` were looked for (all if empty), except those `left_out` and those whose ids begin
        with one of `left_out_ids`, which are skipped unless they are stored. Nothing is marked gone if the files of
        some entity could not be listed, or if the crawl is not `whole` for another reason; nor if too many would go:
        more than FEW_GONE_FILES, and more than the share `max_gone` of the files held as present. A partial crawl marks
        nothing gone. `full_crawl` is recorded for the next crawl.
        """
        with self._database.transaction():
            unlisted = self._db.execute(
                "SELECT 1 FROM entities WHERE coalesce(error, note) IS NOT NULL AND +last_run >= ? LIMIT 1",
                [crawl.start],
            ).fetchone()
            of_kinds, values = files_condition(kinds, left_out, left_out_ids)
            complete = whole and not unlisted and not crawl.partial
            vanished = self._vanished(crawl, of_kinds, values, max_gone) if complete else Vanished()
            if vanished.files and vanished.believed:
                self._db.execute(
                    "UPDATE attachments SET status = 'gone', error = NULL, changed_run = NULL "
                    f"WHERE last_run < ? {of_kinds} AND status != 'gone'",
                    [crawl.start, *values],
                )
            if complete and vanished.believed:
                forget_deleted(self._db, crawl.start, of_kinds, values)
            if not crawl.partial:
                skip_left_out(self._db, left_out_ids)
                record_full_crawl(self._db, full_crawl)
            self._drop_checkpoints(partial=crawl.partial)
        return vanished

    def _vanished(self, crawl: Crawl, of_kinds: str, values: Sequence[str], max_gone: float | None) -> Vanished:
        count = f"SELECT count(*) FROM attachments WHERE status != 'gone' {of_kinds}"
        files = int(self._db.execute(f"{count} AND last_run < ?", [*values, crawl.start]).fetchone()[0])
        if files <= FEW_GONE_FILES or max_gone is None:
            return Vanished(files)
        held = int(self._db.execute(f"{count} AND first_run < ?", [*values, crawl.start]).fetchone()[0])
        return Vanished(files, held, believed=files <= max_gone * held)
