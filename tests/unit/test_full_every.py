"""Backups that ask only changed entities for their files: which ones are asked, and what becomes of the others."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from unittest.mock import patch

import pytest

from migrator.errors import ForbiddenError, GoneError, RejectedError
from migrator.pipeline.backup import unchanged
from migrator.pipeline.rebuild import rebuild
from migrator.selection import Selection
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog, runs
from migrator.store.catalog.crawl import CrawlRecords
from migrator.trackers.memory import MemorySource, MemoryTracker
from tests.support.parts import expected, rows, run_backup, run_restore, stored
from tests.support.program import until

WEEK = 7 * 86_400.0
NEWEST = "2026-01-20T10:00:00"


class KilledError(BaseException):
    """The process ends here."""


def dated_tracker(stories: int = 6) -> MemoryTracker:
    """Stories that were changed long ago, except the last one, each with two files."""
    tracker = MemoryTracker(page_size=2, dates_changes=True)
    for number in range(stories):
        story = tracker.add("Story", title=f"story {number}")
        tracker.attach(story, "a.txt", b"a")
        tracker.attach(story, "b.txt", f"{number}".encode())
        tracker.modified[story] = f"2025-12-{number + 1:02}T10:00:00"
    tracker.modified[story] = NEWEST
    return tracker


class Nights:
    """Nights of one archive, `day` days after the first. `asked` are the entities that the last one asked."""

    def __init__(self, tracker, root):
        self.tracker, self.root, self.day, self.asked = tracker, root, 1, []

    def now(self):
        return f"2026-02-{self.day:02}T02:00:00+00:00"

    async def backup(self, **changes):
        self.asked = []
        inner = self.tracker.on_call

        async def on_call(verb, key):
            if verb == "attachments_of":
                self.asked.append(key)
            if inner is not None:
                await inner(verb, key)

        self.tracker.on_call = on_call
        try:
            with patch.object(unchanged, "now", self.now), patch.object(runs, "now", self.now):
                return await run_backup(self.tracker, self.root, **{"full_every": WEEK, **changes})
        finally:
            self.tracker.on_call = inner
            self.day += 1


@pytest.fixture
async def nights(tmp_path):
    """An archive after its first, full night."""
    nights = Nights(dated_tracker(), tmp_path / "archive")
    assert (await nights.backup())["status"] == "complete"
    assert len(nights.asked) == 6
    return nights


def stories(tracker):
    return list(tracker.entities)


def date(tracker, story, day):
    tracker.modified[story] = f"2026-02-{day:02}T01:00:00"


async def test_an_unchanged_night_asks_only_what_may_still_change(nights):
    last = stories(nights.tracker)[-1]
    done = await nights.backup()
    assert (done["status"], nights.asked) == ("complete", [str(last)]), "a second change could have the newest date"
    assert done["not_asked"] == {"entities": 5, "of": 6, "full_from": "2026-02-08T02:00:00+00:00"}
    assert done["attachments"] == {"listed": 12, "stored": 0, "unchanged": 12, "skipped": 0, "gone": 0, "failed": 0}
    assert done["changes"] == dict.fromkeys(done["changes"], 0)
    assert rows(nights.root, "SELECT entities, attachments FROM snapshots") == [(6, 12), (6, 12)]


async def test_a_date_that_changed_brings_the_new_file_the_next_night(nights):
    story = stories(nights.tracker)[1]
    nights.tracker.attach(story, "new.txt", b"new")
    nights.tracker.remove(nights.tracker.of(story)[0].id)
    date(nights.tracker, story, 2)
    done = await nights.backup()
    assert str(story) in nights.asked
    assert (done["changes"]["added"], done["changes"]["removed"]) == (1, 1)
    assert stored(nights.root) == expected(nights.tracker)


async def test_a_change_without_a_date_is_found_by_the_next_full_night(nights):
    story = stories(nights.tracker)[1]
    nights.tracker.attach(story, "new.txt", b"new")
    for _ in range(6):
        assert (await nights.backup())["changes"]["added"] == 0
    done = await nights.backup()
    assert (done["changes"]["added"], "not_asked" in done, len(nights.asked)) == (1, False, 6)
    assert "not_asked" in await nights.backup()


async def test_a_file_that_is_gone_stays_gone_while_nothing_changes(nights):
    story = stories(nights.tracker)[1]
    nights.tracker.remove(nights.tracker.of(story)[0].id)
    nights.tracker.modified[story] = "2026-01-05T00:00:00"
    assert (await nights.backup())["attachments"]["gone"] == 1
    done = await nights.backup()
    assert str(story) not in nights.asked
    assert (done["attachments"]["listed"], done["attachments"]["gone"]) == (11, 0)


async def test_an_entity_that_was_deleted_is_found_gone_each_night(nights):
    story = stories(nights.tracker)[1]
    for file in nights.tracker.of(story):
        nights.tracker.remove(file.id)
    del nights.tracker.entities[story]
    done = await nights.backup()
    assert (done["attachments"]["gone"], done["changes"]["removed"]) == (2, 2)
    assert "not_asked" in done
    assert "not_asked" in await nights.backup()


async def test_a_plain_backup_asks_everything_and_counts_as_full(nights):
    nights.day = 6
    assert "not_asked" not in await nights.backup(full_every=None)
    assert len(nights.asked) == 6
    nights.day = 9
    assert "not_asked" in await nights.backup()


async def test_an_entity_without_a_date_is_asked_each_night(nights):
    first, second, *_ = stories(nights.tracker)
    nights.tracker.modified[first], nights.tracker.modified[second] = "", "yesterday"
    for _ in range(2):
        await nights.backup()
        assert {str(first), str(second)} <= set(nights.asked)


async def test_a_date_that_goes_back_is_a_change(nights):
    story = stories(nights.tracker)[3]
    nights.tracker.modified[story] = "2019-01-01T00:00:00"
    await nights.backup()
    assert str(story) in nights.asked
    await nights.backup()
    assert str(story) not in nights.asked


async def test_a_date_in_the_future_does_not_make_others_look_old(tmp_path):
    tracker = dated_tracker()
    first, second, *_ = stories(tracker)
    tracker.modified[first], tracker.modified[second] = "2099-01-01T00:00:00Z", "2026-01-31T12:00:00"
    nights = Nights(tracker, tmp_path / "archive")
    await nights.backup()
    await nights.backup()
    assert {str(first), str(second)} <= set(nights.asked)


async def test_an_entity_that_could_not_be_asked_is_asked_again(nights):
    story, struck = stories(nights.tracker)[2], True

    async def on_call(verb, key):
        if struck and (verb, key) == ("attachments_of", str(story)):
            raise RejectedError("not tonight")

    nights.tracker.on_call = on_call
    date(nights.tracker, story, 2)
    assert (await nights.backup())["status"] == "incomplete"
    struck = False
    done = await nights.backup()
    assert (done["status"], nights.asked) == ("complete", [str(story)])


async def test_entities_that_the_last_crawl_did_not_list_are_asked(nights):
    reads = 0

    async def on_call(verb, key):
        nonlocal reads
        reads += (verb, key) == ("read", "asked")
        if reads > 1 and (verb, key) == ("read", "asked"):
            raise RejectedError("this page is broken")

    nights.tracker.on_call = on_call
    assert (await nights.backup())["status"] == "incomplete"
    nights.tracker.on_call = None
    done = await nights.backup()
    assert (done["status"], done["attachments"]["gone"], len(nights.asked)) == ("complete", 0, 4)


async def test_a_deletion_in_a_night_that_failed_elsewhere_is_found(nights):
    """The file was missed in a crawl that could call nothing gone; the entity's date is the same in the next."""
    one, other, struck = stories(nights.tracker)[1], stories(nights.tracker)[2], True

    async def on_call(verb, key):
        if struck and (verb, key) == ("attachments_of", str(other)):
            raise RejectedError("not tonight")

    nights.tracker.on_call = on_call
    nights.tracker.remove(nights.tracker.of(one)[0].id)
    nights.tracker.modified[one] = "2026-01-05T00:00:00"  # older than the newest date by more than the overlap
    nights.tracker.modified[other] = "2026-01-05T00:00:00"
    await nights.backup()
    struck = False
    done = await nights.backup()
    assert (done["status"], done["attachments"]["gone"]) == ("complete", 1)


