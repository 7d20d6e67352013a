"""What one odd answer makes of a backup: nothing is lost silently, and one thing never speaks for the whole tracker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from migrator.errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ForbiddenError,
    GoneError,
    LoginPageError,
    MigratorError,
    NotExposedError,
    RejectedError,
    RetriableError,
    ShortListingError,
    TrackerUnreachableError,
    UnexpectedBodyError,
)
from migrator.layers.retry import RetryingSource
from migrator.model import EntityRef, Unread
from migrator.pipeline.backup.fetch import MAX_EMPTY
from migrator.ports import BodyFacts, Capabilities
from migrator.selection import Selection, require_known_kinds
from migrator.store import disk
from migrator.testing import MemorySink
from migrator.trackers.memory import MemorySource, MemoryTracker
from tests.support.parts import PATIENCE, expected, rows, run_backup, small_tracker, stored


class FaultPlan:
    """Errors by (verb, key), or by verb alone; each is raised the given number of times. `struck` tells which were."""

    def __init__(self, tracker, errors: dict[tuple[str, str] | str, MigratorError], times: int = 10**9) -> None:
        self.errors, self.left, self.struck = errors, dict.fromkeys(errors, times), []
        tracker.on_call = self

    async def __call__(self, verb: str, key: str) -> None:
        for place in ((verb, key), verb):
            if self.left.get(place, 0):
                self.left[place] -= 1
                self.struck.append(place)
                raise self.errors[place]


def reasons(summary) -> list[str]:
    return [failure["reason"] for failure in summary["failures"]]


def story(tracker) -> EntityRef:
    return next(ref for ref in tracker.entities if ref.kind == "Story")


async def counts(tracker, root, **changes) -> dict[str, int]:
    return (await run_backup(tracker, root, **changes))["attachments"]


# --- a file that answers 404


async def test_file_that_answers_404_but_is_listed_has_failed_and_is_tried_again(tmp_path):
    tracker = small_tracker()
    lost = next(iter(tracker.files))
    weather = FaultPlan(tracker, {("download", lost): GoneError("GET it: status 404", status=404)})
    for _ in range(2):
        summary = await run_backup(tracker, tmp_path)
        assert (summary["status"], summary["attachments"]["failed"], summary["attachments"]["gone"]) == (
            "incomplete",
            1,
            0,
        )
        assert "still lists it" in reasons(summary)[0]
    assert len(weather.struck) == 2
    assert any("1 is listed, and answers" in warning for warning in summary["warnings"])
    tracker.on_call = None
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)


async def test_storage_that_is_away_for_a_night_costs_nothing(tmp_path):
    tracker = small_tracker()
    FaultPlan(tracker, {"download": GoneError("status 410", status=410)})
    summary = await run_backup(tracker, tmp_path)
    assert summary["attachments"]["failed"] == len(tracker.files)
    assert any("none of the files could be fetched" in warning for warning in summary["warnings"])
    tracker.on_call = None
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)


class Empty(MemorySource):
    """It lists no sizes; while it is `away` each file is empty."""

    def __init__(self, tracker, *, away: bool) -> None:
        super().__init__(tracker)
        self.away = away

    async def download(self, attachment, sink) -> None:
        if self.away:
            await sink.start(BodyFacts(length=0))
        else:
            await super().download(self._tracker.files[attachment.id], sink)

    async def read(self, stream, cursor):
        page = await super().read(stream, cursor)
        return replace(page, attachments=tuple(replace(file, size=None) for file in page.attachments))

    async def attachments_of(self, entity):
        return tuple(replace(file, size=None) for file in await super().attachments_of(entity))


async def test_storage_that_gives_empty_files_is_believed_of_a_few_only(tmp_path):
    tracker = small_tracker()
    for number in range(5):
        tracker.attach(story(tracker), f"full {number}.txt", b"full")
    summary = await run_backup(tracker, tmp_path, source=Empty(tracker, away=True))
    assert summary["status"] == "incomplete"
    assert summary["attachments"]["stored"] == MAX_EMPTY
    assert "came empty" in summary["warnings"][-1]
    assert "storage behind the tracker unavailable" in reasons(summary)[0]
    summary = await run_backup(tracker, tmp_path, source=Empty(tracker, away=False))
    assert (summary["status"], summary["attachments"]["stored"]) == ("complete", len(tracker.files) - MAX_EMPTY)


async def test_empty_files_are_fetched_again_once_others_have_content(tmp_path):
    tracker = MemoryTracker(reports_size=False)
    for number in range(2 * MAX_EMPTY):
        tracker.attach(tracker.add("Story"), f"{number}.txt", b"")
    tracker.attach(tracker.add("Story"), "full.txt", b"full")
    summary = await run_backup(tracker, tmp_path, downloads=1)
    assert (summary["status"], summary["attachments"]["stored"]) == ("complete", 2 * MAX_EMPTY + 1)


async def test_a_file_that_the_archive_has_tells_whether_the_storage_is_there(tmp_path):
    tracker = MemoryTracker(reports_size=False)
    tracker.attach(tracker.add("Story"), "full.txt", b"full")
    await run_backup(tracker, tmp_path)
    for number in range(2 * MAX_EMPTY):
        tracker.attach(tracker.add("Story"), f"{number}.txt", b"")
    before = tracker.downloads.copy()
    summary = await run_backup(tracker, tmp_path, downloads=1)
    assert (summary["status"], summary["attachments"]["stored"]) == ("complete", 2 * MAX_EMPTY)
    assert sum((tracker.downloads - before).values()) == 2 * MAX_EMPTY + 1


async def test_tracker_that_lists_nothing_is_complete_and_says_so(tmp_path):
    summary = await run_backup(MemoryTracker(), tmp_path)
    assert (summary["status"], len(summary["warnings"])) == ("complete", 1)
    assert "lists no entity and no file" in summary["warnings"][0]
    assert not (await run_backup(small_tracker(), tmp_path / "other"))["warnings"]


@pytest.mark.parametrize(
    "error", [GoneError("no such route"), RejectedError("status 400"), RetriableError("status 500")]
)
async def test_file_that_may_or_may_not_be_listed_has_failed(tmp_path, error):
    tracker = small_tracker()
    lost = next(iter(tracker.files))
    FaultPlan(tracker, {("download", lost): GoneError("status 404"), ("still_lists", lost): error})
    summary = await run_backup(tracker, tmp_path)
    assert (summary["attachments"]["failed"], summary["attachments"]["gone"]) == (1, 0)
    assert "could not be determined" in reasons(summary)[0]


class Stale(MemorySource):
    """Its listing still tells of a file that is deleted; asked for the file itself, it says so."""

    def __init__(self, tracker, lost: str) -> None:
        super().__init__(tracker)
        self.lost, self.asked = lost, 0

    async def still_lists(self, attachment):
        return attachment.id != self.lost and await super().still_lists(attachment)

    async def download(self, attachment, sink):
        if attachment.id == self.lost:
            self.asked += 1
            raise GoneError("status 404")
        await super().download(attachment, sink)


async def test_what_is_gone_and_listed_again_is_tried_once_in_each_run(tmp_path):
    tracker = small_tracker()
    lost = next(file.id for file in tracker.files.values() if file.owner.kind == "Story")

    class Twice(Stale):
        async def read(self, stream, cursor):
            """The stories come as listed, and are asked for, too: their files are listed twice."""
            page = await super().read(stream, cursor)
            files = tuple(file for entity in page.ask for file in tracker.of(entity.ref))
            return replace(page, attachments=(*page.attachments, *files))

    source = Twice(tracker, lost)
    for run in (1, 2):
        summary = await run_backup(None, tmp_path, source=source)
        assert (summary["status"], summary["attachments"]["gone"], source.asked) == ("complete", 1, run)
    source.lost = ""
    assert (await run_backup(None, tmp_path, source=source))["attachments"]["stored"] == 1
    assert stored(tmp_path) == expected(tracker)


# --- a listing that can't be read


@pytest.mark.parametrize(
    "error",
    [
        RetriableError("status 500"),
        ForbiddenError("status 403"),
        GoneError("status 404"),
        ShortListingError("20 of 120"),
        RejectedError("400"),
    ],
)
@pytest.mark.parametrize("stream", ["listed", "asked", "loose"])
async def test_unreadable_listing_is_one_failure_and_the_others_are_read(tmp_path, stream, error):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    new = tracker.attach(next(ref for ref in tracker.entities if ref.kind == "Bug"), "new.txt", b"new")
    FaultPlan(tracker, {("read", stream): error})
    summary = await run_backup(tracker, tmp_path)
    assert summary["status"] == "incomplete"
    assert [(one["name"], one["reason"]) for one in summary["failures"]] == [(f"listing of {stream}", str(error))]
    assert summary["attachments"]["gone"] == 0
    assert (new.id in stored(tmp_path)) == (stream != "listed")
    tracker.on_call = None
    whole = await run_backup(tracker, tmp_path)
    assert (whole["status"], whole["failures"]) == ("complete", [])
    assert stored(tmp_path) == expected(tracker)


async def test_run_after_one_with_an_unread_listing_lists_everything_anew(tmp_path):
    tracker = small_tracker()
    FaultPlan(tracker, {("read", "loose"): RetriableError("status 500")})
    for number in range(3):
        tracker.attach(story(tracker), f"{number}.txt", b"new")
        await run_backup(tracker, tmp_path)
        assert len(stored(tmp_path)) == len(tracker.files) - 1, "one file is on the listing that can't be read"


async def test_tracker_none_of_whose_listings_can_be_read_is_out_of_reach(tmp_path):
    tracker = small_tracker()
    FaultPlan(tracker, {"read": RetriableError("status 500")})
    with pytest.raises(TrackerUnreachableError, match="listed"):
        await run_backup(tracker, tmp_path)


async def test_nobody_there_ends_the_run_whatever_is_asked(tmp_path):
    for place in ("read", "attachments_of", "download"):
        tracker = small_tracker()
        FaultPlan(tracker, {place: ConnectError("no connection")})
        with pytest.raises(TrackerUnreachableError):
            await run_backup(tracker, tmp_path / place)


# --- one odd answer among good ones


ODD = [
    AuthError("status 401"),
    GoneError("status 404"),
    ForbiddenError("status 403"),
    LoginPageError("a login page"),
    UnexpectedBodyError("a maintenance page"),
    TrackerUnreachableError("no API here"),
]


@pytest.mark.parametrize("error", ODD, ids=str)
async def test_odd_answer_in_the_middle_of_a_listing_is_a_passing_fault(tmp_path, error):
    tracker = small_tracker(entities=30, page_size=2)
    reads = 0

    async def weather(verb, _):
        nonlocal reads
        reads += verb == "read"
        if verb == "read" and reads in {3, 4, 9}:
            raise error

    tracker.on_call = weather
    summary = await run_backup(tracker, tmp_path)
    assert (summary["status"], summary["failures"]) == ("complete", [])
    assert stored(tmp_path) == expected(tracker)
    assert reads > 9


@pytest.mark.parametrize(
    "error", [AuthError("status 401"), LoginPageError("a login page"), GoneError("status 404")], ids=str
)
async def test_odd_answer_for_one_entity_is_a_passing_fault(tmp_path, error):
    tracker = small_tracker()
    weather = FaultPlan(tracker, {("attachments_of", str(story(tracker))): error}, times=1)
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)
    assert len(weather.struck) == 1


async def test_listed_entity_that_is_twice_not_found_has_failed(tmp_path):
    tracker = small_tracker()
    victim = story(tracker)
    weather = FaultPlan(tracker, {("attachments_of", str(victim)): GoneError("status 404")})
    summary = await run_backup(tracker, tmp_path)
    assert [(one["kind"], one["entity"]) for one in summary["failures"]] == [victim]
    assert reasons(summary) == ["listed, and then not there: status 404"]
    assert len(weather.struck) == 2


@pytest.mark.parametrize("error", [ForbiddenError("status 403"), NotExposedError("the API doesn't hand it out")])
async def test_what_an_account_may_not_see_is_asked_for_once(tmp_path, error):
    tracker = small_tracker()
    weather = FaultPlan(tracker, {("attachments_of", str(story(tracker))): error})
    assert (await run_backup(tracker, tmp_path))["status"] == "incomplete"
    assert len(weather.struck) == 1


async def test_a_401_of_one_thing_speaks_for_that_thing_alone(tmp_path):
    tracker = small_tracker()
    victim, refusal = story(tracker), AuthError("status 401")
    lost = next(file.id for file in tracker.files.values() if file.owner.kind == "Bug")
    FaultPlan(
        tracker, {("download", lost): refusal, ("attachments_of", str(victim)): refusal, ("read", "loose"): refusal}
    )
    summary = await run_backup(tracker, tmp_path)
    assert summary["status"] == "incomplete"
    struck = {(one["attachment"], one["entity"], one["name"]) for one in summary["failures"] if "401" in one["reason"]}
    file = tracker.files[lost]
    assert struck == {
        (lost, file.owner.id, file.name),
        (None, victim.id, tracker.entities[victim].title),
        (None, "", "listing of loose"),
    }
    assert len(stored(tmp_path)) == len(tracker.files) - 1 - len(tracker.of(victim)) - 1


@pytest.mark.parametrize("place", ["read", "attachments_of", "download"])
async def test_a_401_of_the_tracker_itself_ends_the_run(tmp_path, place):
    tracker = small_tracker()
    FaultPlan(tracker, {place: AuthError("status 401"), "check": AuthError("status 401")})
    with pytest.raises(AuthError):
        await run_backup(tracker, tmp_path)


@pytest.mark.parametrize("error", [AuthError("status 401"), LoginPageError("a login page")])
async def test_files_that_are_all_refused_speak_for_the_credentials(tmp_path, error):
    tracker = small_tracker()
    FaultPlan(tracker, {"download": error})
    with pytest.raises(AuthError, match="files"):
        await run_backup(tracker, tmp_path)
    tracker.on_call = None
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"


@pytest.mark.parametrize("error", [AuthError("status 401"), LoginPageError("a login page")])
async def test_many_refused_files_at_the_start_do_not_hold_up_the_others(tmp_path, error):
    """As of a project that this account may list and whose files it may not have."""
    tracker = small_tracker(entities=60)
    files = [*tracker.files]
    refused = set(files[: len(files) * 2 // 3])
    weather = FaultPlan(tracker, {("download", file): error for file in refused})
    summary = await run_backup(tracker, tmp_path, downloads=2)
    assert summary["attachments"]["failed"] == len(refused) > 50
    assert len(stored(tmp_path)) == len(files) - len(refused)
    assert len(weather.struck) < 2 * len(refused)  # what is refused as a rule is asked for once, and not three times


async def test_few_files_that_are_all_refused_have_failed_and_no_more(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    tracker.attach(story(tracker), "new.txt", b"new")
    FaultPlan(tracker, {"download": LoginPageError("a login page")})
    assert (await run_backup(tracker, tmp_path))["status"] == "incomplete"


async def test_first_answer_of_all_is_believed_at_once():
    tracker = small_tracker()
    weather = FaultPlan(tracker, {"read": AuthError("status 401"), "download": AuthError("status 401")})
    source = RetryingSource(MemorySource(tracker), PATIENCE)
    with pytest.raises(AuthError):
        await source.read("listed", None)
    with pytest.raises(AuthError):
        await source.download(next(iter(tracker.files.values())), MemorySink())
    assert len(weather.struck) == 2


# --- what a page says beside its items


class Telling(MemorySource):
    """Its pages tell of something that could not be read, and of something odd."""

    async def read(self, stream, cursor):
        page = await super().read(stream, cursor)
        if stream != "listed" or cursor is not None:
            return page
        unread = Unread(EntityRef("Bug", "issues.json, item 3"), "an item has no id")
        return replace(page, unread=(unread,), warnings=("the API has no list of documents",) * 2)


async def test_item_that_cannot_be_read_is_a_failure_beside_a_good_page(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    vanishing = next(iter(tracker.files))
    tracker.remove(vanishing)
    summary = await run_backup(None, tmp_path, source=Telling(tracker))
    assert (summary["status"], reasons(summary)) == ("incomplete", ["an item has no id"])
    assert summary["warnings"] == ["the API has no list of documents"]
    assert stored(tmp_path).keys() == expected(tracker).keys() | {vanishing}, "with a hole nothing is called gone"


class Odd(MemorySource):
    """Says something about each file, and breaks off once."""

    def __init__(self, tracker) -> None:
        super().__init__(tracker)
        self.broken = False

    async def download(self, attachment, sink):
        sink.warn(f"listed as {attachment.name}")
        if not self.broken:
            self.broken = True
            raise UnexpectedBodyError("broke off")
        await super().download(attachment, sink)


async def test_what_is_odd_about_a_file_is_kept_with_it_once(tmp_path):
    tracker = small_tracker()
    source = Odd(tracker)
    assert (await run_backup(None, tmp_path, source=source))["status"] == "complete"
    assert rows(tmp_path, "SELECT count(*) FROM attachments WHERE warning = 'listed as ' || name") == [
        (len(tracker.files),)
    ]
    assert source.broken


# --- too much gone at once


def vanish(tracker, files: Iterable[str]) -> None:
    for number in list(files):
        tracker.remove(number)


async def test_tracker_that_suddenly_lists_nothing_is_not_believed(tmp_path):
    tracker = small_tracker(entities=20)
    held = (await counts(tracker, tmp_path))["stored"]
    kept = {number: (file, tracker.content[number]) for number, file in tracker.files.items()}
    vanish(tracker, kept)
    for _ in range(2):
        summary = await run_backup(tracker, tmp_path)
        assert (summary["status"], summary["attachments"]["gone"]) == ("incomplete", 0)
        assert summary["failures"][0]["name"] == "files no longer listed"
        assert f"{held} of {held}" in reasons(summary)[0]
        assert "--accept-gone" in reasons(summary)[0]
        assert len(stored(tmp_path)) == held
    for number, (file, content) in kept.items():
        tracker.files[number], tracker.content[number] = file, content
    summary = await run_backup(tracker, tmp_path)
    assert (summary["status"], summary["attachments"]["unchanged"], summary["failures"]) == ("complete", held, [])


async def test_what_is_gone_is_counted_and_believed_where_a_person_says_so(tmp_path):
    tracker = small_tracker(entities=20)
    held = (await counts(tracker, tmp_path))["stored"]
    vanish(tracker, tracker.files)
    summary = await run_backup(tracker, tmp_path, max_gone=None)
    assert (summary["status"], summary["attachments"]["gone"]) == ("complete", held)
    assert summary["changes"]["removed"] == held
    again = await run_backup(tracker, tmp_path)
    assert (again["status"], again["attachments"]["gone"], again["changes"]["removed"]) == ("complete", 0, 0)


@pytest.mark.parametrize(("files", "share", "believed"), [(10, 0.0, True), (11, 0.0, False), (11, 0.5, True)])
async def test_share_that_may_vanish_at_once(tmp_path, files, share, believed):
    tracker = small_tracker(entities=20)
    await run_backup(tracker, tmp_path)
    vanish(tracker, list(tracker.files)[:files])
    for number in range(100):  # what is new says nothing of what was there
        tracker.attach(story(tracker), f"new {number}", b"new")
    summary = await run_backup(tracker, tmp_path, max_gone=share)
    told = ("complete", files) if believed else ("incomplete", 0)
    assert (summary["status"], summary["attachments"]["gone"]) == told


async def test_kind_that_an_option_leaves_out_of_the_source_is_not_gone(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    source = MemorySource(tracker)
    left = {"kinds": ("Bug",), "left_out": ("Story",)}
    source.capabilities = replace(source.capabilities, streams=("listed", "loose"), **left)
    vanish(tracker, [next(file.id for file in tracker.files.values() if file.owner.kind == "Bug")])
    summary = await run_backup(None, tmp_path, source=source)
    assert (summary["status"], summary["attachments"]["gone"]) == ("complete", 1)
    assert {kind for (kind,) in rows(tmp_path, "SELECT DISTINCT kind FROM attachments WHERE status = 'gone'")} == {
        "Bug"
    }


async def test_file_of_a_kind_outside_of_the_capabilities_can_be_gone(tmp_path):
    """A tracker may have more kinds than are known of it, such as an account's own."""
    tracker = small_tracker()
    file = tracker.attach(tracker.add("Own"), "a.txt", b"a")
    source = MemorySource(tracker)
    source.capabilities = replace(source.capabilities, kinds=("Bug", "Story"))
    await run_backup(None, tmp_path, source=source)
    tracker.remove(file.id)
    assert (await run_backup(None, tmp_path, source=source))["attachments"]["gone"] == 1
    assert rows(tmp_path, "SELECT kind FROM attachments WHERE status = 'gone'") == [("Own",)]


