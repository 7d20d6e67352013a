"""Snapshots: what a model of many nights says, a catalog holds, also after a rebuild."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from migrator.errors import RejectedError
from migrator.model import EntityRef
from migrator.pipeline.rebuild import rebuild
from migrator.selection import Selection
from migrator.store import audit
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.journal import keeper, manifest
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import rows, run_backup, small_tracker
from tests.support.program import until

FileState = tuple[str, str, str, str, str]
"""Kind, entity id, name, description and SHA-256."""


@dataclass
class Nights:
    """A tracker that lives, and what each complete backup should have made of it."""

    tracker: MemoryTracker
    root: Path
    rng: random.Random
    snapshots: dict[int, tuple[dict[str, FileState], dict[EntityRef, str]]] = field(default_factory=dict)

    def change(self) -> None:
        """A few changes of any kind, some of which take an earlier one back."""
        tracker, rng = self.tracker, self.rng
        for _ in range(rng.randint(0, 4)):
            entities, files = list(tracker.entities), list(tracker.files)
            what = rng.choice(["add", "entity", "attach", "remove", "rename", "move", "replace", "describe", "title"])
            if what == "add":
                tracker.add("Bug", title=f"title {rng.randint(0, 3)}")
            elif what == "title":
                ref = rng.choice(entities)
                entity = tracker.entities[ref]
                tracker.entities[ref] = replace(entity, title=f"title {rng.randint(0, 1)}", raw=f'"{rng.random()}"')
            elif what == "attach":
                tracker.attach(rng.choice(entities), "new.txt", rng.randbytes(5), description="d")
            elif files:
                self.change_file(what, rng.choice(files), rng.choice(entities))

    def change_file(self, what: str, id_: str, other: EntityRef) -> None:
        tracker, rng = self.tracker, self.rng
        file = tracker.files[id_]
        if what == "remove":
            tracker.remove(id_)
        elif what == "rename":
            tracker.files[id_] = replace(file, name=f"name {rng.randint(0, 1)}")
        elif what == "describe":
            tracker.files[id_] = replace(file, description=f"text {rng.randint(0, 1)}")
        elif what == "move" and file.owner.kind:
            tracker.files[id_] = replace(file, owner=other)
        elif what == "replace":
            content = bytes(rng.randint(1, 3))
            tracker.content[id_] = content
            tracker.files[id_] = replace(file, size=len(content), created_at=f"20{rng.randint(10, 60)}-01-01T00:00:00Z")

    async def back_up(self) -> None:
        """One night: a complete backup, one of a selection, or one in which a file fails."""
        kind = self.rng.random()
        if kind < 0.15:
            await run_backup(self.tracker, self.root, selection=Selection(name_globs=("name*", "new*")))
            return
        failing = kind < 0.5 and self.tracker.files
        summary = await (self.failing() if failing else run_backup(self.tracker, self.root, max_gone=None))
        assert failing or summary["status"] == "complete"
        if summary["status"] == "complete":
            files = {
                id_: (*file.owner, file.name, file.description, hashlib.sha256(self.tracker.content[id_]).hexdigest())
                for id_, file in self.tracker.files.items()
            }
            titles = {ref: entity.title for ref, entity in self.tracker.entities.items()}
            self.snapshots[summary["run"]] = (files, titles)

    async def failing(self) -> dict[str, object]:
        struck = list(self.tracker.files)[-1]

        async def on_call(verb: str, about: str) -> None:
            if (verb, about) == ("download", struck):
                raise RejectedError("not tonight")

        self.tracker.on_call = on_call
        try:
            return await run_backup(self.tracker, self.root, max_gone=None)
        finally:
            self.tracker.on_call = None


def states_at(root, run: int) -> dict[str, FileState]:
    found = rows(
        root,
        "SELECT attachment_id, kind, entity_id, name, description, sha256 FROM history "
        f"WHERE from_run <= {run} AND coalesce(to_run, {run}) >= {run}",
    )
    states = {id_: tuple(state) for id_, *state in found}
    assert len(states) == len(found), "an attachment has one state in a snapshot"
    return states


def titles_at(root, run: int) -> dict[EntityRef, str]:
    with closing(Catalog(root, read_only=True)) as catalog:
        catalog.snapshots.view(run)
        found = [*catalog.exports.entities()]
        listed = {EntityRef(row["kind"], row["entity_id"]): row["title"] for row in found}
        listed.pop(EntityRef("Unlinked", ""), None)
        files = {a.id: (*a.owner, a.name, a.description, facts["sha256"]) for a, facts in catalog.exports.attachments()}
    assert files == states_at(root, run)
    return listed


def holds_what_the_model_says(nights: Nights, root) -> None:
    with closing(Catalog(root, read_only=True)) as catalog:
        assert [snapshot.run for snapshot in catalog.snapshots.all()] == sorted(nights.snapshots)
        for snapshot in catalog.snapshots.all():
            files, titles = nights.snapshots[snapshot.run]
            assert states_at(root, snapshot.run) == files
            assert titles_at(root, snapshot.run) == titles
            assert (snapshot.attachments, snapshot.entities) == (len(files), len(titles))
            sizes = dict(rows(root, "SELECT sha256, size FROM blobs"))
            assert snapshot.bytes == sum(sizes[state[-1]] for state in files.values())
        runs = sorted(nights.snapshots)
        for older in runs[:-1]:
            for newer in (runs[-1], runs[runs.index(older) + 1]):
                told = {(change.change, change.attachment) for change in catalog.snapshots.changes(older, newer)}
                assert told == differences(nights.snapshots[older][0], nights.snapshots[newer][0]), (older, newer)


def differences(older: dict[str, FileState], newer: dict[str, FileState]) -> set[tuple[str, str]]:
    found = {("added", id_) for id_ in newer.keys() - older.keys()}
    found |= {("removed", id_) for id_ in older.keys() - newer.keys()}
    for id_ in older.keys() & newer.keys():
        old, new = older[id_], newer[id_]
        found |= {("moved", id_)} if old[:2] != new[:2] else set()
        found |= {("renamed", id_)} if old[2] != new[2] else set()
        found |= {("replaced", id_)} if old[4] != new[4] else set()
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_each_snapshot_is_what_the_source_held_that_night(tmp_path, seed):
    rng = random.Random(seed)
    nights = Nights(small_tracker(5), tmp_path / "archive", rng)
    for _ in range(12):
        nights.change()
        await nights.back_up()
    assert len(nights.snapshots) > 2
    holds_what_the_model_says(nights, nights.root)
    assert audit(nights.root) == []
    copy = shutil.copytree(nights.root, tmp_path / "copy")
    for path in copy.glob("catalog.db*"):
        path.unlink()
    assert rebuild(Archive(copy)).as_json()["status"] == "complete"
    holds_what_the_model_says(nights, copy)


async def test_an_unchanged_night_adds_a_few_hundred_bytes(tmp_path):
    tracker = small_tracker(200, page_size=5)
    await run_backup(tracker, tmp_path)
    first = manifest.path_in(tmp_path).stat().st_size
    pages = (tmp_path / "catalog.db").stat().st_size
    for _ in range(3):
        await run_backup(tracker, tmp_path)
    assert manifest.path_in(tmp_path).stat().st_size - first < 3 * 2500
    assert (tmp_path / "catalog.db").stat().st_size - pages <= 3 * 4096


async def test_the_manifest_stays_as_large_as_the_archive_not_as_old(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "MIN_GROWTH_BYTES", 10_000)
    tracker = small_tracker(8)
    await run_backup(tracker, tmp_path)
    first, sizes = manifest.path_in(tmp_path).stat().st_size, []
    for night in range(60):
        id_ = next(iter(tracker.files))
        tracker.files[id_] = replace(tracker.files[id_], description=f"night {night}" + "." * 500)
        await run_backup(tracker, tmp_path)
        sizes.append(manifest.path_in(tmp_path).stat().st_size)
    assert [later for size, later in pairwise(sizes) if later < size], "it was written anew"
    assert max(sizes) < 2 * (first + 60 * 1200) + 20_000
    assert audit(tmp_path) == []
    assert not [*tmp_path.glob("*.damaged*")]


async def test_a_damaged_checkpoint_is_found_and_not_followed(tmp_path):
    tracker, stop = small_tracker(12), asyncio.Event()

    async def on_call(verb: str, about: str) -> None:
        if (verb, about) == ("download", next(reversed(tracker.files))):
            await until(lambda: rows(tmp_path, "SELECT 1 FROM checkpoints WHERE stream != ''"))
            stop.set()

    tracker.on_call = on_call
    assert (await run_backup(tracker, tmp_path, stop=stop))["status"] == "interrupted"
    tracker.on_call = None
    with closing(Catalog(tmp_path)) as catalog:
        done = catalog.db.execute("SELECT count(*) FROM checkpoints WHERE stream != ''").fetchone()[0]
        assert done
        catalog.db.execute("UPDATE checkpoints SET cursor = '999', done = 1 WHERE stream != ''")
    assert [(code, detail.split()[0]) for code, _, detail in audit(tmp_path)] == [("E12", "checkpoints")] * done
    summary = await run_backup(tracker, tmp_path)
    assert summary["status"] == "complete"
    assert summary["attachments"]["listed"] == len(tracker.files)


async def test_a_change_that_was_taken_back_before_the_next_snapshot_is_none(tmp_path):
    tracker = small_tracker(3)
    id_ = next(iter(tracker.files))
    before = tracker.files[id_]
    await run_backup(tracker, tmp_path)
    tracker.files[id_] = replace(before, name="other name")
    await run_backup(tracker, tmp_path, selection=Selection(name_globs=("*",), entities=frozenset({before.owner})))
    assert rows(tmp_path, f"SELECT name FROM attachments WHERE attachment_id = '{id_}'") == [("other name",)]
    tracker.files[id_] = before
    await run_backup(tracker, tmp_path)
    states = rows(tmp_path, f"SELECT name, from_run, to_run FROM history WHERE attachment_id = '{id_}'")
    assert states == [(before.name, 1, None)]
