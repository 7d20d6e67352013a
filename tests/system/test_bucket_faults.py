"""Backups into a bucket while the store misbehaves and machines die: the same archive as without any of it."""

from __future__ import annotations

import asyncio
import os
import random
import shutil

import pytest

from migrator.errors import StorageError
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from tests.support.buckets import content_of, in_bucket, now_and_then, proxy_to
from tests.support.fetch_workers import configured, world_of
from tests.support.parts import FULL
from tests.support.program import catalog, ended, kill, run, start, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
ALONE = [("cut",), ("slow",), ("lose",)]
ROWS = "SELECT attachment_id, kind, entity_id, name, size, sha256, status, error FROM attachments ORDER BY 1"
WORLD = World.generate(entities=40, seed=5, attachments=250, median_bytes=3000, large_bytes=12_000_000)


@pytest.fixture
async def sandbox():
    async with TargetprocessSandbox(WORLD) as serving:
        yield serving


@pytest.fixture
async def undisturbed(tmp_path, sandbox):
    """A local archive of the same source: its blobs and its rows."""
    assert (await run("-q", "backup", configured(tmp_path / "undisturbed", sandbox, 0))).code == 0
    root = tmp_path / "undisturbed" / "archive"
    blobs = {path.name: path.read_bytes() for path in (root / "blobs").glob("*/*")}
    sandbox.downloads.clear()
    return blobs, catalog(root, ROWS)


@pytest.mark.parametrize("faults", [*(ALONE if FULL else ()), ("cut", "slow", "lose")], ids="-".join)
@pytest.mark.parametrize("workers", [0, 2])
async def test_whatever_the_store_does_the_archive_is_the_same(tmp_path, server, sandbox, undisturbed, faults, workers):
    blobs, rows = undisturbed
    async with proxy_to(server, now_and_then(*faults)) as proxy:
        config = in_bucket(tmp_path / "b", sandbox, proxy.url, workers=workers)
        finished = await run("-q", "--json", "backup", config, within=200)
        assert finished.code == 0, finished.err
        assert sum(count for fault, count in proxy.done.items() if fault) > 20
    assert server.blobs("archive") == blobs
    assert catalog(tmp_path / "b" / "local", ROWS) == rows
    assert server.names("archive") == {"README.txt", "blobs", "catalog.db", "manifest.jsonl"}


@pytest.mark.parametrize("workers", [0, 2] if FULL else [2])
async def test_killed_again_and_again_it_ends_with_the_same_archive(tmp_path, server, sandbox, undisturbed, workers):
    blobs, rows = undisturbed
    chance = random.Random(workers)
    async with proxy_to(server, now_and_then("cut", "lose", share=0.05)) as proxy:
        config = in_bucket(tmp_path / "b", sandbox, proxy.url, workers=workers)
        for _ in range(4):
            process = await start("-q", "backup", config)
            puts = proxy.requests["PUT"] + chance.randrange(1, 120)
            await until(lambda p=process, n=puts: p.returncode is not None or proxy.requests["PUT"] >= n, within=60)
            await kill(process)
        finished = await run("-q", "--json", "backup", config, within=100)
        assert finished.code == 0, finished.err
        verified = await run("-q", "--json", "verify", config, within=100)
        assert (verified.code, verified.document["problems"]) == (0, []), "what the last run named is there"
    assert server.blobs("archive") == blobs
    assert catalog(tmp_path / "b" / "local", ROWS) == rows
    assert "incoming" not in server.names("archive")


async def test_nothing_is_recorded_that_the_store_did_not_take(tmp_path, server, sandbox, undisturbed):
    """It takes 60 blobs and then refuses every write for good."""
    blobs, rows = undisturbed
    taken = []

    def fault(_proxy, request) -> str:
        if request.method == "PUT" and "/blobs/" in request.path:
            taken.append(request.path)
            return "refuse" if len(taken) > 60 else ""
        return ""

    async with proxy_to(server, fault) as proxy:
        config = in_bucket(tmp_path / "b", sandbox, proxy.url)
        refused = await run("-q", "--json", "backup", config, within=100)
        assert (refused.code, refused.document["error"]["code"]) == (7, 7)
        recorded = {sha256 for (sha256,) in catalog(tmp_path / "b" / "local", "SELECT sha256 FROM blobs")}
        assert recorded <= server.blobs("archive").keys()
        proxy.fault = lambda *_: ""
        assert (await run("-q", "backup", config)).code == 0
    assert server.blobs("archive") == blobs
    assert catalog(tmp_path / "b" / "local", ROWS) == rows


