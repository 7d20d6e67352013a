"""What `status` says of an archive that is damaged, that lacks files, or whose run was killed."""

from __future__ import annotations

import json
import signal
from contextlib import closing

import pytest

from migrator.pipeline.condition import condition
from migrator.pipeline.rebuild import rebuild
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.lock import ArchiveLock, holder_of
from tests.support.parts import overwrite, rows, run_backup, run_load, run_rollback, run_verify, small_tracker, twin_of
from tests.support.program import kill, run, start, until

DAMAGED = ("damaged", "longer", "missing")


def looked_at(root):
    with closing(Catalog(root, read_only=True)) as catalog:
        return condition(catalog, root).as_json()


def damage(root, name, how="damaged") -> str:
    [(sha256,)] = rows(root, f"SELECT sha256 FROM attachments WHERE name = '{name}'")
    path = root / "blobs" / sha256[:2] / sha256
    if how == "missing":
        path.unlink()
    else:
        overwrite(path, b"?" * path.stat().st_size if how == "damaged" else path.read_bytes() + b"??")
    return sha256


@pytest.mark.parametrize("how", DAMAGED)
async def test_damage_is_named_by_verify_and_by_status_until_a_backup_mends_it(tmp_path, how):
    tracker, root = small_tracker(), tmp_path
    await run_backup(tracker, root)
    sha256 = damage(root, "big 7.bin", how)
    [owner] = [file for file in tracker.files.values() if file.name == "big 7.bin"]
    file = {"kind": "Bug", "entity": owner.owner.id, "attachment": owner.id, "name": "big 7.bin", "status": "stored"}
    code = {"damaged": "E01", "longer": "E04", "missing": "E02"}[how]
    people = await run("-q", "verify", root)
    for said in (people, await run("-q", "status", root)):
        assert said.code == 5
        assert f"{code} {'missing' if how == 'missing' else 'damaged'}: blobs/{sha256[:2]}/{sha256}" in said.out
        assert f"Bug {owner.owner.id} big 7.bin" in said.out
        assert "next: `migrator backup CONFIG` fetches these files again" in said.out
    assert said.out.startswith("the backup is not fine: the archive has 1 problem; last complete one ")
    assert said.out.splitlines()[1] == "damaged: 1 problem"
    assert "1 problem\n" in people.out
    found = looked_at(root)
    assert found["status"] == "damaged"
    assert [(problem["code"], problem["sha256"], problem["files"]) for problem in found["problems"]] == [
        (code, sha256, [file])
    ]
    await run_backup(tracker, root)
    assert (looked_at(root)["status"], looked_at(root)["problems"]) == ("complete", [])


async def test_damage_found_by_an_export_is_told_and_so_are_files_that_are_gone(tmp_path):
    tracker, root = small_tracker(), tmp_path / "archive"
    await run_backup(tracker, root)
    tracker.remove(next(file.id for file in tracker.files.values() if file.name == "big 7.bin"))
    await run_backup(tracker, root)
    damage(root, "big 7.bin")
    done = await run("-q", "export", root, tmp_path / "out", "--format", "tree", "--include-gone")
    assert done.code == 5
    said = await run("-q", "status", root)
    assert said.code == 5
    assert "big 7.bin (attachment" in said.out
    assert "(gone from the source)" in said.out
    assert "next: what the source no longer has can only come from a copy" in said.out
    assert "fetches these files again" not in said.out


