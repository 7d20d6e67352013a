"""Snapshots: what the source held at the end of each complete, unfiltered backup.

Nothing is copied for a snapshot: a night in which nothing changed writes one row. A snapshot is read as the states
whose runs span it; see `migrator.store.catalog.history`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from migrator.model import EntityRef
from migrator.store.catalog.history import LAST_SNAPSHOT
from migrator.store.catalog.lineage import Lineage
from migrator.store.catalog.part import CatalogPart
from migrator.store.catalog.scope import kinds_condition
from migrator.store.clock import now
from migrator.store.schema import has_table

# What begins a new state (`changed_content`), with the date, as new content usually comes with one.
_SAME = " AND ".join(
    f"p.{column} IS a.{column}"
    for column in ("kind", "entity_id", "name", "description", "created_at", "created_by", "sha256")
)


_Pair = tuple[str, Sequence[Any], Sequence[Any]]
"""An attachment and its states in two snapshots; all None where it is absent."""
_STATE = "attachment_id, kind, entity_id, name, sha256, changed_run"
_VIEWS = (
    """
CREATE TEMP VIEW attachments AS
SELECT rowid, attachment_id, kind, entity_id, comment_id, name, size, media_type, description, created_at, created_by,
    sha256, 'stored' AS status, NULL AS error, locator, raw, first_run, last_run, stored_run, warning, changed_run
FROM main.attachments WHERE changed_run <= {run}
UNION ALL
SELECT a.rowid, p.attachment_id, p.kind, p.entity_id, p.comment_id, p.name, p.size, p.media_type, p.description,
    p.created_at, p.created_by, p.sha256, 'stored', NULL, a.locator, a.raw, a.first_run, a.last_run, a.stored_run,
    a.warning, p.changed_run
FROM past_attachments p JOIN main.attachments a USING (attachment_id)
WHERE {run} BETWEEN p.changed_run AND p.until_run
""",
    """
CREATE TEMP VIEW entities AS
SELECT kind, entity_id, title, url, raw, NULL AS error, NULL AS note, first_run, last_run, changed_run
FROM main.entities WHERE changed_run <= {run}
UNION ALL
SELECT p.kind, p.entity_id, p.title, p.url, e.raw, NULL, NULL, e.first_run, e.last_run, p.changed_run
FROM past_entities p JOIN main.entities e USING (kind, entity_id)
WHERE {run} BETWEEN p.changed_run AND p.until_run
""",
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot: its run, when it was complete (ISO 8601, UTC), and what it holds."""

    run: int
    at: str
    entities: int
    attachments: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Change:
    """How one attachment differs between two snapshots: `added`, `removed`, `renamed`, `moved` or `replaced`.

    `was` is the older name, owner or SHA-256, None for the first two.
    """

    change: str
    attachment: str
    owner: EntityRef
    name: str
    was: str | None


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
        (last,) = self._db.execute(f"SELECT {LAST_SNAPSHOT}").fetchone()
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

    @property
    def kept(self) -> bool:
        """Whether complete backups make snapshots here; not in an archive that no newer program has worked on yet."""
        return has_table(self._db, "snapshots")

    @property
    def viewed(self) -> bool:
        """Whether this connection reads a snapshot, and not what is there now."""
        return self._database.viewed_snapshot is not None

    def all(self) -> list[Snapshot]:
        """Every snapshot, the oldest first; none in an archive that no newer program has worked on yet."""
        if not self.kept:
            return []
        rows = self._db.execute("SELECT run_id, at, entities, attachments, bytes FROM snapshots ORDER BY 1").fetchall()
        return [Snapshot(*row) for row in rows]

    def changes(self, older: int, newer: int) -> list[Change]:
        """What differs between two snapshots, by attachment. `older` 0: everything in `newer` was added.

        A file that was lost and put back by a restore in between is the same file, though its id is a new one.
        """
        rows = self._db.execute(
            f"""
            WITH states AS (
                SELECT {_STATE}, until_run FROM past_attachments
                UNION ALL SELECT {_STATE}, 9223372036854775807 FROM main.attachments WHERE changed_run IS NOT NULL
            ), changed AS (
                SELECT attachment_id FROM past_attachments WHERE until_run >= :older AND until_run < :newer
                UNION SELECT attachment_id FROM past_attachments WHERE changed_run > :older AND changed_run <= :newer
                UNION SELECT attachment_id FROM main.attachments WHERE changed_run > :older AND changed_run <= :newer
            )
            SELECT c.attachment_id, o.kind, o.entity_id, o.name, o.sha256, n.kind, n.entity_id, n.name, n.sha256
            FROM changed c
            LEFT JOIN states o ON o.attachment_id = c.attachment_id AND :older BETWEEN o.changed_run AND o.until_run
            LEFT JOIN states n ON n.attachment_id = c.attachment_id AND :newer BETWEEN n.changed_run AND n.until_run
            ORDER BY coalesce(n.kind, o.kind), coalesce(n.entity_id, o.entity_id), 1
            """,
            {"older": older, "newer": newer},
        ).fetchall()
        pairs = _united([(row[0], row[1:5], row[5:9]) for row in rows], Lineage.read(self._db))
        return [change for pair in pairs for change in _changes(*pair)]

    def view(self, run: int) -> None:
        """From now on, this connection reads `attachments` and `entities` as they were in a snapshot.

        Temporary views stand in front of the tables, so nothing may be recorded in these two any more.
        """
        self._database.viewed_snapshot = run
        self._db.execute("DROP VIEW IF EXISTS temp.attachments")
        self._db.execute("DROP VIEW IF EXISTS temp.entities")
        for statement in _VIEWS:
            self._db.execute(statement.format(run=int(run)))


def _united(pairs: Sequence[_Pair], lineage: Lineage) -> list[_Pair]:
    """A file that went and the one that continues it as one pair of states, under the newer id.

    An id that came and went between the two snapshots is in neither, and says nothing.
    """
    pairs = [(id_, old, new) for id_, old, new in pairs if old[0] is not None or new[0] is not None]
    went = {lineage.first(id_): (id_, old) for id_, old, new in pairs if old[0] is not None and new[0] is None}
    united, continued = list[_Pair](), set[str]()
    for id_, old, new in pairs:
        gone, was = went.pop(lineage.first(id_), ("", old)) if old[0] is None else ("", old)
        continued.add(gone)
        united.append((id_, was, new))
    return [pair for pair in united if pair[0] not in continued]


def _changes(attachment_id: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    """The changes of one attachment, from its states (kind, entity id, name, sha256); all None where it is absent."""
    kind, entity_id, name, _ = old if new[0] is None else new
    changes: list[tuple[str, str | None]] = []
    if old[0] is None or new[0] is None:
        changes = [("added" if old[0] is None else "removed", None)]
    else:
        changes += [("renamed", old[2])] * (old[2] != new[2])
        changes += [("moved", f"{old[0]} {old[1]}".strip())] * (old[:2] != new[:2])
        changes += [("replaced", old[3])] * (old[3] != new[3])
    for change, was in changes:
        yield Change(change, attachment_id, EntityRef(kind, entity_id), name, was)
