"""Archives in a bucket of a real S3 server, by the real program."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from tests.support.buckets import BUCKET, KEY, SECRET, in_bucket, sound
from tests.support.fetch_workers import configured, world_of
from tests.support.program import catalog, ended, run, start, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
ROWS = "SELECT attachment_id, kind, entity_id, name, size, sha256, status, error FROM attachments ORDER BY 1"
WORLD = world_of(120)


@pytest.fixture
async def sandbox():
    async with TargetprocessSandbox(WORLD) as serving:
        yield serving


def blobs_in(folder):
    return {path.name: path.read_bytes() for path in (folder / "blobs").glob("*/*")}


@pytest.mark.parametrize("workers", [0, 2])
async def test_a_bucket_gets_what_a_folder_gets(tmp_path, server, proxy, workers):
    async with TargetprocessSandbox(world_of(600)) as sandbox:
        config = in_bucket(tmp_path / "b", sandbox, proxy.url, workers=workers)
        local = configured(tmp_path / "f", sandbox, 0)
        for each in (config, local):
            assert (await run("-q", "backup", each)).code == 0
    assert server.blobs("archive") == blobs_in(tmp_path / "f" / "archive")
    assert server.names("archive") == {"README.txt", "blobs", "catalog.db", "manifest.jsonl"}
    assert catalog(tmp_path / "b" / "local", ROWS) == catalog(tmp_path / "f" / "archive", ROWS)
    assert (server.folder / "archive/manifest.jsonl").read_bytes() == (tmp_path / "b/local/manifest.jsonl").read_bytes()


async def test_the_copy_of_the_catalog_is_whole(tmp_path, server, proxy, sandbox):
    assert (await run("-q", "backup", in_bucket(tmp_path, sandbox, proxy.url))).code == 0
    with closing(
        sqlite3.connect(f"file:{server.folder / 'archive' / 'catalog.db'}?mode=ro&immutable=1", uri=True)
    ) as db:
        assert db.execute(ROWS).fetchall() == catalog(tmp_path / "local", ROWS)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


async def test_a_large_file_goes_in_parts_and_leaves_nothing(tmp_path, server, proxy):
    world = world_of(3, median=20_000_000)
    async with TargetprocessSandbox(world) as sandbox:
        assert (await run("-q", "backup", in_bucket(tmp_path, sandbox, proxy.url))).code == 0
    blobs = server.blobs("archive")
    assert sound(blobs)
    assert max(map(len, blobs.values())) > 8 * 2**20
    assert "incoming" not in server.names("archive")
    assert proxy.requests["POST"] > 0, "it was sent in parts"


async def test_a_stop_gives_up_the_parts_of_a_large_file(tmp_path, server, proxy):
    given_up = []

    def fault(_proxy, request) -> str:
        if request.method == "DELETE" and "uploadId" in request.query:
            given_up.append(request.path)
        return ""

    proxy.fault = fault
    world = world_of(1, median=400_000_000)
    async with TargetprocessSandbox(world) as sandbox:
        config = in_bucket(tmp_path, sandbox, proxy.url, bandwidth="3 MB/s")
        process = await start("-q", "backup", config)
        await until(lambda: proxy.requests["POST"] > 0)
        process.terminate()
        assert (await ended(process, within=20)).code == 130
    assert given_up, "the store keeps no parts"


async def test_every_command_works_on_a_bucket(tmp_path, server, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    assert (await run("-q", "backup", config)).code == 0
    for command in (["status"], ["snapshots"], ["verify"], ["rebuild"], ["accept", "--list"]):
        finished = await run("-q", "--json", *command, config)
        assert finished.code == 0, (command, finished.err)
    assert (await run("-q", "--json", "status", config)).document["archive"] == f"s3://{BUCKET}/archive"
    assert (await run("-q", "report", config, "--out", tmp_path / "report.json")).code == 0
    for shape in ("tree", "bagit", "zip"):
        finished = await run("-q", "--json", "export", config, tmp_path / shape, "--format", shape)
        assert (finished.code, finished.document["files"]) == (0, 120), finished.err
    assert not [path for path in (tmp_path / "local").iterdir() if path.name.startswith("incoming")]


async def test_a_second_backup_fetches_nothing(tmp_path, server, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    assert (await run("-q", "backup", config)).code == 0
    before, downloads = server.blobs("archive"), sandbox.downloads.total()
    assert (await run("-q", "--json", "backup", config)).document["attachments"]["stored"] == 0
    assert sandbox.downloads.total() == downloads
    assert server.blobs("archive") == before


async def test_a_bare_machine_goes_on_from_the_bucket(tmp_path, server, proxy, sandbox):
    first = in_bucket(tmp_path / "a", sandbox, proxy.url)
    assert (await run("-q", "backup", first)).code == 0
    downloads = sandbox.downloads.total()
    second = in_bucket(tmp_path / "b", sandbox, proxy.url)
    rebuilt = await run("-q", "--json", "rebuild", second)
    assert (rebuilt.code, rebuilt.document["attachments"]) == (0, 120), rebuilt.err
    assert (await run("-q", "--json", "backup", second)).document["attachments"]["stored"] == 0
    assert sandbox.downloads.total() == downloads
    assert catalog(tmp_path / "b" / "local", ROWS) == catalog(tmp_path / "a" / "local", ROWS)
    followed = (await run("-q", "--json", "snapshots", first)).document["snapshots"]
    assert [snapshot["run"] for snapshot in followed] == [1, 3]


async def test_without_its_folder_a_machine_goes_on_as_well(tmp_path, server, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    assert (await run("-q", "backup", config)).code == 0
    shutil.rmtree(tmp_path / "local")
    assert (await run("-q", "--json", "status", config)).document["totals"]["entities"] > 0
    shutil.rmtree(tmp_path / "local")
    assert (await run("-q", "--json", "backup", config)).document["attachments"]["stored"] == 0


async def test_no_secret_of_the_store_is_shown(tmp_path, server, sandbox):
    config = in_bucket(tmp_path, sandbox, server.url)
    (tmp_path / "s3-secret").write_text("another-secret-key")
    refused = await run("-v", "--json", "backup", config)
    assert refused.code == 7
    assert "403" in refused.err
    for secret in (SECRET, "another-secret-key", KEY):
        assert secret not in refused.out + refused.err


async def test_two_machines_at_once_are_status_6(tmp_path, server, proxy, sandbox):
    one = in_bucket(tmp_path / "a", sandbox, proxy.url)
    other = in_bucket(tmp_path / "b", sandbox, proxy.url)
    sandbox.faults.latency = 0.2
    process = await start("-q", "backup", one)
    await until(lambda: (server.folder / "archive" / "lock").exists())
    refused = await run("-q", "--json", "backup", other)
    assert (refused.code, refused.document["error"]["code"]) == (6, 6)
    assert "is held by `backup`" in refused.err
    assert not (server.folder / "archive" / "manifest.jsonl").exists(), "it is the first backup, and goes on"
    for command in ("status", "verify"):
        refused = await run("-q", command, other)
        assert (refused.code, "has no catalog yet: `backup` (process" in refused.err) == (6, True)
    assert (await ended(process)).code == 0
    assert (await run("-q", "backup", other)).code == 0


async def test_a_store_that_ignores_conditions_will_do(tmp_path, server, sandbox):
    config = in_bucket(tmp_path, sandbox, server.url)
    finished = await run("-v", "backup", config)
    assert finished.code == 0
    assert "ignores conditions on writes" in finished.err
    assert sound(server.blobs("archive"))


async def test_what_two_machines_did_apart_is_not_mixed(tmp_path, server, proxy, sandbox):
    one, other = (in_bucket(tmp_path / name, sandbox, proxy.url) for name in "ab")
    assert (await run("-q", "backup", one)).code == 0
    proxy.fault = lambda _, request: (
        "slow" if request.path.endswith("manifest.jsonl") and request.method == "PUT" else ""
    )
    assert (await run("-q", "backup", one)).code == 7, "its second run stays here"
    proxy.fault = lambda *_: ""
    assert (await run("-q", "backup", other)).code == 0
    refused = await run("-q", "--json", "backup", one)
    assert refused.code == 2
    assert "`migrator rebuild " in refused.err
    assert (await run("-q", "rebuild", one)).code == 0
    assert (await run("-q", "backup", one)).code == 0
    assert list((tmp_path / "a" / "local").glob("catalog.db.damaged-1"))
