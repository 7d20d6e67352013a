"""Copies of archives between disks and buckets of a real S3 server."""

from __future__ import annotations

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from tests.support.buckets import BUCKET, in_bucket
from tests.support.fetch_workers import configured, world_of
from tests.support.program import catalog, kill, run, start, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
ROWS = "SELECT attachment_id, kind, entity_id, name, size, sha256, status, error FROM attachments ORDER BY 1"


@pytest.fixture
async def sandbox():
    async with TargetprocessSandbox(world_of(150, median=4000)) as serving:
        yield serving


def blobs_in(root):
    return {path.name: path.read_bytes() for path in (root / "blobs").glob("*/*")}


async def copied(*arguments):
    finished = await run("-q", "--json", "copy", *arguments)
    assert finished.code == 0, finished.err
    return finished.document["blobs"]


async def test_from_disk_to_bucket_to_disk_nothing_changes(tmp_path, sandbox, server, proxy):
    config, bucket = configured(tmp_path / "a", sandbox, 0), in_bucket(tmp_path / "b", sandbox, proxy.url)
    assert (await run("-q", "backup", config)).code == 0
    first, last = tmp_path / "a" / "archive", tmp_path / "c"
    count = len(blobs_in(first))
    assert await copied(config, bucket) == {"copied": count, "already_there": 0, "removed": 0}
    assert await copied(bucket, last) == {"copied": count, "already_there": 0, "removed": 0}
    assert server.blobs("archive") == blobs_in(first) == blobs_in(last)
    assert catalog(last, ROWS) == catalog(first, ROWS)
    for each in (bucket, last):
        verified = await run("-q", "--json", "verify", each)
        assert (verified.code, verified.document["blobs"]) == (0, count)
    assert (await run("-q", "--json", "backup", bucket)).document["attachments"]["stored"] == 0, "it goes on there"
    refused = await run("-q", "copy", config, bucket)
    assert (refused.code, f"s3://{BUCKET}/archive is not an earlier copy" in refused.err) == (2, True), refused.err


async def test_a_second_copy_brings_only_what_is_new(tmp_path, sandbox, server, proxy):
    config, bucket = configured(tmp_path / "a", sandbox, 0), in_bucket(tmp_path / "b", sandbox, proxy.url)
    assert (await run("-q", "backup", config, "--limit", "10")).code == 0
    few = (await copied(config, bucket))["copied"]
    assert (await run("-q", "backup", config)).code == 0
    assert (await run("-q", "verify", bucket)).code == 0, "which records a run in the copy"
    second = await copied(config, bucket)
    assert (second["already_there"], second["removed"]) == (few, 0)
    assert await copied(config, bucket) == {"copied": 0, "already_there": few + second["copied"], "removed": 0}
    assert server.blobs("archive") == blobs_in(tmp_path / "a" / "archive")


async def test_what_the_archive_has_forgotten_goes_from_the_copy(tmp_path, sandbox):
    config, copy = configured(tmp_path / "a", sandbox, 0), tmp_path / "b"
    assert (await run("-q", "backup", config)).code == 0
    await copied(config, copy)
    [gone] = [file for file in sandbox.world.attachments if sandbox.world.owner_of(file) is not None][:1]
    sandbox.state.delete(gone.id)
    for command in (["backup", "--accept-gone"], ["backup"], ["prune", "--keep-last", "1"]):
        assert (await run("-q", *command, config)).code == 0
    removed = (await copied(config, copy))["removed"]
    assert blobs_in(copy) == blobs_in(tmp_path / "a" / "archive")
    assert removed == 1


async def test_killed_at_any_moment_it_is_simply_repeated(tmp_path, sandbox, server, proxy):
    config, bucket = configured(tmp_path / "a", sandbox, 0), in_bucket(tmp_path / "b", sandbox, proxy.url)
    assert (await run("-q", "backup", config)).code == 0
    for puts in (1, 40, 90, 155):
        process, before = await start("-q", "copy", config, bucket), proxy.requests["PUT"]
        await until(lambda p=process, n=before + puts: p.returncode is not None or proxy.requests["PUT"] >= n)
        await kill(process)
    await copied(config, bucket)
    assert server.blobs("archive") == blobs_in(tmp_path / "a" / "archive")
    assert (await run("-q", "verify", bucket)).code == 0


