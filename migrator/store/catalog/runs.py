"""The runs in a catalog: how each began and ended, and the number of files that it changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from migrator.model import RunStatus
from migrator.store.catalog.part import CatalogPart
from migrator.store.clock import now
from migrator.store.schema import has_table

# Triggers count what a backup changes at the moment when it does, because the old values are not kept.
# A file that this run saw for the first time counts as added, and as nothing else. One without an owner that gets one
# has moved only if a complete backup has seen it before: one of a selection reads only a part of what names owners.
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
        moved = moved + ((old.kind != new.kind OR old.entity_id != new.entity_id) AND (old.kind != 'Unlinked'
            OR EXISTS (SELECT 1 FROM main.snapshots WHERE run_id >= old.first_run))),
        replaced = replaced + coalesce(old.sha256 != new.sha256, 0),
        added = added + (old.status = 'gone' AND new.status = 'stored'),
        removed = removed + (old.status != 'gone' AND new.status = 'gone' AND (
            old.sha256 IS NOT NULL OR new.error IS NULL));
END;
"""


_NO_SNAPSHOTS = "(SELECT NULL AS run_id, NULL AS attachments, NULL AS bytes)"


@dataclass(frozen=True, slots=True)
class BackupRun:
    """One backup that began: how it stands, and when it started (ISO 8601, UTC). `partial`: it had a selection."""

    run: int
    status: str
    started_at: str
    partial: bool = False


@dataclass(frozen=True, slots=True)
class EndedBackup:
    """One backup that has ended, with the numbers of its summary; None for what is not recorded.

    `attachments` and `bytes` are those of its snapshot, if it made one. `changed` counts files that were renamed, moved
    or replaced.
    """

    run: int
    started_at: str
    ended_at: str
    status: str
    attachments: int | None
    bytes: int | None
    added: int | None
    changed: int | None
    removed: int | None
    failures: int | None


@dataclass(frozen=True, slots=True)
class FailedRun:
    """One run that failed: when it started (ISO 8601, UTC), and the error's message, if there is one."""

    started_at: str
    message: str


