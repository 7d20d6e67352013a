"""The real backup against a tracker in memory that changes before any of its answers, and lists in any odd way.

What was there all the time is in the archive, with its bytes and on its own entity; what came, went or moved is there
as it was at some moment; and a crawl in which nothing happens sets all of it right. A circle ends as an error of ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.model import Cursor, EntityRef, Page
from migrator.pipeline.backup.loop_detector import MAX_REPEATS
from migrator.trackers.memory import MemorySource, MemoryTracker
from tests.fuzz import examples
from tests.support.parts import FULL, expected, rows, run_backup, small_tracker, stored
from tests.unit.listing.living import Step

EVENTS = ("add file", "add entity", "remove file", "remove entity", "rename", "move", "later", "page size")
STEPS = st.builds(Step, st.integers(0, 5), st.sampled_from(EVENTS), st.integers(0, 999), st.integers(0, 999))
WAYS = st.lists(st.sampled_from(["as it is", "empty", "again", "overlapping"]), max_size=30)


@dataclass
class Life:
    """Changes a tracker before its answers, and knows what was there all the time."""

    tracker: MemoryTracker
    pending: list[Step]
    waits: int = 0
    owners: dict[str, set[EntityRef]] = field(default_factory=lambda: defaultdict(set))
    contents: dict[str, bytes] = field(default_factory=dict)
    unharmed: dict[str, EntityRef] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.unharmed = {id_: file.owner for id_, file in self.tracker.files.items()}
        self.learn()
        self.tracker.on_call = self.called

    async def called(self, verb: str, key: str) -> None:
        while self.pending and self.waits >= self.pending[0].after:
            self.waits = 0
            self.happen(self.pending.pop(0))
            self.learn()
        self.waits += 1

    def learn(self) -> None:
        for id_, file in self.tracker.files.items():
            self.owners[id_].add(file.owner)
            self.contents[id_] = self.tracker.content[id_]
        self.unharmed = {
            id_: ref for id_, ref in self.unharmed.items() if id_ in self.tracker.files and self.owners[id_] == {ref}
        }

    def happen(self, step: Step) -> None:
        files, refs = list(self.tracker.files), list(self.tracker.entities)
        if step.what == "add entity":
            self.tracker.add(("Story", "Bug")[step.one % 2])
        elif step.what == "page size":
            self.tracker.page_size = 1 + step.one % 6
        elif refs and step.what in {"add file", "remove entity", "later"}:
            self.happen_to_entity(step, refs[step.other % len(refs)])
        elif refs and files:
            self.happen_to_file(step, files[step.one % len(files)], refs[step.other % len(refs)])

    def happen_to_entity(self, step: Step, ref: EntityRef) -> None:
        tracker = self.tracker
        if step.what == "add file":
            tracker.attach(ref, "new.txt", f"new {step.one}".encode())
        elif step.what == "remove entity":
            for one in tracker.of(ref):
                tracker.remove(one.id)
            del tracker.entities[ref]
        else:  # as after a restore: it stands at the end of the list from now on
            tracker.entities[ref] = tracker.entities.pop(ref)
            tracker._numbers[ref] = tracker._number()

    def happen_to_file(self, step: Step, id_: str, ref: EntityRef) -> None:
        file = self.tracker.files[id_]
        if step.what == "remove file":
            self.tracker.remove(id_)
        else:
            self.tracker.files[id_] = replace(file, owner=ref) if step.what == "move" else replace(file, name="renamed")


class Wandering(MemorySource):
    """Lists in odd ways: a page may be empty, come again, or bring along what was on the one before."""

    def __init__(self, tracker: MemoryTracker, ways: list[str]) -> None:
        super().__init__(tracker)
        self._ways, self._before = list(ways), Page()

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        page, before = await super().read(stream, cursor), self._before
        way = self._ways.pop() if self._ways else "as it is"
        self._before = page
        if way == "empty" and cursor is not None:
            return Page(next=cursor)
        if way == "again" and cursor is not None:
            return replace(page, next=cursor)
        if way == "overlapping":
            files, entities = before.attachments + page.attachments, before.entities + page.entities
            return replace(page, entities=entities, attachments=files, ask=before.ask + page.ask)
        return page


def assert_only_removed_entities_failed(tracker: MemoryTracker, summary: dict) -> None:
    """An entity that is deleted between its listing and the question for its files is a failure of this night."""
    for failure in summary["failures"]:
        assert EntityRef(failure["kind"], failure["entity"]) not in tracker.entities
        assert failure["reason"].startswith("listed, and then not there")
    assert summary["status"] == ("incomplete" if summary["failures"] else "complete")


def assert_holds_what_was_there(life: Life, root: Path) -> None:
    found = {id_: rest for id_, *rest in rows(root, "SELECT attachment_id, kind, entity_id, status FROM attachments")}
    for id_, owner in life.unharmed.items():
        assert found[id_] == [owner.kind, owner.id, "stored"]
    for id_, (kind, entity, status) in found.items():
        assert status in {"stored", "gone"}
        assert EntityRef(kind, entity) in life.owners[id_]
    for id_, (_, sha256) in stored(root).items():
        assert sha256 == hashlib.sha256(life.contents[id_]).hexdigest()


async def lived(schedule: list[Step], ways: list[str], size: int, root: Path) -> int:
    tracker = small_tracker(page_size=size)
    life = Life(tracker, list(schedule))
    summary = await run_backup(tracker, root, source=Wandering(tracker, ways))
    assert_only_removed_entities_failed(tracker, summary)
    assert_holds_what_was_there(life, root)
    happened, tracker.on_call = len(schedule) - len(life.pending), None
    again = await run_backup(tracker, root)
    assert (again["status"], again["failures"]) == ("complete", [])
    kept = rows(root, "SELECT attachment_id, kind, entity_id FROM attachments WHERE status != 'gone'")
    assert {id_: EntityRef(kind, entity) for id_, kind, entity in kept} == {
        id_: file.owner for id_, file in tracker.files.items()
    }
    now = stored(root)
    assert {id_: now[id_] for id_ in tracker.files} == expected(tracker)
    return happened


def test_what_was_there_all_the_time_is_archived_with_bytes_and_owner(tmp_path):
    happened = 0
    with asyncio.Runner() as runner:

        @examples(40)
        @given(st.lists(STEPS, max_size=25), WAYS, st.integers(1, 5))
        def attempt(schedule, ways, size):
            nonlocal happened
            with tempfile.TemporaryDirectory(dir=tmp_path) as root:
                happened += runner.run(lived(schedule, ways, size, Path(root)))

        attempt()
    assert happened > (100 if FULL else 25), "hardly anything happened"


class Circling(MemorySource):
    """Its listing leads back: to where it was, or on and on with the same page."""

    def __init__(self, tracker: MemoryTracker, at: int, length: int, how: str) -> None:
        super().__init__(tracker)
        self._at, self._length, self._how = at, length, how
        self._pages: list[tuple[Page, Cursor | None]] = []
        self.reads = 0

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        self.reads += 1
        assert self.reads < 2_000, "it runs for ever"
        if self.reads <= self._at:
            self._pages.append((await super().read(stream, cursor), cursor))
            page = self._pages[-1][0]
            return page if page.next else replace(page, next="more")
        if self._how == "grows":
            return replace(self._pages[-1][0], next=f"{self.reads}")
        page, _ = self._pages[-1 - self.reads % min(self._length, len(self._pages))]
        return replace(page, next=f"{self.reads % self._length}")


@pytest.mark.parametrize("how", ["leads back", "grows"])
@pytest.mark.parametrize(("at", "length"), [(1, 1), (1, 2), (2, 1), (2, 3)])
async def test_a_listing_that_leads_in_a_circle_ends_as_a_failure(tmp_path, how, at, length):
    tracker = small_tracker(page_size=3)
    source = Circling(tracker, at, length, how)
    summary = await run_backup(tracker, tmp_path, source=source)
    told = [(failure["name"], "loops" in failure["reason"]) for failure in summary["failures"]]
    assert told == [(f"listing of {stream}", True) for stream in source.capabilities.streams]
    assert source.reads <= at + (MAX_REPEATS + 2) * length * len(source.capabilities.streams)
    assert rows(tmp_path, "SELECT status FROM runs") == [("incomplete",)]
    whole = await run_backup(tracker, tmp_path / "anew")
    assert whole["status"] == "complete"


async def test_a_page_that_comes_again_a_few_times_is_no_circle(tmp_path):
    tracker = small_tracker(page_size=3)
    summary = await run_backup(
        tracker, tmp_path, source=Wandering(tracker, ["again"] * (MAX_REPEATS - 1) + ["as it is"])
    )
    assert summary["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)


async def test_a_file_that_vanished_before_its_download_is_gone_and_no_failure(tmp_path):
    tracker = small_tracker()
    victim = next(iter(tracker.files))

    async def vanish(verb: str, key: str) -> None:
        if verb == "download" and key == victim and victim in tracker.files:
            tracker.remove(victim)

    tracker.on_call = vanish
    first = await run_backup(tracker, tmp_path)
    again = await run_backup(tracker, tmp_path)
    assert (first["status"], first["attachments"]["gone"], first["failures"]) == ("complete", 1, [])
    assert (again["status"], again["attachments"]["gone"], again["failures"]) == ("complete", 0, [])
    assert stored(tmp_path) == expected(tracker)
