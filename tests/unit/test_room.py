"""Free space: what surely doesn't fit is refused before it is fetched, and a run ends while the catalog can commit."""

from __future__ import annotations

import errno
import re
import sqlite3
from dataclasses import replace

import pytest

from migrator.errors import StorageError
from migrator.pipeline.export import ExportSettings, copies, export
from migrator.store import disk
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.space import RESERVE_BYTES, FreeSpace
from tests.support.parts import expected, rows, run_backup, run_verify, small_tracker, stored

HUGE = 10**18
"""More than the disk of any machine this runs on has free: no fake is needed."""


def resize(tracker, name: str, size: int | None) -> str:
    """List a file with another size than it has; gives its id."""
    id_ = next(id_ for id_, file in tracker.files.items() if file.name == name)
    tracker.files[id_] = replace(tracker.files[id_], size=size)
    return id_


def limit(monkeypatch, free: int | None) -> None:
    """Let so many bytes beyond the reserve be free."""
    monkeypatch.setattr(disk, "free_bytes", lambda _: None if free is None else RESERVE_BYTES + free)


async def test_files_that_cannot_fit_are_refused_with_figures_before_their_page(tmp_path, monkeypatch):
    tracker = small_tracker(page_size=100)
    resize(tracker, "big 5.bin", HUGE)
    monkeypatch.setattr(disk, "total_bytes", lambda _: 2 * HUGE)
    with pytest.raises(StorageError) as told:
        await run_backup(tracker, tmp_path)
    assert re.search(r"at least 1000000\.\d TB are still to come, and [\d.]+ [MGT]B are free", str(told.value))
    assert str(tmp_path) in str(told.value)
    assert resize(tracker, "big 5.bin", 300_000) not in tracker.downloads
    assert rows(tmp_path, "SELECT status FROM runs") == [("failed",)]
    assert (await run_verify(tmp_path))["status"] == "complete"


async def test_what_an_earlier_run_listed_is_known_before_anything_is_asked(tmp_path, monkeypatch):
    tracker = small_tracker(page_size=100)
    monkeypatch.setattr(disk, "total_bytes", lambda _: 2 * HUGE)
    real = expected(tracker)
    id_ = resize(tracker, "big 5.bin", HUGE)
    with pytest.raises(StorageError):
        await run_backup(tracker, tmp_path)
    asked = []

    async def note(verb, key):
        asked.append((verb, key))

    tracker.on_call = note
    with pytest.raises(StorageError):
        await run_backup(tracker, tmp_path)
    assert asked == []
    resize(tracker, "big 5.bin", 300_000)
    with sqlite3.connect(tmp_path / "catalog.db") as db:
        db.execute("UPDATE attachments SET size = 300000 WHERE attachment_id = ?", [id_])
    assert (await run_backup(tracker, tmp_path))["status"] == "complete", "the same command goes on with room"
    assert stored(tmp_path) == real


async def test_equal_sizes_count_once_and_unknown_or_stored_ones_not_at_all(tmp_path, monkeypatch):
    tracker = small_tracker(page_size=100)
    owner = next(iter(tracker.entities))
    for copy in range(5):
        tracker.attach(owner, f"copy {copy}.bin", b"y" * 50_000)
    resize(tracker, "big 5.bin", None)
    limit(monkeypatch, 51_000)
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    tracker.attach(owner, "once more.bin", b"y" * 50_000)
    limit(monkeypatch, 10)
    assert (await run_backup(tracker, tmp_path))["status"] == "complete", "its bytes may be here already"
    tracker.attach(owner, "other.bin", b"z" * 50_001)
    with pytest.raises(StorageError, match=r"at least 50\.0 kB"):
        await run_backup(tracker, tmp_path)


async def test_a_run_ends_while_the_catalog_can_commit_and_keeps_finished_files(tmp_path, monkeypatch):
    tracker = small_tracker(40, page_size=2)
    real = expected(tracker)
    tracker.files = {id_: replace(file, size=None) for id_, file in tracker.files.items()}
    left = [3]

    def free(_):
        left[0] -= bool(list((tmp_path / "blobs").glob("*/*")))
        return 2**40 if left[0] > 0 else RESERVE_BYTES - 1

    monkeypatch.setattr(disk, "free_bytes", free)
    with pytest.raises(StorageError, match=r"16\.8 MB are free, of which 16\.8 MB are reserved for the catalog"):
        await run_backup(tracker, tmp_path)
    kept = stored(tmp_path)
    assert 0 < len(kept) < len(real)
    monkeypatch.undo()
    fetched = tracker.downloads.copy()
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == real
    assert not any(tracker.downloads[id_] - fetched[id_] for id_ in kept), "nothing recorded is fetched again"


async def test_a_disk_that_does_not_say_how_much_is_free_is_taken_as_it_is(tmp_path, monkeypatch):
    limit(monkeypatch, None)
    assert (await run_backup(small_tracker(), tmp_path))["status"] == "complete"


@pytest.mark.parametrize("shape", ["tree", "bagit"])
async def test_an_export_is_refused_where_copies_do_not_fit_but_not_as_links(tmp_path, monkeypatch, shape):
    root, to = tmp_path / "archive", tmp_path / "out"
    await run_backup(small_tracker(), root)
    catalog = Catalog(root)
    size = catalog.exports.size(gone=False)[1]
    limit(monkeypatch, size - 1)
    monkeypatch.setattr(copies, "_cloned", lambda *_: False)
    try:
        with pytest.raises(StorageError, match="are still to come"):
            await export(Archive(root), catalog, ExportSettings(to, shape, links=False))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"], "nothing is left of it"
        assert (await export(Archive(root), catalog, ExportSettings(to, shape, links=True))).status == "complete"
        limit(monkeypatch, size)
        whole = ExportSettings(tmp_path / "copies", shape, links=False)
        assert (await export(Archive(root), catalog, whole)).status == "complete"
    finally:
        catalog.close()


def test_the_free_space_of_this_disk_is_what_the_system_says(tmp_path):
    free = disk.free_bytes(tmp_path)
    assert free is not None
    assert 0 < free < HUGE


# --- what is said of a disk that is full


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "the disk is full: "), (errno.EDQUOT, r"this account's share of the disk")]
)
def test_full_disk_is_called_so_with_its_folder_and_what_is_free(tmp_path, number, told):
    place = tmp_path / "not" / "there" / "blob"
    with pytest.raises(StorageError, match=told) as caught, disk.disk_errors(str(place)):
        raise OSError(number, "No space left on device")
    assert re.search(
        rf"{place} can't be written, [\d.]+ \w+ are free in {tmp_path}; nothing is lost", str(caught.value)
    )


def test_full_disk_of_what_is_no_place_is_called_so_all_the_same():
    told = r"^the disk is full: catalog.db can't be written; nothing is lost"
    with pytest.raises(StorageError, match=told), disk.disk_errors("catalog.db"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("size", [0, 1])
async def test_folder_without_room_is_told_as_its_disk(tmp_path, monkeypatch, size):
    limit(monkeypatch, -1)
    with pytest.raises(StorageError, match=f"^the disk of {tmp_path} "):
        FreeSpace(tmp_path).require(size)