async def test_damage_of_catalog_and_manifest_is_told_until_it_is_mended(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    (tmp_path / "blobs" / "mine.txt").write_text("mine")
    with closing(Catalog(tmp_path)) as catalog:
        catalog.db.execute("UPDATE attachments SET name = 'other' WHERE name = 'big 7.bin'")
    manifest = tmp_path / "manifest.jsonl"
    await run_verify(tmp_path)
    assert {found["code"] for found in looked_at(tmp_path)["problems"]} == {"E03", "E12"}
    (tmp_path / "blobs" / "mine.txt").unlink()
    rebuild(Archive(tmp_path))
    assert looked_at(tmp_path)["problems"] == []
    manifest.write_bytes(manifest.read_bytes()[:-20])
    await run_verify(tmp_path)
    assert {found["code"] for found in looked_at(tmp_path)["problems"]} == {"E23"}
    await run_backup(tracker, tmp_path)
    assert looked_at(tmp_path)["status"] == "complete", "the backup wrote it anew"


async def test_uploads_of_several_targets_are_counted_for_each(tmp_path):
    source, root = small_tracker(), tmp_path / "archive"
    await run_backup(source, root)
    target, mapping = twin_of(source)
    await run_load(target, root, mapping, identity="first")
    assert "targets" not in looked_at(root)["totals"]
    other, mapping = twin_of(source)
    await run_load(other, root, dict(list(mapping.items())[:2]), identity="second")
    await run_rollback(target, root, identity="first")
    first, second = target.uploads, other.uploads
    said = (await run("-q", "status", root)).out
    assert f"uploads to first: {first} rolled back" in said
    assert f"uploads to second: {second} uploaded" in said


async def test_failed_files_make_it_incomplete_and_uploads_in_flight_do_not(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    target, mapping = twin_of(tracker)
    await run_load(target, tmp_path, mapping)
    assert looked_at(tmp_path)["status"] == "complete"
    with closing(Catalog(tmp_path)) as catalog:
        catalog.db.execute("UPDATE uploads SET status = 'in_doubt' WHERE rowid = 1")
        catalog.db.execute("UPDATE uploads SET status = 'failed', error = 'no' WHERE rowid = 2")
    with ArchiveLock(tmp_path, "load"):
        assert [failure["reason"] for failure in looked_at(tmp_path)["failures"]] == ["no"]
    found = looked_at(tmp_path)
    assert (found["status"], len(found["failures"])) == ("incomplete", 2)
    assert (await run("-q", "status", tmp_path)).code == 3


# --- who is at work


async def test_status_tells_a_running_run_from_one_that_was_killed(tmp_path):
    root = tmp_path / "archive"
    await run_backup(small_tracker(), root)
    with (root / "blobs" / "00" / ("00" * 32)).open("wb") as file:
        file.truncate(2**40)  # a hole: nothing is written, but it takes long to hash
    with closing(Catalog(root)) as catalog:
        catalog.db.execute("INSERT INTO blobs VALUES (?, ?, NULL)", ["00" * 32, 2**40])
    process = await start("-q", "verify", root)
    await until(lambda: rows(root, "SELECT 1 FROM runs WHERE command = 'verify' AND status = 'running'"))
    process.send_signal(signal.SIGSTOP)
    said, found = await run("-q", "status", root), looked_at(root)
    assert f"`verify` is at work (process {process.pid} on " in said.out
    assert (found["runs"][0]["status"], found["at_work"]["pid"]) == ("running", str(process.pid))
    assert await kill(process)
    said, found = await run("-q", "status", root), looked_at(root)
    assert "at work" not in said.out
    assert "killed" in said.out
    assert "running" not in said.out
    assert (found["runs"][0]["status"], found["runs"][0]["killed"], found["at_work"]) == ("interrupted", True, None)
    assert rows(root, "SELECT status FROM runs ORDER BY run_id DESC LIMIT 1") == [("running",)], "nothing was written"


@pytest.mark.parametrize(
    ("told", "held"),
    [
        ({"pid": 1}, False),  # alive, but not who wrote it
        ({"pid": 2**22 + 1}, False),
        ({"host": "another", "boot": "another"}, True),
        ({"host": "container"}, False),
        (None, False),
    ],
)
async def test_who_left_a_text_in_the_lock_is_believed_only_where_nobody_can_ask(tmp_path, told, held):
    root = tmp_path
    with ArchiveLock(root, "backup"):
        us = json.loads((root / "lock").read_text())
        assert holder_of(root) == {name: str(us[name]) for name in ("command", "pid", "host", "since")}
        (root / "lock").write_text(json.dumps({**us, "host": "container", "pid": 2**22 + 1}))
        assert holder_of(root), "another container of this host, by its lock"
    (root / "lock").write_text("" if told is None else json.dumps({**us, **told}))
    assert bool(holder_of(root)) == held
    with ArchiveLock(root, "status", reads=True) if not held else ArchiveLock(tmp_path.parent, "x"):
        pass
    assert holder_of(tmp_path / "nowhere") is None


async def test_a_run_of_before_is_not_taken_for_the_one_that_is_at_work(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    with closing(Catalog(tmp_path)) as catalog:
        catalog.db.execute("UPDATE runs SET status = 'running', started_at = '2020-01-01T00:00:00+00:00'")
    with ArchiveLock(tmp_path, "backup"):
        assert [run["status"] for run in looked_at(tmp_path)["runs"]] == ["interrupted"]


# --- which archive


async def test_an_archive_may_be_named_by_its_configuration_and_by_no_other_file(tmp_path):
    root = tmp_path / "deep" / "archive"
    await run_backup(small_tracker(), root, identity="redmine http://x.example")
    config = tmp_path / "deep" / "c.toml"
    config.write_text(
        'archive = "archive"\n[source]\ntracker = "redmine"\nurl = "http://x.example"\n[source.auth]\napi_key = "k"\n'
    )
    for words in (
        ["status", config],
        ["verify", config],
        ["rebuild", config],
        ["report", config, "--out", tmp_path / "report.json"],
        ["export", config, tmp_path / "out", "--format", "tree"],
    ):
        done = await run("-q", "--json", *words)
        assert (done.code, done.document["status"]) == (0, "complete"), done
    assert (tmp_path / "out" / "index.csv").is_file()
    for given in (root / "catalog.db", root / "README.txt", tmp_path / "nowhere.toml", tmp_path / "out"):
        refused = await run("-q", "--json", "status", given)
        assert (refused.code, refused.document["error"]["code"], refused.err.count("\n")) == (2, 2, 1), refused
