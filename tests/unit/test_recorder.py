"""The recorder: bytes before rows, one batch written while another is recorded, nothing lost when either fails."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from contextlib import asynccontextmanager, suppress

import pytest

from migrator.errors import StorageError
from migrator.model import Attachment, Blob, EntityRef, Outcome, Status
from migrator.pipeline.backup.recorder import FetchResult, Recorder
from migrator.pipeline.executor import SerialExecutor
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog

DOWNLOADS = 4


@asynccontextmanager
async def recorder(root, count):
    """A recorder, its archive and catalog, and so many files that the catalog expects, settled."""
    archive, catalog, executor = Archive(root), Catalog(root), SerialExecutor()
    archive.prepare()
    run = catalog.runs.begin("backup")
    files = [Attachment(f"{number:04}", EntityRef("Bug", "1"), "x") for number in range(count)]
    catalog.crawl.record_listing(run, [], [(file, Status.PENDING) for file in files])
    made = Recorder(archive, catalog, executor, run, DOWNLOADS)
    try:
        yield made, archive, catalog, [settled(file) for file in files]
    finally:
        await executor.close()
        catalog.close()


def settled(file):
    body = file.id.encode()
    blob = Blob(hashlib.sha256(body).hexdigest(), len(body))
    return FetchResult(Outcome(file, Status.STORED, blob), body, lambda *_: None)


def recorded(catalog):
    return {row[0] for row in catalog.db.execute("SELECT attachment_id FROM attachments WHERE status = 'stored'")}


async def end(task):
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_batch_is_written_while_the_one_before_is_recorded(tmp_path):
    async with recorder(tmp_path, 68) as (made, archive, catalog, files):
        record, store, written, begun = catalog.crawl.record_outcomes, archive.store_batch, set(), threading.Event()
        overlaps = []

        def storing(bodies):
            if written:
                begun.set()
            store(bodies)
            written.update(blob.sha256 for blob, _ in bodies)

        def recording(run, outcomes):
            if not overlaps:
                overlaps.append(begun.wait(10))
            assert {outcome.blob.sha256 for outcome in outcomes} <= written
            record(run, outcomes)

        archive.store_batch, catalog.crawl.record_outcomes = storing, recording
        task = asyncio.create_task(made.run())
        async with asyncio.timeout(20):
            await asyncio.gather(*(made.add(file) for file in files))
            await made.flush()
        await end(task)
        assert overlaps == [True]
        assert len(recorded(catalog)) == len(files)


@pytest.mark.parametrize("fails", ["store_batch", "record_outcomes"])
async def test_a_failed_write_or_record_is_told_once_and_recorded_by_the_flush(tmp_path, fails):
    async with recorder(tmp_path, 60) as (made, archive, catalog, files):
        whole = archive if fails == "store_batch" else catalog.crawl
        does, failures = getattr(whole, fails), [StorageError("full")]

        def refusing(*args):
            if failures:
                raise failures.pop()
            return does(*args)

        setattr(whole, fails, refusing)
        task = asyncio.create_task(made.run())
        for file in files:
            await made.add(file)
        with pytest.raises(StorageError, match="full"):
            await asyncio.wait_for(task, 10)
        await made.flush()
        assert len(recorded(catalog)) == len(files)


async def test_a_file_settled_while_nothing_else_happens_is_recorded_too(tmp_path):
    async with recorder(tmp_path, 1) as (made, _, catalog, files):
        told = asyncio.Event()
        task = asyncio.create_task(made.run())
        await made.add(FetchResult(files[0].outcome, files[0].body, lambda *_: told.set()))
        await asyncio.wait_for(told.wait(), 10)
        assert recorded(catalog) == {"0000"}
        await end(task)
        await made.flush()


@pytest.mark.parametrize("ticks", range(8))
async def test_it_ends_when_it_is_cancelled_at_whatever_moment(tmp_path, ticks):
    async with recorder(tmp_path, 40) as (made, _, catalog, files):
        task = asyncio.create_task(made.run())
        await made.add(files[0])
        for _ in range(3):
            await asyncio.sleep(0)
        for file in files[1:]:
            await made.add(file)
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()
        await made.flush()
        assert len(recorded(catalog)) == len(files)
