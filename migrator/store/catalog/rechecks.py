"""Rechecks: stored files that are fetched again and compared, in rounds, and those for which that failed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from migrator.model import Attachment, Blob
from migrator.store.catalog.crawl import Crawl
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.rows import COLUMNS_OF_A, attachment_from
from migrator.store.catalog.settings import Settings

_STORED = f"""
SELECT a.stored_run, b.sha256, b.size, {COLUMNS_OF_A} FROM attachments a JOIN blobs b USING (sha256)
WHERE a.status = 'stored' AND a.last_run >= ?
"""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the source and the blob that the archive has of it, fetched by the run `stored_run`."""

    attachment: Attachment
    blob: Blob
    stored_run: int


@dataclass(frozen=True, slots=True)
class RecheckRound:
    """Where a round stands: after the file with the id `after`. In the crawl that began with the run `crawl`, of which
    `share` is wanted, `left` files are still to come.
    """

    after: str = ""
    crawl: int = 0
    share: float = 0.0
    left: int = 0


class Rechecks(CatalogPart):
    """Which files come next, and what became of them. A crawl of a selection has a round of its own."""

    def round(self, *, partial: bool) -> RecheckRound:
        """Where the last run ended; the beginning if there was none."""
        recorded = Settings(self._database).get(_key(partial))
        return RecheckRound(**json.loads(recorded)) if recorded else RecheckRound()

    def count(self, crawl: Crawl) -> int:
        """The number of stored files that this crawl has listed."""
        query = "SELECT count(*) FROM attachments WHERE status = 'stored' AND last_run >= ?"
        return int(self._db.execute(query, [crawl.start]).fetchone()[0])

    def following(self, crawl: Crawl, after: str, limit: int) -> list[StoredFile]:
        """The next of those files, by id."""
        rows = self._db.execute(
            f"{_STORED} AND a.attachment_id > ? ORDER BY a.attachment_id LIMIT ?", [crawl.start, after, limit]
        )
        return [_stored_file(row) for row in rows.fetchall()]

    def failed(self, crawl: Crawl, after: str, limit: int) -> list[StoredFile]:
        """The same of those files whose last recheck failed."""
        if not self._db.execute("SELECT 1 FROM failed_rechecks LIMIT 1").fetchone():
            return []
        rows = self._db.execute(
            f"{_STORED} AND a.attachment_id IN (SELECT attachment_id FROM failed_rechecks WHERE attachment_id > ?) "
            "ORDER BY a.attachment_id LIMIT ?",
            [crawl.start, after, limit],
        )
        return [_stored_file(row) for row in rows.fetchall()]

    def record(
        self,
        run: int,
        passed: Iterable[str],
        failed: Iterable[tuple[str, str]],
        reached: RecheckRound | None = None,
        *,
        partial: bool = False,
    ) -> None:
        """Record which files could be fetched again, and which (id, reason) could not; and where the round stands."""
        with self._database.transaction():
            self._db.conn.executemany(
                "DELETE FROM failed_rechecks WHERE attachment_id = ?", [(attachment_id,) for attachment_id in passed]
            )
            self._db.conn.executemany(
                "INSERT INTO failed_rechecks VALUES (?, ?, ?) ON CONFLICT (attachment_id) DO UPDATE SET "
                "reason = excluded.reason, run_id = excluded.run_id",
                [(attachment_id, reason, run) for attachment_id, reason in failed],
            )
            if reached is not None:
                self._db.execute(
                    "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                    [_key(partial), json.dumps(asdict(reached))],
                )


def _key(partial: bool) -> str:
    return "recheck_of_selection" if partial else "recheck"


def _stored_file(row: tuple[object, ...]) -> StoredFile:
    stored_run, sha256, size, *attachment = row
    return StoredFile(attachment_from(attachment), Blob(str(sha256), int(str(size))), int(str(stored_run or 0)))
