"""Every command on an archive in a bucket, and the ways to reach a store."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import aiohttp
import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from tests.support.buckets import BUCKET, KEY, SECRET, in_bucket
from tests.support.fetch_workers import world_of
from tests.support.parts import FULL
from tests.support.program import ended, kill, run, start, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
WORLD = world_of(80)


@pytest.fixture
async def sandbox():
    async with TargetprocessSandbox(WORLD) as serving:
        yield serving


async def done(*arguments):
    finished = await run("-q", "--json", *arguments)
    assert finished.code == 0, finished.err
    return finished.document


async def test_a_load_streams_from_the_store(tmp_path, proxy):
    world = world_of(12, median=2_500_000)
    async with TargetprocessSandbox(world) as source, TeamPulseSandbox(world.without_attachments()) as target:
        config = in_bucket(tmp_path, source, proxy.url, target=target)
        await done("backup", config)
        loaded = await done("load", config, "--verify", "content")
        assert loaded["uploads"]["uploaded"] == loaded["uploads"]["planned"] > 5
        assert max(file.size for file in world.attachments) > 8 * 2**20
        assert not [*(tmp_path / "local").glob("incoming*")], "nothing was written here on the way"
        assert (await done("rollback", config, "--yes"))["deletions"]["deleted"] == loaded["uploads"]["uploaded"]


async def test_a_blob_that_rotted_in_the_store_is_not_sent(tmp_path, server):
    world = world_of(5, median=2_500_000)
    async with TargetprocessSandbox(world) as source, TeamPulseSandbox(world.without_attachments()) as target:
        config = in_bucket(tmp_path, source, server.url, target=target)
        await done("backup", config)
        path = max((server.folder / "archive" / "blobs").glob("*/*"), key=lambda path: path.stat().st_size)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        await asyncio.sleep(6)  # the server notices changes of its files within five seconds
        loaded = await run("-q", "--json", "load", config)
        assert (loaded.code, loaded.document["uploads"]["failed"]) == (3, 1)
        assert "its blob is damaged" in loaded.document["failures"][0]["reason"]
        assert path.name not in {source.state.sha256_of(file) for file in target.state.attachments()}


async def test_damage_in_the_store_is_found_and_healed(tmp_path, server, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    await done("backup", config)
    bucket = server.bucket("archive", proxy.url)
    damaged, lost, *_ = sorted(server.blobs("archive"))
    content = server.blobs("archive")[damaged]

    def harm():
        bucket.put(f"blobs/{damaged[:2]}/{damaged}", content[:-1] + bytes([content[-1] ^ 1]))
        bucket.remove([f"blobs/{lost[:2]}/{lost}"])
        bucket.put("blobs/ab/stranger", b"?")
        bucket.put("letter.txt", b"?")

    await asyncio.to_thread(harm)
    verified = await run("-q", "--json", "verify", config)
    found = {(problem["code"], problem["path"]) for problem in verified.document["problems"]}
    assert found == {
        ("E01", f"blobs/{damaged[:2]}/{damaged}"),
        ("E02", f"blobs/{lost[:2]}/{lost}"),
        ("E03", "blobs/ab/stranger"),
        ("E03", "letter.txt"),
    }
    assert (await run("-q", "status", config)).code == 5
    assert (await run("-q", "backup", config)).code == 0
    assert server.blobs("archive")[damaged] == content
    assert lost in server.blobs("archive")


async def test_a_prune_deletes_in_the_store_what_nothing_needs(tmp_path, server, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    await done("backup", config)
    gone = next(file for file in sandbox.world.attachments if sandbox.world.owner_of(file) is not None)
    sandbox.state.delete(gone.id)
    await done("backup", config)
    before = server.blobs("archive").keys()
    assert (await done("prune", config, "--keep-last", "1"))["blobs"]["removed"] == 1
    assert before - server.blobs("archive").keys() == {sandbox.state.sha256_of(gone)}
    await done("verify", config)


async def test_a_night_and_a_restore_work_on_a_bucket(tmp_path, proxy, sandbox):
    config = in_bucket(
        tmp_path,
        sandbox,
        proxy.url,
        sections={"nightly": {"report": "night.html", "verify": "50%"}, "retention": {"keep_last": 3}},
    )
    night = await done("nightly", config)
    assert {"backup", "verify", "prune"} <= night["results"][0].keys()
    gone = next(file for file in sandbox.world.attachments if sandbox.world.owner_of(file) is not None)
    sandbox.state.delete(gone.id)
    await done("nightly", config)
    assert (await done("restore", config))["uploads"]["uploaded"] == 1
    changes = await done("diff", config)
    assert changes["counts"]["removed"] == 1
    assert (tmp_path / "night.html").stat().st_size > 1000


async def test_status_with_check_needs_the_bucket(tmp_path, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    await done("backup", config)
    assert (await run("-q", "status", config, "--check")).code == 0
    proxy.fault = lambda _, request: "refuse"
    shown = await run("-q", "status", config)
    assert (shown.code, "showing what this machine knows" in shown.err) == (0, True)
    assert (await run("-q", "status", config, "--check")).code == 7


async def test_one_object_that_can_not_be_read_is_named_and_others_are_read(tmp_path, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    await done("backup", config)
    some = next(file for file in sandbox.world.attachments if sandbox.world.owner_of(file) is not None)
    sha256 = sandbox.state.sha256_of(some)
    proxy.fault = lambda _, request: "refuse" if request.method == "GET" and request.path.endswith(sha256) else ""
    verified = await run("-q", "--json", "verify", config)
    [problem] = verified.document["problems"]
    assert (verified.code, problem["code"], problem["sha256"]) == (5, "E06", sha256)
    assert verified.document["checked"] == verified.document["of"]
    exported = await run("-q", "--json", "export", config, tmp_path / "files", "--format", "tree")
    assert (exported.code, exported.document["files"]) == (5, 80 - len(problem["files"]))
    assert [failure["path"] for failure in exported.document["problems"]] == [problem["path"]]


async def test_a_browser_gets_files_from_the_store(tmp_path, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    await done("backup", config)
    process = await start("--json", "browse", config)
    url = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["url"]
    file = next(file for file in sandbox.world.attachments if sandbox.world.owner_of(file) is not None)
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}download?id={file.id}") as answer:
                body = await answer.read()
            assert answer.status == 200
            proxy.fault = lambda _, request: "refuse"
            async with session.get(f"{url}download?id={file.id}") as refused:
                assert (refused.status, "403 Forbidden" in await refused.text()) == (503, True)
    finally:
        process.send_signal(signal.SIGTERM)
        await ended(process)
    assert len(body) == file.size


async def test_status_says_who_is_at_work_on_another_machine(tmp_path, server, proxy, sandbox):
    one, other = (in_bucket(tmp_path / name, sandbox, proxy.url) for name in "ab")
    await done("backup", one)
    sandbox.faults.latency = 0.2
    process = await start("-q", "backup", one)
    await until(lambda: (server.folder / "archive" / "lock").exists())
    assert (await done("status", other))["at_work"]["command"] == "backup"
    await kill(process)


@pytest.fixture
def by_environment(tmp_path, proxy, monkeypatch):
    """How the store is reached, and where this machine keeps its catalogs, is in the environment."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("by_environment")
