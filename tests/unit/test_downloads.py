"""A batch of files: fetched side by side, safe on disk before it is reported, and never more at once than allowed."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from migrator.errors import GoneError, StorageError
from migrator.model import Attachment, Blob, EntityRef
from migrator.pipeline import downloads, store_sink
from migrator.pipeline.downloads import Downloader
from migrator.pipeline.stop import StopToken
from migrator.ports import BodyFacts
from migrator.progress import Silent
from migrator.store import Archive, disk

LARGE = 5000


def leftovers(root):
    return [path.name for path in (root / "incoming").iterdir()]


class Files:
    """A source that only downloads. `bodies` by id; an exception is raised. Counts what is in flight."""

    def __init__(self, bodies, hold=None):
        self.bodies, self.hold = bodies, hold
        self.in_flight = self.most = self.begun = 0

    async def download(self, attachment, sink):
        self.in_flight += 1
        self.begun += 1
        self.most = max(self.most, self.in_flight)
        try:
            if self.hold:
                await self.hold.wait()
            await asyncio.sleep(0)
            body = self.bodies[attachment.id]
            if isinstance(body, Exception):
                raise body
            await sink.start(BodyFacts(length=len(body)))
            for start in range(0, len(body), 1000):
                await sink.write(body[start : start + 1000])
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def downloader(root, files, limit=4):
    archive = Archive(root)
    archive.prepare()
    made = Downloader(files, archive, StopToken(), Silent(), downloads=limit)
    try:
        yield made
    finally:
        await made.close()


def some(count, size=10):
    return {f"{number}": f"{number}".encode() * size for number in range(count)}


def batch(bodies):
    return [Attachment(id_, EntityRef("Bug", "1"), "x") for id_ in bodies]


def blob_of(body):
    return Blob(hashlib.sha256(body).hexdigest(), len(body))


async def test_every_file_of_a_batch_is_reported_once_and_is_a_blob(tmp_path):
    bodies = some(700)
    async with downloader(tmp_path, Files(bodies)) as made:
        results = []
        await asyncio.wait_for(made.fetch(batch(bodies), results.extend), 30)
        assert {result.attachment_id: result.blob for result in results} == {
            id_: blob_of(body) for id_, body in bodies.items()
        }
        assert len(results) == len(bodies)
        for result in results:
            assert made.archive.store.path_of(result.blob.sha256).read_bytes() == bodies[result.attachment_id]
    assert leftovers(tmp_path) == []


async def test_nothing_is_reported_before_it_is_safe(tmp_path):
    bodies, steps = some(20), []

    def noted(name):
        call = getattr(disk, name)

        def noting(*args):
            steps.append(name)
            return call(*args)

        return patch.object(disk, name, noting)

    async with downloader(tmp_path, Files(bodies)) as made:
        with noted("write_file"), noted("sync_files"), noted("rename"), noted("sync_folders"):
            await made.fetch(batch(bodies), lambda results: steps.append(f"report {len(results)}"))
    assert steps == ["write_file"] * 20 + ["sync_files"] + ["rename"] * 20 + ["sync_folders", "report 20"]


async def test_large_files_are_written_while_they_arrive(tmp_path):
    bodies = {"1": b"a" * LARGE, "2": b"b" * 10, "3": b"a" * LARGE}
    async with downloader(tmp_path, Files(bodies)) as made:
        with (
            patch.object(store_sink, "MAX_IN_MEMORY_BYTES", 2000),
            patch.object(disk, "write_file", wraps=disk.write_file) as whole,
        ):
            results = []
            await made.fetch(batch(bodies), results.extend)
        assert whole.call_count == 1
        assert {result.attachment_id: result.blob for result in results} == {
            id_: blob_of(body) for id_, body in bodies.items()
        }
        assert made.archive.store.path_of(blob_of(b"a" * LARGE).sha256).read_bytes() == b"a" * LARGE
    assert leftovers(tmp_path) == []


async def test_no_more_files_are_in_flight_than_the_limit_even_when_it_changes(tmp_path):
    bodies = some(60)
    files = Files(bodies)
    async with downloader(tmp_path, files, limit=8) as made:
        made.limit(3)
        await made.fetch(batch(dict(list(bodies.items())[:30])), lambda _: None)
        assert files.most == 3
        made.limit(0)
        rest = asyncio.create_task(made.fetch(batch(dict(list(bodies.items())[30:])), lambda _: None))
        await asyncio.sleep(0.05)
        assert files.begun == 30
        made.limit(8)
        await asyncio.wait_for(rest, 10)
        assert files.most == 8


async def test_no_download_begins_while_too_much_waits_in_memory(tmp_path):
    bodies = some(50, 1000)
    files, begun = Files(bodies), []
    async with downloader(tmp_path, files, limit=2) as made:
        flush = made._make_safe

        async def slow(incoming):
            begun.append(files.begun)
            await asyncio.sleep(0.02)
            begun.append(files.begun)
            await flush(incoming)

        made._make_safe = slow
        with patch.object(downloads, "MAX_WAITING_BYTES", 4000):
            await made.fetch(batch(bodies), lambda _: None)
    assert len(begun) > 10
    assert max(after - before for before, after in zip(begun[::2], begun[1::2], strict=True)) <= 4


async def test_equal_contents_are_written_once_and_none_that_is_there(tmp_path):
    bodies = {"1": b"same", "2": b"same", "3": b"other", "4": b"same"}
    async with downloader(tmp_path, Files(bodies)) as made:
        with patch.object(disk, "write_file", wraps=disk.write_file) as written:
            await made.fetch(batch(bodies), lambda _: None)
            assert written.call_count == 2
            await made.fetch(batch(bodies), lambda _: None)
            assert written.call_count == 2


async def test_a_blob_that_is_not_trusted_is_written_again(tmp_path):
    blob = blob_of(b"right")
    async with downloader(tmp_path, Files({"1": b"right"})) as made:
        path = made.archive.store.path_of(blob.sha256)
        path.write_bytes(b"wrong")
        made.archive.untrusted.add(blob.sha256)
        await made.fetch(batch({"1": b""}), lambda _: None)
        assert path.read_bytes() == b"right"
        assert not made.archive.untrusted


async def test_an_error_of_one_file_is_reported_and_the_others_arrive(tmp_path):
    bodies = {**some(5), "gone": GoneError("status 404")}
    async with downloader(tmp_path, Files(bodies)) as made:
        results = []
        await made.fetch(batch(bodies), results.extend)
        failed = [result for result in results if result.error is not None]
        assert [(result.attachment_id, str(result.error), result.blob) for result in failed] == [
            ("gone", "status 404", None)
        ]
        assert len(results) == 6


async def test_a_disk_that_refuses_fails_the_batch(tmp_path):
    bodies = some(5)
    async with downloader(tmp_path, Files(bodies)) as made:
        with patch.object(disk, "sync_files", side_effect=OSError(28, "No space left on device")):
            results = []
            with pytest.raises(StorageError, match="the disk is full"):
                await asyncio.wait_for(made.fetch(batch(bodies), results.extend), 10)
            assert results == []
        assert {blob_of(body).sha256 for body in bodies.values()} <= made.archive.untrusted


async def test_a_bug_in_a_download_reaches_the_caller(tmp_path):
    async with downloader(tmp_path, Files({"1": ZeroDivisionError("a bug")})) as made:
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await asyncio.wait_for(made.fetch(batch({"1": b""}), lambda _: None), 10)


async def test_after_a_stop_nothing_begins_and_what_is_complete_is_reported(tmp_path):
    bodies, hold = some(10), asyncio.Event()
    files = Files(bodies, hold)
    async with downloader(tmp_path, files, limit=2) as made:
        results = []
        task = asyncio.create_task(made.fetch(batch(bodies), results.extend))
        while files.begun < 2:
            await asyncio.sleep(0)
        made.stop.request()
        hold.set()
        await asyncio.wait_for(task, 10)
        await made.flush()
        assert files.begun == 2
        assert sorted(result.attachment_id for result in results) == ["0", "1"]


async def test_a_cancelled_batch_begins_no_more_files_and_leaves_nothing_behind(tmp_path):
    bodies, hold = some(10, 1000), asyncio.Event()
    files = Files(bodies, hold)
    async with downloader(tmp_path, files, limit=2) as made:
        task = asyncio.create_task(made.fetch(batch(bodies), lambda _: None))
        while files.begun < 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hold.set()
        await asyncio.sleep(0.01)
        await made.flush()
        assert files.begun == 2
    assert leftovers(tmp_path) == []


async def test_a_large_file_that_is_cut_off_leaves_no_file_and_no_task(tmp_path):
    arrived = asyncio.Event()

    class Endless(Files):
        async def download(self, attachment, sink):
            await sink.write(b"a" * LARGE)
            arrived.set()
            await asyncio.get_running_loop().create_future()

    with patch.object(store_sink, "MAX_IN_MEMORY_BYTES", 2000):
        async with downloader(tmp_path, Endless({})) as made:
            task = asyncio.create_task(made.fetch(batch({"1": b""}), lambda _: None))
            await asyncio.wait_for(arrived.wait(), 10)
            assert leftovers(tmp_path)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert leftovers(tmp_path) == []
    assert not [path for path in Path("/proc/self/fd").iterdir() if str(tmp_path) in os.path.realpath(path)]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_batches_share_the_slots_and_each_gets_its_own_results(tmp_path):
    bodies = some(90)
    files = Files(bodies)
    async with downloader(tmp_path, files, limit=4) as made:
        parts = [dict(list(bodies.items())[start : start + 30]) for start in (0, 30, 60)]
        reports = [[], [], []]
        await asyncio.gather(
            *(made.fetch(batch(part), report.extend) for part, report in zip(parts, reports, strict=True))
        )
        assert files.most == 4
        assert [sorted(result.attachment_id for result in report) for report in reports] == [
            sorted(part) for part in parts
        ]


async def test_an_empty_batch_ends_at_once(tmp_path):
    async with downloader(tmp_path, Files({})) as made:
        await made.fetch([], lambda _: pytest.fail("nothing to report"))


async def test_a_file_that_waits_for_company_is_flushed_after_a_moment(tmp_path):
    bodies, hold = {"1": b"quick", "2": b"slow"}, asyncio.Event()

    class Uneven(Files):
        async def download(self, attachment, sink):
            if attachment.id == "2":
                await hold.wait()
            await super().download(attachment, sink)

    async with downloader(tmp_path, Uneven(bodies)) as made:
        reported = asyncio.Queue()
        task = asyncio.create_task(made.fetch(batch(bodies), reported.put_nowait))
        first = await asyncio.wait_for(reported.get(), 10)
        assert [result.attachment_id for result in first] == ["1"]
        hold.set()
        await task


async def test_the_last_file_waits_for_no_company(tmp_path):
    bodies, results = some(3), []
    with patch.object(downloads, "FLUSH_DELAY_SECONDS", 60):
        async with downloader(tmp_path, Files(bodies)) as made, asyncio.timeout(10):
            await made.fetch(batch(bodies), results.extend)
    assert len(results) == 3


async def test_once_closed_nothing_of_the_queue_begins(tmp_path):
    bodies = some(9)
    files = Files(bodies, asyncio.Event())
    async with downloader(tmp_path, files, limit=2) as made:
        task = asyncio.create_task(made.fetch(batch(bodies), lambda _: None))
        while files.begun < 2:
            await asyncio.sleep(0)
        await made.close()
        made.limit(4)
        await asyncio.sleep(0.01)
        assert (files.begun, files.in_flight) == (2, 0)
        task.cancel()
