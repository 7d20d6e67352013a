"""What a run does when something goes wrong between it and a fetch worker: it fails with that, and never hangs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest

from migrator.config.settings import read_configuration
from migrator.errors import AuthError
from migrator.jobs.fetching import handle
from migrator.jobs.fetching.pool import WorkerPool
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
async def pool(folder, **limits):
    """A pool with one worker, which is ready, and files to fetch."""
    async with TargetprocessSandbox(world_of(60)) as sandbox:
        wired = wire_source(read_configuration(configured(folder, sandbox, 1, **limits)))
        archive = Archive(folder / "archive")
        archive.root.mkdir()
        archive.prepare()
        made = WorkerPool(wired, Downloader(wired.tracker, archive, StopToken(), Silent(), downloads=4), 1)
        try:
            await wired.tracker.check()
            made.expect(1000)
            await until(lambda: made.local._limit == 0)
            yield made, [Attachment(str(file.id), EntityRef("Bug", "1"), "x") for file in sandbox.world.attachments]
        finally:
            await made.close()
            await wired.tracker.close()


async def test_a_bug_in_what_a_worker_asks_of_its_run_ends_the_batch(tmp_path):
    async with pool(tmp_path, requests_per_second=1000) as (made, files):
        buggy = patch.object(made.http, "acquire", side_effect=ZeroDivisionError("a bug"))
        with buggy, pytest.raises(ZeroDivisionError, match="a bug"):
            await asyncio.wait_for(made.fetch(files, lambda _: None), 10)


async def test_a_bug_in_taking_what_a_worker_says_ends_the_batch(tmp_path):
    async with pool(tmp_path) as (made, files):

        def buggy(_):
            raise ZeroDivisionError("a bug")

        with pytest.raises(ZeroDivisionError, match="a bug"):
            await asyncio.wait_for(made.fetch(files, buggy), 10)


async def test_credentials_that_are_refused_in_a_worker_are_told_of_each_file(tmp_path):
    async with pool(tmp_path, requests_per_second=1000) as (made, files):
        results = []
        with patch.object(made.http, "acquire", side_effect=AuthError("the session is over")):
            await asyncio.wait_for(made.fetch(files[:8], results.extend), 20)
    assert len(results) == 8
    assert all(isinstance(result.error, AuthError) for result in results)
    assert all("the session is over" in str(result.error) for result in results)


async def test_a_worker_that_does_not_end_is_killed(tmp_path):
    async with pool(tmp_path) as (made, _):
        (worker,) = made._workers
        process = worker._process
        with patch.object(handle, "CLOSE_SECONDS", 0.2), patch.object(worker._channel, "close", lambda: None):
            await asyncio.wait_for(made.close(), 10)
        assert process.returncode == -9