# --- what changed


async def test_new_changed_and_gone_files_are_counted_against_the_old_archive(tmp_path):
    tracker = small_tracker()
    first = await run_backup(tracker, tmp_path)
    assert first["changes"] == {"added": len(tracker.files), "removed": 0, "renamed": 0, "moved": 0, "replaced": 0}
    unchanged = await run_backup(tracker, tmp_path)
    assert set(unchanged["changes"].values()) == {0}
    bugs = [ref for ref in tracker.entities if ref.kind == "Bug"]
    files = [file.id for file in tracker.files.values() if file.owner in bugs]
    vanish(tracker, files[:1])
    tracker.files[files[1]] = replace(tracker.files[files[1]], name="another.txt")
    tracker.files[files[2]] = replace(tracker.files[files[2]], owner=bugs[0])
    tracker.content[files[3]] = b"other bytes"
    tracker.files[files[3]] = replace(tracker.files[files[3]], size=11)
    tracker.attach(bugs[0], "new.txt", b"new")
    tracker.attach(bugs[1], "new too.txt", b"new too")
    summary = await run_backup(tracker, tmp_path)
    assert summary["changes"] == {"added": 2, "removed": 1, "renamed": 1, "moved": 1, "replaced": 1}


# --- the same moment in other words


@pytest.mark.parametrize(
    "again", ["2024-01-02T04:04:05+01:00", "2024-01-02T03:04:05.123Z", "2024-01-02T03:04:05", "20240102T030405Z"]
)
async def test_same_moment_in_other_words_is_no_change(tmp_path, again):
    tracker = small_tracker()
    file = tracker.attach(story(tracker), "dated.txt", b"dated", created_at="2024-01-02T03:04:05Z")
    await run_backup(tracker, tmp_path)
    tracker.files[file.id] = replace(tracker.files[file.id], created_at=again)
    assert (await counts(tracker, tmp_path))["stored"] == 0
    tracker.files[file.id] = replace(tracker.files[file.id], created_at="2024-01-02T03:04:06Z")
    assert (await counts(tracker, tmp_path))["stored"] == 1


