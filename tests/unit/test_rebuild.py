"""A catalog that is lost is made anew from its manifest: nothing is fetched again, nothing is sent twice."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.errors import ArchiveDamagedError, StorageError
from migrator.jobs.cli import run as program
from migrator.model import Attachment, Entity, EntityRef, RunStatus, Status
from migrator.pipeline.rebuild import rebuild
from migrator.store import disk
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog, database
from migrator.store.journal import keeper, manifest
from migrator.store.journal.replay import replay
from migrator.store.repair.auditing import audit
from tests.support.parts import (
    expected,
    files_on,
    rows,
    run_backup,
    run_load,
    run_rollback,
    run_verify,
    small_tracker,
    stored,
    twin_of,
)

TABLES = ("settings", "runs", "entities", "attachments", "blobs", "checkpoints", "uploads")


def said(root: Path) -> dict[str, list[Any]]:
    """All that a catalog says, but for how far its manifest is."""
    return {
        table: rows(
            root, f"SELECT * FROM {table} WHERE {'key' if table == 'settings' else 1} != 'manifest' ORDER BY 1, 2"
        )
        for table in TABLES
    }


def lose(root: Path) -> None:
    for path in root.glob("catalog.db*"):
        path.unlink()


async def test_a_rebuilt_catalog_says_all_that_the_lost_one_said(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    target, mapping = twin_of(tracker)
    await run_load(target, tmp_path, mapping)
    before = said(tmp_path)
    lose(tmp_path)
    summary = rebuild(Archive(tmp_path)).as_json()
    after = said(tmp_path)
    assert after.pop("runs")[:-1] == before.pop("runs")
    assert after == before
    assert {key: summary[key] for key in ("command", "status", "made_from", "problems")} == {
        "command": "rebuild", "status": "complete", "made_from": "manifest", "problems": [],
    }  # fmt: skip
    counts = {name: len(before[name]) for name in ("entities", "attachments", "blobs", "uploads")}
    assert {name: summary[name] for name in counts} == counts


async def test_after_a_rebuild_nothing_is_repeated_and_a_rollback_works(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    target, mapping = twin_of(tracker)
    await run_load(target, tmp_path, mapping)
    lose(tmp_path)
    rebuild(Archive(tmp_path))
    tracker.downloads.clear()
    uploads = target.uploads
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert (await run_load(target, tmp_path, mapping))["status"] == "complete"
    assert (await run_verify(tmp_path))["problems"] == []
    assert (tracker.downloads.total(), target.uploads) == (0, uploads)
    assert (await run_rollback(target, tmp_path))["deletions"]["deleted"] == uploads
    assert not target.files


async def test_a_damaged_catalog_is_kept_beside_the_new_one(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    for number in (1, 2):
        (tmp_path / "catalog.db").write_bytes(b"garbage %d" % number)
        with pytest.raises(ArchiveDamagedError, match="`migrator rebuild "):
            await run_backup(tracker, tmp_path)
        assert rebuild(Archive(tmp_path)).as_json()["status"] == "complete"
        assert (tmp_path / f"catalog.db.damaged-{number}").read_bytes() == b"garbage %d" % number
    assert stored(tmp_path) == expected(tracker)
    assert (await run_verify(tmp_path))["problems"] == []


async def test_a_sound_catalog_stays_and_a_lost_manifest_is_made_from_it(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    before = said(tmp_path)["attachments"]
    manifest.path_in(tmp_path).unlink()
    assert [found["code"] for found in (await run_verify(tmp_path))["problems"]] == ["E22"]
    assert rebuild(Archive(tmp_path)).as_json()["made_from"] == "catalog"
    assert (await run_verify(tmp_path))["problems"] == []
    lose(tmp_path)
    rebuild(Archive(tmp_path))
    assert said(tmp_path)["attachments"] == before
    assert not list(tmp_path.glob("catalog.db.damaged*"))


async def test_an_archive_without_a_manifest_gets_one_with_the_next_backup(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    manifest.path_in(tmp_path).unlink()
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as db, db:
        db.execute("DELETE FROM settings WHERE key = 'manifest'")
    assert (await run_verify(tmp_path))["problems"] == [], "an archive of before there were manifests is sound"
    assert not manifest.path_in(tmp_path).exists()
    tracker.downloads.clear()
    await run_backup(tracker, tmp_path)
    assert tracker.downloads.total() == 0
    before = said(tmp_path)
    lose(tmp_path)
    rebuild(Archive(tmp_path))
    assert said(tmp_path)["attachments"] == before["attachments"]


async def test_a_loss_in_both_manifest_and_catalog_is_named_and_fetched_again(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    path = manifest.path_in(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    victim = next(number for number, line in enumerate(lines) if line.startswith(b'{"attachments":'))
    path.write_bytes(b"".join([*lines[:victim], b"not JSON\n", *lines[victim + 1 :]]))
    lose(tmp_path)
    summary = rebuild(Archive(tmp_path)).as_json()
    assert summary["status"] == "damaged"
    assert "E21" in {found["code"] for found in summary["problems"]}
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)
    assert (await run_verify(tmp_path))["problems"] == []


async def test_missing_blobs_are_wanted_again_and_unknown_ones_named(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    lost = next(iter(stored(tmp_path).values()))[1]
    (tmp_path / "blobs" / lost[:2] / lost).unlink()
    (tmp_path / "blobs" / "ab" / ("ab" * 32)).write_bytes(b"?")
    lose(tmp_path)
    problems = rebuild(Archive(tmp_path)).as_json()["problems"]
    assert {(found["code"], found["sha256"]) for found in problems} == {("E02", lost), ("E03", "ab" * 32)}
    assert rows(tmp_path, f"SELECT DISTINCT status FROM attachments WHERE sha256 = '{lost}'") == [("pending",)]
    await run_backup(tracker, tmp_path)
    assert stored(tmp_path) == expected(tracker)


async def test_an_intent_that_was_never_answered_is_still_in_doubt(tmp_path):
    tracker = small_tracker(2)
    await run_backup(tracker, tmp_path)
    target, mapping = twin_of(tracker)
    with closing(Catalog(tmp_path)) as catalog:
        catalog.ensure_journal()
        run = catalog.runs.begin("load")
        catalog.uploads.plan(run, "memory", [(of, to) for of, targets in mapping.items() for to in targets])
        to = next(iter(mapping.values()))[0]
        upload = catalog.uploads.unsettled("memory", to)[0]
        catalog.uploads.record_intent(run, "memory", upload, upload.attachment.name, ["7"])
    target.attach(to, upload.attachment.name, tracker.content[upload.attachment.id])  # the answer was lost
    lose(tmp_path)
    rebuild(Archive(tmp_path))
    assert rows(tmp_path, "SELECT seen, sent_run FROM uploads WHERE status = 'in_doubt'") == [('["7"]', run)]
    assert (await run_load(target, tmp_path, mapping))["status"] == "complete"
    assert target.uploads == len([file for file in tracker.files.values() if file.owner in mapping]) - 1


async def test_a_rebuild_killed_at_any_step_is_simply_run_again(tmp_path, monkeypatch):
    tracker = small_tracker(3)
    sound = tmp_path / "sound"
    await run_backup(tracker, sound)
    steps = 0
    for kill_at in range(1, 100):
        root = shutil.copytree(sound, tmp_path / str(kill_at))
        (root / "catalog.db").write_bytes(b"garbage")
        steps = _killed(monkeypatch, root, kill_at)
        assert rebuild(Archive(root)).as_json()["problems"] == [], kill_at
        assert stored(root) == expected(tracker)
        assert audit(root) == []
        if steps < kill_at:
            break
    assert steps >= 6


class Killed(BaseException):
    """The process is no more."""


def _killed(monkeypatch: pytest.MonkeyPatch, root: Path, at: int) -> int:
    """Rebuild, killed after so many changes of the disk; how many there were."""
    count = 0

    def counted(call: Any) -> Any:
        def counting(*args: Any) -> Any:
            nonlocal count
            result = call(*args)
            count += 1
            if count == at:
                raise Killed
            return result

        return counting

    with monkeypatch.context() as patch:
        for name in ("write_file", "rename", "write_at", "sync_files", "sync_folders", "remove"):
            patch.setattr(disk, name, counted(getattr(disk, name)))
        with suppress(Killed):
            rebuild(Archive(root))
    return count


async def test_an_archive_that_could_not_be_made_is_made_whole_by_the_next_run(tmp_path, monkeypatch):
    real, making = database.opened, {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX}
    refused = 0
    while True:
        root = tmp_path / str(refused)
        root.mkdir()
        left = [refused]

        def opened(path: Path, how: str, left: list[int] = left) -> Any:
            def may(action: int, *_: object) -> int:
                left[0] -= action in making
                return sqlite3.SQLITE_DENY if action in making and left[0] == -1 else sqlite3.SQLITE_OK

            db = real(path, how)
            db.conn.set_authorizer(may)
            return db

        with monkeypatch.context() as patched, suppress(ArchiveDamagedError):
            patched.setattr(database, "opened", opened)
            Catalog(root).close()
        await run_backup(small_tracker(), root)
        assert audit(root) == [], refused
        if left[0] >= 0:
            break
        refused += 1
    assert refused > 10


async def test_a_transaction_whose_last_line_was_broken_off_never_was(tmp_path):
    await run_backup(small_tracker(), tmp_path / "whole")
    before = said(tmp_path / "whole")
    path = manifest.path_in(tmp_path / "whole")
    last = list(manifest.batches(path))[-1].end
    lines = b'{"checkpoints":1000,"partial":0,"stream":"never","cursor":null,"done":1,"run_id":1}\n'
    manifest.write_batch(path, last, [lines])
    written = path.read_bytes()
    for end in [*range(last.length, len(written), 19), len(written) - 1]:
        root = shutil.copytree(tmp_path / "whole", tmp_path / "cut")
        lose(root)
        manifest.path_in(root).write_bytes(written[:end])
        assert rebuild(Archive(root)).as_json()["status"] == "complete", end
        told = said(root)
        assert told.pop("runs")[: len(before["runs"])] == before["runs"]
        assert told == {table: before[table] for table in told}, end
        shutil.rmtree(root)


async def test_a_run_makes_safe_the_names_that_a_killed_rebuild_gave(tmp_path, monkeypatch):
    await run_backup(small_tracker(), tmp_path)
    safe: list[Path] = []
    real = disk.sync_folders
    monkeypatch.setattr(disk, "sync_folders", lambda folders, root: (safe.extend(folders), real(folders, root)))
    with closing(Catalog(tmp_path)) as catalog:
        assert not safe
        catalog.ensure_journal()
    assert safe == [tmp_path]


def test_the_program_rebuilds_and_says_so(tmp_path, capsys):
    asyncio.run(run_backup(small_tracker(), tmp_path))
    lose(tmp_path)
    for words in (["status", str(tmp_path)], ["verify", str(tmp_path)]):
        assert program(["--json", *words]) == 5
        assert "`migrator rebuild " in capsys.readouterr().out
    assert program(["--json", "rebuild", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() >= {"command", "status", "entities", "attachments", "blobs", "uploads", "problems"}
    assert program(["rebuild", str(tmp_path)]) == 0
    assert "made from the catalog" in capsys.readouterr().out
    assert program(["rebuild", str(tmp_path / "nothing")]) == 2
    assert program(["--json", "verify", str(tmp_path)]) == 0


def test_blobs_alone_are_no_archive_to_rebuild(tmp_path, capsys):
    asyncio.run(run_backup(small_tracker(2), tmp_path))
    lose(tmp_path)
    manifest.path_in(tmp_path).unlink()
    assert program(["rebuild", str(tmp_path)]) == 2
    assert "is not an archive" in capsys.readouterr().err


# --- the manifest


async def test_a_backup_that_finds_nothing_new_adds_a_few_bytes(tmp_path):
    tracker = small_tracker(60, page_size=20)
    await run_backup(tracker, tmp_path)
    first = manifest.path_in(tmp_path).stat().st_size
    await run_backup(tracker, tmp_path)
    assert manifest.path_in(tmp_path).stat().st_size - first < 6000 < first / 5
    assert manifest.path_in(tmp_path).stat().st_mode & 0o777 == 0o600


async def test_a_line_that_a_kill_cut_is_passed_over_and_written_over(tmp_path):
    tracker = small_tracker(4)
    await run_backup(tracker, tmp_path)
    path = manifest.path_in(tmp_path)
    sound = path.read_bytes()
    for tail in (b'{"attachments":1,"kind":"B', b'{"runs":77,"command":"backup"}\n', b"\0" * 100, b'{"batch":9'):
        path.write_bytes(sound + tail)
        assert audit(tmp_path) == []
    tracker.attach(next(iter(tracker.entities)), "new.txt", b"new")
    await run_backup(tracker, tmp_path)
    assert path.read_bytes().startswith(sound)
    assert b"\0" not in path.read_bytes()
    assert audit(tmp_path) == []


async def test_a_catalog_that_is_behind_catches_up_with_its_manifest(tmp_path):
    tracker = small_tracker(4)
    await run_backup(tracker, tmp_path)
    older = (tmp_path / "catalog.db").read_bytes()
    tracker.attach(next(iter(tracker.entities)), "new.txt", b"new")
    await run_backup(tracker, tmp_path)
    now = said(tmp_path)
    (tmp_path / "catalog.db").write_bytes(older)
    assert said(tmp_path) != now
    assert audit(tmp_path) == []
    Catalog(tmp_path).close()
    assert said(tmp_path) == now


@pytest.mark.parametrize("call", ["write_at", "rename"])
async def test_a_rewrite_that_the_disk_refused_has_not_begun(tmp_path, monkeypatch, call):
    """Two machines have the manifest of a bucket; one goes on with it while the disk of the other is full."""
    here, there, tracker = tmp_path / "here", tmp_path / "there", small_tracker(4)
    await run_backup(tracker, there)
    shutil.copytree(there, here)
    refused = []

    def full(*_: object) -> None:
        refused.append(call)
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(keeper, "MIN_GROWTH_BYTES", -(10**9))  # every manifest has outgrown its size
        patched.setattr(disk, call, full)
        with pytest.raises(StorageError, match=r"manifest\.jsonl can't be written"):
            await run_backup(tracker, here)
    assert refused == [call]
    assert audit(here) == []
    tracker.attach(next(iter(tracker.entities)), "new.txt", b"new")
    await run_backup(tracker, there)
    shutil.copy(manifest.path_in(there), manifest.path_in(here))
    Catalog(here).close()
    assert said(here) == said(there)
    assert audit(here) == []


async def test_a_manifest_that_knows_more_than_the_catalog_is_never_written_over(tmp_path):
    tracker = small_tracker(4)
    await run_backup(tracker, tmp_path)
    older = (tmp_path / "catalog.db").read_bytes()
    manifest.path_in(tmp_path).unlink()
    for _ in range(2):
        await run_backup(tracker, tmp_path)
    now = manifest.path_in(tmp_path).read_bytes()
    (tmp_path / "catalog.db").write_bytes(older)  # of a time before this manifest
    with pytest.raises(ArchiveDamagedError, match="`migrator rebuild "):
        await run_backup(tracker, tmp_path)
    assert manifest.path_in(tmp_path).read_bytes() == now
    assert rebuild(Archive(tmp_path)).as_json()["made_from"] == "manifest"
    assert (await run_verify(tmp_path))["problems"] == []


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT, TEXT, st.none() | st.integers(0, 2**63 - 1), st.none() | TEXT)
def test_every_text_and_number_comes_back_as_it_was(tmp_path_factory, name, raw, title, size, comment):
    root = tmp_path_factory.mktemp("archive")
    owner = EntityRef("Bug", "1")
    with closing(Catalog(root)) as catalog:
        catalog.ensure_journal()
        run = catalog.runs.begin("backup")
        file = Attachment("1", owner, name, size, comment, raw=raw)
        catalog.crawl.record_listing(run, [Entity(owner, title, raw=raw)], [(file, Status.PENDING)])
        catalog.runs.end(run, RunStatus.COMPLETE, {"note": title})
    made = replay(manifest.path_in(root))
    with closing(made.db):
        for table in TABLES[1:]:
            assert made.db.execute(f"SELECT * FROM {table}").fetchall() == rows(root, f"SELECT * FROM {table}")
    assert made.damage == []


async def test_files_on_the_target_are_told_apart_after_a_rebuild(tmp_path):
    """What was there before a load is not rolled back, whatever was lost in between."""
    tracker = small_tracker(4)
    await run_backup(tracker, tmp_path)
    target, mapping = twin_of(tracker)
    to = next(iter(mapping.values()))[0]
    target.attach(to, "theirs.txt", b"theirs")
    before = {ref: files_on(target, ref) for ref in target.entities}
    await run_load(target, tmp_path, mapping)
    lose(tmp_path)
    rebuild(Archive(tmp_path))
    assert (await run_rollback(target, tmp_path))["status"] == "complete"
    assert {ref: files_on(target, ref) for ref in target.entities} == before
