"""What a run does when something goes wrong between it and a fetch worker: it fails with that, and never hangs."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest

from migrator.config.settings import read_configuration
from migrator.errors import AuthError
from migrator.jobs.fetching import link
from migrator.jobs.fetching.pool import WorkerPool
from migrator.jobs.fetching.processes import ProcessCrew
from migrator.jobs.wiring import wire_source
from migrator.model import Attachment, EntityRef
from migrator.pipeline.downloads import Downloader
from migrator.pipeline.stop import StopToken
from migrator.progress import Silent
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.store import Archive
from tests.support.fetch_workers import configured, world_of
from tests.support.program import until


@asynccontextmanager
async def pool(folder, count=1, **limits):
    """A pool whose workers are ready, and files to fetch."""
    async with TargetprocessSandbox(world_of(60)) as sandbox:
        wired = wire_source(read_configuration(configured(folder, sandbox, count, **limits)))
        archive = Archive(folder / "archive")
        archive.root.mkdir(parents=True)
        archive.prepare()
        made = WorkerPool(
            wired, Downloader(wired.tracker, archive, StopToken(), Silent(), downloads=4), ProcessCrew(count, ())
        )
        try:
            await wired.tracker.check()
            made.expect(1000)
            await until(lambda: sum(worker.ready for worker in made._workers) == count, within=10)
            yield made, [Attachment(str(file.id), EntityRef("Bug", "1"), "x") for file in sandbox.world.attachments]
        finally:
            await made.close()
            await wired.tracker.close()


NOISY = f"""#!{sys.executable}
import migrator.jobs.fetching.worker as worker
serve = worker.Worker.serve
def noisy(self):
    print("some library says hello", flush=True)
    return serve(self)
worker.Worker.serve = noisy
worker.main()
"""


async def test_what_a_worker_prints_does_not_disturb_its_messages(tmp_path, monkeypatch):
    program = tmp_path / "noisy"
    program.write_text(NOISY)
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    async with pool(tmp_path / "run") as (made, files):
        results = []
        await asyncio.wait_for(made.fetch(files, results.extend), 10)
    assert len([result for result in results if result.blob]) == len(files)


async def test_a_bug_in_what_a_worker_asks_of_its_run_ends_the_batch(tmp_path):
    async with pool(tmp_path, requests_per_second=1000) as (made, files):
        buggy = patch.object(made.http, "acquire", side_effect=ZeroDivisionError("a bug"))
        with buggy, pytest.raises(ZeroDivisionError, match="a bug"):
            await asyncio.wait_for(made.fetch(files, lambda _: None), 10)


async def test_a_bug_in_taking_what_a_worker_says_ends_the_batch(tmp_path):
    async with pool(tmp_path) as (made, files):

        def buggy(_):
            raise ZeroDivisionError("a bug")

        process = made._workers[0]._link._process
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await asyncio.wait_for(made.fetch(files, buggy), 10)
    assert process.returncode is not None, "a closed pool leaves no process"


async def test_credentials_that_are_refused_in_a_worker_are_told_of_each_file(tmp_path):
    async with pool(tmp_path, requests_per_second=1000) as (made, files):
        results = []
        with patch.object(made.http, "acquire", side_effect=AuthError("the session is over")):
            await asyncio.wait_for(made.fetch(files[:8], results.extend), 20)
    assert len(results) == 8
    assert all(isinstance(result.error, AuthError) for result in results)
    assert all("the session is over" in str(result.error) for result in results)


async def test_workers_that_do_not_end_are_killed_all_at_the_same_time(tmp_path):
    async with pool(tmp_path, count=3) as (made, _):
        processes = [worker._link._process for worker in made._workers]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        began = asyncio.get_running_loop().time()
        with patch.object(link, "CLOSE_SECONDS", 1):
            await asyncio.wait_for(made.close(), 10)
        assert asyncio.get_running_loop().time() - began < 2
        assert [process.returncode for process in processes] == [-signal.SIGKILL] * 3


async def test_what_the_run_no_longer_needs_is_the_workers_at_once(tmp_path):
    """It has four downloads under way when its worker is ready: as each ends, the worker gets its place."""
    async with pool(tmp_path) as (made, files):
        (worker,), download, release, shares = made._workers, made.local.source.download, asyncio.Event(), []

        async def held(*file):
            await release.wait()
            await download(*file)

        with (
            patch.object(worker, "set_limit", lambda limit, concurrency: shares.append((limit, concurrency))),
            patch.object(made.local.source, "download", held),
        ):
            made._local_batches = 1
            made.local.limit(4)
            fetching = asyncio.create_task(made.local.fetch(files[:4], lambda _: None))
            await until(lambda: made.local.in_flight == 4, within=10)
            made.divide()
            release.set()
            await fetching
    assert [limit for limit, _ in shares] == [0, 1, 2, 3, 4]
    assert {concurrency for _, concurrency in shares} == {made.http.concurrency} == {4}