async def test_an_entity_with_a_file_that_failed_is_asked_again(nights):
    story = stories(nights.tracker)[2]
    file = nights.tracker.attach(story, "c.txt", b"c")
    nights.tracker.modified[story] = "2026-01-05T00:00:00"
    struck = True

    async def on_call(verb, key):
        if struck and (verb, key) == ("download", file.id):
            raise RejectedError("not tonight")

    nights.tracker.on_call = on_call
    for _ in range(2):
        assert (await nights.backup())["status"] == "incomplete"
        assert str(story) in nights.asked
    struck = False
    assert (await nights.backup())["status"] == "complete"
    await nights.backup()
    assert str(story) not in nights.asked


async def test_a_file_that_the_account_may_not_read_is_asked_for_again(nights):
    story = stories(nights.tracker)[2]
    file = nights.tracker.attach(story, "c.txt", b"c")
    nights.tracker.modified[story] = "2026-01-05T00:00:00"

    async def on_call(verb, key):
        if (verb, key) == ("download", file.id):
            raise ForbiddenError("status 403")

    nights.tracker.on_call = on_call
    for _ in range(2):
        assert (await nights.backup(allow_forbidden=True))["attachments"]["skipped"] == 1
        assert str(story) in nights.asked


async def test_other_kinds_make_the_next_crawl_a_full_one(nights):
    assert "not_asked" not in await nights.backup(kinds=("Story",))
    assert len(nights.asked) == 6
    assert "not_asked" in await nights.backup(kinds=("Story",))


