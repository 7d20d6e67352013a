"""Uploads whose intents and results share transactions: exactly once in effect, and nothing is left in doubt."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing

import pytest

from migrator.errors import ConnectError, TrackerUnreachableError
from migrator.model import Upload, UploadStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.outcomes import CatalogOutcomes
from migrator.store import Catalog
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import rows, run_backup, run_load, twin_of

FILES = 20
IN_DOUBT = "SELECT count(*) FROM uploads WHERE status = 'in_doubt'"


@pytest.fixture
async def backed_up(tmp_path):
    """An archive of one entity with many small files, an empty target and the mapping."""
    source = MemoryTracker()
    owner = source.add("Bug")
    for number in range(FILES):
        source.attach(owner, f"{number}.txt", f"{number}".encode())
    await run_backup(source, tmp_path)
    return tmp_path, *twin_of(source)


def at_upload(target, number, action):
    """Call `action` right before the upload with this number reaches the target."""

    async def on_call(verb, _):
        if verb == "upload" and target.uploads == number:
            action()

    target.on_call = on_call


async def test_only_the_file_that_is_being_sent_is_in_doubt_at_each_moment(backed_up):
    root, target, mapping = backed_up
    unsettled = []

    async def on_call(verb, _):
        if verb == "upload":
            unsettled.append(rows(root, IN_DOUBT)[0][0])

    target.on_call = on_call
    assert (await run_load(target, root, mapping))["uploads"]["uploaded"] == FILES
    assert unsettled == [1] * FILES, "its intent is recorded, and so is the result of the file before"
    assert rows(root, "SELECT DISTINCT status, attempts FROM uploads") == [("uploaded", 1)]


async def test_files_of_an_entity_arrive_in_their_order(backed_up):
    root, target, mapping = backed_up
    await run_load(target, root, mapping)
    arrived = sorted(target.files.values(), key=lambda file: int(file.id))
    wanted = rows(root, "SELECT name FROM attachments ORDER BY created_at, attachment_id")
    assert [(file.name,) for file in arrived] == wanted


async def test_a_stop_leaves_what_was_not_sent_as_planned(backed_up):
    root, target, mapping = backed_up
    stop = asyncio.Event()
    at_upload(target, 5, stop.set)
    summary = await run_load(target, root, mapping, stop=stop)
    assert summary["status"] == "interrupted"
    assert 5 < target.uploads < FILES
    assert rows(root, IN_DOUBT) == [(0,)]
    left = "SELECT DISTINCT attempts, name, sent_name, sent_at, sent_run, seen FROM uploads WHERE status = 'planned'"
    assert rows(root, left) == [(0, None, None, None, None, None)]
    target.on_call = None
    assert (await run_load(target, root, mapping))["status"] == "complete"
    assert target.uploads == FILES


async def test_a_target_that_goes_down_leaves_only_one_file_in_doubt(backed_up):
    root, target, mapping = backed_up

    def refuse():
        raise ConnectError("no connection")

    at_upload(target, 5, refuse)
    with pytest.raises(TrackerUnreachableError):
        await run_load(target, root, mapping)
    counts = dict(rows(root, "SELECT status, count(*) FROM uploads GROUP BY status"))
    assert counts == {"uploaded": 5, "in_doubt": 1, "planned": FILES - 6}


@pytest.mark.parametrize("uploads", [1, 3])
async def test_entities_side_by_side_send_no_more_files_at_once(tmp_path, uploads):
    source = MemoryTracker()
    for number in range(12):
        source.attach(source.add("Bug"), f"{number}.txt", b"x")
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    at_once = [0, 0]

    async def on_call(verb, _):
        if verb == "upload":
            at_once[:] = at_once[0] + 1, max(at_once[1], at_once[0] + 1)
            await asyncio.sleep(0.01)
            at_once[0] -= 1

    target.on_call = on_call
    await run_load(target, tmp_path, mapping, uploads=uploads)
    assert at_once == [0, uploads]


async def test_a_cancelled_upload_takes_no_records_of_others_with_it(backed_up):
    root, _, mapping = backed_up
    executor, busy = SerialExecutor(), threading.Event()
    with closing(Catalog(root)) as catalog:
        outcomes, first, second = planned(catalog, executor, mapping)
        executor.submit(busy.wait)
        outcomes.record_later(second, UploadStatus.UPLOADED, remote_id="2")
        cancelled = asyncio.create_task(outcomes.record(first, UploadStatus.UPLOADED, remote_id="1"))
        waiting = asyncio.create_task(outcomes.flush())
        await asyncio.sleep(0.01)
        cancelled.cancel()
        await asyncio.sleep(0.01)
        assert cancelled.cancelled()
        assert not waiting.done()
        busy.set()
        await waiting
        assert rows(root, "SELECT count(*) FROM uploads WHERE status = 'uploaded'") == [(2,)]
    await executor.close()


async def test_nothing_is_sent_after_records_were_lost(backed_up):
    root, _, mapping = backed_up
    executor, catalog = SerialExecutor(), Catalog(root)
    outcomes, first, second = planned(catalog, executor, mapping)
    catalog.close()
    for upload in (first, second):
        with pytest.raises(sqlite3.ProgrammingError):
            await outcomes.intend(upload, "a.txt")
    with pytest.raises(sqlite3.ProgrammingError):
        await outcomes.flush()
    await executor.close()


def planned(catalog: Catalog, executor: SerialExecutor, mapping) -> tuple[CatalogOutcomes, Upload, Upload]:
    """Outcomes of a run that has planned the uploads of the mapping, and two of those."""
    run = catalog.runs.begin("load")
    catalog.uploads.plan(run, "memory", [(of, to) for of, targets in mapping.items() for to in targets])
    first, second, *_ = catalog.uploads.unsettled("memory", *next(iter(mapping.values())))
    return CatalogOutcomes(catalog, executor, run, "memory"), first, second
