"""Forgetting snapshots, and the blobs that nothing needs any more: mark and sweep.

One transaction forgets the snapshots, the states that only they held, and the blobs that only those needed, whose
hashes it moves to `removed_blobs`. After that the files are deleted, and then the hashes. So a kill at any moment
leaves either a file that is still known or one that the next prune deletes.

Beware: needed is more than what snapshots hold: every file that the source still has, every blob that an upload refers
to, for a load that goes on and for a rollback, and the states of files that an unfinished restore has yet to put back.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from migrator.store.catalog.lineage import OWN_SOURCE
from migrator.store.catalog.part import CatalogPart
from migrator.store.schema import has_table

BLOBS_PER_BATCH = 500
_HELD = "EXISTS (SELECT 1 FROM kept k WHERE k.run_id BETWEEN p.changed_run AND p.until_run)"
_HELD_FILE = f"""({_HELD} OR p.attachment_id IN (
    SELECT attachment_id FROM uploads WHERE target = '{OWN_SOURCE}' AND status IN ('planned', 'in_doubt')))"""
_CANDIDATES = """
INSERT OR IGNORE INTO candidates
SELECT sha256 FROM past_attachments WHERE sha256 IS NOT NULL
UNION ALL SELECT sha256 FROM attachments WHERE sha256 IS NOT NULL AND status = 'gone'
"""
_NEEDED = f"""
SELECT sha256 FROM attachments WHERE sha256 IS NOT NULL AND status != 'gone'
UNION ALL SELECT sha256 FROM past_attachments p WHERE {_HELD_FILE}
UNION ALL SELECT coalesce(u.sent_sha256, a.sha256) FROM uploads u JOIN attachments a USING (attachment_id)
    WHERE u.status != 'rolled_back' AND coalesce(u.sent_sha256, a.sha256) IS NOT NULL
        AND (u.target != '{OWN_SOURCE}' OR u.status IN ('planned', 'in_doubt'))
UNION ALL SELECT a.sha256 FROM uploads u JOIN attachments a USING (attachment_id)
    WHERE u.status IN ('planned', 'in_doubt', 'failed') AND u.target != '{OWN_SOURCE}' AND a.sha256 IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Prunable:
    """What forgetting all but some snapshots does to the blobs: how many stay, how many go, and the bytes of those."""

    kept: int
    removed: int
    bytes: int


class Pruning(CatalogPart):
    """What `prune` asks for and writes. The caller holds the archive."""

    def freed(self, keep: Collection[int]) -> tuple[int, int]:
        """How many blobs that were needed once would go if all snapshots but these are forgotten, and their bytes.

        Quicker than `plan`, as it looks only at what earlier states and files that are gone hold. Also for an archive
        that no newer program has worked on yet, of which nothing can be pruned. Changes nothing.
        """
        if not has_table(self._db, "past_attachments"):
            return 0, 0
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS candidates (sha256 TEXT PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("DELETE FROM candidates")
        if not self._db.execute(_CANDIDATES).rowcount:
            return 0, 0
        self._mark(keep, "WHERE sha256 IN (SELECT sha256 FROM candidates)")
        count, size = self._db.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM blobs "
            "WHERE sha256 IN (SELECT sha256 FROM candidates EXCEPT SELECT sha256 FROM needed)"
        ).fetchone()
        return int(count), int(size)

    def plan(self, keep: Collection[int]) -> Prunable:
        """What becomes of the blobs if all snapshots but these are forgotten. Changes nothing."""
        self._mark(keep)
        kept, size_kept = self._db.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE sha256 IN (SELECT sha256 FROM needed)"
        ).fetchone()
        count, size = self._db.execute("SELECT count(*), coalesce(sum(size), 0) FROM blobs").fetchone()
        return Prunable(kept, count - kept, size - size_kept)

    def forget(self, keep: Collection[int]) -> None:
        """Forget all snapshots but these, and every blob that is no longer needed; its file can be deleted then."""
        self._mark(keep)
        unneeded = "sha256 NOT IN (SELECT sha256 FROM needed)"
        with self._database.transaction():
            self._db.execute("DELETE FROM snapshots WHERE run_id NOT IN (SELECT run_id FROM kept)")
            for table, held in (("past_attachments", _HELD_FILE), ("past_entities", _HELD)):
                self._db.execute(f"DELETE FROM {table} AS p WHERE NOT {held}")
            self._db.execute(
                f"UPDATE attachments SET sha256 = NULL WHERE status = 'gone' AND sha256 IS NOT NULL AND {unneeded}"
            )
            self._db.execute(f"INSERT OR IGNORE INTO removed_blobs SELECT sha256 FROM blobs WHERE {unneeded}")
            self._db.execute(f"DELETE FROM blobs WHERE {unneeded}")

    def _mark(self, keep: Collection[int], among: str = "") -> None:
        for table, column in (("kept", "run_id INTEGER"), ("needed", "sha256 TEXT")):
            self._db.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table} ({column} PRIMARY KEY) WITHOUT ROWID")
            self._db.execute(f"DELETE FROM {table}")
        self._db.execute("INSERT INTO kept SELECT value FROM json_each(?)", [json.dumps(sorted(keep))])
        self._db.execute(f"INSERT OR IGNORE INTO needed SELECT sha256 FROM ({_NEEDED}) {among}")

    def removed_blobs(self) -> list[str]:
        """The next hashes whose files are to be deleted. A blob that was stored again meanwhile is none of them."""
        with self._database.transaction():
            self._db.execute("DELETE FROM removed_blobs WHERE sha256 IN (SELECT sha256 FROM blobs)")
        rows = self._db.execute("SELECT sha256 FROM removed_blobs ORDER BY 1 LIMIT ?", [BLOBS_PER_BATCH]).fetchall()
        return [sha256 for (sha256,) in rows]

    def record_deleted(self, hashes: Iterable[str]) -> None:
        """The files of these blobs are gone from the disk, safely."""
        with self._database.transaction():
            self._db.conn.executemany("DELETE FROM removed_blobs WHERE sha256 = ?", [(sha256,) for sha256 in hashes])
