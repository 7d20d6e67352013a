"""Backups by a real Dask cluster into a real S3 server: the same archive, whatever happens to any part of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from tests.support.buckets import S3Server, in_bucket, s3_server, sound
from tests.support.clusters import ROOT, DaskCluster, dask_cluster, killed
from tests.support.fetch_workers import (
    FILES,
    assert_whole,
    configured,
    listed,
    memory_of,
    world_of,
)
from tests.support.parts import only_in_full
from tests.support.program import catalog, ended, run, start, until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("dask"), pytest.mark.timeout(240)]
ATTACHMENTS = "SELECT attachment_id, kind, entity_id, name, size, sha256, status, error FROM attachments ORDER BY 1"
ENTITIES = "SELECT kind, entity_id, title, url, raw FROM entities ORDER BY 1, 2"
BLOBS = "SELECT sha256, size FROM blobs ORDER BY 1"


@pytest.fixture
async def store(tmp_path) -> AsyncIterator[S3Server]:
    async with s3_server(tmp_path) as server:
        yield server


def on_cluster(config: Path, where: str) -> Path:
    config.write_text(config.read_text() + f'\n[workers]\ndask = "{where}"\n')
    return config


def contents(root: Path) -> list[list[tuple[object, ...]]]:
    return [catalog(root, query) for query in (ATTACHMENTS, ENTITIES, BLOBS)]


async def is_stored_in(store: S3Server, root: Path, sandbox: TargetprocessSandbox) -> None:
    """What the catalog has is what the tracker has, and lies in the bucket."""
    world, blobs = sandbox.world, store.blobs("archive")
    truth = {str(file.id): sandbox.state.sha256_of(file) for file in listed(sandbox, world)}
    assert dict(catalog(root, "SELECT attachment_id, sha256 FROM attachments WHERE status = 'stored'")) == truth
    assert sound(blobs)
    assert set(blobs) == set(truth.values())
    assert not list((store.folder / "archive" / "incoming").glob("*"))


@asynccontextmanager
async def supervised(cluster: DaskCluster, count: int) -> AsyncIterator[None]:
    """Start a worker for each that ends, as Kubernetes or systemd would."""

    async def keep() -> None:
        while True:
            for worker in [each for each in cluster.workers if each.returncode is not None]:
                cluster.workers.remove(worker)
            while len(cluster.workers) < count:
                await cluster.start_worker()
            await asyncio.sleep(0.2)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def test_one_process_four_and_two_dask_workers_get_the_same(tmp_path, store):
    world = world_of()
    async with TargetprocessSandbox(world) as sandbox, dask_cluster(tmp_path / "dask", 2) as cluster:
        alone = in_bucket(tmp_path / "one", sandbox, store.url, "alone")
        processes = in_bucket(tmp_path / "four", sandbox, store.url, "four", workers=4)
        for config in (alone, processes):
            assert (await run("-q", "backup", config)).code == 0
        asked = sandbox.downloads.total()
        config = on_cluster(in_bucket(tmp_path / "dask", sandbox, store.url), cluster.address)
        process, titles = await start("-q", "--json", "backup", config), set()
        while process.returncode is None and not titles:
            titles.update(await cluster.titles())
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, FILES), finished.err
        assert titles == {f"fetch files of targetprocess {sandbox.url}"}
        assert sandbox.downloads.total() == asked + FILES
        await is_stored_in(store, tmp_path / "dask" / "local", sandbox)
    assert contents(tmp_path / "dask" / "local") == contents(tmp_path / "one" / "local")
    assert contents(tmp_path / "dask" / "local") == contents(tmp_path / "four" / "local")


async def test_workers_that_are_killed_again_and_again_lose_nothing(tmp_path, store):
    async with TargetprocessSandbox(world_of(2 * FILES)) as sandbox, dask_cluster(tmp_path / "dask", 2) as cluster:
        sandbox.faults.latency = 0.02
        config = on_cluster(in_bucket(tmp_path, sandbox, store.url), cluster.address)
        process, kills = await start("-q", "--json", "backup", config), 0
        async with supervised(cluster, 2):
            while process.returncode is None and kills < 6:
                wanted = sandbox.downloads.total() + 300
                while process.returncode is None and sandbox.downloads.total() < wanted:
                    await asyncio.sleep(0.02)
                if process.returncode is None:
                    await killed(cluster.workers[0])
                    kills += 1
            finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, 2 * FILES), finished.err
        assert kills >= 3
        assert "is gone; what it had is fetched again" in finished.err
        assert sandbox.downloads.total() <= 2 * 2 * FILES
        await is_stored_in(store, tmp_path / "local", sandbox)


async def test_a_scheduler_that_restarts_costs_no_file(tmp_path, store):
    async with TargetprocessSandbox(world_of(2 * FILES)) as sandbox, dask_cluster(tmp_path / "dask", 2) as cluster:
        sandbox.faults.latency = 0.06
        config = on_cluster(in_bucket(tmp_path, sandbox, store.url), cluster.address)
        process = await start("-q", "--json", "backup", config)
        async with supervised(cluster, 2):
            await until(lambda: process.returncode is not None or sandbox.downloads.total() > 500)
            await cluster.kill_scheduler()
            await asyncio.sleep(1)
            assert process.returncode is None
            await cluster.start_scheduler()
            await cluster.joined(2)
            while process.returncode is None and not await cluster.titles():
                await asyncio.sleep(0.1)
            assert process.returncode is None, "the run works with the cluster again"
            sandbox.faults.latency = 0.0
            finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, 2 * FILES), finished.err
        assert "is gone; what it had is fetched again" in finished.err
        assert sandbox.downloads.total() <= 2 * 2 * FILES
        await is_stored_in(store, tmp_path / "local", sandbox)


@only_in_full
async def test_a_killed_run_leaves_workers_that_serve_the_next_one(tmp_path, store):
    async with TargetprocessSandbox(world_of()) as sandbox, dask_cluster(tmp_path / "dask", 1) as cluster:
        sandbox.faults.latency = 0.02
        config = on_cluster(in_bucket(tmp_path, sandbox, store.url), cluster.address)
        process = await start("-q", "backup", config)
        await until(lambda: process.returncode is not None or sandbox.downloads.total() > 500)
        await killed(process)
        finished = await run("-q", "--json", "backup", config)
        assert finished.code == 0, finished.err
        assert sandbox.downloads.total() <= 2 * FILES
        await is_stored_in(store, tmp_path / "local", sandbox)


@pytest.mark.slow
@only_in_full
async def test_a_worker_that_is_cut_off_costs_what_it_had(tmp_path, store):
    async with TargetprocessSandbox(world_of()) as sandbox, dask_cluster(tmp_path / "dask", 2) as cluster:
        sandbox.faults.latency = 0.02
        config = on_cluster(in_bucket(tmp_path, sandbox, store.url), cluster.address)
        process = await start("-q", "--json", "backup", config)
        await until(lambda: process.returncode is not None or sandbox.downloads.total() > 500)
        cluster.workers[0].send_signal(signal.SIGSTOP)
        finished = await ended(process, within=100)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, FILES), finished.err
        assert sandbox.downloads.total() <= 2 * FILES
        await is_stored_in(store, tmp_path / "local", sandbox)
        cluster.workers[0].send_signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            while await cluster.fetching():
                await asyncio.sleep(0.5)


@only_in_full
async def test_limits_hold_over_the_run_and_its_dask_workers(tmp_path, store):
    async with TargetprocessSandbox(world_of(600)) as sandbox, dask_cluster(tmp_path / "dask", 2) as cluster:
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
        config = in_bucket(tmp_path, sandbox, store.url, downloads=5, requests_per_second=200)
        loop = asyncio.get_running_loop()
        began = loop.time()
        finished = await run("-q", "--json", "backup", on_cluster(config, cluster.address))
        assert finished.code == 0, finished.err
        assert most <= 5
        assert 600 < sandbox.requests.total() <= 200 * (loop.time() - began + 1)


async def test_a_dask_worker_has_no_password_and_writes_nothing(tmp_path, store):
    world = world_of(600)
    async with (
        TeamPulseSandbox(world, token_lifetime_requests=5, refresh_dies=True) as sandbox,
        dask_cluster(tmp_path / "dask", 1) as cluster,
    ):
        config = on_cluster(in_bucket(tmp_path, sandbox, store.url), cluster.address)
        process = await start("-q", "--json", "backup", config)
        await until(lambda: process.returncode is not None or sandbox.downloads.total() > 300)
        assert process.returncode is None
        password, log = sandbox.credentials["password"].encode(), (tmp_path / "dask" / "dask.log").read_bytes()
        assert cluster.scheduler is not None
        for pid in (cluster.workers[0].pid, cluster.scheduler.pid):
            assert password not in memory_of(pid)
        finished = await ended(process)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, len(listed(sandbox, world)))
        assert sandbox.login.logins > 3, "the run logged in again for its worker"
    left = {path.suffix for path in (tmp_path / "dask").rglob("*") if path.is_file()}
    assert left <= {".log", ".dirlock", ".lock"}, "Dask's own"
    assert b"out-of-band function 'collect'" not in log


async def test_a_worker_with_another_program_is_refused(tmp_path, store):
    other = tmp_path / "other"
    shutil.copytree(ROOT / "migrator", other / "migrator", ignore=shutil.ignore_patterns("__pycache__"))
    init = other / "migrator" / "__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', '__version__ = "9.9.9"', init.read_text()))
    async with TargetprocessSandbox(world_of(300)) as sandbox, dask_cluster(tmp_path / "dask", 0) as cluster:
        config = on_cluster(in_bucket(tmp_path, sandbox, store.url), cluster.address)
        await cluster.start_worker(packages=other)
        await cluster.joined(1)
        refused = await run("-q", "--json", "backup", config)
        assert refused.code == 2
        assert re.search(
            r"no worker has this program, 0\.1\.0 .*has 9\.9\.9 \(code", refused.document["error"]["message"]
        )
        assert (sandbox.downloads.total(), store.blobs("archive")) == (0, {})
        await cluster.start_worker()
        await cluster.joined(2)
        finished = await run("-q", "--json", "backup", config)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, 300), finished.err
        assert "gets no files: it has 9.9.9" in finished.err


@only_in_full
async def test_a_stop_ends_the_run_and_leaves_the_cluster_free(tmp_path, store):
    async with TargetprocessSandbox(world_of(2 * FILES)) as sandbox, dask_cluster(tmp_path / "dask", 2) as cluster:
        sandbox.faults.latency = 0.02
        config = on_cluster(in_bucket(tmp_path, sandbox, store.url), cluster.address)
        process = await start("-q", "--json", "backup", config)
        await until(lambda: process.returncode is not None or sandbox.downloads.total() > 500)
        process.terminate()
        finished = await ended(process, within=15)
        assert (finished.code, finished.document["status"]) == (130, "interrupted"), finished.err
        assert finished.document["attachments"]["stored"] == sandbox.downloads.total()
        assert await cluster.fetching() == 0
        assert await cluster.titles() == []
        sandbox.faults.latency = 0.0
        assert (await run("-q", "backup", config)).code == 0
        assert set(sandbox.downloads.values()) == {1}
        await is_stored_in(store, tmp_path / "local", sandbox)


async def test_a_local_cluster_fills_a_folder_and_ends_with_its_run(tmp_path):
    world = world_of(600)
    async with TargetprocessSandbox(world) as sandbox:
        config = on_cluster(configured(tmp_path, sandbox, 0), "local")
        finished = await run("--json", "backup", config)
        assert (finished.code, finished.document["attachments"]["stored"]) == (0, 600), finished.err
        await assert_whole(tmp_path / "archive", sandbox, world)
    assert "distributed" not in finished.err


async def test_a_scheduler_that_does_not_answer_is_status_2(tmp_path, store):
    async with TargetprocessSandbox(world_of(10)) as sandbox:
        config = on_cluster(in_bucket(tmp_path, sandbox, store.url), "missing.json")
        no_file = await run("-q", "--json", "backup", config)
        assert (no_file.code, no_file.document["error"]["code"]) == (2, 2)
        assert "there is no scheduler file" in no_file.document["error"]["message"]
        config.write_text(config.read_text().replace("missing.json", "tcp://127.0.0.1:9"))
        nobody = await run("-q", "--json", "backup", config)
        assert nobody.code == 2
        assert "no scheduler answers at tcp://127.0.0.1:9" in json.loads(nobody.out)["error"]["message"]


async def test_a_cluster_without_workers_is_named_and_not_waited_for(tmp_path, store):
    async with TargetprocessSandbox(world_of(60)) as sandbox, dask_cluster(tmp_path / "dask", 0) as cluster:
        finished = await run("-q", "backup", on_cluster(in_bucket(tmp_path, sandbox, store.url), cluster.address))
        assert finished.code == 0, finished.err
        assert "no worker has joined the Dask cluster at tcp://" in finished.err
        await is_stored_in(store, tmp_path / "local", sandbox)


async def test_a_folder_is_refused_where_other_machines_would_write(tmp_path):
    async with TargetprocessSandbox(world_of(10)) as sandbox:
        config = on_cluster(configured(tmp_path, sandbox, 0), "tcp://127.0.0.1:9")
        refused = await run("-q", "backup", config)
    assert refused.code == 2
    assert 'name an archive in a bucket ("s3://..."), or "local" as the cluster' in refused.err
