"""How a crawl ends in the catalog: what is gone from the source, and what the run changed in earlier files.

Beware: a file that is not listed is gone only if the whole source was seen, and only if not too many vanish at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from migrator.model import EntityRef
from migrator.store.catalog.crawl import Crawl
from migrator.store.catalog.database import FAILURES_KEY, CatalogDatabase

# What a backup changes in the archive, counted by triggers as it happens, because it can't be told afterwards.
# A file that this run saw for the first time counts as added, and as nothing else.
_CHANGES = """
CREATE TEMP TABLE changes (run, added, removed, renamed, moved, replaced);
INSERT INTO changes VALUES ({run}, 0, 0, 0, 0, 0);
CREATE TEMP TRIGGER file_added AFTER INSERT ON main.attachments WHEN new.status != 'skipped' BEGIN
    UPDATE changes SET added = added + 1;
END;
CREATE TEMP TRIGGER file_changed AFTER UPDATE OF name, kind, entity_id, sha256, status ON main.attachments
WHEN old.first_run < {run} AND (
    old.name != new.name OR old.kind != new.kind OR old.entity_id != new.entity_id OR old.sha256 != new.sha256
    OR (old.status = 'gone') != (new.status = 'gone')
) BEGIN
    UPDATE changes SET renamed = renamed + (old.name != new.name),
        moved = moved + (old.kind != new.kind OR old.entity_id != new.entity_id),
        replaced = replaced + coalesce(old.sha256 != new.sha256, 0),
        added = added + (old.status = 'gone' AND new.status = 'stored'),
        removed = removed + (old.status != 'gone' AND new.status = 'gone' AND (
            old.sha256 IS NOT NULL OR new.error IS NULL));
END;
"""


@dataclass(frozen=True, slots=True)
class Vanished:
    """What the archive held as present and a complete crawl did not list: `files` out of `held`.

    `believed` is False if too many vanished at once; they then stay present.
    """

    files: int = 0
    held: int = 0
    believed: bool = True


FEW_GONE_FILES = 10
"""This many files may vanish at once, whatever their share of the archive."""


class CrawlEnd(CatalogDatabase):
    """Methods of `Catalog`."""

    def count_changes(self, run: int) -> None:
        """From now on, count what this connection changes in the files of earlier runs. Call it once per run."""
        self.db.conn.executescript(
            "DROP TRIGGER IF EXISTS file_added; DROP TRIGGER IF EXISTS file_changed; DROP TABLE IF EXISTS temp.changes;"
            + _CHANGES.format(run=int(run))
        )

    def changes(self) -> dict[str, int]:
        """The counts so far: `added`, `removed`, `renamed`, `moved`, `replaced`."""
        names = ("added", "removed", "renamed", "moved", "replaced")
        row = self.db.execute(f"SELECT {', '.join(names)} FROM temp.changes").fetchone()
        return dict(zip(names, row, strict=True))

    def end_crawl(
        self,
        crawl: Crawl,
        kinds: Sequence[str] = (),
        *,
        left_out: Sequence[str] = (),
        whole: bool = True,
        max_gone: float | None = None,
    ) -> Vanished:
        """Finish the crawl: the next backup starts a new one, and what this one did not see is gone.

        Only files of these `kinds` were looked for (all kinds if empty), except those `left_out`. Nothing is marked
        gone if some entity could not be asked for its files, or if the crawl is not `whole` for another reason, because
        the files may still be there. Nor is anything if too much would go: more than FEW_GONE_FILES, and
        more than the share `max_gone` of the files held as present. A partial crawl marks nothing gone.
        """
        with self.transaction():
            holes = self.db.execute(
                "SELECT 1 FROM entities WHERE coalesce(error, note) IS NOT NULL AND +last_run >= ? LIMIT 1",
                [crawl.start],
            ).fetchone()
            wanted = _wanted(kinds, left_out)
            vanished = Vanished() if holes or crawl.partial or not whole else self._vanished(crawl, *wanted, max_gone)
            if vanished.files and vanished.believed:
                self.db.execute(
                    f"UPDATE attachments SET status = 'gone', error = NULL WHERE last_run < ? {wanted[0]} "
                    "AND status != 'gone'",
                    [crawl.start, *wanted[1]],
                )
            self.db.execute("DELETE FROM checkpoints WHERE partial = ?", [crawl.partial])
        return vanished

    def _vanished(self, crawl: Crawl, wanted: str, kinds: Sequence[str], max_gone: float | None) -> Vanished:
        count = f"SELECT count(*) FROM attachments WHERE status != 'gone' {wanted}"
        files = int(self.db.execute(f"{count} AND last_run < ?", [*kinds, crawl.start]).fetchone()[0])
        if files <= FEW_GONE_FILES or max_gone is None:
            return Vanished(files)
        held = int(self.db.execute(f"{count} AND first_run < ?", [*kinds, crawl.start]).fetchone()[0])
        return Vanished(files, held, believed=files <= max_gone * held)

    def record_failures_of_the_whole(self, failures: Sequence[tuple[str, str]]) -> None:
        """Replace the failures (name, reason) that belong to no file or entity by those of this backup."""
        text = json.dumps([*failures], ensure_ascii=False)
        recorded = self.db.execute("SELECT value FROM settings WHERE key = ?", [FAILURES_KEY]).fetchone()
        if text != (recorded[0] if recorded else "[]"):
            with self.transaction():
                self.db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", [FAILURES_KEY, text])

    def kinds_listed(self, since_run: int = 0) -> set[str]:
        """The kinds of all entities seen since a run."""
        rows = self.db.execute("SELECT DISTINCT kind FROM entities WHERE last_run >= ?", [since_run])
        return {kind for (kind,) in rows}

    def lists_kind(self, kind: str, since_run: int = 0) -> bool:
        """Whether any entity of this kind was seen since a run."""
        query = "SELECT 1 FROM entities WHERE kind = ? AND last_run >= ? LIMIT 1"
        return self.db.execute(query, [kind, since_run]).fetchone() is not None

    def lists_any(self, since_run: int) -> bool:
        """Whether any file was listed since a run."""
        return (
            self.db.execute("SELECT 1 FROM attachments WHERE last_run >= ? LIMIT 1", [since_run]).fetchone() is not None
        )

    def is_listed(self, ref: EntityRef, since_run: int) -> bool:
        """Whether an entity was seen since a run; without a kind, any kind will do."""
        row = self.db.execute(
            "SELECT 1 FROM entities WHERE entity_id = ? AND (? = '' OR kind = ?) AND last_run >= ? LIMIT 1",
            [ref.id, ref.kind, ref.kind, since_run],
        ).fetchone()
        return row is not None


def _wanted(kinds: Sequence[str], left_out: Sequence[str]) -> tuple[str, list[str]]:
    """An SQL condition and its parameters: these kinds, or all if there are none, except those left out."""
    among = f"AND kind IN ({', '.join('?' * len(kinds))}) " if kinds else ""
    without = f"AND kind NOT IN ({', '.join('?' * len(left_out))})" if left_out else ""
    return among + without, [*kinds, *left_out]