@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("s3://no-such-bucket/archive", 7, "there is no such bucket"),
        (f"s3://{BUCKET}/other", 2, "is not an archive (no catalog in it)"),
    ],
)
async def test_address_without_an_archive_is_never_taken_for_an_empty_one(tmp_path, server, url, code, says):
    commands = [("status",), ("verify",), ("rebuild",)]
    commands += [("snapshots",), ("find", "x"), ("copy", tmp_path / "copy")] if FULL else []
    for command, *more in commands:
        refused = await run("-q", command, url, *more)
        assert (refused.code, says in refused.err) == (code, True), (command, refused.err)
    assert not (tmp_path / "state").exists()
    assert not any(server.folder.iterdir()), "nothing is written"


async def test_folder_that_stands_for_a_bucket_is_made_by_a_backup_alone(tmp_path, sandbox, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "store"
    for command in ("status", "find", "verify"):
        refused = await run("-q", command, f"file://{folder}", *(("x",) if command == "find" else ()))
        assert (refused.code, "is not an archive" in refused.err) == (2, True)
    config = in_bucket(tmp_path, sandbox, "")
    text = config.read_text().replace(f"s3://{BUCKET}/archive", f"file://{folder}")
    config.write_text(text[: text.index("[storage]")])
    await done("check", config)
    assert not folder.exists()
    await done("backup", config)
    assert (await done("verify", f"file://{folder}"))["problems"] == []


@pytest.mark.usefixtures("by_environment")
async def test_store_that_was_emptied_is_not_shown_as_if_all_were_well(tmp_path, server, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    await done("backup", config)
    bucket = server.bucket("archive")
    bucket.remove([path for path, _ in bucket.objects()])
    shown = await run("-q", "status", config)
    assert "has no journal any more, although this machine has put one there" in shown.err
    assert (await run("-q", "verify", config)).code == 5
    assert (await done("backup", config))["attachments"]["stored"] == 80, "all of them are fetched again"
    assert (await done("verify", config))["problems"] == []


@pytest.mark.usefixtures("by_environment")
async def test_keys_and_address_may_come_from_the_environment(tmp_path, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    text = config.read_text()
    config.write_text(text[: text.index("[storage]")])
    await done("backup", config)
    assert (await done("status", f"s3://{BUCKET}/archive"))["totals"]["attachments"]["stored"] == 80
    assert (await done("verify", f"s3://{BUCKET}/archive/"))["problems"] == []
    [local] = (tmp_path / "state" / "migrator").iterdir()
    assert (await done("snapshots", local))["snapshots"][0]["attachments"] == 80, "its folder stands for it"


async def test_keys_may_come_from_a_profile(tmp_path, proxy, sandbox, monkeypatch):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    lines = [
        line for line in config.read_text().splitlines() if not line.startswith(("access_key", "secret_key", "region"))
    ]
    config.write_text("\n".join(lines))
    (tmp_path / "aws").write_text(f"[backup]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    (tmp_path / "aws-config").write_text("[profile backup]\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_PROFILE", "backup")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    await done("backup", config)


async def test_a_check_says_whether_the_store_can_be_read(tmp_path, server, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    checks = {check["check"]: check for check in (await done("check", config))["source"]["checks"]}
    assert checks["archive"]["ok"]
    (tmp_path / "s3-secret").write_text("another")
    failed = await run("-q", "--json", "check", config)
    [check] = [check for check in failed.document["source"]["checks"] if check["check"] == "archive"]
    assert (failed.code, check["ok"]) == (3, False)
    assert not any(server.folder.iterdir()), "nothing is written"


async def test_a_key_in_plain_text_brings_a_warning(tmp_path, proxy, sandbox):
    config = in_bucket(tmp_path, sandbox, proxy.url)
    config.write_text(config.read_text().replace('{ file = "s3-secret" }', f'"{SECRET}"'))
    finished = await run("-q", "backup", config)
    assert finished.code == 0
    assert "storage.secret_key is in the configuration as plain text" in finished.err


async def test_a_folder_may_stand_for_a_bucket(tmp_path, sandbox):
    config = in_bucket(tmp_path, sandbox, "http://127.0.0.1:9")
    text = config.read_text().replace(f"s3://{BUCKET}/archive", f"file://{tmp_path}/share")
    config.write_text(text[: text.index("[storage]")] + '[storage]\nlocal = "local"\n')
    await done("backup", config)
    await done("verify", config)
    names = {path.name for path in (tmp_path / "share").iterdir()}
    assert {"README.txt", "blobs", "catalog.db", "manifest.jsonl"} <= names


async def test_without_the_extra_it_says_what_to_install(tmp_path, proxy, sandbox, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    refused = await run("-q", "--json", "backup", in_bucket(tmp_path, sandbox, proxy.url))
    assert (refused.code, "pip install 'tracker-migrator[s3]'" in refused.err) == (2, True)


@pytest.mark.parametrize("name", ["README.txt", "letter.txt", "incoming/letter.txt"])
async def test_a_folder_with_other_things_is_not_touched(tmp_path, server, proxy, sandbox, name):
    bucket = server.bucket("archive", proxy.url)
    await asyncio.to_thread(bucket.put, name, b"dear all")
    if name.startswith("incoming"):
        await asyncio.to_thread(bucket.put, "others.txt", b"?")
    refused = await run("-q", "--json", "backup", in_bucket(tmp_path, sandbox, proxy.url))
    assert (refused.code, "has other things in it" in refused.err) == (2, True)
    assert (server.folder / "archive" / name).read_bytes() == b"dear all"
    assert not (server.folder / "archive" / "blobs").exists()


@pytest.mark.parametrize(
    ("archive", "code", "says"),
    [("s3://b/x", 7, "AWS_ALLOW_HTTP=true"), ("az://b/x", 2, "AZURE_STORAGE_ACCOUNT_NAME")],
)
async def test_what_is_lacking_to_reach_a_store_is_named(monkeypatch, archive, code, says):
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "REGION": "x", "ACCESS_KEY_ID": KEY}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    refused = await run("-q", "status", archive)
    assert (refused.code, says in refused.err) == (code, True), refused.err


@pytest.mark.parametrize(
    ("archive", "storage", "says"),
    [
        ("http://x/y", "", "an archive is a folder, or lies at s3://"),
        ("s3://", "", "is written like"),
        ("s3:///folder", "", "is written like"),
        ("s3://b/f?key=x", "", "has no keys in it"),
        ("archive", "region = 'x'", "[storage] has no effect if archive is a folder"),
        ("gs://b/f", "access_key = 'x'", "storage.access_key has no effect for gs://b/f"),
        ("s3://b/f", "endpoint = 'http://10.0.0.1:9000'", "storage.allow_http = true permits that"),
        ("s3://b/f", "acces_key = 'x'", "did you mean storage.access_key?"),
        ("s3://b/f", "secret_key = {env = 'NOT_THERE'}", "environment variable NOT_THERE is not set"),
    ],
)
async def test_settings_that_make_no_sense_are_refused(tmp_path, archive, storage, says):
    config = tmp_path / "c.toml"
    config.write_text(
        f"archive = '{archive}'\n[source]\ntracker = 'redmine'\nurl = 'http://127.0.0.1:9'\n[source.auth]\n"
        f"api_key = 'k'\n" + (f"[storage]\n{storage}\n" if storage else "")
    )
    refused = await run("-q", "--json", "status", config)
    assert refused.code == 2
    assert says in refused.document["error"]["message"]
