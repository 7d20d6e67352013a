"""Mutation testing: defects that the simulation has to find. By such defects, tools like this lose or duplicate files.

A mutant replaces one method of the program by one with the defect while a context lasts. Each promise of the simulation
needs a mutant, or nobody knows whether a breach would be noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any
from unittest.mock import patch

from migrator import errors
from migrator.layers import retry, verifying_sink
from migrator.model import Outcome, Page, Status, UploadStatus
from migrator.pipeline import backup
from migrator.pipeline.backup.crawl import Crawler
from migrator.pipeline.backup.fetch import Fetcher
from migrator.pipeline.downloads import Downloader
from migrator.pipeline.fetch_place import Fetched
from migrator.pipeline.load.finding import Finder
from migrator.pipeline.load.sending import Sender
from migrator.pipeline.prune import Retention
from migrator.pipeline.store_sink import StoreSink
from migrator.store import disk
from migrator.store.blobs import Archive
from migrator.store.catalog import database, pruning, uploads
from migrator.store.catalog.accepted import Acceptances
from migrator.store.catalog.lineage import Lineage
from migrator.store.catalog.snapshots import Snapshots
from migrator.store.catalog.uploads import UploadRecords
from migrator.store.journal import changes, manifest
from migrator.store.journal.keeper import Journal
from migrator.store.receiving import StoringFiles
from migrator.store.repair import remaking, scan_blobs
from tests.simulation import loop, workers
from tests.simulation.faults import SMALL


async def _checkpoint_first(self: Any, stream: str, page: Any, before: Any) -> None:
    try:
        if before is not None:
            await before
        write = self._catalog.crawl.record_checkpoint
        await self._executor.call(write, self._run, stream, page.next, page.links, partial=self._partial)
        await self._list_and_fetch(page.entities, page.attachments)
        await self._ask_and_fetch(page.ask)
    finally:
        self._page_slots.release()
        self._checkpoint_slots.release()


async def _rows_first(self: Any, incoming: Any) -> None:
    self._later = asyncio.ensure_future(_making_safe(self, incoming))
    await asyncio.sleep(0)


_making_safe = Downloader._make_safe


@contextlib.contextmanager
def _names_trusted() -> Any:
    """Trust what a killed run, or another worker, has named, and don't flush its name either."""
    scanned = scan_blobs

    def trusting(archive: Any, catalog: Any) -> Any:
        return replace(scanned(archive, catalog), unrecorded=frozenset())

    def syncing(self: Any) -> None:
        folders = {self._folder.path_of(sha256).parent for sha256 in self._paths}
        if folders:
            disk.sync_folders(folders, self._folder.blobs)

    with patch.object(backup, "scan_blobs", trusting), patch.object(StoringFiles, "sync_names", syncing):
        yield


@contextlib.contextmanager
def _forgotten() -> Any:
    with patch.object(workers, "left_of", lambda _: {}), patch.object(loop, "DEADLOCK_SECONDS", 0.2):
        yield


def _unsafe(self: Any, *, large: bool) -> None:
    """Flush no contents that are large, or none that are small."""
    flush = disk.sync_files

    def some(folder: Any, files: Any) -> None:
        flush(folder, [path for path in files if (Path(path).stat().st_size > SMALL) is not large])

    with patch.object(disk, "sync_files", some):
        _syncing(self)


_syncing = StoringFiles.sync_contents


