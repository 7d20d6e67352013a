"""The part of the catalog that only reads: counts, failures and runs for summaries, `status` and `verify`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from migrator.model import Blob, Entity, EntityRef, Status, UploadStatus
from migrator.store.catalog.database import FAILURES_KEY, IS_MAPPED, CatalogDatabase


class SummaryTables(CatalogDatabase):
    """Methods of `Catalog`."""

    def backup_counts(self, crawl_start: int, run: int, vanished: int = 0) -> dict[str, int]:
        """The `attachments` of a backup's summary: the files that the crawl listed, by outcome.

        This run stored the `stored` ones; the `unchanged` ones were stored before it. `gone` includes those `vanished`,
        which were not listed.
        """
        counts: Counter[str] = Counter()
        for status, stored_run, number in self._tally(crawl_start):
            before = status == Status.STORED and stored_run is not None and stored_run < run
            counts["unchanged" if before else status] += number
        listed = sum(counts.values())
        pending = counts[Status.PENDING]
        counts[Status.GONE] += vanished
        shown = ("stored", "unchanged", "skipped", "gone", "failed")
        return {"listed": listed, **{key: counts[key] for key in shown}, **({"pending": pending} if pending else {})}

    def _tally(self, since_run: int = 0) -> list[tuple[str, int | None, int]]:
        """The number of attachments seen since a run, by status and by the run that stored them."""
        return self.db.execute(
            "SELECT status, stored_run, sum(number) FROM (SELECT status, stored_run, last_run, count(*) AS number "
            "FROM attachments GROUP BY stored_run, status, last_run) WHERE last_run >= ? GROUP BY 1, 2",
            [since_run],
        ).fetchall()

    def entity_count(self, since_run: int = 0) -> int:
        """The number of entities seen since a run."""
        return int(self.db.execute("SELECT count(*) FROM entities WHERE last_run >= ?", [since_run]).fetchone()[0])

    def stored_bytes(self, run: int) -> int:
        """The bytes of the files that one run stored."""
        row = self.db.execute(
            "SELECT coalesce(sum(b.size), 0) FROM attachments a JOIN blobs b USING (sha256) "
            "WHERE stored_run = ? AND status = 'stored'",
            [run],
        ).fetchone()
        return int(row[0])

    def bytes_to_come(self, since_run: int, largest: int) -> int:
        """The least space that pending files need on disk: files of equal size may be equal, and are then stored once.

        A size above `largest` can't be true and counts as nothing.
        """
        row = self.db.execute(
            "SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT size FROM attachments WHERE status = 'pending' "
            "AND last_run >= ? AND size <= ? AND size NOT IN (SELECT size FROM blobs))",
            [since_run, largest],
        ).fetchone()
        return int(row[0])

    def sizes_stored(self, sizes: Iterable[int]) -> set[int]:
        """Those of these sizes that some stored blob has."""
        rows = self.db.execute(
            "SELECT DISTINCT size FROM blobs WHERE size IN (SELECT value FROM json_each(?))", [json.dumps([*sizes])]
        )
        return {size for (size,) in rows}

    def failures(self, since_run: int = 0) -> list[dict[str, str | None]]:
        """Files that failed, and entities whose files could not be listed, each with its reason."""
        files = self.db.execute(
            "SELECT kind, entity_id, attachment_id, name, error FROM attachments WHERE status = 'failed' "
            "AND last_run >= ? ORDER BY kind, entity_id, attachment_id",
            [since_run],
        )
        entities = self.db.execute(
            "SELECT kind, entity_id, NULL, title, error FROM entities "
            "WHERE coalesce(error, note) IS NOT NULL AND error IS NOT NULL AND +last_run >= ? ORDER BY kind, entity_id",
            [since_run],
        )
        keys = ("kind", "entity", "attachment", "name", "reason")
        rows = [*self._of_the_whole(), *files.fetchall(), *entities.fetchall()]
        return [dict(zip(keys, row, strict=True)) for row in rows]

    def _of_the_whole(self) -> list[tuple[str, str, None, str, str]]:
        """Failures of the last backup that belong to no file or entity, such as a listing."""
        rows = self.db.execute("SELECT value FROM settings WHERE key = ?", [FAILURES_KEY]).fetchone()
        return [("", "", None, name, reason) for name, reason in json.loads(rows[0] if rows else "[]")]

    def entities(self) -> Iterator[Entity]:
        """Every entity, without its JSON."""
        rows = self.db.execute("SELECT kind, entity_id, title, url FROM entities ORDER BY kind, entity_id")
        return (Entity(EntityRef(kind, id_), title, url) for kind, id_, title, url in rows)

    def entity(self, ref: EntityRef) -> Entity:
        """One entity with everything known about it, which may be nothing."""
        row = self.db.execute(
            "SELECT title, url, raw FROM entities WHERE kind = ? AND entity_id = ?", [ref.kind, ref.id]
        ).fetchone()
        return Entity(ref, *row) if row else Entity(ref)

    def upload_counts(self, target: str, run: int) -> dict[str, int]:
        """Uploads that the mapping asks for, by status: `uploaded` in this run, `already_there` if earlier."""
        self.prepare_mapped_table()
        rows = self.db.execute(
            "SELECT iif(u.status = 'uploaded' AND u.run_id < ?, 'already_there', u.status), count(*) "
            f"FROM uploads u JOIN attachments a USING (attachment_id) WHERE u.target = ? AND {IS_MAPPED} GROUP BY 1",
            [run, target],
        )
        return Counter(dict(rows.fetchall()))

    def upload_failures(self, target: str | None = None) -> list[dict[str, str | None]]:
        """Uploads that failed or are in doubt, each with its reason."""
        rows = self.db.execute(
            "SELECT a.kind, a.entity_id, a.attachment_id, a.name, "
            "coalesce(u.error, 'sent, no answer seen'), u.target_kind, u.target_id, u.status "
            "FROM uploads u JOIN attachments a USING (attachment_id) "
            "WHERE u.status IN ('failed', 'in_doubt') AND (? IS NULL OR u.target = ?) "
            "ORDER BY 1, 2, 3",
            [target, target],
        )
        keys = ("kind", "entity", "attachment", "name", "reason", "target_kind", "target_id", "status")
        return [dict(zip(keys, row, strict=True)) for row in rows.fetchall()]

    def changed_names(self) -> dict[str, str]:
        """The name under which each attachment was sent, by attachment id, where that is not its own name."""
        rows = self.db.execute(
            "SELECT attachment_id, u.name FROM uploads u JOIN attachments a USING (attachment_id) "
            "WHERE u.name != a.name"
        )
        return dict(rows.fetchall())

    def uploaded_bytes(self, target: str, run: int) -> int:
        """The bytes that one run uploaded."""
        row = self.db.execute(
            "SELECT coalesce(sum(b.size), 0) FROM uploads u JOIN attachments a USING (attachment_id) "
            "JOIN blobs b USING (sha256) WHERE u.target = ? AND u.run_id = ? AND u.status = ?",
            [target, run, UploadStatus.UPLOADED],
        ).fetchone()
        return int(row[0])

    def totals(self) -> dict[str, Any]:
        """What the archive holds and what is unfinished, for `status`."""
        execute, statuses = self.db.execute, Counter[str]()
        for status, _, number in self._tally():
            statuses[status] += number
        known = {row[1] for row in execute("PRAGMA table_info(uploads)").fetchall()}
        altered = 0
        if "altered" in known:  # an archive that no newer program has opened yet may lack it
            (altered,) = execute("SELECT count(*) FROM uploads WHERE altered IS NOT NULL").fetchone()
        return {
            **({"altered": altered} if altered else {}),
            "entities": self.entity_count(),
            "attachments": dict(sorted(statuses.items())),
            "blobs": dict(
                zip(
                    ("count", "bytes"),
                    execute("SELECT count(*), coalesce(sum(size), 0) FROM blobs").fetchone(),
                    strict=True,
                )
            ),
            "uploads": dict(execute("SELECT status, count(*) FROM uploads GROUP BY 1 ORDER BY 1").fetchall()),
            "crawl_under_way": execute("SELECT count(*) FROM checkpoints WHERE NOT partial").fetchone()[0] > 0,
        }

    def runs(self, limit: int = 20) -> list[dict[str, Any]]:
        """The latest runs, newest first, with their summaries."""
        rows = self.db.execute(
            "SELECT run_id, command, status, started_at, ended_at, summary FROM runs ORDER BY run_id DESC LIMIT ?",
            [limit],
        ).fetchall()
        keys = ("run", "command", "status", "started_at", "ended_at")
        return [
            {**dict(zip(keys, row, strict=False)), "summary": json.loads(row[5]) if row[5] else None} for row in rows
        ]

    def blobs_in(self, folder: str) -> dict[str, Blob]:
        """The blobs whose hashes begin with these two hex digits."""
        rows = self.db.execute(
            "SELECT sha256, size FROM blobs WHERE sha256 >= ? AND sha256 < ?", [folder, folder + "g"]
        )
        return {sha256: Blob(sha256, size) for sha256, size in rows.fetchall()}

    def knows_blob(self, sha256: str) -> bool:
        """Whether the catalog has such a blob."""
        return self.db.execute("SELECT 1 FROM blobs WHERE sha256 = ?", [sha256]).fetchone() is not None

    def problem_blobs(self) -> list[str]:
        """The blobs that `verify` found damaged or missing."""
        return [*self.blob_problems()]

    def blob_problems(self) -> dict[str, str]:
        """The same blobs, each with its problem."""
        return dict(self.db.execute("SELECT sha256, problem FROM blobs WHERE problem IS NOT NULL").fetchall())

    def files_with(self, hashes: Iterable[str], most: int = 100) -> dict[str, list[dict[str, str]]]:
        """The files whose content these blobs are, at most `most` for each blob. Reads all attachments."""
        rows = self.db.execute(
            "SELECT sha256, kind, entity_id, attachment_id, name, status FROM attachments "
            "WHERE sha256 IN (SELECT value FROM json_each(?)) ORDER BY kind, entity_id, attachment_id",
            [json.dumps([*hashes])],
        )
        by_blob: dict[str, list[dict[str, str]]] = {}
        keys = ("kind", "entity", "attachment", "name", "status")
        for sha256, *values in rows:
            if len(files := by_blob.setdefault(sha256, [])) < most:
                files.append(dict(zip(keys, values, strict=True)))
        return by_blob

    def last_problems(self) -> list[dict[str, Any]]:
        """What the last verify or rebuild found."""
        row = self.db.execute(
            "SELECT summary FROM runs WHERE command IN ('verify', 'rebuild') AND summary IS NOT NULL "
            "ORDER BY run_id DESC LIMIT 1"
        ).fetchone()
        return list(json.loads(row[0])["problems"]) if row else []

    def dangling(self) -> Iterator[str]:
        """Hashes that a stored attachment names and `blobs` lacks."""
        rows = self.db.execute(
            "SELECT DISTINCT sha256 FROM attachments a WHERE status = 'stored' AND NOT EXISTS "
            "(SELECT 1 FROM blobs b WHERE b.sha256 = a.sha256)"
        )
        return (str(row[0]) for row in rows)