class Runs(CatalogPart):
    """One row for each run of a command that works on the archive."""

    def begin(self, command: str) -> int:
        """Start a run and return its id. The caller holds the archive's lock, so runs still `running` were killed.

        In a catalog that is opened read-only the id is 0, and nothing is recorded.
        """
        if self._database.read_only:
            return 0
        with self._database.transaction():
            self._db.execute(
                "UPDATE runs SET status = ?, ended_at = ? WHERE status = ?",
                [RunStatus.INTERRUPTED, now(), RunStatus.RUNNING],
            )
            row = self._db.execute(
                "INSERT INTO runs (command, status, started_at) VALUES (?, ?, ?) RETURNING run_id",
                [command, RunStatus.RUNNING, now()],
            ).fetchone()
        return int(row[0])

    def end(self, run: int, status: RunStatus, summary: dict[str, Any]) -> None:
        """Record how a run ended; may be called again."""
        if self._database.read_only:
            return
        with self._database.transaction():
            self._db.execute(
                "UPDATE runs SET status = ?, ended_at = ?, summary = ? WHERE run_id = ?",
                [status, now(), json.dumps(summary, ensure_ascii=False), run],
            )

    def record_failure(self, command: str, error: dict[str, Any]) -> None:
        """Record a run that failed before its work began. The caller holds the archive's lock."""
        run = self.begin(command)
        self.end(run, RunStatus.FAILED, {"command": command, "run": run, "status": RunStatus.FAILED, "error": error})

    def failed_in_a_row(self) -> list[FailedRun]:
        """The latest backups and migrations, the newest first, as far as they failed without another end in between."""
        rows = self._db.execute(
            "SELECT status, started_at, json_extract(summary, '$.error.message') FROM runs "
            "WHERE command IN ('backup', 'migrate') ORDER BY run_id DESC"
        )
        latest = takewhile(lambda row: row[0] == RunStatus.FAILED, rows)
        return [FailedRun(started_at, message or "") for _, started_at, message in latest]

    def started_at(self, run: int) -> str:
        """When a run started (ISO 8601, UTC); empty if there is no such run."""
        row = self._db.execute("SELECT started_at FROM runs WHERE run_id = ?", [run]).fetchone()
        return str(row[0]) if row else ""

    def is_load(self, run: int) -> bool:
        """Whether this is the id of a load. A dry run is none; earlier versions recorded it under the same name."""
        row = self._db.execute(
            "SELECT json_extract(summary, '$.dry_run') FROM runs WHERE run_id = ? AND command = 'load'", [run]
        ).fetchone()
        return row is not None and row[0] is None

    def latest(self, limit: int = 20) -> list[dict[str, Any]]:
        """The latest runs, newest first, with their summaries."""
        rows = self._db.execute(
            "SELECT run_id, command, status, started_at, ended_at, summary FROM runs ORDER BY run_id DESC LIMIT ?",
            [limit],
        ).fetchall()
        keys = ("run", "command", "status", "started_at", "ended_at")
        return [
            {**dict(zip(keys, row, strict=False)), "summary": json.loads(row[5]) if row[5] else None} for row in rows
        ]

    def last_problems(self) -> list[dict[str, Any]]:
        """The problems that the last verify or rebuild found."""
        row = self._db.execute(
            "SELECT summary FROM runs WHERE command IN ('verify', 'rebuild') AND summary IS NOT NULL "
            "ORDER BY run_id DESC LIMIT 1"
        ).fetchone()
        return list(json.loads(row[0])["problems"]) if row else []

    def backups(self) -> list[BackupRun]:
        """Every backup, the newest first."""
        rows = self._db.execute(
            "SELECT run_id, status, started_at, json_extract(summary, '$.partial') FROM runs "
            "WHERE command = 'backup' ORDER BY run_id DESC"
        )
        return [BackupRun(run, status, at, bool(partial)) for run, status, at, partial in rows.fetchall()]

    def ended_backups(self) -> list[EndedBackup]:
        """Every backup that has ended, the oldest first; those up to the snapshot, if one is viewed."""
        snapshots = "snapshots" if has_table(self._db, "snapshots") else _NO_SNAPSHOTS
        rows = self._db.execute(
            f"""
            SELECT r.run_id, r.started_at, r.ended_at, r.status, s.attachments, s.bytes,
                json_extract(summary, '$.changes.added'),
                json_extract(summary, '$.changes.renamed') + json_extract(summary, '$.changes.moved')
                    + json_extract(summary, '$.changes.replaced'),
                json_extract(summary, '$.changes.removed'), json_array_length(summary, '$.failures')
            FROM runs r LEFT JOIN {snapshots} s USING (run_id)
            WHERE command = 'backup' AND ended_at IS NOT NULL AND run_id <= coalesce(?, run_id) ORDER BY run_id
            """,
            [self._database.viewed_snapshot],
        )
        return [EndedBackup(*row) for row in rows.fetchall()]

    def failures_of(self, run: int) -> list[dict[str, str | None]]:
        """The failures in the summary of a run; none if it has no summary."""
        row = self._db.execute(
            "SELECT json_extract(summary, '$.failures') FROM runs WHERE run_id = ?", [run]
        ).fetchone()
        return list(json.loads(row[0])) if row and row[0] else []

    def complete_backups(self, limit: int) -> list[tuple[int, str]]:
        """Run and end of the latest complete backups, the newest first."""
        rows = self._db.execute(
            "SELECT run_id, ended_at FROM runs WHERE command = 'backup' AND status = 'complete' "
            "ORDER BY run_id DESC LIMIT ?",
            [limit],
        )
        return [(int(run), str(ended_at)) for run, ended_at in rows.fetchall()]

    def verified(self) -> dict[bool, str]:
        """When the last verify ended after which every blob had been looked at (True), and the last one of a part."""
        rows = self._db.execute(
            "SELECT coalesce(json_extract(summary, '$.round_complete'), 1), max(ended_at) FROM runs "
            "WHERE command = 'verify' AND status IN ('complete', 'damaged') GROUP BY 1"
        )
        return {bool(whole): str(ended_at) for whole, ended_at in rows.fetchall()}

    def first_start(self) -> str:
        """When the first run started; empty if there was none."""
        return str(self._db.execute("SELECT coalesce(min(started_at), '') FROM runs").fetchone()[0])

    def verified_since(self) -> str | None:
        """The moment since when each blob has been hashed at least once: the start of the last round that got through.

        Before the first round has, it is the start of the first run; None where there was none.
        """
        since = None
        rows = self._db.execute("SELECT started_at, summary FROM runs WHERE command = 'verify' ORDER BY run_id DESC")
        for started_at, text in rows.fetchall():
            summary = json.loads(text or "{}")
            round_complete = summary.get("round_complete")
            if since is None and not round_complete:
                continue  # of the round that is under way
            if since is not None and round_complete:
                break  # the round before
            since = started_at
            if round_complete and summary["blobs"] == summary.get("of"):
                break  # a round in one run
        if since is not None:
            return str(since)
        first = self._db.execute("SELECT min(started_at) FROM runs").fetchone()[0]
        return None if first is None else str(first)

    def count_changes(self, run: int) -> None:
        """From now on, count the files that this connection adds, removes or changes. Call it once per run."""
        self._db.conn.executescript(
            "DROP TRIGGER IF EXISTS file_added; DROP TRIGGER IF EXISTS file_changed; DROP TABLE IF EXISTS temp.changes;"
            + _CHANGES.format(run=int(run))
        )

    def changes(self) -> dict[str, int]:
        """The counts so far: `added`, `removed`, `renamed`, `moved`, `replaced`."""
        names = ("added", "removed", "renamed", "moved", "replaced")
        row = self._db.execute(f"SELECT {', '.join(names)} FROM temp.changes").fetchone()
        return dict(zip(names, row, strict=True))
