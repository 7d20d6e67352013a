"""The recorder: everything that waits is recorded in one transaction, and nothing is lost when that fails."""

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


@asynccontextmanager
async def recorder(root, count):
    """A recorder, its catalog, and so many files that the catalog expects, fetched."""
    archive, catalog, executor = Archive(root), Catalog(root), SerialExecutor()
    archive.prepare()
    run = catalog.runs.begin("backup")
    files = [Attachment(f"{number:04}", EntityRef("Bug", "1"), "x") for number in range(count)]
    catalog.crawl.record_listing(run, [], [(file, Status.PENDING) for file in files])
    try:
        yield Recorder(archive, catalog, executor, run), catalog, files
    finally:
        await executor.close()
        catalog.close()


def fetched(file, recorded=lambda *_: None):
    body = file.id.encode()
    blob = Blob(hashlib.sha256(body).hexdigest(), len(body))
    return FetchResult(Outcome(file, Status.STORED, blob), recorded)


def stored_in(catalog):
    return {row[0] for row in catalog.db.execute("SELECT attachment_id FROM attachments WHERE status = 'stored'")}


async def end(task):
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_comes_while_a_batch_is_recorded_is_the_next_batch(tmp_path):
    async with recorder(tmp_path, 100) as (made, catalog, files):
        record, go_on, batches = catalog.crawl.record_outcomes, threading.Event(), []

        def recording(run, outcomes):
            batches.append(len(outcomes))
            go_on.wait(10)
            record(run, outcomes)

        catalog.crawl.record_outcomes = recording
        task, recorded = asyncio.create_task(made.run()), asyncio.Queue()
        made.add(fetched(files[0], lambda *_: recorded.put_nowait(1)))
        while not batches:
            await asyncio.sleep(0.001)
        for file in files[1:]:
            made.add(fetched(file, lambda *_: recorded.put_nowait(1)))
        go_on.set()
        for _ in files:
            await asyncio.wait_for(recorded.get(), 10)
        await end(task)
        assert batches == [1, 99]
        assert stored_in(catalog) == {file.id for file in files}


async def test_a_file_is_called_recorded_only_once_it_is(tmp_path):
    async with recorder(tmp_path, 1) as (made, catalog, files):
        seen, done = [], asyncio.Event()

        def recorded(attachment, status):
            seen.append((attachment, status, stored_in(catalog)))
            done.set()

        task = asyncio.create_task(made.run())
        made.add(fetched(files[0], recorded))
        await asyncio.wait_for(done.wait(), 10)
        await end(task)
        assert seen == [(files[0], Status.STORED, {files[0].id})]


async def test_a_batch_that_could_not_be_recorded_is_recorded_by_the_flush(tmp_path):
    async with recorder(tmp_path, 3) as (made, catalog, files):
        record, calls = catalog.crawl.record_outcomes, []

        def once_refused(run, outcomes):
            calls.append(len(outcomes))
            if len(calls) == 1:
                raise StorageError("the disk is full")
            record(run, outcomes)

        catalog.crawl.record_outcomes = once_refused
        for file in files:
            made.add(fetched(file))
        with pytest.raises(StorageError, match="the disk is full"):
            await asyncio.wait_for(made.run(), 10)
        assert not stored_in(catalog)
        await made.flush()
        assert calls == [3, 3]
        assert stored_in(catalog) == {file.id for file in files}


@pytest.mark.parametrize("turns", range(6))
async def test_it_ends_when_it_is_cancelled_at_whatever_moment(tmp_path, turns):
    async with recorder(tmp_path, 2) as (made, catalog, files):
        task = asyncio.create_task(made.run())
        for file in files:
            made.add(fetched(file))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
        await made.flush()
        assert stored_in(catalog) == {file.id for file in files}
