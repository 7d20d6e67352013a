"""A tracker whose address has changed: its archive goes on, once it is sure that it is the same tracker."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from migrator.errors import ConfigError, ForbiddenError, GoneError, TrackerUnreachableError
from migrator.model import NOBODY
from migrator.pipeline.backup.relocation import relocate
from migrator.pipeline.rebuild import rebuild
from migrator.sandbox import SANDBOXES
from migrator.sandbox.world.model import World
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.journal.keeper import Journal
from migrator.store.schema import checkpoint_checksum
from migrator.trackers.memory import MemorySource, MemoryTracker
from tests.support.parts import expected, rows, run_backup, run_verify, small_tracker, stored
from tests.support.program import configure, run

OLD, NEW = "memory http://tracker:8080/app", "memory https://tracker.example/app"
WORLD = World.generate(entities=12, seed=3, attachments=30, median_bytes=500, large_bytes=20_000)
OTHER = World.generate(entities=12, seed=7, attachments=30, median_bytes=500, large_bytes=20_000)


async def moved(tracker: MemoryTracker, root, old: str = OLD, new: str = NEW) -> str:
    with closing(Catalog(root)) as catalog:
        return await relocate(MemorySource(tracker), catalog, old, new)


def source_of(root) -> str:
    [(source,)] = rows(root, "SELECT value FROM settings WHERE key = 'source'")
    return source


def kept(root) -> list:
    """All that another program sees of the catalog."""
    with closing(sqlite3.connect(root / "catalog.db")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


async def test_the_same_tracker_at_a_new_address_has_nothing_fetched_again(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path, identity=OLD)
    before, fetched = stored(tmp_path), tracker.downloads.total()
    with pytest.raises(ConfigError, match=r"--moved-from http://tracker:8080/app"):
        await run_backup(tracker, tmp_path, identity=NEW)
    assert source_of(tmp_path) == OLD
    assert "there as the archive has it" in await moved(tracker, tmp_path)
    assert source_of(tmp_path) == NEW
    assert "already" in await moved(tracker, tmp_path)
    summary = await run_backup(tracker, tmp_path, identity=NEW)
    assert (summary["status"], summary["attachments"]["unchanged"]) == ("complete", len(tracker.files))
    assert (stored(tmp_path), tracker.downloads.total()) == (before, fetched)
    assert (await run_verify(tmp_path))["problems"] == []
    (tmp_path / "catalog.db").unlink()
    rebuild(Archive(tmp_path))
    assert source_of(tmp_path) == NEW, "the manifest tells of it, too"


async def test_what_changed_since_the_last_backup_is_no_other_tracker(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path, identity=OLD)
    some = [file for file in tracker.files.values() if file.name.startswith("big")]
    tracker.remove(some[0].id)
    tracker.files[some[1].id] = replace(some[1], name="renamed.bin")
    tracker.content[some[2].id] = b"replaced"
    tracker.files[some[2].id] = replace(some[2], size=8)
    tracker.attach(some[3].owner, "new.txt", b"new")
    await moved(tracker, tmp_path)
    assert (await run_backup(tracker, tmp_path, identity=NEW))["status"] == "complete"
    assert {id_: found for id_, found in stored(tmp_path).items() if id_ in tracker.files} == expected(tracker)


def names(file):
    return replace(file, name=f"other {file.name}")


def sizes(file):
    return replace(file, size=file.size + 1)


def ids(file):
    return replace(file, id=f"9{file.id}")


DIFFER = {"names": (names, "is called 'other"), "sizes": (sizes, "bytes, not"), "ids": (ids, "is not there")}


@pytest.mark.parametrize("what", DIFFER)
async def test_another_tracker_is_refused_with_what_differs_and_changes_nothing(tmp_path, what):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path, identity=OLD)
    change, words = DIFFER[what]
    tracker.files = {made.id: made for made in map(change, tracker.files.values())}
    before = kept(tmp_path)
    with pytest.raises(ConfigError, match=words) as refused:
        await moved(tracker, tmp_path)
    assert "0 of" in str(refused.value)
    assert "Nothing was changed" in str(refused.value)
    assert kept(tmp_path) == before


@pytest.mark.parametrize("error", [GoneError, ForbiddenError])
async def test_a_tracker_that_has_none_of_the_entities_is_refused(tmp_path, error):
    tracker = small_tracker()
    tracker.remove(next(file.id for file in tracker.files.values() if file.owner == NOBODY))
    await run_backup(tracker, tmp_path, identity=OLD)

    async def on_call(verb, about):
        if verb == "attachments_of":
            raise error(about)

    tracker.on_call = on_call
    with pytest.raises(ConfigError, match="is another tracker"):
        await moved(tracker, tmp_path)
    assert source_of(tmp_path) == OLD


async def test_a_tracker_that_does_not_answer_changes_nothing(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path, identity=OLD)

    async def on_call(verb, about):
        raise TrackerUnreachableError("no answer")

    tracker.on_call = on_call
    with pytest.raises(TrackerUnreachableError):
        await moved(tracker, tmp_path)
    assert source_of(tmp_path) == OLD


async def test_files_that_belong_to_nothing_are_looked_for_in_the_listing(tmp_path):
    tracker, other = MemoryTracker(page_size=2), MemoryTracker(page_size=2)
    for number in range(5):
        tracker.attach(NOBODY, f"{number}.txt", b"x" * number)
        other.attach(NOBODY, "x.txt", b"y")
    await run_backup(tracker, tmp_path, identity=OLD)
    with pytest.raises(ConfigError):
        await moved(other, tmp_path)
    await moved(tracker, tmp_path)
    assert source_of(tmp_path) == NEW


async def test_an_archive_of_neither_or_without_a_file_is_refused(tmp_path):
    await run_backup(small_tracker(), tmp_path / "full", identity="memory http://third")
    with pytest.raises(ConfigError, match="holds memory http://third, not"):
        await moved(small_tracker(), tmp_path / "full")
    await run_backup(MemoryTracker(), tmp_path / "empty", identity=OLD)
    with pytest.raises(ConfigError, match="no file by which"):
        await moved(small_tracker(), tmp_path / "empty")


async def test_a_crawl_under_way_begins_anew_and_a_kill_leaves_all_or_nothing(tmp_path, monkeypatch):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path, identity=OLD)
    with closing(Catalog(tmp_path)) as catalog:
        for checkpoint in ((0, "", "[]", 0, 1), (0, "listed", "3", 0, 1)):
            values = [*checkpoint, checkpoint_checksum(*checkpoint)]
            catalog.db.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)", values)
    before = kept(tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            await moved(tracker, tmp_path)
    assert kept(tmp_path) == before
    await moved(tracker, tmp_path)
    assert rows(tmp_path, "SELECT * FROM checkpoints") == []
    assert (await run_backup(tracker, tmp_path, identity=NEW))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)


# The real program


@pytest.mark.parametrize("name", sorted(SANDBOXES))
async def test_the_program_goes_on_at_a_new_address_but_at_no_other_tracker(tmp_path, name):
    skip = {"source__options": {"inline_images": "skip"}} if name == "targetprocess" else {}
    root = tmp_path / "archive"
    async with SANDBOXES[name](WORLD) as source:
        old = source.url
        assert (await run("-q", "backup", configure(tmp_path, source, **skip))).code == 0
    before = kept(root)
    async with SANDBOXES[name](OTHER) as other:
        config = configure(tmp_path, other, **skip)
        refused = await run("-q", "--json", "backup", config)
        assert refused.code == 2
        assert f"--moved-from {old}" in refused.err
        refused = await run("-q", "--json", "backup", config, "--moved-from", old)
        assert (refused.code, refused.document["error"]["code"]) == (2, 2), refused
        assert "is another tracker" in refused.err
        refused = await run("-q", "--json", "backup", config, "--moved-from", "http://never.example")
        assert refused.code == 2
    assert kept(root) == before
    async with SANDBOXES[name](WORLD) as same:
        config = configure(tmp_path, same, **skip)
        for _ in range(2):
            done = await run("--json", "backup", config, "--moved-from", f"{old}/")
            assert (done.code, done.document["attachments"]["stored"]) == (0, 0), done
            assert done.document["attachments"]["unchanged"] > 0
        assert same.downloads.total() == 0
        assert source_of(root) == f"{name} {same.url}"
        assert not [url for (url,) in rows(root, "SELECT url FROM entities") if url.startswith(old)]


async def test_without_an_archive_there_is_nothing_to_go_on_with(tmp_path):
    async with SANDBOXES["squash"](WORLD) as source:
        config = configure(tmp_path, source)
        refused = await run("-q", "--json", "backup", config, "--moved-from", "http://old.example")
    assert refused.code == 2
    assert not (tmp_path / "archive").exists()
    assert (await run("-q", "backup", config, "--moved-from", "nonsense")).code == 2