async def test_a_damaged_blob_is_named_left_out_and_later_repaired(tmp_path, sandbox):
    config, copy = configured(tmp_path / "a", sandbox, 0), tmp_path / "b"
    assert (await run("-q", "backup", config)).code == 0
    path, other = sorted((tmp_path / "a" / "archive" / "blobs").glob("*/*"))[:2]
    sound = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(sound[:-1] + b"?")
    finished = await run("-q", "--json", "copy", config, copy)
    assert (finished.code, [each["sha256"] for each in finished.document["problems"]]) == (5, [path.name])
    assert path.name not in blobs_in(copy)
    path.write_bytes(sound)
    damaged = copy / "blobs" / other.parent.name / other.name
    damaged.chmod(0o600)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert (await run("-q", "verify", copy)).code == 5
    assert (await copied(config, copy))["copied"] == 2, "what was left out, and what has rotted there"
    assert blobs_in(copy) == blobs_in(tmp_path / "a" / "archive")


async def test_what_is_no_copy_is_not_touched(tmp_path, sandbox):
    config, other = (configured(tmp_path / name, sandbox, 0) for name in "ab")
    assert (await run("-q", "backup", config)).code == 0
    assert (await run("-q", "backup", other, "--limit", "1")).code == 0
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "letter.txt").touch()
    before = catalog(tmp_path / "b" / "archive", "SELECT * FROM runs")
    for to in (other, config, tmp_path / "c"):
        assert (await run("-q", "copy", config, to)).code == 2
    assert catalog(tmp_path / "b" / "archive", "SELECT * FROM runs") == before
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("damage", ["missing", "empty", "overwritten"])
async def test_an_archive_whose_catalog_is_lost_is_no_earlier_copy(tmp_path, sandbox, damage):
    config, other = configured(tmp_path / "a", sandbox, 0), configured(tmp_path / "b", sandbox, 0)
    assert (await run("-q", "backup", config, "--limit", "5")).code == 0
    assert (await run("-q", "backup", other)).code == 0
    root = tmp_path / "b" / "archive"
    blobs = blobs_in(root)
    for path in root.glob("catalog.db*"):
        path.unlink()
    if damage != "missing":
        (root / "catalog.db").write_bytes(b"" if damage == "empty" else b"?" * 5000)
    refused = await run("-q", "copy", config, root)
    assert (refused.code, f"`migrator rebuild {root}`" in refused.err) == (5, True), refused.err
    assert blobs_in(root) == blobs
    assert (await run("-q", "rebuild", root)).code == 0
    assert (await run("-q", "verify", root)).code == 0


async def test_blobs_without_catalog_and_manifest_stay(tmp_path, sandbox):
    config, copy = configured(tmp_path / "a", sandbox, 0), tmp_path / "b"
    assert (await run("-q", "backup", config)).code == 0
    unknown = copy / "blobs" / "ab" / f"ab{'0' * 62}"
    unknown.parent.mkdir(parents=True)
    unknown.write_bytes(b"of a copy that was killed, or of another archive")
    assert (await copied(config, copy))["removed"] == 0
    assert unknown.exists()


async def test_neither_archive_may_lie_in_the_other(tmp_path, sandbox):
    config, root = configured(tmp_path / "a", sandbox, 0), tmp_path / "a" / "archive"
    assert (await run("-q", "backup", config, "--limit", "5")).code == 0
    (tmp_path / "link").symlink_to(root)
    for place in (root / "incoming" / "copy", root / "sub", tmp_path / "link" / "sub", tmp_path / "a", root):
        refused = await run("-q", "copy", config, place)
        assert refused.code == 2, (place, refused.err)
    for place in (f"file://{root}/sub", f"file://{tmp_path}/x/../link/sub"):
        assert (await run("-q", "copy", config, place)).code == 2
        refused = await run("-q", "export", config, place, "--format", "tree")
        assert (refused.code, "is inside the archive" in refused.err) == (2, True), refused.err
    assert not (root / "sub").exists()
    assert (await run("-q", "verify", root)).code == 0
