"""The thorough check: a tracker as the ports want it passes, and each oddity is found by the probe that is for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest
from typing_extensions import override

from migrator import errors
from migrator.layers.forwarding import SourceWrapper, TargetWrapper
from migrator.model import Attachment, Draft, Entity, EntityRef, Page, RunStatus
from migrator.pipeline.summary import Check, CheckedSide, CheckSummary
from migrator.pipeline.thorough import LEFTOVER, probe_source, probe_target, report_of
from migrator.pipeline.thorough.source import missing_like
from migrator.ports import Body, BodyFacts, Sink, Source
from migrator.trackers.memory import MemorySource, MemoryTarget, MemoryTracker

STORY = EntityRef("Story", "1")


def quiet(_: str) -> None:
    """Nobody is told what is tried."""


@pytest.fixture
def tracker() -> MemoryTracker:
    """Thirty entities that have to be asked and thirty that come with their files, on pages of ten."""
    tracker = MemoryTracker()
    for number in range(30):
        for kind in ("Story", "Bug"):
            owner = tracker.add(kind, str(number))
            tracker.attach(owner, f"{kind} {number}.txt", bytes(range(number)), media_type="text/plain")
    return tracker


class Stranger(SourceWrapper):
    """A source whose credentials are refused."""

    @override
    async def check(self) -> str:
        raise errors.AuthError("who are you?")


async def checked(tracker: MemoryTracker, odd: Callable[[Source], Source], stranger=Stranger) -> dict[str, Check]:
    """The findings at an odd source, by the names of the probes."""

    def build() -> Source:
        return odd(MemorySource(tracker))

    checks = await probe_source(build(), build, lambda: stranger(MemorySource(tracker)), quiet)
    return {check.check: check for check in checks}


def state(check: Check) -> str:
    """As the terminal marks it."""
    return "FAIL" if not check.ok else "warn" if check.warning else "ok"


async def test_a_sound_source_passes_every_probe(tracker):
    checks = await checked(tracker, SourceWrapper)
    assert {name: state(check) for name, check in checks.items()} == dict.fromkeys(checks, "ok")
    assert checks["listings"].facts["entities"] == 60
    assert checks["sizes and bytes"].facts["files"] == 12
    assert checks["listings resumed"].facts["resumed"] == 3


class Forgetful(SourceWrapper):
    """Leaves out the last item of a page that it has listed before."""

    seen: ClassVar[set[tuple[str, str | None]]] = set()

    @override
    async def read(self, stream, cursor):
        page = await self._inner.read(stream, cursor)
        if (stream, cursor) in self.seen and page.ask:
            return replace(page, entities=page.entities[:-1], ask=page.ask[:-1])
        self.seen.add((stream, cursor))
        return page


class LosesItsPlace(SourceWrapper):
    """Knows a place in a listing only if it has read up to there itself."""

    def __init__(self, inner: Source) -> None:
        super().__init__(inner)
        self._begun = False

    @override
    async def read(self, stream, cursor):
        self._begun |= cursor is None
        return await self._inner.read(stream, cursor) if self._begun else Page()


class Changing(SourceWrapper):
    """Sends other bytes each time."""

    times = 0

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        Changing.times += 1
        await sink.start(BodyFacts())
        await sink.write(str(Changing.times).encode())


class Refusing(SourceWrapper):
    """Refuses every file."""

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        raise errors.RejectedError("no")


class OneAtATime(SourceWrapper):
    """Mixes up files that are fetched at the same time."""

    last: Attachment

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:

        self.last = attachment
        await asyncio.sleep(0.001)
        await self._inner.download(self.last, sink)


class Denying(SourceWrapper):
    """Says that no file is there any more."""

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        return False


class EmptyForTheMissing(SourceWrapper):
    """Has no files for an entity that is not there, and some bytes for such a file."""

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        return () if entity.ref.id == "999999999" else await self._inner.attachments_of(entity)

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        if attachment.id != "999999999":
            await self._inner.download(attachment, sink)
            return
        await sink.start(BodyFacts())
        await sink.write(b"no such file")


@pytest.mark.parametrize(
    ("odd", "probe", "expected", "detail"),
    [
        (Forgetful, "listings read again", "FAIL", "3 items are missing the second time: entity Story"),
        (LosesItsPlace, "listings resumed", "FAIL", "20 items of a page of listed are missing"),
        (Changing, "sizes and bytes", "warn", "12 of 12 files differ the second time"),
        (Refusing, "sizes and bytes", "warn", "12 of 12 files can't be had: 'Bug 29.txt' of Bug 29: no"),
        (OneAtATime, "files side by side", "FAIL", "11 of 12 files differ if they are fetched at the same time"),
        (Denying, "files that are there", "FAIL", "'Bug 29.txt' of Bug 29 is denied"),
        (EmptyForTheMissing, "an entity that is not there", "warn", "is answered with 0 files"),
        (EmptyForTheMissing, "a file that is not there", "FAIL", "is answered with 12 bytes"),
    ],
)
async def test_each_oddity_of_a_source_is_found(tracker, odd, probe, expected, detail):
    Forgetful.seen.clear()
    found = (await checked(tracker, odd))[probe]
    assert state(found) == expected, found
    assert detail in found.detail
    assert found.means


@pytest.mark.parametrize(
    ("stranger", "expected", "detail"),
    [
        (lambda _: MemorySource(MemoryTracker()), "FAIL", "are answered with empty listings"),
        (SourceWrapper, "warn", "shows its listings to everybody"),
        (Stranger, "ok", "are refused"),
    ],
)
async def test_what_wrong_credentials_look_like_is_told(tracker, stranger, expected, detail):
    found = (await checked(tracker, SourceWrapper, stranger))["wrong credentials"]
    assert state(found) == expected
    assert detail in found.detail


async def test_what_there_is_no_time_for_is_said(tracker):
    source = MemorySource(tracker)
    checks = await probe_source(source, lambda: source, lambda: source, quiet, minutes=0)
    assert [state(check) for check in checks] == ["warn"] * 9
    assert all("not tried: the 0 minutes were up" in check.detail for check in checks)


async def target_checks(tracker: MemoryTracker, target=TargetWrapper) -> dict[str, Check]:
    """The findings at a target, by the names of the probes."""
    checks = await probe_target(target(MemoryTarget(tracker)), STORY, quiet)
    return {check.check: check for check in checks}


async def test_a_sound_target_passes_and_keeps_nothing_of_it(tracker):
    before = tracker.of(STORY)
    checks = await target_checks(tracker)
    assert {name: state(check) for name, check in checks.items()} == dict.fromkeys(checks, "ok")
    assert tracker.of(STORY) == before
    assert tracker.uploads == 25


class Drops(TargetWrapper):
    """Accepts HTML and stores nothing."""

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        return None if draft.media_type == "text/html" else await self._inner.upload(owner, draft, body)


class RefusesEmpty(TargetWrapper):
    """Refuses empty files."""

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        if not draft.size:
            raise errors.RejectedError("empty")
        return await self._inner.upload(owner, draft, body)


class RefusesAll(TargetWrapper):
    """Refuses every file."""

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        return "read only"


class Replaces(TargetWrapper):
    """Deletes the older file of a name."""

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        for file in await self._inner.find_attachments(owner):
            if file.name == draft.name:
                await self._inner.delete(file)
        return await self._inner.upload(owner, draft, body)


@pytest.mark.parametrize(
    ("target", "probe", "expected", "detail"),
    [
        (Drops, "sending", "FAIL", "accepted, and not found afterwards: HTML"),
        (RefusesEmpty, "sending", "warn", "1 of 19 files are refused: empty (empty)"),
        (RefusesAll, "sending", "FAIL", "all files are refused: read only"),
        (RefusesAll, "contents", "warn", "not tried"),
        (Replaces, "sending", "FAIL", "accepted, and not found afterwards: same name, first"),
        (Replaces, "two of one name", "FAIL", "1 of 2 are there"),
    ],
)
async def test_each_oddity_of_a_target_is_found(tracker, target, probe, expected, detail):
    before = tracker.of(STORY)
    found = (await target_checks(tracker, target))[probe]
    assert state(found) == expected, found
    assert detail in found.detail
    assert tracker.of(STORY) == before


async def test_altered_names_and_texts_are_told_as_such(tracker):
    tracker.alters_names = lambda name: name.replace(" ", "_")
    tracker.alters_content = lambda content: (
        content.decode("latin-1").encode() if content.startswith(b"Gr") else content
    )
    checks = await target_checks(tracker)
    assert (state(checks["names"]), checks["names"].facts["renamed"]) == ("warn", 17)
    assert "re-encoded by the tracker: Latin-1" in checks["contents"].detail
    assert checks["contents"].facts == {"whole": 18, "re_encoded": 1, "other": 0}


async def test_the_largest_file_is_found_out(tracker):
    limited = MemoryTracker(max_attachment_bytes=5 * 1024 * 1024)
    limited.add("Story", "1")
    found = (await target_checks(limited))["largest file"]
    assert "4 MiB is accepted, 8 MiB is not: too large" in found.detail
    assert found.facts == {"accepted_bytes": 4 * 1024 * 1024, "limit_found": True}


async def test_a_large_file_that_is_cut_is_not_accepted(tracker):
    tracker.alters_content = lambda content: content[: 3 * 1024 * 1024]
    found = (await target_checks(tracker))["largest file"]
    assert "2 MiB is accepted, 4 MiB is not: it came back with 3145728 bytes" in found.detail


async def test_what_cannot_be_deleted_is_named(tracker):
    stubborn = MemoryTracker(deletes=False)
    stubborn.add("Story", "1")
    found = (await target_checks(stubborn))["deleting"]
    assert state(found) == "warn"
    assert f"25 files are left on Story 1, named '{LEFTOVER}-" in found.detail
    assert all(file.name.startswith(LEFTOVER) for file in stubborn.of(STORY))


async def test_the_report_for_the_developers_has_no_name_id_or_content(tracker):
    source = MemorySource(tracker)
    checks = await probe_source(Refusing(source), lambda: Refusing(source), lambda: Stranger(source), quiet)
    login = Check("login", ok=True, detail="Ann Smith")
    summary = CheckSummary(status=RunStatus.COMPLETE, source=CheckedSide("memory", (login, *checks)), target={})
    report = json.dumps(report_of(summary, {"source": source.capabilities}, "1.2"))
    assert "Ann" not in report
    assert "Story 0" not in report
    assert json.loads(report)["source"]["checks"][3]["facts"]["failed"] == 12


@pytest.mark.parametrize(
    ("id_", "locator", "expected"),
    [
        ("17", "", ("999999999", "")),
        ("17", "files/17/170\nold/17", ("999999999", "files/999999999/170\nold/999999999")),
        ("issue1/file7", "7", ("issue1/file999999999", "999999999")),
        ("1/a.txt", "", ("999999999/a.txt", "")),
        ("17", "files/x", None),
        ("no-number", "", None),
    ],
)
def test_a_file_that_is_not_there_is_made_up(id_, locator, expected):
    missing = missing_like(Attachment(id_, STORY, "a.txt", locator=locator))
    assert (missing and (missing.id, missing.locator)) == expected
