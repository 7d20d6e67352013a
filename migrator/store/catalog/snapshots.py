"""Snapshots: what the source held at the end of each complete, unfiltered backup.

Nothing is copied for a snapshot: a night in which nothing changed writes one row. A snapshot is read as the states
whose runs span it; see `migrator.store.catalog.history`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from migrator.store.catalog.history import LAST
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.scope import kinds_condition
from migrator.store.clock import now

_SAME = " AND ".join(
    f"p.{column} IS a.{column}"
    for column in ("kind", "entity_id", "name", "description", "created_at", "created_by", "sha256")
)


class Snapshots(CatalogPart):
    """One row for each snapshot, named by the run that made it."""

    def take(self, run: int, crawl_start: int, kinds: Sequence[str] = (), left_out: Sequence[str] = ()) -> None:
        """Make this run a snapshot. It has ended a complete crawl that began with run `crawl_start`.

        An entity of these `kinds` (all if empty, except those `left_out`) that it did not list is no longer there.
        May be called again.
        """
        with self._database.transaction():
            condition, values = kinds_condition(kinds, left_out)
            self._db.execute(
                f"UPDATE entities SET changed_run = NULL WHERE last_run < ? AND changed_run IS NOT NULL {condition}",
                [crawl_start, *values],
            )
            self._unite_equal_states()
            files, size = self._count(run)
            (entities,) = self._db.execute("SELECT count(*) FROM entities WHERE changed_run IS NOT NULL").fetchone()
            self._db.execute(
                "INSERT OR REPLACE INTO snapshots (run_id, at, entities, attachments, bytes) VALUES (?, ?, ?, ?, ?)",
                [run, now(), entities, files, size],
            )

    def _unite_equal_states(self) -> None:
        """Where a state of the last snapshot ended and came back since, it never ended."""
        (last,) = self._db.execute(f"SELECT {LAST}").fetchone()
        rows = self._db.execute(
            f"SELECT p.rowid, p.changed_run, a.attachment_id FROM past_attachments p JOIN attachments a "
            f"USING (attachment_id) WHERE p.until_run = ? AND a.changed_run > ? AND {_SAME}",
            [last, last],
        ).fetchall()
        for rowid, changed_run, attachment_id in rows:
            self._db.execute("DELETE FROM past_attachments WHERE rowid = ?", [rowid])
            self._db.execute(
                "UPDATE attachments SET changed_run = ? WHERE attachment_id = ?", [changed_run, attachment_id]
            )

    def _count(self, run: int) -> tuple[int, int]:
        """The number of files held as present, and their bytes, by what changed since the last snapshot."""
        row = self._db.execute(
            "SELECT run_id, attachments, bytes FROM snapshots WHERE run_id < ? ORDER BY 1 DESC LIMIT 1", [run]
        ).fetchone()
        last, files, size = row or (0, 0, 0)
        sums = "SELECT count(*), coalesce(sum(b.size), 0) FROM {} JOIN blobs b USING (sha256) WHERE {}"
        came = self._db.execute(sums.format("attachments x", "x.changed_run > ?"), [last]).fetchone()
        went = self._db.execute(sums.format("past_attachments x", "x.until_run = ?"), [last]).fetchone()
        return files + came[0] - went[0], size + came[1] - went[1]

    def all(self) -> list[dict[str, Any]]:
        """Every snapshot, the oldest first: `run`, `at`, `entities`, `attachments`, `bytes`."""
        rows = self._db.execute("SELECT run_id, at, entities, attachments, bytes FROM snapshots ORDER BY 1").fetchall()
        return [dict(zip(("run", "at", "entities", "attachments", "bytes"), row, strict=True)) for row in rows]