async def test_a_machine_that_is_lost_costs_only_what_it_had_not_sent(tmp_path, server, sandbox, undisturbed):
    blobs, rows = undisturbed
    async with proxy_to(server) as proxy:
        lost = in_bucket(tmp_path / "a", sandbox, proxy.url)
        process = await start("-q", "backup", lost)
        await until(lambda: len(server.blobs("archive")) > 60)
        await kill(process)
        await ended(process)
        shutil.rmtree(tmp_path / "a" / "local")
        await asyncio.to_thread(server.bucket("archive", proxy.url).remove, ["lock"])  # as if three minutes later
        config = in_bucket(tmp_path / "b", sandbox, proxy.url)
        refused = await run("-q", "status", config)
        assert (refused.code, "its first backup was not finished; run it again" in refused.err) == (2, True)
        assert (await run("-q", "backup", config)).code == 0
    assert server.blobs("archive") == blobs
    assert catalog(tmp_path / "b" / "local", ROWS) == rows


async def test_a_load_that_died_elsewhere_is_named_and_nothing_is_doubled(tmp_path, server):
    world = world_of(60)
    twin = world.without_attachments()
    async with proxy_to(server) as proxy, TargetprocessSandbox(world) as source, TeamPulseSandbox(twin) as target:
        lost, config = (in_bucket(tmp_path / name, source, proxy.url, target=target) for name in "ab")
        assert (await run("-q", "backup", lost)).code == 0
        target.faults.latency = 0.1
        process = await start("-q", "load", lost)
        await until(lambda: len(target.state.attachments()) > 10)
        await kill(process)
        await ended(process)
        shutil.rmtree(tmp_path / "a" / "local")
        os.utime(server.folder / "archive" / "lock", (1, 1))
        await asyncio.sleep(6)  # the server notices changes of its files within five seconds
        target.faults.latency = 0.0
        loaded = await run("-q", "--json", "load", config)
        assert (loaded.code, "`load` died on" in loaded.err) == (0, True), loaded.err
        uploads = loaded.document["uploads"]
        assert uploads["already_there"] > 10
        assert uploads["uploaded"] + uploads["already_there"] == uploads["planned"] == len(target.state.attachments())
        assert "died on" not in (await run("-q", "load", config)).err


async def test_a_load_whose_journal_the_store_refuses_keeps_others_away(tmp_path, server):
    world = world_of(30)
    twin = world.without_attachments()
    async with proxy_to(server) as proxy, TargetprocessSandbox(world) as source, TeamPulseSandbox(twin) as target:
        one, other = (in_bucket(tmp_path / name, source, proxy.url, target=target) for name in "ab")
        assert (await run("-q", "backup", one)).code == 0
        proxy.fault = lambda _, request: "refuse" if request.method == "PUT" and "manifest" in request.path else ""
        refused = await run("-q", "load", one)
        sent = len(target.state.attachments())
        assert (refused.code, sent > 20, "the lock stays" in refused.err) == (7, True, True), refused.err
        proxy.fault = lambda *_: ""
        held = await run("-q", "rollback", other)
        assert (held.code, "is held by `load`" in held.err) == (6, True)
        rehearsed = await run("-q", "load", one, "--dry-run")
        assert (rehearsed.code, "died on" in rehearsed.err) == (0, False), "and brings the journal there"
        proxy.fault = lambda _, request: "refuse" if request.method == "PUT" and "catalog" in request.path else ""
        refused = await run("-q", "load", one)
        assert (refused.code, "the lock stays" in refused.err) == (7, False), "all that it sent is known"
        proxy.fault = lambda *_: ""
        loaded = await run("-q", "--json", "load", one)
        assert (loaded.code, loaded.document["uploads"]["uploaded"], "died on" in loaded.err) == (0, 0, False)
        assert len(target.state.attachments()) == sent
        rolled_back = await run("-q", "rollback", other)
        assert (rolled_back.code, "died on" in rolled_back.err) == (0, False), rolled_back.err
        assert len(target.state.attachments()) == 0


async def test_a_rehearsed_load_keeps_nobody_away(tmp_path, server):
    world, lock = world_of(20), server.folder / "archive" / "lock"
    async with TargetprocessSandbox(world) as source, TeamPulseSandbox(world.without_attachments()) as target:
        one, other = (in_bucket(tmp_path / name, source, server.url, target=target) for name in "ab")
        assert (await run("-q", "backup", one)).code == 0
        target.faults.latency = 1.0
        rehearsing = await start("-q", "--json", "load", one, "--dry-run")
        await until(lock.exists)
        held = await run("-q", "backup", other)
        assert (held.code, "is held by `load --dry-run`" in held.err) == (6, True), held.err
        target.faults.latency = 0.0
        rehearsed = await ended(rehearsing)
        assert (rehearsed.code, rehearsed.document["dry_run"]["would_upload"] > 10) == (0, True)
        assert not lock.exists()
        backed_up = await run("-q", "backup", other)
        assert (backed_up.code, "died on" in backed_up.err) == (0, False), backed_up.err


