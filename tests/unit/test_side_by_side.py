"""Listing and downloads go on side by side: neither waits for the end of the other."""

from __future__ import annotations

import asyncio

import pytest

from migrator.pipeline.backup import crawl
from migrator.pipeline.backup.crawl import PAGES_IN_FLIGHT
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import expected, run_backup, stored

PATIENCE = 15
"""Seconds after which a test that waits for ever fails."""


def tracker_of(files: int) -> MemoryTracker:
    """So many entities with a file each, two on a page."""
    tracker = MemoryTracker(page_size=2)
    for number in range(files):
        tracker.attach(tracker.add("Bug"), f"{number}.txt", b"content %d" % number)
    return tracker


async def test_slow_downloads_stop_the_listing_only_when_its_buffer_is_full(tmp_path):
    tracker, reads, at_first_file, release = tracker_of(40), 0, [], asyncio.Event()

    async def on_call(verb, _):
        nonlocal reads
        if verb == "read":
            reads += 1
            if reads == PAGES_IN_FLIGHT:
                asyncio.get_running_loop().call_later(0.2, release.set)  # time for one page more, which must not come
        elif verb == "download":
            await release.wait()
            at_first_file.append(reads)

    tracker.on_call = on_call
    async with asyncio.timeout(PATIENCE):
        await run_backup(tracker, tmp_path)
    assert at_first_file[0] == PAGES_IN_FLIGHT
    assert stored(tmp_path) == expected(tracker)


@pytest.mark.parametrize("most", [crawl.PAGES_WITHOUT_CHECKPOINT, 7])
async def test_one_slow_file_holds_up_neither_the_listing_nor_other_files(tmp_path, monkeypatch, most):
    """Up to the pages that a kill may cost."""
    monkeypatch.setattr(crawl, "PAGES_WITHOUT_CHECKPOINT", most)
    tracker, begun, reads = tracker_of(40), set(), []
    slow, others = next(iter(tracker.files)), asyncio.Event()

    async def on_call(verb, key):
        if verb == "read":
            reads.append(len(begun))
        elif verb == "download":
            begun.add(key)
            if len(begun) == min(2 * most, len(tracker.files)):
                others.set()
            if key == slow:
                await others.wait()
                await asyncio.sleep(0.05)  # time for one page more, which must not come
                at_end.append(len(reads))

    at_end: list[int] = []
    tracker.on_call = on_call
    async with asyncio.timeout(PATIENCE):
        await run_backup(tracker, tmp_path)
    assert at_end == [most] if most == 7 else 20 <= at_end[0] <= most
    assert stored(tmp_path) == expected(tracker)


async def test_a_listing_that_goes_on_and_on_does_not_stop_the_downloads(tmp_path):
    tracker, reads = tracker_of(40), 0
    files = set(tracker.files)

    async def on_call(verb, _):
        nonlocal reads
        if verb == "read" and files - set(tracker.downloads):  # until every file came, there is another page
            reads += 1
            assert reads < 5_000, "the listing alone is being worked on"
            for _ in range(2):
                tracker.add("Bug")

    tracker.on_call = on_call
    async with asyncio.timeout(PATIENCE):
        summary = await run_backup(tracker, tmp_path)
    assert summary["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)
