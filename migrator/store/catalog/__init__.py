"""The SQLite database of an archive: entities, attachments, blobs, runs, checkpoints, uploads.

It has a part for each subject, on one shared `CatalogDatabase`: jobs write `catalog.crawl`, `catalog.unchanged`,
`catalog.rechecks` and `catalog.uploads` as they go; `runs`, `settings`, `entities`, `files` and `blobs` answer
questions; `summaries` and `exports` read for output; `searching` finds files by words; `snapshots` and `pruning` keep
and forget what the source held; `accepted` has the failures that a person accepts.

Every method is one transaction, so a kill between two calls leaves a state that the next run understands. The caller
chooses the order: bytes before rows, rows before the checkpoint.

Beware: methods block on the disk. In an event loop they run on the archive's one disk thread (see
`migrator.pipeline.executor`), which also keeps them in the order of the calls.
"""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database

from migrator.store.catalog.accepted import AcceptedFailures
from migrator.store.catalog.blobs import Blobs
from migrator.store.catalog.crawl import CrawlRecords
from migrator.store.catalog.database import CatalogDatabase, copied, opened_to_read, sqlite_errors
from migrator.store.catalog.entities import Entities
from migrator.store.catalog.exports import Exports
from migrator.store.catalog.files import Files
from migrator.store.catalog.pruning import Pruning
from migrator.store.catalog.rechecks import Rechecks
from migrator.store.catalog.restoring import Restoring
from migrator.store.catalog.runs import Runs
from migrator.store.catalog.searching import Searching
from migrator.store.catalog.settings import Settings
from migrator.store.catalog.snapshots import Snapshots
from migrator.store.catalog.summaries import Summaries
from migrator.store.catalog.unchanged import UnchangedRecords
from migrator.store.catalog.uploads import UploadRecords

__all__ = ["Catalog", "copied", "opened_to_read", "sqlite_errors"]


class Catalog:
    """The catalog in the folder `root`. It may be opened again after any crash; `close` may be called twice.

    `ConfigError` if it is opened `read_only` and doesn't exist; `ArchiveDamagedError`, `ArchiveLockedError` or
    `StorageError` if it can't be opened.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self._database = database = CatalogDatabase(root, read_only=read_only)
        self.crawl = CrawlRecords(database)
        self.uploads = UploadRecords(database)
        self.rechecks = Rechecks(database)
        self.unchanged = UnchangedRecords(database)
        self.accepted = AcceptedFailures(database)
        self.runs = Runs(database)
        self.snapshots = Snapshots(database)
        self.pruning = Pruning(database)
        self.restoring = Restoring(database)
        self.settings = Settings(database)
        self.entities = Entities(database)
        self.files = Files(database)
        self.blobs = Blobs(database)
        self.summaries = Summaries(database)
        self.exports = Exports(database)
        self.searching = Searching(database)

    @property
    def read_only(self) -> bool:
        """Whether nothing may be written."""
        return self._database.read_only

    @property
    def db(self) -> Database:
        """The SQLite database, for queries that no part has."""
        return self._database.db

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def ensure_journal(self, *, anew: bool = False) -> None:
        """See `CatalogDatabase.ensure_journal`."""
        self._database.ensure_journal(anew=anew)

    def mark_journal_damaged(self, code: str) -> None:
        """See `CatalogDatabase.mark_journal_damaged`."""
        self._database.mark_journal_damaged(code)
