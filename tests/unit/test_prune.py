"""Prune: which snapshots the rules keep, and that exactly what nothing needs any more goes, whenever it is killed."""

from __future__ import annotations

import asyncio
import random
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from migrator.pipeline.prune import Retention, prune
from migrator.pipeline.rebuild import rebuild
from migrator.store import Snapshot, audit, disk
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.catalog.database import CatalogDatabase
from tests.support.parts import expected, rows, run_backup, run_load, run_verify, small_tracker, stored, twin_of
from tests.unit.test_snapshots import Nights, states_at

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def nightly(nights: int, hours: float = 24) -> list[Snapshot]:
    """A snapshot each night, numbered by its night."""
    return [Snapshot(night, (START + timedelta(hours=hours * night)).isoformat(), 1, 1, 1) for night in range(nights)]


async def run_prune(root, retention: Retention, *, dry_run: bool = False, stop: asyncio.Event | None = None):
    archive = Archive(root)
    archive.prepare()
    with closing(Catalog(root)) as catalog:
        return (await prune(archive, catalog, retention, dry_run=dry_run, stop=stop)).as_json()


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, set(range(100))),
        ({"last": 1}, {99}),
        ({"last": 3}, {97, 98, 99}),
        ({"within": 86400.0 * 2}, {97, 98, 99}),
        ({"daily": 2}, {98, 99}),
        ({"weekly": 3}, {87, 94, 99}),  # nights 87 and 94 are Sundays
        ({"monthly": 3}, {58, 89, 99}),
        ({"yearly": 5}, {99}),
        ({"last": 2, "monthly": 2}, {89, 98, 99}),
    ],
)
def test_a_snapshot_stays_if_any_rule_keeps_it(rules, kept):
    assert Retention(**rules).kept(nightly(100)) == kept


def test_of_several_snapshots_in_a_day_the_newest_counts():
    """From noon on: nights 14 to 17 are of one day, 18 and 19 of the next."""
    assert Retention(daily=3).kept(nightly(20, hours=6)) == {13, 17, 19}


def test_days_without_a_snapshot_do_not_count():
    rare = [each for each in nightly(100) if each.run % 10 == 0]
    assert Retention(daily=3).kept(rare) == {70, 80, 90}


def test_no_snapshots_are_no_error():
    assert Retention(last=3).kept([]) == set()


def needed(nights: Nights, kept: set[int]) -> set[str]:
    """The blobs of the snapshots that stay, and of what the source still has."""
    held = {state[-1] for run in kept for state in nights.snapshots[run][0].values()}
    return held | {sha256 for (sha256,) in rows(nights.root, "SELECT sha256 FROM attachments WHERE status = 'stored'")}


def on_disk(root) -> set[str]:
    return {path.name for path in root.glob("blobs/*/*")}


async def lived(root, seed: int) -> Nights:
    nights = Nights(small_tracker(5), root, random.Random(seed))
    for _ in range(10):
        nights.change()
        await nights.back_up()
    return nights


@pytest.mark.parametrize("seed", range(8))
async def test_what_kept_snapshots_hold_stays_and_all_else_goes(tmp_path, seed):
    nights = await lived(tmp_path, seed)
    retention = Retention(last=nights.rng.randint(1, 3))
    kept = set(sorted(nights.snapshots)[-retention.last :])
    wanted = needed(nights, kept)
    rehearsed = await run_prune(tmp_path, retention, dry_run=True)
    before = on_disk(tmp_path)
    done = await run_prune(tmp_path, retention)
    for key in ("snapshots", "blobs", "bytes"):
        assert done[key] == rehearsed[key]
    assert set(done["snapshots"]["kept"]) == kept
    assert on_disk(tmp_path) == wanted
    assert done["blobs"] == {"kept": len(wanted), "removed": len(before - wanted)}
    for run in kept:
        assert states_at(tmp_path, run) == nights.snapshots[run][0]
    assert (await run_verify(tmp_path))["problems"] == []
    again = await run_prune(tmp_path, retention)
    assert again["blobs"] == {"kept": len(wanted), "removed": 0}
    nights.change()
    assert (await run_backup(nights.tracker, tmp_path, max_gone=None))["status"] == "complete"
    assert stored(tmp_path) == expected(nights.tracker)
    assert audit(tmp_path) == []


class KilledError(BaseException):
    """The process ends here."""


