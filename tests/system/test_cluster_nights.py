"""Nights that a real Dask cluster does into a real S3 server: `migrator nightly --on dask`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from tests.support.buckets import SECRET, S3Server, in_bucket, proxy_to, s3_server, sound
from tests.support.clusters import dask_cluster, killed
from tests.support.fetch_workers import is_alive, memory_of, world_of
from tests.support.parts import only_in_full
from tests.support.program import ended, run, start, until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("dask"), pytest.mark.timeout(300)]
WORLD = world_of(100)


@pytest.fixture
async def store(tmp_path) -> AsyncIterator[S3Server]:
    async with s3_server(tmp_path) as server:
        yield server


@pytest.fixture
async def sandbox() -> AsyncIterator[TargetprocessSandbox]:
    async with TargetprocessSandbox(WORLD) as serving:
        yield serving


@pytest.fixture
async def proxy(store):
    async with proxy_to(store) as passing:
        yield passing


@pytest.fixture
def secrets(sandbox):
    """The environment of a worker."""
    return {"TP_PASSWORD": sandbox.credentials["password"], "S3_SECRET": SECRET}


def night_of(folder: Path, name: str, sandbox, url: str, where: str, **sections) -> Path:
    """A configuration without a secret in it."""
    config = in_bucket(folder / name, sandbox, url, name, sections=sections or None)
    text = config.read_text().replace('{ file = "s3-secret" }', '{ env = "S3_SECRET" }')
    text = re.sub(r"^password = .*$", 'password = { env = "TP_PASSWORD" }', text, flags=re.MULTILINE)
    named = folder / f"{name}.toml"
    named.write_text(text + f'\n[workers]\ndask = "{where}"\n')
    return named


async def nightly(*configs, **how):
    return await run("-q", "--json", "nightly", *configs, "--on", "dask", **how)


async def test_each_night_is_done_by_a_worker_with_its_own_secrets(tmp_path, store, proxy, sandbox, secrets):
    async with dask_cluster(tmp_path / "dask", 0) as cluster:
        for _ in range(2):
            await cluster.start_worker(**secrets)
        await cluster.joined(2)
        nights = [
            night_of(tmp_path, name, sandbox, proxy.url, cluster.address, nightly={"report": f"{name}.html"})
            for name in "ab"
        ]
        finished = await nightly(*nights, within=200)
        assert finished.code == 0, finished.err
        assert cluster.scheduler is not None
        for secret in secrets.values():
            assert secret.encode() not in memory_of(cluster.scheduler.pid)
            assert secret not in finished.out + finished.err
    results = finished.document["results"]
    assert [result["config"] for result in results] == [str(path) for path in nights]
    for result, name in zip(results, "ab", strict=True):
        assert (result["backup"]["attachments"]["stored"], result["verify"]["status"]) == (100, "complete")
        assert result["report"]["out"] == f"{name}.html"
        assert (tmp_path / f"{name}.html").stat().st_size > 1000, "it is beside its configuration"
        assert sound(store.blobs(name))
        assert len(store.blobs(name)) > 50
        assert "lock" not in store.names(name)


async def test_a_night_whose_worker_dies_is_done_by_another(tmp_path, store, proxy, sandbox, secrets):
    async with dask_cluster(tmp_path / "dask", 0) as cluster:
        await cluster.start_worker(**secrets)
        await cluster.joined(1)
        config = night_of(tmp_path, "a", sandbox, proxy.url, cluster.address)
        sandbox.faults.latency = 0.05
        process = await start("-q", "--json", "nightly", config, "--on", "dask")
        await until(lambda: process.returncode is not None or len(store.blobs("a")) > 20, within=100)
        assert process.returncode is None
        [night] = children_of(cluster.workers[0].pid)
        await cluster.start_worker(**secrets)
        await killed(cluster.workers[0])
        sandbox.faults.latency = 0.0
        finished = await ended(process, within=100)
        assert finished.code == 0, finished.err
        assert not is_alive(night), "it ended with its worker"
    counts = finished.document["results"][0]["backup"]["attachments"]
    assert (counts["listed"], counts["failed"]) == (100, 0)
    assert counts["stored"] < 100, "it went on with what the first one has recorded"
    assert set(store.blobs("a")) == {sandbox.state.sha256_of(file) for file in WORLD.attachments}
    assert sandbox.downloads.total() <= 2 * len(WORLD.attachments)
    assert sound(store.blobs("a"))
    assert "incoming" not in store.names("a")


def children_of(pid: int) -> list[int]:
    """The processes that this one has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.name))
    return found


