"""Whatever changes in an archive, verify says so, with the code of that kind of damage: every byte, every length."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from migrator.pipeline.rebuild import rebuild
from migrator.pipeline.verify import CODES, Portion
from migrator.store.blobs import Archive
from migrator.store.journal import manifest
from migrator.store.journal.replay import Replay, replay
from migrator.store.repair import auditing
from migrator.store.repair.auditing import audit
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import (
    FULL,
    expected,
    overwrite,
    rows,
    run_backup,
    run_load,
    run_verify,
    small_tracker,
    stored,
    twin_of,
)

PAGE = 512
EVERY_BYTE = "MIGRATOR_SLOW" in os.environ
STRIDE = 1 if FULL else 7
"""For a quick answer not every byte; a prime, so that all bits of a byte are flipped."""
"""Else most bytes inside of long runs of zeros, which is room that SQLite doesn't use, are passed over."""


async def tiny_archive(root: Path) -> MemoryTracker:
    """Two files, one of them loaded; the catalog has small pages."""
    root.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(root / "catalog.db")) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA journal_mode = WAL")
    tracker = MemoryTracker()
    owner = tracker.add("Bug", title="a bug")
    tracker.attach(owner, "a.txt", b"a" * 20)
    tracker.attach(owner, "b.txt", b"bbb")
    await run_backup(tracker, root)
    target, mapping = twin_of(tracker)
    await run_load(target, root, mapping)
    return tracker


def codes(found: dict[str, Any]) -> list[str]:
    assert (found["status"] == "damaged") == bool(found["problems"])
    assert all(problem["problem"] == CODES[problem["code"]] for problem in found["problems"])
    return [problem["code"] for problem in found["problems"]]


@contextmanager
def flipped(path: Path) -> Iterator[Any]:
    """Gives a function that flips one bit of a byte of this file, and flips back what it flipped before."""
    path.chmod(0o600)
    sound, handle = path.read_bytes(), os.open(path, os.O_RDWR)
    last = 0

    def flip(at: int) -> None:
        nonlocal last
        os.pwrite(handle, sound[last : last + 1], last)
        os.pwrite(handle, bytes([sound[at] ^ 1 << at % 8]), at)
        last = at

    try:
        yield flip
    finally:
        os.pwrite(handle, sound[last : last + 1], last)
        os.close(handle)
    assert path.read_bytes() == sound


async def test_a_flipped_bit_in_any_byte_of_any_blob_is_found(tmp_path):
    await tiny_archive(tmp_path)
    for path in tmp_path.glob("blobs/*/*"):
        with flipped(path) as flip:
            for at in range(path.stat().st_size):
                flip(at)
                assert codes(await run_verify(tmp_path)) == ["E01"], (path, at)
    assert codes(await run_verify(tmp_path)) == []


async def test_a_flipped_bit_in_any_byte_of_the_manifest_is_found(tmp_path):
    await tiny_archive(tmp_path)
    path = manifest.path_in(tmp_path)
    with flipped(path) as flip:
        for at in range(0, path.stat().st_size, STRIDE):
            flip(at)
            assert {code for code, _, _ in audit(tmp_path)} == {"E21"}, at
    assert audit(tmp_path) == []


@pytest.mark.timeout(900)
async def test_a_flipped_bit_anywhere_in_the_catalog_is_found_or_changes_nothing(tmp_path, monkeypatch):
    await tiny_archive(tmp_path)
    path = tmp_path / "catalog.db"
    told = replay(manifest.path_in(tmp_path))
    monkeypatch.setattr(auditing, "replay", lambda *_: Replay(copy_of(told.db), told.end))  # it is the same each time
    sound, content = path.read_bytes(), dump(path)
    places = range(len(sound)) if EVERY_BYTE else used(sound)[::STRIDE]
    harmless = 0
    with flipped(path) as flip:
        for at in places:
            flip(at)
            if not audit(tmp_path):
                harmless += 1
                assert dump(path) == content, f"byte {at} changes what the catalog says, and is not found"
    print(f"{len(sound)} bytes, {len(places)} flipped, {harmless} of them without a meaning")  # noqa: T201
    assert harmless < len(places) / (1 if EVERY_BYTE else 3)
    assert audit(tmp_path) == []
    told.db.close()


def used(content: bytes) -> list[int]:
    """All but most bytes in the midst of runs of zeros."""
    skipped = set()
    for run in re.finditer(rb"\0{24,}", content):
        skipped.update(at for at in range(run.start() + 8, run.end() - 8) if at % 16)
    return [at for at in range(len(content)) if at not in skipped]


