"""Killed at the n-th step for every n, then resumed: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from pathlib import Path

import pytest

from migrator.layers.retry import RetryingTarget
from migrator.model import NOBODY
from migrator.pipeline.backup import recheck
from migrator.selection import Selection
from migrator.trackers.memory import MemoryTracker
from tests.support.killed import DIED, DONE, STRIDE, LastingTarget, in_child, restore
from tests.support.parts import (
    PATIENCE,
    expected,
    files_on,
    rows,
    run_backup,
    run_load,
    run_rollback,
    run_verify,
    stored,
)
from tests.unit.test_load import assert_exactly_once


def tiny_tracker() -> MemoryTracker:
    """Enough to pass every crash point: both ways of listing, large and equal files, a file without an owner."""
    tracker = MemoryTracker(page_size=2)
    for number, kind in enumerate(["Bug", "Story", "Bug", "Story"]):
        owner = tracker.add(kind)
        tracker.attach(owner, "same.txt", b"same", description="d", created_by="Ann")
        tracker.attach(owner, "same.txt", b"same", created_by="Bob")
        if number == 2:
            tracker.attach(owner, "large.bin", b"large" * 80_000)
    tracker.attach(NOBODY, "loose.txt", b"nobody's")
    return tracker


@pytest.mark.timeout(300)
def test_a_backup_killed_at_any_step_ends_as_if_it_had_not_been(tmp_path):
    tracker = tiny_tracker()

    def work_in(root):
        async def work(steps):
            tracker.on_call = steps.verb
            await run_backup(tracker, root, downloads=2)

        return work

    code, total = in_child(work_in(tmp_path / "whole"), die_at=0)
    assert (code, total > 40) == (DONE, True)
    # How files fall into batches, and so the number of steps, differs from run to run.
    for step in itertools.count(1, STRIDE):
        root = tmp_path / str(step)
        code, _ = in_child(work_in(root), die_at=step)
        if code == DONE and step > total // 2:
            break
        assert code == DIED, step
        recorded = stored(root) if (root / "catalog.db").exists() and _has_tables(root) else {}
        tracker.downloads.clear()
        summary = asyncio.run(run_backup(tracker, root, downloads=2))
        assert summary["status"] == "complete", step
        assert stored(root) == expected(tracker), step
        assert not set(tracker.downloads) & set(recorded), f"step {step}: what was recorded is not fetched again"
        assert summary["attachments"]["listed"] == len(tracker.files), step
        assert asyncio.run(run_verify(root))["problems"] == [], step


@pytest.mark.timeout(300)
def test_a_limited_backup_killed_at_any_step_goes_on_with_the_same_limit(tmp_path):
    tracker, few = tiny_tracker(), Selection(limit=2)

    def work_in(root):
        async def work(steps):
            tracker.on_call = steps.verb
            await run_backup(tracker, root, downloads=2, selection=few)

        return work

    code, total = in_child(work_in(tmp_path / "whole"), die_at=0)
    assert (code, total > 20) == (DONE, True)
    for step in itertools.count(1, 2 * STRIDE):
        root = tmp_path / str(step)
        code, _ = in_child(work_in(root), die_at=step)
        if code == DONE and step > total // 2:
            break
        assert code == DIED, step
        assert asyncio.run(run_backup(tracker, root, downloads=2, selection=few))["status"] == "complete", step
        owners = {tracker.files[id_].owner for id_ in stored(root)}
        assert len(owners) == 2, step
        assert set(stored(root)) == {file.id for owner in owners for file in tracker.of(owner)}, step
        assert asyncio.run(run_backup(tracker, root, downloads=2))["status"] == "complete", step
        assert stored(root) == expected(tracker), step


@pytest.mark.timeout(300)
def test_a_full_backup_killed_at_any_step_is_finished_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(recheck, "FILES_PER_BATCH", 3)
    tracker, before = tiny_tracker(), tmp_path / "before"
    asyncio.run(run_backup(tracker, before))
    for content in {*tracker.content.values()}:
        changed = next(id_ for id_, held in tracker.content.items() if held == content)
        tracker.content[changed] = content[::-1]

    def work_in(root):
        async def work(steps):
            tracker.on_call = steps.verb
            await run_backup(tracker, root, downloads=2, recheck=1.0)

        return work

    shutil.copytree(before, tmp_path / "whole")
    code, total = in_child(work_in(tmp_path / "whole"), die_at=0)
    assert (code, total > 20) == (DONE, True)
    for step in itertools.count(1, STRIDE):
        root = tmp_path / str(step)
        shutil.copytree(before, root)
        code, _ = in_child(work_in(root), die_at=step)
        if code == DONE and step > total // 2:
            break
        assert code == DIED, step
        summary = asyncio.run(run_backup(tracker, root, downloads=2, recheck=1.0))
        assert summary["status"] == "complete", step
        assert stored(root) == expected(tracker), step
        assert asyncio.run(run_verify(root))["problems"] == [], step


def _has_tables(root: Path) -> bool:
    return bool(rows(root, "SELECT 1 FROM sqlite_master WHERE name = 'attachments'"))


@pytest.mark.timeout(300)
def test_a_load_killed_at_any_step_puts_every_file_there_exactly_once(tmp_path):
    source = tiny_tracker()
    archive = tmp_path / "archive"
    asyncio.run(run_backup(source, archive))

    def twin():
        target = MemoryTracker()
        return target, {ref: (target.add("Issue"),) for ref in source.entities}

    def work_in(root, state):
        async def work(steps):
            target, mapping = twin()
            restore(target, state)
            lasting = RetryingTarget(LastingTarget(target, state, steps), PATIENCE)
            await run_load(target, root, mapping, target=lasting, uploads=2)

        return work

    shutil.copytree(archive, tmp_path / "whole")
    code, total = in_child(work_in(tmp_path / "whole", tmp_path / "whole.state"), die_at=0)
    assert (code, total > 40) == (DONE, True)
    undisturbed, mapping = twin()
    restore(undisturbed, tmp_path / "whole.state")
    for step in itertools.count(1, STRIDE):
        root, state = tmp_path / str(step), tmp_path / f"{step}.state"
        shutil.copytree(archive, root)
        code, _ = in_child(work_in(root, state), die_at=step)
        if code == DONE and step > total // 2:
            break
        assert code == DIED, step
        code, _ = in_child(work_in(root, state), die_at=0)
        assert code == DONE, step
        target, _ = twin()
        restore(target, state)
        assert_exactly_once(source, target, mapping)
        for ref in target.entities:
            assert files_on(target, ref) == files_on(undisturbed, ref), step
        unsettled = rows(root, "SELECT * FROM uploads WHERE status NOT IN ('uploaded', 'already_there')")
        assert unsettled == [], step


def twin_with_files_of_others(source: MemoryTracker, state: Path):
    """A target with files of its own and those that `state` holds, the mapping, and the target's own files."""
    target = MemoryTracker()
    mapping = {ref: (target.add("Issue"),) for ref in source.entities}
    for (to,) in mapping.values():
        target.attach(to, "same.txt", b"same")
        target.attach(to, "theirs.txt", b"theirs")
    before = dict(target.content)
    restore(target, state)
    return target, mapping, before


