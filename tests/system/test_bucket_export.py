"""Exports into a bucket of a real S3 server: what a folder would get, or nothing."""

from __future__ import annotations

import asyncio
import shutil
import zipfile

import bagit
import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from tests.support.buckets import BUCKET, KEY, SECRET, content_of, in_bucket, now_and_then
from tests.support.fetch_workers import configured, world_of
from tests.support.parts import overwrite
from tests.support.program import ended, kill, run, start, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
WORLD = world_of(80)
DEST = f"s3://{BUCKET}/files"


@pytest.fixture
async def archive(tmp_path, proxy, monkeypatch):
    """An archive on a disk; the environment says how the store is reached."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return await backed_up(tmp_path / "a", WORLD)


async def backed_up(folder, world):
    async with TargetprocessSandbox(world) as sandbox:
        assert (await run("-q", "backup", configured(folder, sandbox, 0))).code == 0
    return folder / "archive"


async def exported(archive, dest, shape="tree", *options):
    return await run("-q", "--json", "export", archive, dest, "--format", shape, *options)


def files_in(folder):
    return {str(path.relative_to(folder)): content_of(path) for path in folder.rglob("*") if path.is_file()}


async def test_a_tree_in_a_bucket_is_that_on_a_disk(tmp_path, server, archive):
    there, here = await exported(archive, DEST), await exported(archive, tmp_path / "here")
    assert (there.code, here.code) == (0, 0), there.err
    assert (there.document["files"], there.document["destination"]) == (80, DEST)
    assert there.document["bytes"] == here.document["bytes"]
    assert files_in(server.folder / "files") == files_in(tmp_path / "here")


async def test_a_bag_in_a_bucket_is_valid(server, archive):
    assert (await exported(archive, DEST, "bagit")).code == 0
    assert bagit.Bag(str(server.folder / "files")).is_valid()
    assert len(files_in(server.folder / "files" / "data")) == 81


async def test_a_zip_file_streams_into_a_bucket(tmp_path, server, proxy, archive):
    archive = await backed_up(tmp_path / "large", world_of(4, median=20_000_000))
    assert (await exported(archive, tmp_path / "here")).code == 0
    proxy.requests.clear()
    sent = await exported(archive, f"{DEST}/all.zip", "zip")
    assert sent.code == 0, sent.err
    assert proxy.requests["POST"] > 0, "it was sent in parts"
    with zipfile.ZipFile(server.folder / "files" / "all.zip") as file:
        assert file.testzip() is None
        file.extractall(tmp_path / "opened")
    assert files_in(tmp_path / "opened") == files_in(tmp_path / "here")
    again = await exported(archive, f"{DEST}/all.zip", "zip")
    assert (again.code, "already exists" in again.err) == (2, True)


async def test_an_archive_in_a_bucket_is_exported_with_its_own_keys(tmp_path, server, proxy):
    async with TargetprocessSandbox(world_of(5, median=12_000_000)) as sandbox:
        config = in_bucket(tmp_path / "b", sandbox, proxy.url)
        assert (await run("-q", "backup", config)).code == 0
    finished = await exported(config, DEST)
    assert (finished.code, finished.document["files"]) == (0, 5), finished.err
    sizes = {len(content) for content in files_in(server.folder / "files").values()}
    assert max(sizes) > 8 * 2**20
    inside = await exported(config, f"s3://{BUCKET}/archive/files")
    assert (inside.code, "is inside the archive" in inside.err) == (2, True)
    assert "files" not in server.names("archive")


async def test_a_damaged_file_does_not_arrive(tmp_path, server, archive):
    archive = await backed_up(tmp_path / "large", world_of(5, median=12_000_000))
    small, *_, large = sorted((archive / "blobs").glob("*/*"), key=lambda path: path.stat().st_size)
    for blob in (small, large):
        overwrite(blob, blob.read_bytes()[:-1] + b"?")
    finished = await exported(archive, DEST)
    assert (finished.code, finished.document["files"]) == (5, 3), finished.err
    assert {problem["sha256"] for problem in finished.document["problems"]} == {small.name, large.name}
    assert len(files_in(server.folder / "files")) == 3 + 1


@pytest.mark.parametrize("faults", [("cut",), ("slow",), ("lose",)], ids="-".join)
async def test_whatever_the_store_does_the_export_is_the_same(tmp_path, server, proxy, archive, faults):
    proxy.fault = now_and_then(*faults, only="/files")
    finished = await exported(archive, DEST)
    assert finished.code == 0, finished.err
    assert sum(count for fault, count in proxy.done.items() if fault) > 5
    assert (await exported(archive, tmp_path / "here")).code == 0
    assert files_in(server.folder / "files") == files_in(tmp_path / "here")


@pytest.mark.parametrize("shape", ["tree", "zip"])
async def test_a_store_that_refuses_writes_is_status_7(server, proxy, archive, shape):
    proxy.fault = lambda _, request: "refuse" if request.method in {"PUT", "POST"} else ""
    refused = await exported(archive, f"{DEST}/x" if shape == "zip" else DEST, shape)
    assert (refused.code, refused.document["error"]["code"]) == (7, 7)
    assert not (server.folder / "files").exists()


async def test_what_is_there_already_is_not_touched(server, archive):
    (server.folder / "files").mkdir()
    (server.folder / "files" / "letter.txt").write_bytes(b"dear all")
    refused = await exported(archive, DEST)
    assert (refused.code, "is not empty" in refused.err) == (2, True)
    assert files_in(server.folder / "files") == {"letter.txt": b"dear all"}


@pytest.mark.parametrize(
    ("dest", "options", "says"),
    [
        (DEST, ["--format", "tree", "--link"], "a store has no hard links"),
        ("s3://files.zip", ["--format", "zip"], "names no file in a bucket"),
        ("http://x/y", ["--format", "tree"], "lies at s3://"),
    ],
)
async def test_places_that_make_no_sense_are_refused(archive, dest, options, says):
    refused = await run("-q", "--json", "export", archive, dest, *options)
    assert (refused.code, says in refused.err) == (2, True), refused.err


@pytest.mark.parametrize("shape", ["tree", "zip"])
async def test_a_stop_leaves_nothing_there(tmp_path, server, proxy, archive, shape):
    archive = await backed_up(tmp_path / "large", world_of(80, median=1_000_000))
    process = await slowly_exporting(proxy, archive, f"{DEST}/all.zip" if shape == "zip" else DEST, shape)
    process.terminate()
    assert (await ended(process, within=16)).code == 130
    assert not (server.folder / "files").exists() or files_in(server.folder / "files") == {}


async def slowly_exporting(proxy, archive, dest, shape="tree"):
    """An export of which some has arrived, and the rest not for seconds."""
    proxy.requests.clear()
    proxy.fault = lambda _, request: "late" if request.method == "PUT" else ""
    process = await start("-q", "--json", "export", archive, dest, "--format", shape)
    await until(lambda: proxy.done["late"] > 3)
    return process


async def test_what_a_kill_left_there_the_next_export_deletes(tmp_path, server, proxy, archive):
    process = await slowly_exporting(proxy, archive, DEST)
    await until(lambda: len(files_in(server.folder / "files")) > 3)
    await kill(process)
    proxy.fault = lambda *_: ""
    left = files_in(server.folder / "files")
    assert "index.csv" not in left
    assert [name for name in left if name.startswith(".export-")]
    bucket = server.bucket("files", proxy.url)
    await asyncio.to_thread(bucket.put, "Bug/stale.txt", b"of an entity that has another title now")
    shutil.copytree(archive, tmp_path / "other")
    other = await exported(tmp_path / "other", DEST)
    assert (other.code, "is not empty" in other.err) == (2, True), "it is not that archive's"
    assert (await exported(archive, DEST)).code == 0
    assert (await exported(archive, tmp_path / "here")).code == 0
    assert files_in(server.folder / "files") == files_in(tmp_path / "here")
