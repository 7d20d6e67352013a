"""Fetch workers with the real program: the same archive with and without them, whatever happens to any process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from migrator.sandbox.issuetrak.app import IssuetrakSandbox
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from tests.support.fetch_workers import (
    FILES,
    assert_whole,
    at_work,
    configured,
    is_alive,
    listed,
    memory_of,
    workers_of,
    world_of,
)
from tests.support.parts import FULL
from tests.support.program import catalog, ended, kill, run, start, until

ROWS = "SELECT attachment_id, kind, entity_id, name, size, sha256, status, error FROM attachments ORDER BY 1"


@pytest.mark.parametrize("tracker", [TargetprocessSandbox, *((TeamPulseSandbox, IssuetrakSandbox) if FULL else ())])
async def test_the_archive_is_the_same_with_and_without_workers(tmp_path, tracker):
    world, rows = world_of(500), []
    async with tracker(world) as sandbox:
        for workers in (0, 1, 2):
            config = configured(tmp_path / f"{workers}", sandbox, workers)
            process = await start("-q", "--json", "backup", config)
            seen: set[int] = set()
            while process.returncode is None:
                seen.update(workers_of(process.pid))
                await asyncio.sleep(0.02)
            finished = await ended(process)
            assert (finished.code, finished.document["attachments"]["stored"]) == (0, len(listed(sandbox, world))), (
                finished.err
            )
            assert len(seen) == workers
            await assert_whole(tmp_path / f"{workers}" / "archive", sandbox, world)
            rows.append(catalog(tmp_path / f"{workers}" / "archive", ROWS))
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize(
    ("files", "limits", "expected"), [(40, {}, 0), (FILES, {"bandwidth": "1 GB/s"}, 0), (FILES, {}, 1)]
)
async def test_auto_starts_workers_only_where_they_pay(tmp_path, files, limits, expected):
    if expected and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor: no worker would pay")
    async with TargetprocessSandbox(world_of(files)) as sandbox:
        process = await start("-q", "backup", configured(tmp_path, sandbox, "auto", **limits))
        seen: set[int] = set()
        while process.returncode is None:
            seen.update(workers_of(process.pid))
            await asyncio.sleep(0.02)
        assert (await ended(process)).code == 0
    assert bool(seen) == expected


async def test_a_killed_worker_costs_no_file(tmp_path):
    world = world_of()
    async with TargetprocessSandbox(world) as sandbox:
        process = await start("--json", "backup", configured(tmp_path, sandbox, 2))
        for worker in await at_work(process, sandbox, 2, 300):
            os.kill(worker, signal.SIGKILL)
        assert sandbox.downloads.total() < FILES, "there was something left to fetch"
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, FILES), finished.err
        assert "a fetch worker ended by itself; what it had is fetched again" in finished.err
        assert sandbox.downloads.total() <= 2 * FILES
        assert max(sandbox.downloads.values()) <= 3
        await assert_whole(tmp_path / "archive", sandbox, world)


async def test_a_file_that_a_killed_worker_leaves_half_done_is_deleted(tmp_path):
    world, incoming = world_of(), tmp_path / "archive" / "incoming"
    async with TargetprocessSandbox(world) as sandbox:
        process = await start("--json", "backup", configured(tmp_path, sandbox, 1))
        (worker,) = await at_work(process, sandbox, 1, 100)
        left: list[Path] = []
        while not left:
            await until(lambda: process.returncode is not None or any(incoming.iterdir()), every=0.001)
            os.kill(worker, signal.SIGSTOP)
            left = list(incoming.iterdir())
            os.kill(worker, signal.SIGKILL if left else signal.SIGCONT)
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, FILES), finished.err
        assert "a fetch worker ended by itself" in finished.err
        await assert_whole(tmp_path / "archive", sandbox, world)  # nothing is left in `incoming/` either


async def test_a_run_whose_workers_all_die_at_once_goes_on_by_itself(tmp_path):
    world = world_of()
    async with TargetprocessSandbox(world) as sandbox:
        sandbox.faults.latency = 0.01
        process = await start("-q", "--json", "backup", configured(tmp_path, sandbox, 1))
        killed: set[int] = set()
        while process.returncode is None:
            for worker in set(workers_of(process.pid)) - killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                killed.add(worker)
            await asyncio.sleep(0.01)
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, FILES), finished.err
        assert 1 <= len(killed) <= 3
        await assert_whole(tmp_path / "archive", sandbox, world)


async def test_a_killed_run_leaves_no_worker_that_writes_and_the_next_goes_on(tmp_path):
    world, root = world_of(), tmp_path / "archive"
    async with TargetprocessSandbox(world) as sandbox:
        config = configured(tmp_path, sandbox, 2)
        process = await start("-q", "backup", config)
        workers = await at_work(process, sandbox, 2, 500)
        assert await kill(process)
        await until(lambda: not any(map(is_alive, workers)), within=5)
        asked, names = sandbox.downloads.total(), sorted(path.name for path in root.glob("*/*/*"))
        await asyncio.sleep(0.3)
        assert (sandbox.downloads.total(), sorted(path.name for path in root.glob("*/*/*"))) == (asked, names)
        stored = {id_ for (id_,) in catalog(root, "SELECT attachment_id FROM attachments WHERE status = 'stored'")}
        before = {id_: sandbox.downloads[int(id_)] for id_ in stored}
        assert stored
        finished = await run("-q", "--json", "backup", config)
        assert (finished.code, finished.document["attachments"]["listed"]) == (0, FILES), finished.err
        assert {id_: sandbox.downloads[int(id_)] for id_ in stored} == before
        await assert_whole(root, sandbox, world)


async def test_a_worker_that_outlives_its_run_holds_the_archive(tmp_path):
    async with TargetprocessSandbox(world_of()) as sandbox:
        config = configured(tmp_path, sandbox, 1)
        process = await start("-q", "backup", config)
        (worker,) = await at_work(process, sandbox, 1, 200)
        os.kill(worker, signal.SIGSTOP)
        try:
            process.kill()
            await until(lambda: process.returncode is not None)  # `wait` would wait for the worker's end of a pipe
            next_run = asyncio.create_task(run("-q", "--json", "verify", tmp_path / "archive"))
            await asyncio.sleep(0.7)
            assert not next_run.done(), "it waits for what the killed run left behind"
        finally:
            os.kill(worker, signal.SIGCONT)
        assert "is held by" not in (await next_run).err
        assert not is_alive(worker)


@pytest.mark.parametrize("to_group", [False, True] if FULL else [True])
async def test_ctrl_c_ends_a_run_with_workers_and_keeps_what_is_finished(tmp_path, to_group):
    world = world_of()
    async with TargetprocessSandbox(world) as sandbox:
        sandbox.faults.latency = 0.02
        config = configured(tmp_path, sandbox, 2)
        process = await start("-q", "--json", "backup", config, start_new_session=True)
        workers = await at_work(process, sandbox, 2, 400)
        if to_group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        finished = await ended(process, within=15)
        asked = sandbox.downloads.total()
        assert (finished.code, finished.document["status"]) == (130, "interrupted"), finished.err
        assert not any(map(is_alive, workers))
        assert finished.document["attachments"]["stored"] == asked, "all that was fetched is recorded"
        sandbox.faults.latency = 0.0
        assert (await run("-q", "backup", config)).code == 0
        assert set(sandbox.downloads.values()) == {1}
        await assert_whole(tmp_path / "archive", sandbox, world)


async def test_a_worker_knows_no_password_and_tells_nothing_to_others(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_MINE", "p-a-s-s")
    async with TargetprocessSandbox(world_of()) as sandbox:
        process = await start("-q", "backup", configured(tmp_path, sandbox, 1))
        (worker,) = await at_work(process, sandbox, 1, 250)
        seen = b"".join(Path(f"/proc/{worker}/{name}").read_bytes() for name in ("cmdline", "environ"))
        files = [str(path.readlink()) for path in Path(f"/proc/{worker}/fd").iterdir() if path.is_symlink()]
        await ended(process)
    assert sandbox.credentials["password"].encode() not in seen
    assert b"p-a-s-s" not in seen
    assert not [name for name in files if "catalog" in name or "manifest" in name]


async def test_no_more_files_are_in_flight_than_allowed_over_all_processes(tmp_path):
    async with TargetprocessSandbox(world_of()) as sandbox:
        send, in_flight, most = sandbox.send_body, 0, 0

        async def counted(*arguments):
            nonlocal in_flight, most
            in_flight += 1
            most = max(most, in_flight)
            try:
                await asyncio.sleep(0.01)
                return await send(*arguments)
            finally:
                in_flight -= 1

        sandbox.send_body = counted
        config = configured(tmp_path, sandbox, 2, downloads=5)
        process = await start("-q", "--json", "backup", config)
        await at_work(process, sandbox, 2, 300)
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, FILES)
        assert most == 5


async def test_the_rate_of_requests_holds_over_all_processes(tmp_path):
    async with TargetprocessSandbox(world_of(400)) as sandbox:
        config = configured(tmp_path, sandbox, 2, requests_per_second=200)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await run("-q", "backup", config)).code == 0
        taken, asked = loop.time() - began, sandbox.requests.total()
        assert asked > 400
        assert asked <= 200 * (taken + 1)


async def test_a_session_that_ends_is_renewed_by_the_run_alone(tmp_path):
    world = world_of(600)
    async with TeamPulseSandbox(world, token_lifetime_requests=5, refresh_dies=True) as sandbox:
        config = configured(tmp_path, sandbox, 2)
        process = await start("-q", "--json", "backup", config)
        workers = await at_work(process, sandbox, 2, 200)
        secrets = sandbox.credentials["password"].encode()
        assert not any(secrets in memory_of(worker) for worker in workers), "no worker has the password"
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, len(listed(sandbox, world))), (
            finished.err
        )
        assert sandbox.login.logins > 3
        await assert_whole(tmp_path / "archive", sandbox, world)


async def test_a_disk_that_refuses_in_a_worker_is_status_7(tmp_path):
    async with TargetprocessSandbox(world_of(median=20_000)) as sandbox:
        config = configured(tmp_path, sandbox, 1)
        process = await start("-q", "--json", "backup", config)
        await at_work(process, sandbox, 1, 250)
        incoming = tmp_path / "archive" / "incoming"
        incoming.rename(tmp_path / "elsewhere")
        incoming.write_text("no folder")
        finished = await ended(process)
        assert (finished.code, json.loads(finished.out)["error"]["code"]) == (7, 7), finished.err
        assert "nothing is lost" in json.loads(finished.out)["error"]["message"]
