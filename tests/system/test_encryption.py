"""Encrypted archives in object stores, by the real program, and by hand with `age`."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pyrage
import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.store.layout import ENCRYPTED_README
from migrator.store.objects import PLAIN
from migrator.store.objects.encoding import Encrypted
from tests.support.buckets import BUCKET, in_bucket, proxy_to, s3_server
from tests.support.fetch_workers import configured, world_of
from tests.support.program import ROOT, catalog, ended, kill, run, start, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
ROWS = "SELECT attachment_id, kind, entity_id, name, size, sha256, status, error FROM attachments ORDER BY 1"
WORLD = world_of(60)
KEY = pyrage.x25519.Identity.generate()
OTHER = pyrage.x25519.Identity.generate()


@pytest.fixture
async def sandbox():
    async with TargetprocessSandbox(WORLD) as serving:
        yield serving


def encrypted(folder: Path, sandbox, *, identity=None, to=(KEY,), workers: int = 0, **more: object) -> Path:
    """The configuration of a machine of its own, whose bucket is a folder beside those of all machines."""
    folder.mkdir(parents=True, exist_ok=True)
    section: dict[str, object] = {"recipients": [str(key.to_public()) for key in to]}
    if identity is not None:
        (folder / "key.txt").write_text(f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
        section["identity"] = "key.txt"
    config = configured(
        folder, sandbox, workers, sections={"encryption": section, "storage": {"local": "local"}, **more}
    )
    text = config.read_text().replace('identity = "key.txt"', 'identity = { file = "key.txt" }')
    config.write_text(text.replace('archive = "archive"', f'archive = "file://{bucket_of(folder)}"'))
    return config


def bucket_of(folder: Path) -> Path:
    return folder.parent / "bucket"


def objects(bucket: Path) -> dict[str, bytes]:
    return {str(path.relative_to(bucket)): path.read_bytes() for path in bucket.rglob("*") if path.is_file()}


def blobs(bucket: Path) -> dict[str, bytes]:
    return {name: content for name, content in objects(bucket).items() if name.startswith("blobs/")}


def truth(sandbox) -> set[str]:
    return {sandbox.state.sha256_of(file) for file in WORLD.attachments}


def contents(bucket: Path) -> set[str]:
    return {hashlib.sha256(pyrage.decrypt(content, [KEY])).hexdigest() for content in blobs(bucket).values()}


@pytest.mark.parametrize("workers", [0, 2])
async def test_a_backup_needs_no_private_key(tmp_path, workers):
    world = world_of(600)
    async with TargetprocessSandbox(world) as sandbox:
        sandbox.faults.latency = 0.05 if workers else 0.0  # long enough for workers to start
        config = encrypted(tmp_path / "a", sandbox, workers=workers)
        finished = await run("-q", "backup", config)
        assert finished.code == 0, finished.err
        assert contents(tmp_path / "bucket") == {sandbox.state.sha256_of(file) for file in world.attachments}
        before, downloads = blobs(tmp_path / "bucket"), sandbox.downloads.total()
        assert (await run("-q", "--json", "backup", config)).document["attachments"]["stored"] == 0
        assert (blobs(tmp_path / "bucket"), sandbox.downloads.total()) == (before, downloads)


async def test_an_archive_that_was_begun_again_has_another_key(tmp_path, sandbox):
    config = encrypted(tmp_path / "a", sandbox)
    assert (await run("-q", "backup", config)).code == 0
    shutil.rmtree(tmp_path / "bucket")
    assert (await run("-q", "backup", encrypted(tmp_path / "b", sandbox))).code == 0
    refused = await run("-q", "backup", config)
    assert (refused.code, "encryption.identity is needed" in refused.err) == (2, True)
    config = encrypted(tmp_path / "a", sandbox, identity=KEY)
    rebuilt = await run("-q", "--json", "rebuild", config)
    assert (rebuilt.code, rebuilt.document["problems"]) == (0, []), rebuilt.err
    assert (await run("-q", "verify", config, "--full")).code == 0


async def test_nothing_in_the_bucket_says_what_is_in_it(tmp_path, sandbox):
    assert (await run("-q", "backup", encrypted(tmp_path / "a", sandbox))).code == 0
    there = objects(tmp_path / "bucket")
    assert {name.partition("/")[0] for name in there} == {
        *("README.txt", "blobs", "catalog.db.age", "manifest.jsonl.age", "names.key.age", "names.key.id")
    }
    everything = b"\n".join([*there.values(), *(name.encode() for name in there)]).lower()
    names = {name for _, _, _, name, *_ in catalog(tmp_path / "a" / "local", ROWS)}
    titles = {title for (title,) in catalog(tmp_path / "a" / "local", "SELECT title FROM entities") if title}
    hashes = truth(sandbox)
    told = [each for each in {*names, *titles, *hashes} if len(each) > 6 and each.encode().lower() in everything]
    told = [each for each in told if each.lower() != "readme.txt"]
    assert (told, len(names) > 20, len(titles) > 20) == ([], True, True)
    for file in WORLD.attachments:
        content = b"".join(sandbox.world.chunks(file))
        assert len(content) < 16 or content[:64].lower() not in everything
    assert sandbox.url.encode() not in everything
    key = (tmp_path / "a" / "local" / "names.key").read_bytes()
    assert key not in everything
    assert bytes.fromhex(key.decode()) not in everything


async def test_a_bare_machine_with_the_identity_goes_on(tmp_path, sandbox):
    assert (await run("-q", "backup", encrypted(tmp_path / "a", sandbox))).code == 0
    downloads = sandbox.downloads.total()
    bare = encrypted(tmp_path / "b", sandbox, identity=KEY)
    rebuilt = await run("-q", "--json", "rebuild", bare)
    assert (rebuilt.code, rebuilt.document["problems"]) == (0, []), rebuilt.err
    assert (await run("-q", "--json", "backup", bare)).document["attachments"]["stored"] == 0
    assert sandbox.downloads.total() == downloads
    assert catalog(tmp_path / "b" / "local", ROWS) == catalog(tmp_path / "a" / "local", ROWS)
    full = await run("-q", "--json", "verify", bare, "--full")
    assert (full.code, full.document.get("hashed"), full.document["problems"]) == (0, None, [])
    for shape in ("tree", "zip"):
        exported = await run("-q", "--json", "export", bare, tmp_path / shape, "--format", shape)
        assert (exported.code, exported.document["files"]) == (0, len(catalog(tmp_path / "b" / "local", ROWS)))
    exported = {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "tree").rglob("*") if path.is_file()
    }
    assert truth(sandbox) <= exported


async def test_a_bare_machine_needs_the_identity(tmp_path, sandbox):
    assert (await run("-q", "backup", encrypted(tmp_path / "a", sandbox))).code == 0
    bare = encrypted(tmp_path / "b", sandbox)
    before = objects(tmp_path / "bucket")
    for command in ("backup", "rebuild", "status"):
        refused = await run("-q", "--json", command, bare)
        assert (refused.code, refused.document["error"]["code"]) == (2, 2), command
        assert "encryption.identity is needed" in refused.document["error"]["message"]
    assert objects(tmp_path / "bucket") == before


@pytest.mark.parametrize(
    "command", [["verify", "--full"], ["export", "{out}", "--format", "tree"], ["copy", "{out}"], ["browse"]]
)
async def test_reading_files_needs_the_identity(tmp_path, sandbox, command):
    config = encrypted(tmp_path / "a", sandbox)
    assert (await run("-q", "backup", config)).code == 0
    given = [each.format(out=tmp_path / "out") for each in command]
    refused = await run("-q", "--json", given[0], config, *given[1:])
    assert (refused.code, "encryption.identity is needed" in refused.document["error"]["message"]) == (2, True)
    config = encrypted(tmp_path / "a", sandbox, identity=OTHER)
    refused = await run("-q", "--json", given[0], config, *given[1:])
    assert (refused.code, "is not encrypted for encryption.identity" in refused.document["error"]["message"]) == (
        2,
        True,
    )
    assert (await run("-q", "--json", "status", config)).document["problems"] == []


async def test_a_load_needs_the_identity_and_then_arrives(tmp_path):
    world = world_of(12, median=1_000_000)
    async with TargetprocessSandbox(world) as source, TeamPulseSandbox(world.without_attachments()) as target:
        config = encrypted(tmp_path / "a", source, target=target)
        assert (await run("-q", "backup", config)).code == 0
        refused = await run("-q", "--json", "load", config)
        assert (refused.code, "encryption.identity is needed" in refused.document["error"]["message"]) == (2, True)
        assert target.state.attachments() == []
        config = encrypted(tmp_path / "a", source, target=target, identity=KEY)
        loaded = (await run("-q", "--json", "load", config, "--verify", "content")).document["uploads"]
        assert loaded["uploaded"] == loaded["planned"] > 5
        owned = {source.state.sha256_of(file) for file in world.attachments if world.owner_of(file) is not None}
        assert {target.state.sha256_of(file) for file in target.state.attachments()} == owned


async def test_a_rotted_file_is_not_sent(tmp_path):
    world = world_of(5, median=2_500_000)
    async with TargetprocessSandbox(world) as source, TeamPulseSandbox(world.without_attachments()) as target:
        config = encrypted(tmp_path / "a", source, target=target, identity=KEY)
        assert (await run("-q", "backup", config)).code == 0
        rotted = max((tmp_path / "bucket" / "blobs").rglob("*.age"), key=lambda path: path.stat().st_size)
        content = bytearray(rotted.read_bytes())
        content[-100] ^= 1
        rotted.write_bytes(content)
        loaded = await run("-q", "--json", "load", config)
        assert (loaded.code, loaded.document["uploads"]["failed"]) == (3, 1)
        sent = {target.state.sha256_of(file) for file in target.state.attachments()}
        assert sent < {source.state.sha256_of(file) for file in world.attachments}


async def test_nights_prune_and_verify_without_the_identity(tmp_path, sandbox):
    sections = {"nightly": {"report": "night.html", "verify": "50%"}, "retention": {"keep_last": 1}}
    config = encrypted(tmp_path / "a", sandbox, **sections)
    assert (await run("-q", "backup", config)).code == 0
    before = blobs(tmp_path / "bucket")
    file = next(each for each in WORLD.attachments if WORLD.owner_of(each) is not None)
    sandbox.state.delete(file.id)
    shared = sum(sandbox.state.sha256_of(file) == sandbox.state.sha256_of(each) for each in WORLD.attachments) > 1
    night = await run("--json", "nightly", config)
    result = night.document["results"][0]
    assert (night.code, result["status"]) == (0, "complete"), night.err
    assert (result["verify"]["hashed"], result["prune"]["blobs"]["removed"]) == (False, 0 if shared else 1)
    after = blobs(tmp_path / "bucket")
    assert len(after) == len(before) - result["prune"]["blobs"]["removed"]
    assert after.items() <= before.items()


async def test_each_recipient_can_read(tmp_path, sandbox):
    assert (await run("-q", "backup", encrypted(tmp_path / "a", sandbox, to=(KEY, OTHER)))).code == 0
    for name, key in (("b", KEY), ("c", OTHER)):
        bare = encrypted(tmp_path / name, sandbox, to=(KEY, OTHER), identity=key)
        assert (await run("-q", "rebuild", bare)).code == 0
        assert (await run("-q", "verify", bare, "--full")).code == 0


async def test_a_new_recipient_can_read_what_comes_then(tmp_path, sandbox):
    assert (await run("-q", "backup", encrypted(tmp_path / "a", sandbox))).code == 0
    assert (await run("-q", "backup", encrypted(tmp_path / "a", sandbox, to=(KEY, OTHER)))).code == 0
    bare = encrypted(tmp_path / "b", sandbox, to=(KEY, OTHER), identity=OTHER)
    rebuilt = await run("-q", "--json", "rebuild", bare)
    assert (rebuilt.code, rebuilt.document["problems"]) == (0, []), rebuilt.err
    damaged = await run("-q", "--json", "verify", bare, "--full")
    assert {problem["code"] for problem in damaged.document["problems"]} == {"E06"}, "what was there is for KEY alone"


async def test_a_verify_without_full_sees_names_and_sizes(tmp_path, sandbox):
    config = encrypted(tmp_path / "a", sandbox, identity=KEY)
    assert (await run("-q", "backup", config)).code == 0
    sound = await run("-q", "--json", "verify", config)
    assert (sound.code, sound.document["hashed"], sound.document["bytes"]) == (0, False, 0)
    assert "names and sizes only" in (await run("verify", config)).out
    there = sorted((tmp_path / "bucket" / "blobs").rglob("*.age"), key=lambda path: path.stat().st_size)
    there[0].unlink()
    there[-1].write_bytes(there[-1].read_bytes()[:-5000])
    (there[1].parent / f"{'0' * 64}.age").write_bytes(b"of somebody else")
    found = await run("-q", "--json", "verify", config)
    assert (found.code, sorted(problem["code"] for problem in found.document["problems"])) == (5, ["E02", "E03", "E04"])
    path = next(problem["path"] for problem in found.document["problems"] if problem["code"] == "E03")
    assert (tmp_path / "bucket" / path).exists(), "a path that can be found"
    (tmp_path / "bucket" / path).unlink()
    assert (await run("-q", "--json", "backup", config)).document["attachments"]["stored"] >= 2
    assert (await run("-q", "verify", config, "--full")).code == 0


@pytest.mark.parametrize("at", [60, 200, -10], ids=["header", "middle", "end"])
async def test_a_rotted_file_is_found_and_fetched_again(tmp_path, sandbox, at):
    config = encrypted(tmp_path / "a", sandbox, identity=KEY)
    assert (await run("-q", "backup", config)).code == 0
    rotted = max((tmp_path / "bucket" / "blobs").rglob("*.age"), key=lambda path: path.stat().st_size)
    content = bytearray(rotted.read_bytes())
    content[at] ^= 1
    rotted.write_bytes(content)
    assert (await run("-q", "verify", config)).code == 0, "names and sizes don't tell"
    exported = await run("-q", "--json", "export", config, tmp_path / "out", "--format", "tree")
    assert (exported.code, len(exported.document.get("problems", ()))) == (5, 1), exported.out
    found = await run("-q", "--json", "verify", config, "--full")
    assert (found.code, [problem["code"] for problem in found.document["problems"]]) == (5, ["E06"])
    assert (await run("-q", "verify", config)).code == 0
    assert (await run("-q", "--json", "backup", config)).document["attachments"]["stored"] >= 1
    assert (await run("-q", "verify", config, "--full")).code == 0
    assert contents(tmp_path / "bucket") == truth(sandbox)


async def test_the_commands_of_the_readme_in_the_bucket_decrypt_by_hand(tmp_path, sandbox):
    if shutil.which("age") is None or shutil.which("sqlite3") is None:
        pytest.skip("there is no age, or no sqlite3: apt-get install age sqlite3")
    assert (await run("-q", "backup", encrypted(tmp_path / "a", sandbox, identity=KEY))).code == 0
    text = (tmp_path / "bucket" / "README.txt").read_text()
    commands = "".join(f"{line}\n" for line in re.findall(r"^    (.*)", text.partition("To read it")[2], re.MULTILINE))
    commands = commands.replace("IDENTITY", str(tmp_path / "a" / "key.txt"))
    ended = subprocess.run(["sh", "-ec", commands], cwd=tmp_path / "bucket", capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    listed = [line.split("|") for line in ended.stdout.splitlines()]
    found = {hashlib.sha256((tmp_path / "bucket" / row[-1]).read_bytes()).hexdigest() for row in listed}
    assert (len(listed), found) == (len(catalog(tmp_path / "a" / "local", ROWS)), truth(sandbox))
    with closing(sqlite3.connect(tmp_path / "bucket" / "catalog.db")) as db:
        assert db.execute(ROWS).fetchall() == catalog(tmp_path / "a" / "local", ROWS)


async def test_a_machine_without_the_identity_knows_its_own_journal(tmp_path, sandbox):
    """A kill, or a lost answer, right after the journal was sent leaves the machine without its tag."""
    config = encrypted(tmp_path / "a", sandbox)
    assert (await run("-q", "backup", config)).code == 0
    kept = tmp_path / "a" / "local" / "bucket.json"
    before = kept.read_text()
    assert (await run("-q", "backup", config)).code == 0
    sent = re.search(r'"sent": "\w+"', kept.read_text())[0]
    kept.write_text(re.sub(r'"sent": "\w+"', sent, before))
    again = await run("-q", "--json", "backup", config)
    assert (again.code, again.document["attachments"]["stored"]) == (0, 0), again.err
    kept.write_text(re.sub(r'"sent": "\w+"', '"sent": ""', before))
    assert "encryption.identity is needed" in (await run("-q", "backup", config)).err


async def test_what_another_machine_did_needs_the_identity(tmp_path, sandbox):
    config = encrypted(tmp_path / "a", sandbox)
    assert (await run("-q", "backup", config)).code == 0
    other = encrypted(tmp_path / "b", sandbox, identity=KEY)
    assert (await run("-q", "backup", other)).code == 0
    refused = await run("-q", "backup", config)
    assert (refused.code, "encryption.identity is needed" in refused.err) == (2, True)
    shown = await run("--json", "status", config)
    assert (shown.code, "showing what this machine knows" in shown.err) == (0, True)
    followed = await run("-q", "--json", "backup", encrypted(tmp_path / "a", sandbox, identity=KEY))
    assert followed.document["attachments"]["stored"] == 0


async def test_encryption_is_from_the_first_file_on_or_never(tmp_path, sandbox):
    config = encrypted(tmp_path / "a", sandbox)
    text = config.read_text()
    plain = re.sub(r"\[encryption\]\n(?:\w.*\n)+", "", text)
    assert "recipients" not in plain
    config.write_text(plain)
    assert (await run("-q", "backup", config)).code == 0
    for folder in ("a", "b"):
        refused = await run("-q", "backup", encrypted(tmp_path / folder, sandbox, identity=KEY))
        assert (refused.code, "is not encrypted, and can't be encrypted later" in refused.err) == (2, True)
    to = encrypted(tmp_path / "other" / "c", sandbox, identity=KEY)
    config.write_text(plain)
    copied = await run("-q", "--json", "copy", config, to)
    assert (copied.code, copied.document["problems"]) == (0, []), copied.err
    assert contents(tmp_path / "other" / "bucket") == truth(sandbox)
    assert (await run("-q", "verify", to, "--full")).code == 0
    again = await run("-q", "--json", "copy", config, to)
    assert again.document["blobs"]["copied"] == 0
    config = to
    config.write_text(re.sub(r"\[encryption\]\n(?:\w.*\n)+", "", to.read_text()))
    refused = await run("-q", "backup", config)
    assert (refused.code, "is encrypted: name a configuration that has [encryption]" in refused.err) == (2, True)


async def test_a_copy_forgets_what_was_pruned(tmp_path, sandbox):
    folder = configured(tmp_path / "plain", sandbox, 0)
    assert (await run("-q", "backup", folder)).code == 0
    to = encrypted(tmp_path / "c", sandbox, identity=KEY)
    assert (await run("-q", "copy", folder, to)).code == 0
    before = blobs(tmp_path / "bucket")
    gone = WORLD.attachments[0]
    sha256 = sandbox.state.sha256_of(gone)
    with closing(sqlite3.connect(tmp_path / "plain" / "archive" / "catalog.db")) as db:
        db.execute("UPDATE attachments SET sha256 = NULL, status = 'gone' WHERE sha256 = ?", [sha256])
        db.execute("DELETE FROM blobs WHERE sha256 = ?", [sha256])
        db.commit()
    copied = await run("-q", "--json", "copy", folder, to)
    assert copied.document["blobs"]["removed"] == 1, copied.err
    assert len(blobs(tmp_path / "bucket")) == len(before) - 1


async def test_a_plain_folder_is_not_encrypted(tmp_path, sandbox):
    config = encrypted(tmp_path / "a", sandbox)
    text = config.read_text().replace(f"file://{tmp_path / 'bucket'}", "archive")
    config.write_text(re.sub(r"\[storage\]\n(?:\w.*\n)+", "", text))
    refused = await run("-q", "backup", config)
    assert (refused.code, "[encryption] is for an archive in an object store" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("recipient", "said"),
    [("age1nonsense", "not a public key of age"), (str(KEY), "a private key of age"), ("", "not a public key of age")],
    ids=["nonsense", "private", "empty"],
)
async def test_a_recipient_that_is_none_is_named_and_not_shown(tmp_path, sandbox, recipient, said):
    config = encrypted(tmp_path / "a", sandbox)
    config.write_text(config.read_text().replace(str(KEY.to_public()), recipient))
    for command in ("backup", "check"):
        refused = await run("-q", command, config)
        assert (refused.code, f"encryption.recipients[0] is {said}" in refused.err) == (2, True)
        assert str(KEY) not in refused.err + refused.out


async def test_large_files_go_to_a_real_s3_server_and_back(tmp_path):
    key = {"recipients": [str(KEY.to_public())], "identity": str(KEY)}
    async with (
        s3_server(tmp_path) as server,
        proxy_to(server) as proxy,
        TargetprocessSandbox(world_of(3, median=20_000_000)) as sandbox,
    ):
        config = in_bucket(tmp_path / "a", sandbox, proxy.url, sections={"encryption": key})
        backup = await run("backup", config)
        assert (backup.code, "encryption.identity is in the configuration as plain text" in backup.err) == (0, True)
        assert proxy.requests["POST"] > 0, "it was sent in parts"
        found = {hashlib.sha256(pyrage.decrypt(each, [KEY])).hexdigest() for each in server.blobs("archive").values()}
        assert found == {sandbox.state.sha256_of(file) for file in sandbox.world.attachments}
        assert "incoming" not in server.names("archive")
        assert (await run("-q", "verify", config, "--full")).code == 0
        assert (await run("-q", "export", config, tmp_path / "out", "--format", "tree")).code == 0
        local = tmp_path / "a" / "local"
        process = await start("-q", "export", config, tmp_path / "killed", "--format", "tree")
        await until(lambda: any(local.glob("incoming*/*")))
        await kill(process)
        await ended(process)
        assert any(local.glob("incoming*/*")), "decrypted files are left"
        assert (await run("-q", "verify", config)).code == 0
        assert not any(local.glob("incoming*")), "the next run deletes them"
        status = await run("-q", "--json", "status", f"s3://{BUCKET}/archive")
        assert status.code != 0, "by its address it is reached without a key"


def test_names_are_keyed_and_folders_stay_folders():
    one, other = (Encrypted(("age1",), bytes([number]) * 32) for number in (1, 2))
    sha256 = hashlib.sha256(b"x").hexdigest()
    assert one.there(sha256[:2], sha256) != other.there(sha256[:2], sha256)
    assert sha256 not in one.there(sha256[:2], sha256)
    assert {one.folder(f"{number:02x}") for number in range(256)} == {f"{number:02x}" for number in range(256)}
    assert PLAIN.there(sha256[:2], sha256) == f"{sha256[:2]}/{sha256}"


def test_the_guide_has_the_commands_of_the_readme_in_the_bucket():
    guide = (ROOT / "migrator/store/objects/README.md").read_text().replace("key.txt", "IDENTITY")
    commands = [line.strip() for line in ENCRYPTED_README.partition("To read it")[2].splitlines()[2:7]]
    assert commands[0].startswith("for name in")
    assert commands[-1] == "done"
    assert "\n".join(commands) in "\n".join(line.strip() for line in guide.splitlines())
