"""A disk that refuses, at every place where the program writes: what and where is said, nothing half is left.

Refusals are real ones of SQLite (`max_page_count`) and of the kernel (a limit on the size of files, `/dev/full`).
"""

from __future__ import annotations

import random
import resource
import sqlite3
from contextlib import contextmanager

import pytest

from migrator.errors import StorageError
from migrator.layers.retry import RetryingSource, RetryingTarget
from migrator.layers.verify import VerifiedSource
from migrator.mapping.file import NewRow, add_rows, replace_file
from migrator.model import EntityRef
from migrator.pipeline.backup import BackupSettings, backup
from migrator.pipeline.export import ExportSettings, export
from migrator.pipeline.load import LoadSettings, load
from migrator.pipeline.report.writers import report
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.lock import ArchiveLock
from migrator.trackers.memory import MemorySource, MemoryTarget
from tests.support.parts import (
    PATIENCE,
    expected,
    rows,
    run_backup,
    run_load,
    run_verify,
    small_tracker,
    stored,
    twin_of,
)


@contextmanager
def files_up_to(size: int):
    """In this process no file may grow beyond so many bytes: the kernel refuses, as at a quota or a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def small_catalog(root, pages: int):
    """The catalog on a disk that has room for so many pages more."""
    catalog = Catalog(root)
    try:
        count = catalog.db.execute("PRAGMA page_count").fetchone()[0]
        catalog.db.execute(f"PRAGMA max_page_count = {count + pages}")
        yield catalog
    finally:
        catalog.close()


def assert_sound(root) -> None:
    with sqlite3.connect(root / "catalog.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# The catalog


async def test_a_catalog_full_at_any_page_stays_valid_and_the_backup_goes_on(tmp_path):
    tracker = small_tracker()
    for number in range(40):
        tracker.attach(tracker.add("Bug", filler="x" * 20_000), "file.txt", f"file {number}".encode())
    Archive(tmp_path).prepare()
    refused: list[str] = []
    for pages in range(0, 400, 7):
        fetched, kept = tracker.downloads.copy(), stored(tmp_path) if pages else {}
        try:
            with small_catalog(tmp_path, pages) as catalog:
                source = RetryingSource(VerifiedSource(MemorySource(tracker)), PATIENCE)
                await backup(source, Archive(tmp_path), catalog, BackupSettings("memory", downloads=4))
                break
        except StorageError as error:
            refused.append(str(error))
        finally:
            assert not any(tracker.downloads[id_] - fetched[id_] for id_ in kept), "recorded, and fetched again"
        assert_sound(tmp_path)
        assert stored(tmp_path).items() >= kept.items()
    assert len(refused) > 2
    assert all("catalog.db: database or disk is full" in message for message in refused)
    assert stored(tmp_path) == expected(tracker)
    assert (await run_verify(tmp_path))["status"] == "complete"


async def test_a_catalog_full_at_any_page_of_a_load_sends_nothing_twice(tmp_path):
    tracker = small_tracker()
    owner = next(iter(tracker.entities))
    for number in range(150):
        tracker.attach(owner, f"{number:0250}", f"file {number}".encode())
    target, mapping = twin_of(tracker)
    await run_backup(tracker, tmp_path)
    refused: list[str] = []
    for pages in range(400):
        try:
            with small_catalog(tmp_path, pages // 4) as catalog:
                to = RetryingTarget(MemoryTarget(target), PATIENCE)
                await load(to, Archive(tmp_path), catalog, LoadSettings("memory", mapping, look_again=0.0))
                break
        except StorageError as error:
            refused.append(str(error))
        assert_sound(tmp_path)
    assert len(refused) > 2
    assert all("catalog.db: database or disk is full" in message for message in refused)
    assert (await run_load(target, tmp_path, mapping))["uploads"]["failed"] == 0
    owned = [id_ for id_, file in tracker.files.items() if file.owner.id]
    assert target.uploads == len(owned)


# Files beside it


def test_a_mapping_stays_as_it_was_wherever_the_disk_is_full(tmp_path):
    path, before = tmp_path / "mapping.csv", "source_kind,source_id,target_kind,target_id\nBug,1,Issue,2\n"
    path.write_text(before)
    row = NewRow(EntityRef("Bug", "3"), EntityRef("Issue", "4"), "title", "high")
    for size in range(0, len(before), 5):
        with files_up_to(size), pytest.raises(StorageError, match=r"mapping.csv can't be written: File too large"):
            add_rows(path, [row])
        assert [one.name for one in tmp_path.iterdir()] == ["mapping.csv"]
        assert path.read_text() == before
    assert add_rows(path, [row]) == 1


def test_the_list_of_what_is_not_mapped_is_whole_or_the_earlier_one(tmp_path):
    path = tmp_path / "mapping.open.csv"
    for before in None, "the earlier one":
        with files_up_to(50), pytest.raises(StorageError, match=r"mapping.open.csv"):
            replace_file(path, "x" * 51)
        assert [one.read_text() for one in tmp_path.iterdir()] == ([before] if before else [])
        replace_file(path, "the earlier one")


@pytest.mark.parametrize("ending", ["html", "csv", "json"])
async def test_a_report_that_can_not_be_written_leaves_the_earlier_one(tmp_path, ending):
    root, out = tmp_path / "archive", tmp_path / "out" / f"report.{ending}"
    await run_backup(small_tracker(), root)
    out.parent.mkdir()
    catalog = Catalog(root, read_only=True)
    try:
        report(catalog, lambda _: lambda _base, _one: "", out)
        whole = out.stat().st_size
        out.write_text("the earlier one")
        for size in (0, 1, whole // 3, whole - 1):
            with files_up_to(size), pytest.raises(StorageError, match=rf"report.{ending}: File too large"):
                report(catalog, lambda _: lambda _base, _one: "", out)
            assert {one.name: one.read_text() for one in out.parent.iterdir()} == {out.name: "the earlier one"}
    finally:
        catalog.close()


@pytest.mark.parametrize("shape", ["tree", "bagit", "zip"])
async def test_an_export_that_can_not_be_written_leaves_nothing_and_says_where(tmp_path, shape):
    tracker, root = small_tracker(), tmp_path / "archive"
    owner = next(iter(tracker.entities))
    big = random.Random(1).randbytes(4_000_000)
    tracker.attach(owner, "large.bin", big)
    await run_backup(tracker, root)
    catalog, to = Catalog(root), tmp_path / "out"
    try:
        with files_up_to(len(big) // 4), pytest.raises(StorageError, match=r"out: File too large"):
            await export(Archive(root), catalog, ExportSettings(to, shape, links=False))
        assert [one.name for one in tmp_path.iterdir()] == ["archive"]
        assert (await export(Archive(root), catalog, ExportSettings(to, shape, links=False))).status == "complete"
    finally:
        catalog.close()
    assert rows(root, "SELECT status FROM runs WHERE command = 'export'") == [("failed",), ("complete",)]


def test_an_unwritable_lock_or_readme_is_named_and_nothing_is_held(tmp_path):
    for size in (0, 20):
        with files_up_to(size), pytest.raises(StorageError, match="lock: File too large"):
            ArchiveLock(tmp_path, "backup").__enter__()
        with ArchiveLock(tmp_path, "backup"):
            pass
    Archive(tmp_path).prepare()
    (tmp_path / "README.txt").write_text("of an earlier version")
    with files_up_to(20), pytest.raises(StorageError, match=str(tmp_path)):
        Archive(tmp_path).prepare()
    assert (tmp_path / "README.txt").read_text() == "of an earlier version"
    Archive(tmp_path).prepare()
    assert "written by `migrator`" in (tmp_path / "README.txt").read_text()
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_a_large_blob_that_cannot_be_written_comes_with_the_next_run(tmp_path):
    tracker = small_tracker()
    tracker.attach(next(iter(tracker.entities)), "large.bin", bytes(range(256)) * 16_000)
    with files_up_to(1_500_000), pytest.raises(StorageError, match="File too large"):
        await run_backup(tracker, tmp_path)
    assert list((tmp_path / "incoming").iterdir()) == []
    assert (await run_verify(tmp_path))["status"] == "complete"
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)
