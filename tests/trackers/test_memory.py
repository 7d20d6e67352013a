"""The reference adapter keeps the port, and lets tests break it where they like."""

import pytest

from migrator import errors
from migrator.model import Draft
from migrator.testing import Bytes, MemorySink, SourceContract, TargetContract, crawl
from migrator.trackers.memory import MemorySource, MemoryTarget, MemoryTracker
from tests.trackers.memory_bound import bound_source, bound_target


class TestMemorySource(SourceContract):
    @pytest.fixture(params=[1, 2, 10])
    async def bound(self, request):
        return bound_source(MemoryTracker(page_size=request.param))


class TestMemorySourceWithoutSizes(SourceContract):
    @pytest.fixture
    async def bound(self):
        return bound_source(MemoryTracker(reports_size=False))


class TestMemorySourceWithDates(SourceContract):
    @pytest.fixture
    async def bound(self):
        return bound_source(MemoryTracker(dates_changes=True))


class TestMemoryTarget(TargetContract):
    @pytest.fixture
    async def bound(self):
        return bound_target(MemoryTracker())


class TestMemoryTargetThatTakesNoLargeFiles(TargetContract):
    @pytest.fixture
    async def bound(self):
        return bound_target(MemoryTracker(max_attachment_bytes=2**20))


class TestMemoryTargetOfFewWords(TargetContract):
    @pytest.fixture
    async def bound(self):
        return bound_target(
            MemoryTracker(reports_size=False, sets_description=False, max_name_bytes=100, deletes=False)
        )

    async def test_deleted_file_cannot_be_described(self, bound):
        with pytest.raises(errors.GoneError):
            await bound.target.describe(bound.gone, "told")


async def test_hook_comes_before_each_verb_and_may_fail_it():
    tracker = MemoryTracker()
    bug, story = tracker.add("Bug"), tracker.add("Story")
    file = tracker.attach(bug, "a.txt", b"a")
    source, target, calls = MemorySource(tracker), MemoryTarget(tracker), []

    async def remember(verb: str, key: str) -> None:
        calls.append((verb, key))
        if verb == "uploaded":
            raise errors.OutcomeUnknownError("the answer was lost")

    tracker.on_call = remember
    await crawl(source)
    await source.download(file, MemorySink())
    with pytest.raises(errors.OutcomeUnknownError):
        await target.upload(bug, Draft("b.txt", "", "", 1), Bytes(b"b"))
    await target.find_attachments(bug)
    await target.describe(file, "told")
    await target.read_back(file, MemorySink())
    await target.check()
    assert [call for call in calls if call[0] != "read"] == [
        ("attachments_of", str(story)),
        ("download", file.id),
        ("upload", str(bug)),
        ("uploaded", "4"),
        ("find_attachments", str(bug)),
        ("describe", file.id),
        ("read_back", file.id),
        ("check", ""),
    ]
    assert [f.name for f in tracker.of(bug)] == ["a.txt", "b.txt"], "the file arrived, only the answer was lost"
    assert tracker.uploads == 1
    assert tracker.downloads == {file.id: 2}


async def test_file_whose_size_was_announced_wrongly_is_refused():
    tracker = MemoryTracker()
    bug = tracker.add("Bug")
    with pytest.raises(errors.RejectedError):
        await MemoryTarget(tracker).upload(bug, Draft("a.txt", "", "", 2), Bytes(b"a"))
    assert tracker.of(bug) == ()