async def test_a_rebuilt_archive_is_asked_for_everything(nights):
    rebuild(Archive(nights.root))
    assert "not_asked" not in await nights.backup()
    assert "not_asked" in await nights.backup()


async def test_a_clock_that_was_set_back_makes_a_night_full(nights):
    nights.day = 5
    await nights.backup(full_every=None)
    nights.day = 3
    assert "not_asked" not in await nights.backup()


async def killed_backup(nights, **changes):
    """A backup that is killed once a page is recorded, before its checkpoint is."""

    def killed(_, run, stream, *rest, **more):
        if stream == "asked":
            raise KilledError

    with patch.object(CrawlRecords, "record_checkpoint", killed), pytest.raises((KilledError, BaseExceptionGroup)):
        await nights.backup(**changes)


async def test_a_deletion_between_two_runs_of_a_crawl_is_found_by_the_next(nights):
    story = stories(nights.tracker)[0]
    await killed_backup(nights, full_every=None)
    nights.tracker.remove(nights.tracker.of(story)[0].id)
    nights.tracker.modified[story] = "2026-01-05T00:00:00"
    assert (await nights.backup())["attachments"]["gone"] == 0, "the first run of this crawl has seen it"
    done = await nights.backup()
    assert (done["attachments"]["gone"], "not_asked" in done) == (1, True)


async def test_a_night_that_was_killed_goes_on_and_asks_again(nights):
    """What it asked last may not be in a checkpoint; then the entity's date is known, and a file is not seen."""
    story = stories(nights.tracker)[0]
    nights.tracker.remove(nights.tracker.of(story)[0].id)
    nights.tracker.modified[story] = "2026-01-05T00:00:00"

    await killed_backup(nights)
    assert rows(nights.root, "SELECT files_as_of FROM entities WHERE entity_id = '1'") == [("2026-01-05T00:00:00",)]
    done = await nights.backup()
    assert (done["status"], done["attachments"]["gone"], "not_asked" in done) == ("complete", 1, True)


async def test_a_plain_backup_does_not_resume_a_night_that_left_out(nights):
    killed = True

    async def on_call(verb, key):
        if killed and (verb, key) == ("read", "loose"):
            raise KilledError

    nights.tracker.on_call = on_call
    with pytest.raises((KilledError, BaseExceptionGroup)):
        await nights.backup()
    killed = False
    await nights.backup(full_every=None)
    assert len(nights.asked) == 6


async def test_a_night_resumes_the_full_crawl_under_way(nights):
    killed = True

    async def on_call(verb, key):
        if killed and (verb, key) == ("read", "loose"):
            await until(lambda: rows(nights.root, "SELECT 1 FROM checkpoints WHERE stream = 'asked' AND done"))
            raise KilledError

    nights.tracker.on_call = on_call
    with pytest.raises((KilledError, BaseExceptionGroup)):
        await nights.backup(full_every=None)
    killed = False
    done = await nights.backup()
    assert ("not_asked" in done, len(nights.asked) < 6) == (False, True)