def _without(call: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, with one call of `migrator.store.disk` left out."""

    def careless(*args: Any) -> Any:
        with patch.object(disk, call, lambda *_: None):
            return method(*args)

    return careless


async def _download_without_rewind(self: Any, attachment: Any, sink: Any) -> None:
    await self._policy.call(lambda: self._inner.download(attachment, sink))


async def _sent_without_a_look(self: Any, upload: Any, draft: Any, there: Any, waits: Any) -> bool:
    return False


async def _resumed_without_a_look(self: Any, upload: Any, draft: Any, there: Any, recognised: Any) -> None:
    return None


def _intent_not_recorded(self: Any, *_: Any) -> None:
    return None


async def _gone_at_once(self: Any, attachment: Any, error: Any) -> Any:
    return Status.GONE, str(error)


async def _short_listing_believed(self: Any, stream: str, cursor: Any, rounds: Any) -> Any:
    self._findings.answered = True
    with contextlib.suppress(errors.ItemFailedError):
        return await self._source.read(stream, cursor)
    return Page()


async def _page_swallows_errors(self: Any, attachment: Any) -> Any:
    sink = StoreSink(self.archive, self.progress)
    with contextlib.suppress(errors.ItemFailedError):
        await self.source.download(attachment, sink)
    incoming = await sink.finish()
    return Fetched(attachment.id, incoming.blob), incoming


def _uploaded_at_once(self: Any, run: int, target: str, upload: Any, name: str, before: Any, at: str) -> None:
    self.record(run, target, upload, UploadStatus.UPLOADED, name=name, remote_id="1", ours=True)


async def _not_compared(self: Any, attachment: Any, blob: Any) -> Any:
    return Outcome(attachment, Status.STORED, blob)


def _keeps_the_newest_alone(self: Any, held: Any) -> set[int]:
    return {held[-1].run} if held else set()


_find = Finder.find


async def _looked_for_by_loads_alone(self: Any, upload: Any, draft: Any, there: Any, recognised: Any) -> Any:
    return None if self._settings.restores else await _find(self, upload, draft, there, recognised)


def _unlinked(db: Any) -> Lineage:
    return Lineage({})


def _needed_less(what: str) -> str:
    """The SQL of what a prune must not delete, without the parts that have this word."""
    first, *others = pruning._NEEDED.split("UNION ")
    return first + "".join(f"UNION {part}" for part in others if what not in part)


def _unrecorded(*tables: str) -> AbstractContextManager[object]:
    """The journal has nothing of these tables."""
    return patch.object(changes, "UNRECORDED", {*changes.UNRECORDED, *tables})


Mutant = Callable[[], AbstractContextManager[object]]
MUTANTS: dict[str, Mutant] = {
    "the checkpoint before the rows": lambda: patch.object(Crawler, "_process", _checkpoint_first),
    "the rows before the bytes": lambda: patch.object(Downloader, "_make_safe", _rows_first),
    "small files are not flushed": lambda: patch.object(
        StoringFiles, "sync_contents", partialmethod(_unsafe, large=False)
    ),
    "large files are not flushed": lambda: patch.object(
        StoringFiles, "sync_contents", partialmethod(_unsafe, large=True)
    ),
    "folders are not flushed": lambda: patch.object(
        StoringFiles, "sync_names", _without("sync_folders", StoringFiles.sync_names)
    ),
    "what others have named is trusted": _names_trusted,
    "what a dead worker had counts as reported": _forgotten,
    "the manifest is not flushed": lambda: patch.object(manifest, "sync", lambda _: None),
    "the name of a new manifest is not flushed": lambda: patch.object(
        Journal, "_rewrite", _without("sync_folders", Journal._rewrite)
    ),
    "a catalog does not catch up with its manifest": lambda: patch.object(database, "catch_up", lambda *_: None),
    "a rebuilt catalog has its name before it is whole": lambda: patch.object(
        remaking, "_made", lambda path, fresh: [path, fresh][2:]
    ),
    "a retry without rewind": lambda: patch.object(retry.RetryingSource, "download", _download_without_rewind),
    "an upload is repeated without a look": lambda: patch.object(Sender, "_find_sent", _sent_without_a_look),
    "a load that resumes does not look": lambda: patch.object(Finder, "find", _resumed_without_a_look),
    "an intent is not recorded": lambda: patch.object(UploadRecords, "record_intent", _intent_not_recorded),
    "an upload is recorded before it is sent": lambda: patch.object(UploadRecords, "record_intent", _uploaded_at_once),
    "sizes are not compared": lambda: patch.object(verifying_sink.VerifyingSink, "finish", lambda *_: None),
    "a 404 is for ever": lambda: patch.object(Fetcher, "_gone", _gone_at_once),
    "a listing that ends early is believed": lambda: patch.object(Crawler, "_read", _short_listing_believed),
    "errors of a download are swallowed": lambda: patch.object(Downloader, "_download", _page_swallows_errors),
}

NIGHT_MUTANTS: dict[str, Mutant] = {
    "a prune deletes what earlier snapshots hold": lambda: patch.object(
        pruning, "_NEEDED", _needed_less("past_attachments")
    ),
    "a prune deletes what an unfinished load needs": lambda: patch.object(pruning, "_NEEDED", _needed_less("uploads")),
    "a prune does not delete files": lambda: patch.object(Archive, "remove", lambda *_: None),
    "a prune keeps the newest snapshot alone": lambda: patch.object(Retention, "kept", _keeps_the_newest_alone),
    "a snapshot shows the newer name": lambda: patch.object(
        database, "KEEP_PAST", tuple(sql.replace("old.name", "new.name") for sql in database.KEEP_PAST)
    ),
    "a snapshot shows the newer titles": lambda: patch.object(database, "KEEP_PAST", database.KEEP_PAST[:1]),
    "--at shows what is there now": lambda: patch.object(Snapshots, "view", lambda *_: None),
    "a rebuilt catalog has no earlier states": lambda: _unrecorded("past_attachments"),
    "a rebuilt catalog has no accepted failures": lambda: _unrecorded("accepted_failures"),
    "an accepted failure counts": lambda: patch.object(Acceptances, "accepted_at", lambda *_: None),
    "a recheck compares nothing": lambda: patch.object(Fetcher, "compare", _not_compared),
    "a restore sends without a look": lambda: patch.object(Finder, "find", _looked_for_by_loads_alone),
    "a file that was put back is another one": lambda: patch.object(Lineage, "read", _unlinked),
    "what is in doubt is looked for as it is now": lambda: patch.object(
        uploads, "SENT_IF_IN_DOUBT", uploads.SOURCE_BLOB
    ),
}
"""Defects that the nights have to find."""

FOUND_BY = {
    "the checkpoint before the rows": 12,
    "the rows before the bytes": 59,
    "the name of a new manifest is not flushed": 50,
    "a catalog does not catch up with its manifest": 30,
    "a rebuilt catalog has its name before it is whole": 1,
    "a retry without rewind": 1,
    "an upload is repeated without a look": 10,
    "a load that resumes does not look": 5,
    "an intent is not recorded": 2,
    "sizes are not compared": 29,
    "a 404 is for ever": 3,
    "a listing that ends early is believed": 7,
    "errors of a download are swallowed": 3,
    "a prune deletes what earlier snapshots hold": 9,
    "a prune deletes what an unfinished load needs": 9,
    "a restore sends without a look": 10,
    "a file that was put back is another one": 19,
    "what is in doubt is looked for as it is now": 464,
}
"""Seeds that found these defects before. They are tried first, which only saves time."""

SLOW = {
    "a catalog does not catch up with its manifest",
    "what others have named is trusted",
    "sizes are not compared",
}
"""Defects that take long to be found."""