def copy_of(db: Database) -> Database:
    copy = Database(sqlite3.connect(":memory:"))
    copy.conn.deserialize(db.conn.serialize())
    return copy


def dump(path: Path) -> list[Any]:
    """Every row of every table, and what makes the tables."""
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = bytes
        tables = [name.decode() for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [db.execute(f"SELECT * FROM {table}").fetchall() for table in ["sqlite_master", *tables]]


async def test_a_manifest_that_was_cut_at_any_length_is_found(tmp_path):
    await tiny_archive(tmp_path)
    path = manifest.path_in(tmp_path)
    sound = path.read_bytes()
    for length in [*range(len(sound) - 1, len(sound) - 700, -1), *range(len(sound) - 700, -1, -7)]:
        os.truncate(path, length)
        assert [code for code, _, _ in audit(tmp_path)] == ["E23"], length
    path.unlink()
    assert [code for code, _, _ in audit(tmp_path)] == ["E22"]


async def test_a_catalog_that_was_cut_or_has_grown_is_found(tmp_path):
    await tiny_archive(tmp_path)
    path = tmp_path / "catalog.db"
    sound, content = path.read_bytes(), dump(path)
    lengths = {at + more for at in range(0, len(sound), PAGE) for more in (0, 1, 100, PAGE - 1)}
    for length in sorted(lengths - {len(sound)}):
        path.write_bytes(sound[:length])
        assert {code for code, _, _ in audit(tmp_path)} <= {"E11", "E12", "E13"}
        assert audit(tmp_path) or dump(path) == content, length
    path.write_bytes(sound + bytes(PAGE))
    assert audit(tmp_path) or dump(path) == content
    path.unlink()
    assert codes(await run_verify(tmp_path)) == ["E10"]


async def test_blobs_cut_grown_swapped_replaced_lost_and_strange(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    by_name = {name: tmp_path / "blobs" / sha256[:2] / sha256 for name, sha256 in stored(tmp_path).values()}
    one, two, cut, grown, link, folder, lost = (by_name[f"big {number}.bin"] for number in (1, 2, 3, 4, 6, 7, 8))
    content = one.read_bytes()
    overwrite(one, two.read_bytes())
    overwrite(two, content)
    overwrite(cut, cut.read_bytes()[:-1] or b"?")
    overwrite(grown, grown.read_bytes() + b"?")
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    folder.unlink()
    folder.mkdir()
    lost.unlink()
    found = await run_verify(tmp_path)
    by_path = {problem["path"]: problem["code"] for problem in found["problems"]}
    named = {str(path.relative_to(tmp_path)) for path in (one, two, cut, grown, link, folder, lost)}
    assert named | {"elsewhere"} == by_path.keys()
    assert [by_path[str(path.relative_to(tmp_path))] for path in (one, two)] == ["E05", "E05"]
    assert by_path[str(grown.relative_to(tmp_path))] in {"E04", "E05"}
    assert [by_path[str(path.relative_to(tmp_path))] for path in (link, folder, lost)] == ["E06", "E06", "E02"]
    assert codes(found).count("E03") == 1
    folder.rmdir()  # nothing but a hand takes away a folder
    (tmp_path / "elsewhere").unlink()
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)
    assert codes(await run_verify(tmp_path)) == []


CHANGES = {
    "UPDATE attachments SET name = 'c.txt' WHERE rowid = 1": ["E12"],
    "UPDATE attachments SET sha256 = (SELECT max(sha256) FROM blobs)": ["E12"],
    "UPDATE uploads SET remote_id = '99' WHERE rowid = 2": ["E12"],
    "UPDATE settings SET value = '{}' WHERE key = 'manifest'": ["E12"],
    "UPDATE settings SET key = 'manifesu' WHERE key = 'manifest'": ["E14"],
    "DELETE FROM uploads WHERE rowid = 1": ["E13"],
    "DELETE FROM blobs WHERE sha256 = (SELECT min(sha256) FROM blobs)": ["E13"],
    "INSERT INTO entities SELECT 'Bug', 'x', '', '', NULL, NULL, NULL, 1, 1, 1, NULL": ["E14"],
    "INSERT INTO blobs VALUES ('00', 1, NULL)": ["E14"],
    "DROP TABLE uploads": ["E11"],
    "CREATE TABLE strange (id)": ["E11"],
    "UPDATE sqlite_sequence SET seq = 90": ["E12"],
}


@pytest.mark.parametrize("statement", CHANGES)
async def test_a_row_that_was_changed_taken_or_added_is_found_and_rebuilt(tmp_path, statement):
    tracker = await tiny_archive(tmp_path)
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as db, db:
        db.execute(statement)
    assert [code for code, _, _ in audit(tmp_path)] == CHANGES[statement]
    assert rebuild(Archive(tmp_path)).as_json()["problems"] == []
    assert codes(await run_verify(tmp_path)) == []
    assert stored(tmp_path) == expected(tracker)


async def test_manifest_lines_swapped_removed_or_doubled_are_found_and_rewritten(tmp_path):
    tracker = await tiny_archive(tmp_path)
    path = manifest.path_in(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    for at in range(len(lines) - 1):
        for changed in (
            [*lines[:at], *lines[at + 1 :], b" " * (len(lines[at]) - 1) + b"\n"],
            [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]],
            [*lines[:at], lines[at], *lines[at:]],
        ):
            path.write_bytes(b"".join(changed))
            assert {code for code, _, _ in audit(tmp_path)} == {"E21"}, at
    assert set(codes(await run_verify(tmp_path))) == {"E21"}
    assert codes(await run_verify(tmp_path)) == ["E21"], "until it is written anew"
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert codes(await run_verify(tmp_path)) == []
    assert (tmp_path / "manifest.jsonl.damaged-1").read_bytes() == b"".join(changed)


async def test_a_stored_file_without_a_blob_is_missing_and_fetched_again(tmp_path):
    tracker = await tiny_archive(tmp_path)
    manifest.path_in(tmp_path).unlink()
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as db, db:
        db.execute("DELETE FROM settings WHERE key = 'manifest'")
        db.execute("DELETE FROM blobs WHERE size = 3")
    assert sorted(codes(await run_verify(tmp_path))) == ["E02", "E03"]
    await run_backup(tracker, tmp_path)
    assert codes(await run_verify(tmp_path)) == []
    assert stored(tmp_path) == expected(tracker)


# --- parts


async def test_a_share_at_a_time_goes_round_all_blobs(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    [(of,)] = rows(tmp_path, "SELECT count(*) FROM blobs")
    seen, rounds = 0, 0
    for _ in range(10):
        found = await run_verify(tmp_path, Portion(share=0.3))
        assert (found["status"], found["of"]) == ("complete", of)
        seen += found["checked"]
        if found["round_complete"]:
            rounds += 1
            assert seen == of * rounds, "each blob once in a round"
    assert rounds >= 2


async def test_a_part_finds_what_is_in_it_and_goes_on_behind_it(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    digests = sorted(sha256 for (sha256,) in rows(tmp_path, "SELECT sha256 FROM blobs"))
    for sha256 in (digests[0], digests[-1]):
        overwrite(tmp_path / "blobs" / sha256[:2] / sha256, b"damaged")
    found = [await run_verify(tmp_path, Portion(share=0.5)) for _ in range(2)]
    assert [[problem["sha256"] for problem in one["problems"]] for one in found] == [[digests[0]], [digests[-1]]]
    assert [one["round_complete"] for one in found] == [False, True]


async def test_all_of_the_blobs_are_all_and_not_the_rest_of_a_round(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    digests = sorted(sha256 for (sha256,) in rows(tmp_path, "SELECT sha256 FROM blobs"))
    await run_verify(tmp_path, Portion(share=0.5))
    overwrite(tmp_path / "blobs" / digests[0][:2] / digests[0], b"damaged")
    (tmp_path / "blobs" / "ff").mkdir(exist_ok=True)
    overwrite(tmp_path / "blobs" / "ff" / ("f" * 64), b"unknown")
    found = await run_verify(tmp_path, Portion(share=1.0))
    assert (found["checked"], found["of"], found["round_complete"]) == (len(digests), len(digests), True)
    assert [problem["code"] for problem in found["problems"]] == ["E04", "E03"]


async def test_no_time_is_no_blob_and_a_whole_verify_begins_anew(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    [(of,)] = rows(tmp_path, "SELECT count(*) FROM blobs")
    found = await run_verify(tmp_path, Portion(seconds=1e-9))
    assert (found["status"], found["checked"], found["round_complete"]) == ("complete", 0, False)
    await run_verify(tmp_path, Portion(share=0.5))
    found = await run_verify(tmp_path)
    assert (found["checked"], found["round_complete"]) == (of, True)
    found = await run_verify(tmp_path, Portion(share=1.0, seconds=600))
    assert (found["checked"], found["round_complete"]) == (of, True)
