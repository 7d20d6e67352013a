"""Counts and failures, for the summaries of runs and for `status`."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from migrator.model import Status, UploadStatus
from migrator.store.catalog.database import FAILURES_KEY
from migrator.store.catalog.entities import Entities
from migrator.store.catalog.lineage import OWN_SOURCE
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.settings import Settings
from migrator.store.catalog.upload_rows import IS_MAPPED, SENT_IF_IN_DOUBT, TO_SETTLE
from migrator.store.catalog.uploads import prepare_mapped_table
from migrator.store.schema import columns_of, has_table


class Summaries(CatalogPart):
    """Queries for summaries. They only read."""

    def backup_counts(self, crawl_start: int, run: int, vanished: int = 0, accepted: int = 0) -> dict[str, int]:
        """The `attachments` of a backup's summary: the number of files that the crawl listed, by outcome.

        This run stored the `stored` files; the `unchanged` ones were stored before it. `gone` includes the `vanished`
        ones, which were not listed. `accepted` ones have failed, and are not counted as that.
        """
        counts: Counter[str] = Counter()
        for status, stored_run, number in self._tally(crawl_start):
            before = status == Status.STORED and stored_run is not None and stored_run < run
            counts["unchanged" if before else status] += number
        listed = sum(counts.values())
        pending = counts[Status.PENDING]
        counts[Status.GONE] += vanished
        counts[Status.FAILED] -= accepted
        more = {key: count for key, count in (("accepted", accepted), ("pending", pending)) if count}
        shown = ("stored", "unchanged", "skipped", "gone", "failed")
        return {"listed": listed, **{key: counts[key] for key in shown}, **more}

    def _tally(self, since_run: int = 0) -> list[tuple[str, int | None, int]]:
        """The number of attachments seen since a run, by status and by the run that stored them."""
        return self._db.execute(
            "SELECT status, stored_run, sum(number) FROM (SELECT status, stored_run, last_run, count(*) AS number "
            "FROM attachments GROUP BY stored_run, status, last_run) WHERE last_run >= ? GROUP BY 1, 2",
            [since_run],
        ).fetchall()

    def stored_bytes(self, run: int) -> int:
        """The bytes of the files that one run stored."""
        row = self._db.execute(
            "SELECT coalesce(sum(b.size), 0) FROM attachments a JOIN blobs b USING (sha256) "
            "WHERE stored_run = ? AND status = 'stored'",
            [run],
        ).fetchone()
        return int(row[0])

    def failures(self, since_run: int = 0) -> list[dict[str, str | None]]:
        """Files that failed or could not be fetched again, and entities whose files could not be listed.

        Each has its reason. `status` is that of the file: `stored` if it could not be fetched again.
        """
        files = self._db.execute(
            "SELECT kind, entity_id, attachment_id, name, error, status FROM attachments WHERE status = 'failed' "
            "AND last_run >= ? ORDER BY kind, entity_id, attachment_id",
            [since_run],
        )
        entities = self._db.execute(
            "SELECT kind, entity_id, NULL, title, error, NULL FROM entities "
            "WHERE coalesce(error, note) IS NOT NULL AND error IS NOT NULL AND +last_run >= ? ORDER BY kind, entity_id",
            [since_run],
        )
        keys = ("kind", "entity", "attachment", "name", "reason", "status")
        rows = [*self._general_failures(), *files.fetchall(), *self._failed_rechecks(since_run), *entities.fetchall()]
        return [dict(zip(keys, row, strict=True)) for row in rows]

    def not_stored(self) -> list[dict[str, str | None]]:
        """What the archive lacks of the source: files that failed or are still to be fetched, and the other failures.

        Each has its reason. A file that is stored and could not be fetched again is not lacking.
        """
        pending = self._db.execute(
            "SELECT kind, entity_id, attachment_id, name FROM attachments WHERE status = 'pending' "
            "ORDER BY kind, entity_id, attachment_id"
        )
        rest = {"reason": "listed, and not fetched yet", "status": str(Status.PENDING)}
        keys = ("kind", "entity", "attachment", "name")
        failed = [row for row in self.failures() if row["status"] != Status.STORED]
        return [*failed, *({**dict(zip(keys, row, strict=True)), **rest} for row in pending.fetchall())]

    def crawl_under_way(self) -> bool:
        """Whether a backup of everything has begun and not come to its end."""
        return bool(self._db.execute("SELECT count(*) FROM checkpoints WHERE NOT partial").fetchone()[0])

    def _failed_rechecks(self, since_run: int) -> list[tuple[str, str, str, str, str, str]]:
        """Failed rechecks of files that are still as they were then."""
        if self._database.viewed_snapshot is not None or not has_table(self._db, "failed_rechecks"):
            return []
        # A cross join reads the left table first, which is as good as empty.
        return self._db.execute(
            "SELECT kind, entity_id, a.attachment_id, name, reason, a.status FROM failed_rechecks r "
            "CROSS JOIN attachments a ON a.attachment_id = r.attachment_id "
            "WHERE r.run_id >= ? AND a.status = 'stored' AND coalesce(a.stored_run, 0) < r.run_id "
            "ORDER BY kind, entity_id, a.attachment_id",
            [since_run],
        ).fetchall()

    def _general_failures(self) -> list[tuple[str, str, None, str, str, None]]:
        """Failures of the last backup that belong to no file or entity, such as a listing."""
        recorded = Settings(self._database).get(FAILURES_KEY) or "[]"
        return [("", "", None, name, reason, None) for name, reason in json.loads(recorded)]

    def upload_counts(self, target: str, run: int) -> dict[str, int]:
        """Uploads that the mapping asks for, by status: `uploaded` in this run, `already_there` if earlier."""
        prepare_mapped_table(self._db)
        rows = self._db.execute(
            "SELECT iif(u.status = 'uploaded' AND u.run_id < ?, 'already_there', u.status), count(*) "
            f"FROM uploads u JOIN attachments a USING (attachment_id) WHERE u.target = ? AND {IS_MAPPED} GROUP BY 1",
            [run, target],
        )
        return Counter(dict(rows.fetchall()))

    def uploads_to_settle(self, target: str) -> tuple[int, int]:
        """How many uploads are not settled, or not yet listed at the target, and the bytes of their files."""
        row = self._db.execute(
            "SELECT count(*), coalesce(sum(b.size), 0) FROM uploads u JOIN attachments a USING (attachment_id) "
            f"JOIN blobs b ON {SENT_IF_IN_DOUBT} WHERE u.target = ? AND {TO_SETTLE}",
            [target],
        ).fetchone()
        return int(row[0]), int(row[1])

    def upload_failures(self, target: str | None = None) -> list[dict[str, str | None]]:
        """Uploads that failed or are in doubt, each with its reason."""
        rows = self._db.execute(
            "SELECT a.kind, a.entity_id, a.attachment_id, a.name, "
            "coalesce(u.error, 'sent, no answer seen'), u.target_kind, u.target_id, u.status "
            "FROM uploads u JOIN attachments a USING (attachment_id) "
            "WHERE u.status IN ('failed', 'in_doubt') AND (? IS NULL OR u.target = ?) "
            "ORDER BY 1, 2, 3",
            [target, target],
        )
        keys = ("kind", "entity", "attachment", "name", "reason", "target_kind", "target_id", "status")
        return [dict(zip(keys, row, strict=True)) for row in rows.fetchall()]

    def altered_uploads(self, target: str, run: int) -> list[dict[str, Any]]:
        """What the target altered in the files that one run settled, as its summary shows it."""
        rows = self._db.execute(
            "SELECT a.kind, a.entity_id, a.attachment_id, a.name, u.target_kind, u.target_id, u.altered "
            "FROM uploads u JOIN attachments a USING (attachment_id) WHERE u.target = ? AND u.run_id = ? "
            "AND u.altered IS NOT NULL AND u.status IN ('uploaded', 'already_there') ORDER BY 1, 2, 3",
            [target, run],
        )
        keys = ("kind", "entity", "attachment", "name", "target_kind", "target_id", "how")
        return [dict(zip(keys, [*row[:-1], json.loads(row[-1])], strict=True)) for row in rows.fetchall()]

    def uploaded_bytes(self, target: str, run: int) -> int:
        """The bytes that one run uploaded."""
        row = self._db.execute(
            "SELECT coalesce(sum(b.size), 0) FROM uploads u JOIN attachments a USING (attachment_id) "
            "JOIN blobs b USING (sha256) WHERE u.target = ? AND u.run_id = ? AND u.status = ?",
            [target, run, UploadStatus.UPLOADED],
        ).fetchone()
        return int(row[0])

    def _uploads_by_target(self) -> dict[str, dict[str, int]]:
        targets: dict[str, dict[str, int]] = {}
        rows = self._db.execute(
            "SELECT target, status, count(*) FROM uploads WHERE target != ? GROUP BY 1, 2 ORDER BY 1, 2", [OWN_SOURCE]
        )
        for target, status, number in rows:
            targets.setdefault(target, {})[status] = number
        return targets

    def totals(self) -> dict[str, Any]:
        """The number of entities, attachments, blobs and uploads, the latter by status; for `status`."""
        execute, statuses = self._db.execute, Counter[str]()
        for status, _, number in self._tally():
            statuses[status] += number
        altered = 0
        if "altered" in columns_of(self._db, "uploads"):
            (altered,) = execute("SELECT count(*) FROM uploads WHERE altered IS NOT NULL").fetchone()
        uploads = "SELECT status, count(*) FROM uploads"
        restored = dict(execute(f"{uploads} WHERE target = ? GROUP BY 1 ORDER BY 1", [OWN_SOURCE]).fetchall())
        targets = self._uploads_by_target()
        of_snapshot = (
            "" if self._database.viewed_snapshot is None else "WHERE sha256 IN (SELECT sha256 FROM attachments)"
        )
        return {
            **({"altered": altered} if altered else {}),
            "entities": Entities(self._database).count(),
            "attachments": dict(sorted(statuses.items())),
            "blobs": dict(
                zip(
                    ("count", "bytes"),
                    execute(f"SELECT count(*), coalesce(sum(size), 0) FROM blobs {of_snapshot}").fetchone(),
                    strict=True,
                )
            ),
            "uploads": dict(execute(f"{uploads} WHERE target != ? GROUP BY 1 ORDER BY 1", [OWN_SOURCE]).fetchall()),
            **({"targets": targets} if len(targets) > 1 else {}),
            **({"restored": restored} if restored else {}),
            "crawl_under_way": self.crawl_under_way(),
        }
