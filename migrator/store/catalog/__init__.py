"""The SQLite database of an archive: entities, attachments, blobs, runs, checkpoints, uploads.

Every method is one transaction, so a kill between two calls leaves a state that the next run understands. The caller
chooses the order: bytes before rows, rows before the checkpoint.

Beware: methods block on the disk. In an event loop they run on the archive's one disk thread (see
`migrator.pipeline.executor`), which also keeps them in the order of the calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from migrator.errors import ConfigError
from migrator.model import EntityRef, RunStatus
from migrator.store.catalog.crawl import Crawl, CrawlTables
from migrator.store.catalog.crawl_end import CrawlEnd
from migrator.store.catalog.database import opened_to_read, sqlite_errors
from migrator.store.catalog.exports import ExportTables
from migrator.store.catalog.summaries import SummaryTables
from migrator.store.catalog.uploads import UploadTables
from migrator.store.clock import now

__all__ = ["Catalog", "opened_to_read", "sqlite_errors"]


class Catalog(CrawlTables, CrawlEnd, UploadTables, SummaryTables, ExportTables):
    """The catalog of one archive; see `CatalogDatabase` for opening and closing it."""

    def begin_run(self, command: str) -> int:
        """Start a run and return its id. The caller holds the archive's lock, so runs still `running` were killed.

        In a catalog that is opened read-only the id is 0, and nothing is recorded.
        """
        if self.read_only:
            return 0
        with self.transaction():
            self.db.execute(
                "UPDATE runs SET status = ?, ended_at = ? WHERE status = ?",
                [RunStatus.INTERRUPTED, now(), RunStatus.RUNNING],
            )
            row = self.db.execute(
                "INSERT INTO runs (command, status, started_at) VALUES (?, ?, ?) RETURNING run_id",
                [command, RunStatus.RUNNING, now()],
            ).fetchone()
        return int(row[0])

    def end_run(self, run: int, status: RunStatus, summary: dict[str, Any]) -> None:
        """Record how a run ended; may be called again."""
        if self.read_only:
            return
        with self.transaction():
            self.db.execute(
                "UPDATE runs SET status = ?, ended_at = ?, summary = ? WHERE run_id = ?",
                [status, now(), json.dumps(summary, ensure_ascii=False), run],
            )

    def claim_source(self, identity: str) -> None:
        """Bind the archive to its source, the first one that was backed up into it; `ConfigError` for any other."""
        held = self.setting("source")
        if held is None:
            self.set_setting("source", identity)
        elif held != identity:
            raise ConfigError(
                f"this archive holds {held}; use another `archive` folder for {identity}, or, if that is the same "
                f"tracker under a new address, `migrator backup CONFIG --moved-from {held.partition(' ')[2]}`"
            )

    def move_source(self, old: str, new: str) -> None:
        """Rename this archive's source from `old` to `new`, completely or not at all. Repeating it is harmless.

        A crawl under way starts again, because what it listed may contain old addresses; stored files stay.
        """
        with self.transaction():
            self.db.execute("UPDATE settings SET value = ? WHERE key = 'source' AND value = ?", [new, old])
            self.db.execute("DELETE FROM checkpoints")

    def selected_entities(self, crawl: Crawl) -> list[EntityRef]:
        """The entities that a crawl with a limit has selected so far."""
        start, refs = json.loads(self.setting("taken") or "[0, []]")
        return [EntityRef(kind, id_) for kind, id_ in refs] if crawl.partial and start == crawl.start else []

    def record_selected(self, crawl: Crawl, selected: Iterable[EntityRef]) -> None:
        """Record the entities that a crawl with a limit has selected, before anything of them is recorded."""
        self.set_setting("taken", json.dumps([crawl.start, [(ref.kind, ref.id) for ref in selected]]))

    def setting(self, key: str) -> str | None:
        """A value kept with the archive; None if it was never set."""
        row = self.db.execute("SELECT value FROM settings WHERE key = ?", [key]).fetchone()
        return None if row is None else str(row[0])

    def set_setting(self, key: str, value: str) -> None:
        """Keep a value with the archive."""
        with self.transaction():
            self.db.execute(
                "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", [key, value]
            )