# --- what was asked for and fits nothing


async def test_named_entity_that_is_not_listed_is_a_failure(tmp_path):
    tracker = small_tracker()
    known = story(tracker)
    selection = Selection(entities=frozenset({known, EntityRef("Bug", "999999"), EntityRef("", known.id)}))
    summary = await run_backup(tracker, tmp_path, selection=selection)
    assert [(one["name"], one["reason"]) for one in summary["failures"]] == [
        ("--entity Bug:999999", "the tracker lists no such entity")
    ]


async def test_kind_without_entities_is_a_warning_with_the_nearest(tmp_path):
    tracker = small_tracker()
    summary = await run_backup(tracker, tmp_path, kinds=("Storys", "Bug"))
    assert summary["warnings"] == ["no entity of the kind 'Storys' is listed; did you mean 'Story'?"]


def of_the_filters(summary) -> list[str]:
    return [warning for warning in summary["warnings"] if warning.startswith("the filters")]


@pytest.mark.parametrize(
    "selection",
    [
        Selection(name_globs=("*.nope",)),
        Selection(kinds=frozenset({"Bug"}), min_size=10**12),
        Selection(kinds=frozenset({"Epic"})),
        Selection(entities=frozenset({EntityRef("Bug", "999999")}), limit=3),
    ],
    ids=["name", "size", "kind", "entity"],
)
async def test_filters_that_match_nothing_say_of_how_much(tmp_path, selection):
    tracker = small_tracker()
    for _ in range(2):
        summary = await run_backup(tracker, tmp_path, selection=selection)
        kinds = ", ".join(sorted({ref.kind for ref in tracker.entities}))
        if summary["failures"]:
            assert of_the_filters(summary) == []
            continue
        [warning] = of_the_filters(summary)
        files, entities = summary["attachments"]["listed"], len(tracker.entities)
        listed = f"the tracker lists {files} files and {entities} entities, of the kinds {kinds}"
        assert warning == f"the filters match no file: {listed}"
    epic = [warning for warning in summary["warnings"] if "'Epic'" in warning]
    assert epic == (
        [f"no entity of the kind 'Epic' is listed; there are {kinds}"] if selection.kinds >= {"Epic"} else []
    )


