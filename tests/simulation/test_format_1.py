"""Archives of format 1 are brought to the present format by their first run, killed and powered off at every step."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlite_utils import Database

from migrator.model import NOBODY
from migrator.pipeline.rebuild import rebuild
from migrator.store.blobs import Archive
from migrator.store.repair.auditing import audit
from tests.simulation.faults import FaultInjector, FaultPlan, FaultyTracker
from tests.simulation.story import new_story, no_faults
from tests.support.forks import in_a_process
from tests.support.killed import DIED, DONE, in_child
from tests.support.parts import FULL, expected, rows, run_backup, run_verify, stored
from tests.unit.test_fixtures import ARCHIVES, FIXTURES

STRIDE = 1 if "MIGRATOR_SLOW" in os.environ else 5 if FULL else 12
"""Every how many steps there is a kill or a power cut; MIGRATOR_SLOW=1 takes each."""
UPLOADS = """
SELECT target, attachment_id, target_kind, target_id, remote_id, name, status, attempts, error, run_id, sent_sha256
FROM uploads ORDER BY 1, 2, 3, 4
"""
RUNS = "SELECT run_id, command, status, started_at, ended_at FROM runs WHERE run_id <= 3 ORDER BY 1"


def source_of_then(tracker: FaultyTracker | None = None) -> FaultyTracker:
    """The tracker from which the archives were made, as it is still."""
    tracker = tracker or FaultyTracker()
    bug = tracker.add("Bug", title="a bug")
    story = tracker.add("Story", title="Übung ☃")
    contents = {Path(path).name: Path(path).read_bytes() for path in FIXTURES.glob("archive-1/blobs/*/*")}
    for owner, name, digits in ((bug, "a.txt", "49"), (bug, "b.txt", "48"), (story, "a.txt", "49")):
        tracker.attach(owner, name, next(body for digest, body in contents.items() if digest.startswith(digits)))
    tracker.attach(NOBODY, "loose.txt", next(body for digest, body in contents.items() if digest.startswith("d5")))
    return tracker


def recorded_in(root: Path) -> tuple[Any, ...]:
    """What must survive: the files with their bytes, the uploads and the earlier runs."""
    return stored(root), rows(root, UPLOADS), rows(root, RUNS)


def statements(step: Callable[[str], object]) -> Any:
    """A replacement of `Database.execute` that takes a step before and after each statement that writes."""
    real = Database.execute

    def execute(self: Database, sql: str, *values: Any) -> Any:
        if sql.lstrip().upper().startswith(("SELECT", "PRAGMA", "WITH")):
            return real(self, sql, *values)
        step("statement")
        result = real(self, sql, *values)
        step("executed")
        return result

    return execute


def expect_brought_over(root: Path, before: tuple[Any, ...], source: FaultyTracker, step: object) -> None:
    """A run has completed it: everything is still recorded, nothing was fetched, and a rebuild says the same."""
    assert recorded_in(root) == before, step
    assert before[0] == expected(source)
    assert before[1], "the archives have uploads"
    assert not source.downloads, step
    assert not list(root.glob("*.damaged-*")), "nothing of it was damaged"
    assert rows(root, "SELECT DISTINCT attachments FROM snapshots") == [(len(source.files),)], step
    assert audit(root) == [], step
    assert asyncio.run(run_verify(root))["problems"] == [], step
    for path in root.glob("catalog.db*"):
        path.unlink()
    assert rebuild(Archive(root)).as_json()["status"] == "complete", step
    assert recorded_in(root) == before, step


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ARCHIVES if FULL else ARCHIVES[:1])
def test_format_1_brought_over_is_killed_at_any_step_and_nothing_is_lost(tmp_path, name):
    before = recorded_in(shutil.copytree(FIXTURES / name, tmp_path / "before"))

    def work_in(root: Path) -> Callable[[Any], Any]:
        async def work(steps: Any) -> None:
            Database.execute = statements(steps)  # only in the child
            source = source_of_then()
            source.on_call = steps.verb
            await run_backup(source, root, downloads=2)

        return work

    shutil.copytree(FIXTURES / name, tmp_path / "whole")
    code, total = in_child(work_in(tmp_path / "whole"), die_at=0)
    assert (code, total > 100) == (DONE, True)
    for step in itertools.count(1, STRIDE):
        root = shutil.copytree(FIXTURES / name, tmp_path / str(step))
        code, _ = in_child(work_in(root), die_at=step)
        if code == DONE and step > total // 2:
            break
        assert code == DIED, step
        source = source_of_then()
        summary = asyncio.run(run_backup(source, root, downloads=2))
        assert summary["status"] == "complete", step
        expect_brought_over(root, before, source, step)
        shutil.rmtree(root)


def powered_off_at_each_step(name: str, seed: int) -> int:
    """Bring an archive over with a power cut at every step; returns the number of steps."""
    for step in itertools.count(1, STRIDE):
        with new_story(seed * 10_000 + step, world_of_then) as story:
            shutil.copytree(FIXTURES / name, story.root)
            before = recorded_in(story.root)
            plan = FaultPlan(kill_at=step, power_cut=True)
            injector = FaultInjector(random.Random(seed), plan, story.disk)
            if story.run("backup", stepping_backup(story.source, story.root, injector), injector):
                return step
            story.source.downloads.clear()
            done = story.run("backup", run_backup(story.source, story.root, downloads=2), no_faults(story))
            assert done is not None, step
            assert done["status"] == "complete", step
            expect_brought_over(story.root, before, story.source, step)
    return 0


def world_of_then(_: random.Random) -> tuple[FaultyTracker, FaultyTracker, dict[Any, Any]]:
    """The source of the archives."""
    return source_of_then(), FaultyTracker(), {}


async def stepping_backup(source: FaultyTracker, root: Path, injector: FaultInjector) -> dict[str, Any]:
    """A backup in which each statement that writes is a crash point, also those of the migrations."""
    with patch.object(Database, "execute", statements(injector.at)):
        return await run_backup(source, root, downloads=2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ARCHIVES if FULL else ARCHIVES[:1])
def test_format_1_brought_over_survives_a_power_cut_at_any_step(name):
    for seed in range(2 if FULL else 1):
        assert in_a_process(powered_off_at_each_step, name, seed) > 100
