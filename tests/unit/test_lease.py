"""The lock of an archive in a bucket, against a real S3 server, with and without conditions on writes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest

from migrator.errors import ArchiveLockedError
from migrator.store import Bucket, BucketAddress
from migrator.store.objects import lease as lease_module
from migrator.store.objects.lease import Lease, holder_in
from tests.support.buckets import proxy_to, s3_server

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(lease_module, "PAUSE_SECONDS", 0.3)


@pytest.fixture
async def server(tmp_path):
    async with s3_server(tmp_path) as serving:
        yield serving


@pytest.fixture(params=[True, False, None], ids=["heeds conditions", "ignores conditions", "a folder"])
async def bucket(request, server, tmp_path):
    if request.param is None:
        (tmp_path / "store").mkdir()
        bucket = Bucket.at(BucketAddress((tmp_path / "store").as_uri()))
        bucket.heeds = True  # of creating; it knows none for replacing
        yield bucket
        return
    async with proxy_to(server, conditions=request.param) as proxy:
        bucket = server.bucket("archive", proxy.url)
        bucket.heeds = request.param
        yield bucket


async def held(bucket, folder, seconds: float = 0.0) -> Lease:
    """A lease that somebody on another machine takes."""
    lease = Lease(bucket, "backup", folder)
    lease._entry["host"] = str(folder)
    if seconds:
        lease.seconds = seconds
    await asyncio.to_thread(lease.__enter__)
    return lease


async def ended(lease) -> None:
    await asyncio.to_thread(lease.__exit__)


async def test_a_second_run_is_refused_and_told_who_holds_it(bucket, tmp_path):
    first = await held(bucket, tmp_path / "a")
    assert first.conditional is bucket.heeds
    with pytest.raises(ArchiveLockedError, match=r"held by `backup` \(process \d+ on .*/a, since 2"):
        await held(bucket, tmp_path / "b")
    assert (await asyncio.to_thread(holder_in, bucket))["host"] == str(tmp_path / "a")
    await ended(first)
    assert await asyncio.to_thread(holder_in, bucket) is None
    await ended(await held(bucket, tmp_path / "b"))


async def test_of_many_at_once_at_most_one_gets_it(bucket, tmp_path):
    got, together = [], threading.Barrier(6)

    def run(number: int) -> None:
        lease = Lease(bucket, "backup", tmp_path / str(number))
        lease._entry["host"] = str(number)
        together.wait()
        try:
            lease.__enter__()
        except ArchiveLockedError:
            return
        got.append(lease)

    await asyncio.gather(*(asyncio.to_thread(run, number) for number in range(6)))
    assert len(got) == 1 if bucket.heeds else len(got) <= 1
    for lease in got:
        lease.guard()
        await ended(lease)


async def test_one_that_has_run_out_is_taken_over_and_its_holder_stops(bucket, tmp_path):
    first = await held(bucket, tmp_path / "a", seconds=4)
    first._ending.set()  # it stalls: nothing renews it
    with pytest.raises(ArchiveLockedError):
        await held(bucket, tmp_path / "b", seconds=4)
    await asyncio.sleep(5.2)
    second = await held(bucket, tmp_path / "b", seconds=4)
    with pytest.raises(ArchiveLockedError, match="was taken over"):
        await asyncio.to_thread(first.guard)
    second.guard()
    await ended(first)
    assert (await asyncio.to_thread(holder_in, bucket))["host"] == str(tmp_path / "b"), "not released by the first"
    await ended(second)


async def test_a_holder_that_works_for_long_keeps_it(bucket, tmp_path):
    first = await held(bucket, tmp_path / "a", seconds=3)
    await asyncio.sleep(4.5)
    with pytest.raises(ArchiveLockedError):
        await held(bucket, tmp_path / "b", seconds=3)
    await asyncio.to_thread(first.guard)
    await ended(first)


async def test_one_left_behind_in_the_same_folder_is_taken_at_once(bucket, tmp_path):
    first = await held(bucket, tmp_path / "a")
    first._ending.set()
    began = time.monotonic()
    second = await held(bucket, tmp_path / "a")
    assert time.monotonic() - began < 5
    await ended(second)


def with_catalog(folder: Path) -> Path:
    """A folder that has a catalog, of which only the id matters here."""
    folder.mkdir()
    (folder / "manifest.jsonl").touch()
    (folder / "bucket.json").write_text(json.dumps({"url": "s3://backups/archive", "id": folder.name}))
    return folder


async def dead(bucket, folder) -> Lease:
    """A run that has begun to send and died, a lease ago."""
    lease = await held(bucket, folder, seconds=1)
    await asyncio.to_thread(lease.begin_sending)
    lease._ending.set()
    await asyncio.sleep(2.1)
    return lease


def catalogs(runs) -> list[str]:
    return [each["catalog"] for each in runs]


async def test_who_died_elsewhere_is_passed_on_until_a_run_has_ended(bucket, tmp_path):
    a, b, c = (with_catalog(tmp_path / name) for name in "abc")
    assert catalogs((await dead(bucket, a)).died_elsewhere) == []
    assert catalogs((await dead(bucket, b)).died_elsewhere) == ["a"]
    assert catalogs((await dead(bucket, b)).died_elsewhere) == ["a"], "one of each catalog is enough"
    assert catalogs((await dead(bucket, c)).died_elsewhere) == ["b", "a"]
    back = await held(bucket, a, seconds=1)
    assert (catalogs(back.died_elsewhere), catalogs(back.died_here)) == (["c", "b"], ["a"])
    assert back.stays
    await asyncio.to_thread(back.all_is_known)
    assert not back.stays
    await ended(back)
    last = await held(bucket, c)
    assert last.died_elsewhere == last.died_here == []
    await ended(last)


async def test_a_lock_stays_until_all_is_known(bucket, tmp_path):
    first = await held(bucket, with_catalog(tmp_path / "a"))
    await asyncio.to_thread(first.begin_sending)
    await ended(first)
    with pytest.raises(ArchiveLockedError):
        await held(bucket, with_catalog(tmp_path / "b"))
    again = await held(bucket, tmp_path / "a")
    assert catalogs(again.died_here) == ["a"]
    await asyncio.to_thread(again.all_is_known)
    await ended(again)
    await ended(await held(bucket, tmp_path / "b"))


async def test_a_catalog_that_is_replaced_no_longer_knows_what_was_sent(bucket, tmp_path):
    folder = with_catalog(tmp_path / "a")
    first = await held(bucket, folder)
    await asyncio.to_thread(first.begin_sending)
    await ended(first)
    lease = await held(bucket, folder)
    (folder / "bucket.json").write_text(json.dumps({"url": "s3://backups/archive", "id": "another"}))
    assert catalogs(lease.look_again()) == ["a"]
    assert (catalogs(lease.died_elsewhere), lease.died_here) == (["a"], [])
    assert lease.look_again() == []
    await ended(lease)


@pytest.mark.parametrize("told", [None, 5, "abc", [1], [None], {"a": 1}, [{}], [{"command": ["load"]}]])
async def test_a_lock_that_says_nonsense_of_others_is_taken(server, tmp_path, told):
    bucket = server.bucket("archive")
    first = await held(bucket, tmp_path)
    entry = json.loads(first._body())
    first._ending.set()
    await asyncio.to_thread(bucket.put, "lock", json.dumps({**entry, "died": told}).encode())
    await ended(await held(bucket, tmp_path))


async def test_a_lost_answer_is_no_other_run(server, tmp_path):
    lost = []

    def fault(_proxy, request) -> str:
        if request.method == "PUT" and request.path.endswith("/lock") and len(lost) < 1:
            lost.append(request)
            return "lose"
        return ""

    async with proxy_to(server, fault) as proxy:
        lease = await held(server.bucket("archive", proxy.url), tmp_path)
        lease.guard()
        assert lost
        await ended(lease)


async def test_the_lock_is_text_that_people_can_read(bucket, tmp_path):
    lease = await held(bucket, tmp_path)
    text = json.loads((await asyncio.to_thread(bucket.read, "lock"))[0])
    assert {"command", "pid", "host", "since", "renewed"} <= text.keys()
    await ended(lease)