async def test_filters_that_match_something_are_not_spoken_of(tmp_path):
    tracker = small_tracker()
    name = next(iter(tracker.files.values())).name
    for selection in (Selection(name_globs=(name,)), Selection(limit=1), Selection()):
        for _ in range(2):
            assert of_the_filters(await run_backup(tracker, tmp_path, selection=selection)) == []
    empty = await run_backup(MemoryTracker(), tmp_path / "empty", selection=Selection(limit=1))
    assert of_the_filters(empty) == []


async def test_a_resumed_crawl_does_not_speak_of_what_it_has_not_seen(tmp_path):
    tracker, stop = small_tracker(), asyncio.Event()
    selection = Selection(name_globs=("*.nope",))

    async def on_call(verb: str, _: str) -> None:
        if verb == "read":
            stop.set()

    tracker.on_call = on_call
    assert (await run_backup(tracker, tmp_path, selection=selection, stop=stop))["status"] == "interrupted"
    tracker.on_call = None
    assert of_the_filters(await run_backup(tracker, tmp_path, selection=selection)) == []


def test_kind_that_the_tracker_cannot_have_is_refused_with_the_nearest():
    known = Capabilities(streams=("x",), kinds=("UserStory", "Bug")).kinds
    require_known_kinds(["UserStory", "Unlinked"], known, "source.kinds")
    require_known_kinds(["Anything"], (), "source.kinds")
    with pytest.raises(ConfigError, match=r"source\.kinds: .*'UserStroy'; did you mean UserStory"):
        require_known_kinds(["Bug", "UserStroy"], known, "source.kinds")


# --- sizes that can't be true


async def test_absurd_size_stops_nothing(tmp_path):
    tracker = small_tracker()
    file = tracker.attach(story(tracker), "absurd.bin", b"a few bytes")
    tracker.files[file.id] = replace(tracker.files[file.id], size=4 * (disk.total_bytes(tmp_path) or 1))
    summary = await run_backup(tracker, tmp_path)
    assert {one["attachment"] for one in summary["failures"]} <= {file.id}
    assert stored(tmp_path).keys() >= tracker.files.keys() - {file.id}
    assert (await run_backup(tracker, tmp_path))["run"] == 2, "nor the next run, which knows it from the start"
