"""What fetch workers have of their run: the way to the tracker, credentials, limits, pauses, checks, and its log.

From the moment when its workers are ready, a run fetches no file by itself. So these tests look at what the server sees
from then on.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from tests.support.fetch_workers import FILES, assert_whole, at_work, backed_up, configured, is_alive, listed, world_of
from tests.support.parts import only_in_full
from tests.support.program import ended, run, start
from tests.support.tls import Certificates, Proxy, in_front

PASSWORD = "pr0xy-p4ss"


async def test_workers_know_certificates_and_the_proxy_and_hide_its_password(tmp_path):
    world, certificates = world_of(700), Certificates(tmp_path)
    certificate, key = certificates.client()
    async with (
        SquashSandbox(world) as sandbox,
        in_front(urlsplit(sandbox.url).port, certificates.server(demands=True)) as front,
        Proxy("ann", PASSWORD) as proxy,
    ):
        sections = {
            "source__proxy_auth": {"username": "ann", "password": PASSWORD},
            "source__tls": {"ca_file": str(certificates.ca), "client_cert": str(certificate), "client_key": str(key)},
        }
        config = configured(tmp_path, sandbox, 1, sections=sections)
        text = config.read_text().replace(f"http://{urlsplit(sandbox.url).netloc}", front)
        config.write_text(text.replace("[source]", f'[source]\nproxy = "{proxy.url}"'))
        process = await start("-q", "--json", "backup", config)
        (worker,) = await at_work(process, sandbox, 1, 250)
        tunnels = len(proxy.heads)
        shown = b"".join(Path(f"/proc/{worker}/{name}").read_bytes() for name in ("cmdline", "environ"))
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, len(listed(sandbox, world))), (
            finished.err
        )
        assert PASSWORD.encode() not in shown
        assert tunnels > 1, "the worker has connections of its own"
        assert all(head.startswith("CONNECT ") for head in proxy.heads)
        await assert_whole(tmp_path / "archive", sandbox, world)


async def test_workers_fetch_with_the_credentials_for_files(tmp_path):
    world = world_of(500)
    async with TargetprocessSandbox(world, denies_downloads_with="unauthorized") as sandbox:
        sandbox.faults.latency = 0.02  # so that there is something left for the worker
        sections = {"auth": {"access_token": sandbox.access_token}, "source__download_auth": {"cookie": sandbox.cookie}}
        finished, workers = await backed_up(configured(tmp_path, sandbox, 1, sections=sections), "-q")
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, 500), finished.err
        assert len(workers) == 1
        await assert_whole(tmp_path / "archive", sandbox, world)


async def test_workers_fetch_twice_what_paranoid_asks_for(tmp_path):
    world = world_of(500, median=300)
    async with TeamPulseSandbox(world) as sandbox:
        sandbox.faults.latency = 0.02  # so that there is something left for the workers
        sandbox.quirks.null_sizes = {file.id for file in world.attachments}

        async def unsized(request, attachment, chunks, _, headers):
            sandbox.downloads[attachment.id] += 1
            response = web.StreamResponse(headers=headers)
            response.enable_chunked_encoding()
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
            return response

        sandbox.send_body = unsized
        finished, workers = await backed_up(configured(tmp_path, sandbox, 2), "--paranoid", "-q")
        assert finished.code == 0, finished.err
        assert len(workers) == 2
        assert {sandbox.downloads[file.id] for file in listed(sandbox, world)} == {2}
        await assert_whole(tmp_path / "archive", sandbox, world)


async def test_a_pause_that_the_tracker_asks_of_one_worker_is_kept_by_all(tmp_path):
    async with TargetprocessSandbox(world_of()) as sandbox:
        send, loop, times, asked = sandbox.send_body, asyncio.get_running_loop(), [], 0.0

        async def throttling(request, *arguments):
            nonlocal asked
            times.append(loop.time())
            if len(times) == 500:
                asked = loop.time()
                return web.Response(status=429, headers={"Retry-After": "2"})
            return await send(request, *arguments)

        sandbox.send_body = throttling
        process = await start("-q", "--json", "backup", configured(tmp_path, sandbox, 2))
        await at_work(process, sandbox, 2, 300)
        assert len(times) < 500, "the workers were at work before"
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, FILES), finished.err
        assert [time - asked for time in times if 0.3 < time - asked < 1.9] == []
        assert len([time for time in times if time - asked >= 1.9]) > 100


async def test_a_long_pause_is_told_once_however_many_workers_keep_it(tmp_path):
    async with TargetprocessSandbox(world_of()) as sandbox:
        process = await start("-q", "backup", configured(tmp_path, sandbox, 2))
        await at_work(process, sandbox, 2, 300)
        sandbox.faults.retry_after, sandbox.faults.throttled = 60, 1.0
        await asyncio.sleep(1)
        process.send_signal(signal.SIGTERM)
        finished = await ended(process, within=15)
    assert finished.code == 130, finished.err
    assert finished.err.count("the tracker asked to wait") == 1, finished.err


async def test_the_bandwidth_holds_over_all_processes(tmp_path):
    world = world_of(600, median=5000)
    size, rate = sum(file.size for file in world.attachments), 1_000_000
    async with TargetprocessSandbox(world) as sandbox:
        began = asyncio.get_running_loop().time()
        finished, workers = await backed_up(configured(tmp_path, sandbox, 2, bandwidth="1 MB/s"), "-q")
        taken = asyncio.get_running_loop().time() - began
    assert (finished.code, len(workers)) == (0, 2), finished.err
    assert size > 3 * rate, "more than a burst"
    assert size <= rate * (taken + 1)


@pytest.mark.parametrize(
    "words", [(), pytest.param(("--log-format", "json"), marks=only_in_full)], ids=["text", "json"]
)
async def test_what_a_worker_logs_is_in_the_log_of_the_run(tmp_path, words):
    async with TargetprocessSandbox(world_of()) as sandbox:
        sandbox.faults.latency = 0.01
        process = await start("-v", *words, "backup", configured(tmp_path, sandbox, 1))
        await at_work(process, sandbox, 1, 300)
        sandbox.faults.truncated = 0.1
        finished = await ended(process)
    assert finished.code == 0, finished.err
    told = [line for line in finished.err.splitlines() if "again in" in line]
    assert len(told) == sandbox.faults.injected["truncated"] > 20
    if words:
        lines = [json.loads(line) for line in finished.err.splitlines()]
        assert all([*line][:3] == ["time", "level", "message"] for line in lines)


async def test_a_tracker_that_stalls_in_a_worker_delays_no_stop(tmp_path):
    async with TargetprocessSandbox(world_of()) as sandbox:
        config = configured(tmp_path, sandbox, 2)
        process = await start("-q", "--json", "backup", config)
        workers = await at_work(process, sandbox, 2, 300)
        sandbox.faults.stalled, sandbox.faults.stall_seconds = 1.0, 60.0
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        finished = await ended(process, within=15)
        assert (finished.code, finished.document["status"]) == (130, "interrupted"), finished.err
        assert finished.document["attachments"]["stored"] >= 290
        assert not any(map(is_alive, workers))
        sandbox.faults.stalled = 0.0
        assert (await run("-q", "backup", config)).code == 0
        await assert_whole(tmp_path / "archive", sandbox, sandbox.world)


@only_in_full
async def test_workers_that_are_killed_again_and_again_cost_little(tmp_path):
    world = world_of(4000, median=500)
    async with TargetprocessSandbox(world) as sandbox:
        sandbox.faults.latency = 0.015  # long enough for each next worker to start
        process = await start("-q", "--json", "backup", configured(tmp_path, sandbox, 2))
        for files in (400, 900, 1400):
            (worker, *_) = await at_work(process, sandbox, 2, files)
            os.kill(worker, signal.SIGKILL)
        assert sandbox.downloads.total() < 3500, "there was something left to fetch"
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, 4000), finished.err
        assert finished.err.count("a fetch worker ended by itself") == 3
        assert sandbox.downloads.total() - 4000 <= 3 * (2 * 8 + 1024)
        assert max(sandbox.downloads.values()) <= 4
        await assert_whole(tmp_path / "archive", sandbox, world)