def undoing(source: MemoryTracker, root: Path, state: Path, job: str):
    """Work for `in_child`: a load or a rollback."""

    async def work(steps):
        target, mapping, _ = twin_with_files_of_others(source, state)
        lasting = RetryingTarget(LastingTarget(target, state, steps), PATIENCE)
        if job == "load":
            await run_load(target, root, mapping, target=lasting, uploads=2)
        else:
            await run_rollback(target, root, target=lasting, deletes=2)

    return work


def killed_rollbacks(source: MemoryTracker, folder: Path):
    """Archive and target after a rollback that was killed, for each step that is tried; first, without a rollback."""
    whole, saved = folder / "whole", folder / "whole.state"
    asyncio.run(run_backup(source, whole))
    assert in_child(undoing(source, whole, saved, "load"), die_at=0)[0] == DONE
    for step in itertools.chain([0], itertools.count(1, STRIDE)):
        root, state = folder / str(step), folder / f"{step}.state"
        shutil.copytree(whole, root)
        shutil.copy(saved, state)
        code = in_child(undoing(source, root, state, "rollback"), die_at=step)[0] if step else DIED
        if code == DONE:
            assert step > 5 * len(source.entities)
            return
        assert code == DIED, step
        yield root, state


@pytest.mark.timeout(300)
def test_a_rollback_killed_at_any_step_is_finished_by_the_next(tmp_path):
    source = tiny_tracker()
    there_before = len(source.entities)  # one file of each entity
    sent = len(source.files) - 1 - there_before
    for root, state in killed_rollbacks(source, tmp_path):
        assert in_child(undoing(source, root, state, "rollback"), die_at=0)[0] == DONE, root.name
        target, _, before = twin_with_files_of_others(source, state)
        assert target.content == before, root.name
        statuses = rows(root, "SELECT status, count(*) FROM uploads GROUP BY 1 ORDER BY 1")
        assert statuses == [("already_there", there_before), ("rolled_back", sent)], root.name
        [(summary,)] = rows(root, "SELECT summary FROM runs ORDER BY run_id DESC LIMIT 1")
        assert json.loads(summary)["deletions"]["already_gone"] == 0, "what the killed run deleted counts as deleted"


@pytest.mark.timeout(300)
def test_a_load_after_a_killed_rollback_puts_every_file_back_exactly_once(tmp_path):
    source = tiny_tracker()
    states = killed_rollbacks(source, tmp_path)
    _, undisturbed = next(states)
    loaded, _, _ = twin_with_files_of_others(source, undisturbed)
    for root, state in states:
        assert in_child(undoing(source, root, state, "load"), die_at=0)[0] == DONE, root.name
        target, _, _ = twin_with_files_of_others(source, state)
        for ref in target.entities:
            assert files_on(target, ref) == files_on(loaded, ref), root.name