async def test_a_selection_leaves_the_dates_alone(nights):
    story, last = stories(nights.tracker)[-2:]
    nights.tracker.remove(nights.tracker.of(story)[0].id)
    nights.tracker.modified[story] = "2026-01-05T00:00:00"
    await nights.backup(selection=Selection(entities=frozenset({story, last})))
    assert nights.asked == [str(story), str(last)]
    done = await nights.backup()
    assert str(story) in nights.asked
    assert done["attachments"]["gone"] == 1


async def test_what_a_restore_put_back_is_listed_the_next_night(nights):
    story = stories(nights.tracker)[1]
    nights.tracker.remove(nights.tracker.of(story)[0].id)
    date(nights.tracker, story, 2)
    assert (await nights.backup())["attachments"]["gone"] == 1
    restored = await run_restore(nights.tracker, nights.root, snapshot=1)
    assert restored["uploads"]["uploaded"] == 1
    done = await nights.backup()
    assert "not_asked" not in done
    assert {name for name, _ in stored(nights.root).values()} == {"a.txt", "b.txt"}
    assert len(stored(nights.root)) == 12


async def test_a_tracker_without_dates_is_asked_everything(tmp_path):
    tracker = dated_tracker()
    tracker.capabilities = replace(tracker.capabilities, dates_changes=False)
    nights = Nights(tracker, tmp_path / "archive")
    for _ in range(2):
        assert "not_asked" not in await nights.backup()
        assert len(nights.asked) == 6
    assert rows(nights.root, "SELECT 1 FROM entities WHERE files_as_of IS NOT NULL") == []


async def test_the_tracker_in_memory_lists_its_dates():
    tracker = dated_tracker(1)
    page = await MemorySource(tracker).read("asked", None)
    assert [entity.modified_at for entity in page.ask] == [NEWEST]


async def test_a_failure_of_a_selection_makes_an_unchanged_entity_be_asked(nights):
    story, struck = stories(nights.tracker)[1], True

    async def on_call(verb, key):
        if struck and (verb, key) == ("attachments_of", str(story)):
            raise RejectedError("not now")

    nights.tracker.on_call = on_call
    await nights.backup(selection=Selection(entities=frozenset({story})))
    struck = False
    done = await nights.backup()
    assert (done["status"], str(story) in nights.asked, len(nights.asked)) == ("complete", True, 2)


async def test_an_entity_whose_file_was_gone_when_fetched_is_asked_again(nights):
    story = stories(nights.tracker)[1]
    file = nights.tracker.attach(story, "c.txt", b"c")
    nights.tracker.modified[story] = "2026-01-05T00:00:00"

    async def on_call(verb, key):
        if (verb, key) == ("download", file.id):
            nights.tracker.files.pop(file.id, None)
            raise GoneError("status 404")

    nights.tracker.on_call = on_call
    assert (await nights.backup())["attachments"]["gone"] == 1
    nights.tracker.on_call = None
    nights.tracker.files[file.id] = file
    assert (await nights.backup())["status"] == "complete"
    assert str(story) in nights.asked
    assert stored(nights.root)[file.id][0] == "c.txt"


async def test_a_tracker_at_a_new_address_is_asked_everything(nights):
    with closing(Catalog(nights.root)) as catalog:
        catalog.ensure_journal()
        catalog.settings.move_source("memory", "elsewhere")
    assert "not_asked" not in await nights.backup(identity="elsewhere")
    assert "not_asked" in await nights.backup(identity="elsewhere")


async def test_an_unchanged_night_adds_little_to_the_archive(tmp_path):
    tracker = dated_tracker(stories=300)
    tracker.page_size = 100
    tracker.modified = {story: f"2025-{number % 11 + 1:02}-05" for number, story in enumerate(tracker.entities)}
    nights = Nights(tracker, tmp_path / "archive")
    await nights.backup()
    await nights.backup()
    sizes = []
    for _ in range(2):
        sizes.append(sum(path.stat().st_size for path in nights.root.rglob("*") if path.is_file()))
        assert (await nights.backup())["not_asked"]["entities"] > 250
    assert sizes[1] - sizes[0] < 65_536
    full = await nights.backup(full_every=None)
    added = sum(path.stat().st_size for path in nights.root.rglob("*") if path.is_file()) - sizes[1]
    assert ("not_asked" not in full, added < 2 * 65_536) == (True, True), "two nights, the last of them a full one"