async def test_what_a_load_has_sent_is_soon_known_in_the_bucket(tmp_path, server, monkeypatch):
    monkeypatch.setattr("migrator.jobs.remote.SEND_UPLOADS_SECONDS", 0.2)
    world = world_of(60)
    twin, journal = world.without_attachments(), server.folder / "archive" / "manifest.jsonl"
    async with TargetprocessSandbox(world) as source, TeamPulseSandbox(twin) as target:
        config = in_bucket(tmp_path, source, server.url, target=target)
        assert (await run("-q", "backup", config)).code == 0
        target.faults.latency = 0.1
        running = asyncio.ensure_future(run("-q", "load", config))
        await until(lambda: len(target.state.attachments()) > 10)
        target.faults.latency = 3.0
        await until(lambda: b'"status":"uploaded"' in content_of(journal))
        assert len(target.state.attachments()) < 50, "long before it ends"
        target.faults.latency = 0.0
        assert (await running).code == 0


async def test_in_a_long_run_the_journal_is_sent_now_and_then(tmp_path, server, sandbox, monkeypatch):
    monkeypatch.setattr("migrator.jobs.remote.SEND_SECONDS", 0.3)
    sent, kept = b"", tmp_path / "kept.jsonl"

    def tells_of_files() -> bool:
        nonlocal sent
        sent = content_of(server.folder / "archive" / "manifest.jsonl")
        return b'"stored"' in sent

    async with proxy_to(server) as proxy:
        config = in_bucket(tmp_path / "a", sandbox, proxy.url, requests_per_second=60)
        running = asyncio.ensure_future(run("-q", "backup", config))
        await until(tells_of_files)
        kept.write_bytes(sent)
        assert not running.done()
        assert (await running).code == 0
        downloads = sandbox.downloads.total()
        bucket = server.bucket("archive", proxy.url)  # as it was when the machine was lost
        await asyncio.to_thread(bucket.put_file, "manifest.jsonl", kept)
        other = in_bucket(tmp_path / "b", sandbox, proxy.url)
        assert (await run("-q", "backup", other)).code == 0
    assert sandbox.downloads.total() - downloads < len(WORLD.attachments), "what it had sent is not fetched again"
    assert catalog(tmp_path / "b" / "local", ROWS) == catalog(tmp_path / "a" / "local", ROWS)


@pytest.mark.parametrize("where", ["/lock", "/manifest.jsonl", "/README.txt", "/blobs/"] if FULL else ["/blobs/"])
async def test_a_stop_ends_within_15_seconds_though_the_store_hangs(tmp_path, server, sandbox, where):
    async with proxy_to(server, now_and_then("hang", share=1, only=where)) as proxy:
        process = await start("-q", "backup", in_bucket(tmp_path, sandbox, proxy.url))
        await until(lambda: proxy.done["hang"] > 0)
        process.terminate()
        assert (await ended(process, within=16)).code == 130


def completion(*faults: str):
    """These faults, one after the other, for the requests that complete an object sent in parts."""
    left = [*faults]

    def fault(_proxy, request) -> str:
        completes = request.method == "POST" and "uploadId" in request.query
        return left.pop(0) if completes and left else ""

    return fault


@pytest.mark.parametrize("faults", [("lose",), ("cut", "lose"), ("slow", "lose", "lose")], ids="-".join)
async def test_the_answer_to_a_completion_may_be_lost(server, faults):
    content = random.Random(3).randbytes(20_000_000)
    chunks = [content[at : at + 1_000_000] for at in range(0, len(content), 1_000_000)]
    async with proxy_to(server, completion(*faults)) as proxy:
        await asyncio.to_thread(server.bucket("archive", proxy.url).put_stream, "large", iter(chunks))
        assert {fault: proxy.done[fault] for fault in faults} == {fault: faults.count(fault) for fault in faults}
    assert (server.folder / "archive" / "large").read_bytes() == content


@pytest.mark.parametrize("before", [b"", b"another object, which was there before"])
async def test_a_completion_that_the_store_denies_is_not_believed(server, before):
    """It says that it doesn't know the parts any more, and has no such object, or another one."""
    async with proxy_to(server, completion(*["unknown"] * 50)) as proxy:
        bucket = server.bucket("archive", proxy.url)
        if before:
            await asyncio.to_thread(bucket.put, "large", before)
        with pytest.raises(StorageError, match="large was sent, but is not there as it should be"):
            await asyncio.to_thread(bucket.put_stream, "large", iter([bytes(9_000_000)]))
        assert proxy.done["unknown"] == 1
