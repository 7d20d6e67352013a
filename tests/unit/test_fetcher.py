"""Handing out files in batches: few at first, and none waits for a file of another batch."""

from __future__ import annotations

import asyncio

from migrator.model import EntityRef
from migrator.pipeline.backup.fetch import BATCHES_IN_FLIGHT
from migrator.pipeline.backup.pace import BATCH_SECONDS, MAX_BATCH_FILES, MIN_BATCH_FILES, Pace
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import run_backup


async def test_files_that_wait_for_long_hold_up_no_other_batch(tmp_path):
    """One in each of the first batches, as after a 503 with a long Retry-After."""
    tracker = MemoryTracker()
    owner: EntityRef = tracker.add("Bug")
    files = [tracker.attach(owner, f"{number}.txt", b"x") for number in range(20 * MIN_BATCH_FILES)]
    waiting = {files[batch * MIN_BATCH_FILES].id for batch in range(BATCHES_IN_FLIGHT)}
    released, arrived = asyncio.Event(), asyncio.Event()
    asked = set()

    async def slow_for_some(verb, key):
        if verb == "download":
            asked.add(key)
            if len(asked) == len(files):
                arrived.set()
            if key in waiting:
                await released.wait()

    tracker.on_call = slow_for_some
    run = asyncio.create_task(run_backup(tracker, tmp_path, downloads=4 * BATCHES_IN_FLIGHT))
    await asyncio.wait_for(arrived.wait(), 20)
    released.set()
    assert (await run)["attachments"]["stored"] == len(files)


async def test_a_batch_grows_with_the_pace_and_has_an_end():
    pace = Pace()
    assert pace.batch_size() == MIN_BATCH_FILES
    pace.count(1)
    await asyncio.sleep(BATCH_SECONDS)
    pace.count(10)
    assert pace.batch_size() == MIN_BATCH_FILES
    pace.count(100_000)
    await asyncio.sleep(0.01)
    pace.count(1)
    assert pace.batch_size() == MAX_BATCH_FILES