async def test_a_prune_killed_at_any_step_loses_nothing_and_the_next_goes_on(tmp_path, monkeypatch):
    nights = await lived(tmp_path / "archive", 3)
    wanted, steps = needed(nights, {max(nights.snapshots)}), 0
    assert wanted < on_disk(nights.root)
    for step in range(200):
        root = shutil.copytree(nights.root, tmp_path / "killed")
        with monkeypatch.context() as patched:
            ended = await killed_after(step, root, patched)
        assert wanted <= on_disk(root)
        assert (await run_verify(root))["problems"] == []
        for path in root.glob("catalog.db*"):
            path.unlink()
        assert rebuild(Archive(root)).as_json()["status"] == "complete"
        assert (await run_prune(root, Retention(last=1)))["status"] == "complete"
        assert on_disk(root) == wanted
        shutil.rmtree(root)
        steps += 1
        if ended:
            break
    assert steps > 10


async def killed_after(steps: int, root, patched) -> bool:
    """A prune that ends after so many steps to disk and catalog; whether it came to its own end before."""
    left = [steps]

    def counted(real):
        def call(*args):
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            return real(*args)

        return call

    async def directly(call, *args):
        return call(*args)

    for owner, name in ((disk, "remove"), (disk, "sync_folders"), (CatalogDatabase, "transaction")):
        patched.setattr(owner, name, counted(getattr(owner, name)))
    patched.setattr(asyncio, "to_thread", directly)
    try:
        await run_prune(root, Retention(last=1))
    except KilledError:
        return False
    return True


async def test_a_blob_that_comes_back_before_its_file_was_deleted_stays(tmp_path, monkeypatch):
    tracker = small_tracker(4)
    file = tracker.attach(next(iter(tracker.entities)), "back again.txt", b"back again")
    await run_backup(tracker, tmp_path)
    tracker.remove(file.id)
    await run_backup(tracker, tmp_path, max_gone=None)

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Archive, "remove", killed)
        with pytest.raises(KilledError):
            await run_prune(tmp_path, Retention(last=1))
    tracker.attach(next(iter(tracker.entities)), "once more.txt", b"back again")
    await run_backup(tracker, tmp_path)
    assert (await run_prune(tmp_path, Retention(last=1)))["blobs"]["removed"] == 0
    assert stored(tmp_path) == expected(tracker)
    assert (await run_verify(tmp_path))["problems"] == []


async def test_a_prune_that_is_stopped_says_so_and_the_next_one_goes_on(tmp_path):
    nights, stop = await lived(tmp_path, 3), asyncio.Event()
    before = on_disk(tmp_path)
    stop.set()
    assert (await run_prune(tmp_path, Retention(last=1), stop=stop))["status"] == "interrupted"
    assert on_disk(tmp_path) == before
    assert (await run_prune(tmp_path, Retention(last=1)))["status"] == "complete"
    assert on_disk(tmp_path) == needed(nights, {max(nights.snapshots)}) < before


async def test_what_a_load_sent_or_has_yet_to_send_stays(tmp_path):
    tracker = small_tracker(4)
    file = tracker.attach(next(iter(tracker.entities)), "sent.txt", b"sent, and then deleted")
    await run_backup(tracker, tmp_path)
    target, mapping = twin_of(tracker)
    await run_load(target, tmp_path, mapping)
    tracker.remove(file.id)
    await run_backup(tracker, tmp_path, max_gone=None)
    assert (await run_prune(tmp_path, Retention(last=1)))["blobs"]["removed"] == 0


async def test_a_file_that_was_pruned_and_is_back_is_fetched_again(tmp_path):
    tracker = small_tracker(4)
    file = tracker.attach(next(iter(tracker.entities)), "away.txt", b"away for a while")
    await run_backup(tracker, tmp_path)
    record, content = tracker.files.pop(file.id), tracker.content.pop(file.id)
    await run_backup(tracker, tmp_path, max_gone=None)
    assert (await run_prune(tmp_path, Retention(last=1)))["blobs"]["removed"] == 1
    tracker.files[file.id], tracker.content[file.id] = record, content
    assert (await run_backup(tracker, tmp_path))["attachments"]["stored"] == 1
    assert stored(tmp_path) == expected(tracker)


async def test_without_a_rule_everything_stays(tmp_path):
    nights = await lived(tmp_path, 5)
    before = on_disk(tmp_path)
    done = await run_prune(tmp_path, Retention())
    assert (done["snapshots"]["removed"], done["blobs"]["removed"], done["bytes"]) == ([], 0, 0)
    assert done["blobs"]["kept"] == len(before) == len(on_disk(tmp_path))
    assert sorted(nights.snapshots) == done["snapshots"]["kept"]