@only_in_full
async def test_a_stop_ends_the_nights_of_all_workers(tmp_path, store, proxy, sandbox, secrets):
    async with dask_cluster(tmp_path / "dask", 0) as cluster:
        await cluster.start_worker(**secrets)
        await cluster.joined(1)
        nights = [night_of(tmp_path, name, sandbox, proxy.url, cluster.address) for name in "ab"]
        sandbox.faults.latency = 0.1
        process = await start("-q", "--json", "nightly", *nights, "--on", "dask")
        await until(lambda: process.returncode is not None or store.blobs("a") or store.blobs("b"), within=100)
        process.send_signal(signal.SIGTERM)
        finished = await ended(process, within=16)
        assert (finished.code, finished.document["status"]) == (130, "interrupted"), finished.err
        assert {result["status"] for result in finished.document["results"]} == {"interrupted"}
        async with asyncio.timeout(10):
            while children_of(cluster.workers[0].pid):
                await asyncio.sleep(0.1)
        assert sum(bool(store.blobs(name)) for name in "ab") == 1, "the other night never began"
        assert not list(store.folder.glob("*/lock"))


@only_in_full
async def test_what_does_not_fit_fails_alone(tmp_path, store, proxy, sandbox, secrets):
    async with dask_cluster(tmp_path / "dask", 0) as cluster:
        await cluster.start_worker(**secrets)
        await cluster.joined(1)
        good, plain, folder, bad = (
            night_of(tmp_path, name, sandbox, proxy.url, cluster.address) for name in ("good", "plain", "folder", "bad")
        )
        plain.write_text(plain.read_text().replace('{ env = "TP_PASSWORD" }', f'"{secrets["TP_PASSWORD"]}"'))
        text = folder.read_text().splitlines()
        start_of = text.index("[storage]")
        folder.write_text("\n".join(['archive = "here"', *text[1:start_of], *text[-2:]]))
        bad.write_text("archive = 3")
        finished = await nightly(good, plain, folder, bad, within=100)
        assert (finished.code, finished.document["error"]["code"]) == (2, 2)
        assert [result["status"] for result in finished.document["results"]] == ["complete", *["failed"] * 3]
        for says in ("source.auth.password is in the configuration in plain text", "name an archive in a bucket"):
            assert says in finished.err
        assert secrets["TP_PASSWORD"] not in finished.err
    assert not (tmp_path / "here").exists()


async def test_a_missing_secret_of_a_worker_is_named(tmp_path, proxy, sandbox):
    async with dask_cluster(tmp_path / "dask", 0) as cluster:
        await cluster.start_worker(S3_SECRET=SECRET)
        await cluster.joined(1)
        finished = await nightly(night_of(tmp_path, "a", sandbox, proxy.url, cluster.address), within=100)
    assert (finished.code, "environment variable TP_PASSWORD is not set" in finished.err) == (2, True)
    assert "variables, files and addresses are those of its machine" in finished.err
    assert "TP_PASSWORD" not in os.environ


async def test_a_night_needs_one_cluster(tmp_path, sandbox):
    one, other = (night_of(tmp_path, name, sandbox, "http://127.0.0.1:9", f"tcp://127.0.0.1:{name}") for name in "89")
    refused = await nightly(one, other)
    assert (refused.code, "has to name the same cluster" in refused.err) == (2, True)
    nobody = await nightly(one)
    assert (nobody.code, "no scheduler answers at tcp://127.0.0.1:8" in nobody.err) == (2, True)
