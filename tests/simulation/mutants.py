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
from typing import Any
from unittest.mock import patch

from migrator import errors
from migrator.layers import retry, verifying_sink
from migrator.model import Outcome, Page, Status, UploadStatus
from migrator.pipeline import backup
from migrator.pipeline.backup.crawl import Crawler
from migrator.pipeline.backup.fetch import Fetcher
from migrator.pipeline.backup.recorder import Recorder
from migrator.pipeline.load.finding import Finder
from migrator.pipeline.load.upload import Uploader
from migrator.store import disk, writer
from migrator.store.blobs import Archive
from migrator.store.catalog import database
from migrator.store.catalog.uploads import UploadRecords
from migrator.store.journal import manifest
from migrator.store.journal.keeper import Journal
from migrator.store.repair import remaking, scan_blobs


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


def _rows_first(self: Any, batch: list[Any]) -> Any:
    async def rows_then_bytes() -> None:
        await self._executor.call(
            self._catalog.crawl.record_outcomes, self._run, [settled.outcome for settled in batch]
        )
        await asyncio.gather(*_writing(self, batch))

    return [asyncio.ensure_future(rows_then_bytes())] if batch else []


_writing = Recorder._writing


def _names_trusted(archive: Any, catalog: Any) -> Any:
    return replace(scan_blobs(archive, catalog), unrecorded=frozenset())


def _unsafe(self: Any, fresh: Any, kind: type) -> None:
    """Flush no files of this kind: those that came as bytes, or as names."""
    names = {content for _, content in fresh if isinstance(content, str)}
    flush = disk.sync_files

    def some(folder: Any, files: Any) -> None:
        flush(folder, [path for path in files if (path.name in names) is (kind is bytes)])

    with patch.object(disk, "sync_files", some):
        writer.write_blobs(self.root, fresh)


def _small_ones_unsafe(self: Any, fresh: Any) -> None:
    _unsafe(self, fresh, bytes)


def _large_ones_unsafe(self: Any, fresh: Any) -> None:
    _unsafe(self, fresh, str)


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


async def _read_back_unchecked(self: Any, remote: Any, sink: Any) -> None:
    async def once() -> None:
        sink.rewind()
        await self._inner.read_back(remote, sink)

    await self._policy.call(once)


async def _gone_at_once(self: Any, attachment: Any, error: Any) -> Any:
    return Status.GONE, str(error)


async def _short_listing_believed(self: Any, stream: str, cursor: Any, rounds: Any) -> Any:
    self._findings.answered = True
    with contextlib.suppress(errors.ItemFailedError):
        return await self._source.read(stream, cursor)
    return Page()


async def _page_swallows_errors(self: Any, attachment: Any, recorded: Any) -> Any:
    from migrator.pipeline.backup.recorder import FetchResult, StoreSink

    sink = StoreSink(self._archive, self._progress)
    with contextlib.suppress(errors.ItemFailedError):
        await self._source.download(attachment, sink)
    blob, body = await sink.finish()
    return FetchResult(Outcome(attachment, Status.STORED, blob), body, recorded)


def _uploaded_at_once(self: Any, run: int, target: str, upload: Any, name: str, before: Any, at: str) -> None:
    self.record(run, target, upload, UploadStatus.UPLOADED, name=name, remote_id="1", ours=True)


Mutant = Callable[[], AbstractContextManager[object]]
MUTANTS: dict[str, Mutant] = {
    "the checkpoint before the rows": lambda: patch.object(Crawler, "_process", _checkpoint_first),
    "the rows before the bytes": lambda: patch.object(Recorder, "_writing", _rows_first),
    "small files are not flushed": lambda: patch.object(Archive, "_write_fresh", _small_ones_unsafe),
    "large files are not flushed": lambda: patch.object(Archive, "_write_fresh", _large_ones_unsafe),
    "folders are not flushed": lambda: patch.object(
        Archive, "_write_fresh", _without("sync_folders", Archive._write_fresh)
    ),
    "what a killed run named is trusted": lambda: patch.object(backup, "scan_blobs", _names_trusted),
    "the manifest is not flushed": lambda: patch.object(manifest, "sync", lambda _: None),
    "the name of a new manifest is not flushed": lambda: patch.object(
        Journal, "_rewrite", _without("sync_folders", Journal._rewrite)
    ),
    "a catalog does not catch up with its manifest": lambda: patch.object(database, "catch_up", lambda *_: None),
    "a rebuilt catalog has its name before it is whole": lambda: patch.object(
        remaking, "_made", lambda path, fresh: [path, fresh][2:]
    ),
    "a retry without rewind": lambda: patch.object(retry.RetryingSource, "download", _download_without_rewind),
    "an upload is repeated without a look": lambda: patch.object(Uploader, "_find_sent", _sent_without_a_look),
    "a load that resumes does not look": lambda: patch.object(Finder, "find", _resumed_without_a_look),
    "an intent is not recorded": lambda: patch.object(UploadRecords, "record_intent", _intent_not_recorded),
    "an upload is recorded before it is sent": lambda: patch.object(UploadRecords, "record_intent", _uploaded_at_once),
    "sizes are not compared": lambda: patch.object(verifying_sink.VerifyingSink, "finish", lambda *_: None),
    "what is read back is not checked": lambda: patch.object(retry.RetryingTarget, "read_back", _read_back_unchecked),
    "a 404 is for ever": lambda: patch.object(Fetcher, "_gone", _gone_at_once),
    "a listing that ends early is believed": lambda: patch.object(Crawler, "_read", _short_listing_believed),
    "errors of a download are swallowed": lambda: patch.object(Fetcher, "fetch", _page_swallows_errors),
}

FOUND_BY = {
    "the checkpoint before the rows": 12,
    "the rows before the bytes": 59,
    "what a killed run named is trusted": 8,
    "the name of a new manifest is not flushed": 50,
    "a catalog does not catch up with its manifest": 30,
    "a rebuilt catalog has its name before it is whole": 1,
    "a retry without rewind": 1,
    "an upload is repeated without a look": 10,
    "a load that resumes does not look": 5,
    "an intent is not recorded": 2,
    "sizes are not compared": 4,
    "what is read back is not checked": 9102,
    "a 404 is for ever": 3,
    "a listing that ends early is believed": 7,
    "errors of a download are swallowed": 3,
}
"""Seeds that found these defects before. They are tried first, which only saves time."""
