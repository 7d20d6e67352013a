"""Roundup keeps the port: against a strict stand-in always, against the real one where there is one.

The real one: `.ci/with-tracker roundup`, or MIGRATOR_ROUNDUP_URL, _USER and _PASSWORD, then `pytest -m roundup`.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from migrator import errors
from migrator.model import NOBODY, Attachment, Draft, Entity, EntityRef
from migrator.testing import (
    SAMPLES,
    BoundSource,
    BoundTarget,
    Bytes,
    Expected,
    MemorySink,
    SourceContract,
    TargetContract,
    Truth,
    crawl,
    nowhere,
)
from migrator.trackers.roundup import ADAPTER, Options, RoundupSource, RoundupTarget
from migrator.trackers.roundup.parse import attachment_in, entity_in, linked_in
from migrator.wire.client import HttpClient
from tests.support.opened import closed_later
from tests.support.real_roundup import PASSWORD as REAL_PASSWORD
from tests.support.real_roundup import URL, Roundup
from tests.support.real_roundup import USER as REAL_USER
from tests.trackers.fake_roundup import PASSWORD, USER, FakeRoundup

real = [
    pytest.mark.roundup,
    pytest.mark.skipif(not URL, reason="MIGRATOR_ROUNDUP_URL, _USER and _PASSWORD are not set"),
]
REAL = (URL, REAL_USER, REAL_PASSWORD)
FIXTURES = Path(__file__).parents[1] / "fixtures" / "roundup"
EMPTY = Draft("empty.txt", "text/plain", "", 0)


def client(url: str, user: str = USER, password: str = PASSWORD) -> HttpClient:
    return closed_later(HttpClient(url, ADAPTER.signer({"username": user, "password": password}), timeout=20))


def source(url: str, *account: str) -> RoundupSource:
    return RoundupSource(client(url, *account), Options())


def target(url: str, *account: str) -> RoundupTarget:
    return RoundupTarget(client(url, *account), Options())


def issue(number: int | str) -> EntityRef:
    return EntityRef("issue", str(number))


def stranger() -> str:
    """An account that isn't there; each has its own count of wrong passwords, after four of which Roundup locks it."""
    return f"nobody-{secrets.token_hex(4)}"


def gone(number: int | str) -> Attachment:
    return Attachment(f"issue{number}/file99999999", issue(number), "gone.txt", locator="99999999")


# --- the contracts


@pytest.fixture
async def fake():
    async with FakeRoundup().running() as running:
        yield running


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr("migrator.trackers.roundup.client.PAGE_SIZE", 2)


def seeded(fake: FakeRoundup) -> tuple[list[int], list[Expected]]:
    numbers, files = [fake.issue(f"issue {n}") for n in range(5)], []
    for sample in SAMPLES:
        if sample.content:
            owner = numbers[sample.entity]
            number = fake.file(sample.name, sample.content, sample.media_type)
            fake.items["issue"][owner]["files"].append(number)
            files.append(Expected.of(issue(owner), sample.name, sample.content))
    fake.items["issue"][numbers[1]]["files"].append(1)  # the first file is on two issues
    files.append(Expected.of(issue(numbers[1]), SAMPLES[0].name, SAMPLES[0].content))
    fake.file("loose.txt", b"on no issue")
    return numbers, [*files, Expected.of(NOBODY, "loose.txt", b"on no issue")]


@pytest.mark.usefixtures("small_pages")
class TestRoundupSource(SourceContract):
    @pytest.fixture
    async def bound(self, fake):
        numbers, files = seeded(fake)
        return BoundSource(
            source(fake.url),
            lambda: source(fake.url),
            {issue(n) for n in numbers},
            files,
            gone=gone(numbers[0]),
            missing=Entity(issue(4040)),
            refused=lambda: source(fake.url, USER, "wrong"),
            unreachable=lambda: source(nowhere()),
        )


class TestRoundupTarget(TargetContract):
    @pytest.fixture
    async def bound(self, fake):
        numbers, _ = seeded(fake)

        async def files_of(ref: EntityRef) -> list[Truth]:
            return fake.of(int(ref.id))

        return BoundTarget(
            target(fake.url),
            lambda: target(fake.url),
            issue(numbers[0]),
            issue(4040),
            files_of,
            gone=gone(numbers[0]),
            refused=lambda: target(fake.url, USER, "wrong"),
            unreachable=lambda: target(nowhere()),
            limits_names=False,
            refused_drafts=(EMPTY,),
        )


class TestRealRoundupTarget(TargetContract):
    pytestmark = real

    @pytest.fixture
    async def bound(self):
        async with Roundup() as roundup:
            number = await roundup.issue("a target", await roundup.file("first.txt", b"first"))

            async def files_of(ref: EntityRef) -> list[Truth]:
                return [(file.name, file.size, file.sha256, "") for file in await roundup.files_of(ref.id)]

            yield BoundTarget(
                target(*REAL),
                lambda: target(*REAL),
                issue(number),
                issue(99_999_999),
                files_of,
                gone=gone(number),
                refused=lambda: target(URL, stranger(), "wrong"),
                unreachable=lambda: target(nowhere()),
                limits_names=False,
                refused_drafts=(EMPTY,),
            )


# --- what only Roundup does


def test_recorded_issues_are_read_with_their_files():
    recorded = json.loads((FIXTURES / "issues.json").read_text(encoding="utf-8"))
    item = recorded["data"]["collection"][0]
    entity, creator = entity_in(item, "issue", "https://host/demo"), item["creator"]
    assert (entity.ref, entity.url) == (issue(4), "https://host/demo/issue4")
    assert linked_in(item)[26] == "smile \U0001f600.png"
    record = {"id": "26", "name": "a.txt", "type": "text/plain", "creation": item["creation"], "creator": creator}
    file = attachment_in(record, entity.ref, "issue")
    assert (file.id, file.created_at, file.created_by) == ("issue4/file26", "2026-11-22T03:56:34+00:00", "admin")
    assert ADAPTER.url_of("https://host/demo", file) == "https://host/demo/file26/a.txt"


async def test_numbers_without_issues_end_no_listing(fake):
    """Roundup never gives a number twice, so a tracker may have long gaps."""
    first, *retired, last = [fake.issue(f"issue {n}") for n in range(450)]
    fake.retired = {("issue", number) for number in retired}
    assert (await crawl(source(fake.url))).entities == {issue(first), issue(last)}


async def test_pages_are_never_asked_for_by_their_position(fake):
    """A page past the end states a wrong total, and each page is made from all that follow it."""
    seeded(fake)
    await crawl(source(fake.url))
    assert max(path.count("@page_index") for _, path in fake.requests) == 0


async def test_an_answer_with_fewer_records_than_it_counts_is_no_page(fake):
    seeded(fake)
    fake.lists_fewer = 1
    with pytest.raises(errors.ShortListingError):
        await source(fake.url).read("issue", None)


async def test_a_record_without_content_fails_and_the_message_says_why(fake):
    """At its other address Roundup answers 200 with a line of text, which must not become the file."""
    del fake.content[fake.file("lost.txt", b"x")]
    [file] = (await crawl(source(fake.url))).attachments.values()
    with pytest.raises(errors.NotExposedError, match="no content"):
        await source(fake.url).download(file, MemorySink())


async def test_anything_but_plain_bytes_is_no_file(fake, monkeypatch):
    """Without the right Accept, Roundup answers with JSON and status 200."""
    seeded(fake)
    monkeypatch.setattr("migrator.trackers.roundup.client.BYTES", "image/png")
    with pytest.raises(errors.UnexpectedBodyError, match="instead of the file's bytes"):
        await source(fake.url).download(gone(1).__class__("issue1/file1", issue(1), "notes.txt"), MemorySink())


async def test_a_deleted_issue_is_gone_although_roundup_still_shows_it(fake):
    number = fake.issue("retired")
    fake.retired.add(("issue", number))
    with pytest.raises(errors.GoneError, match="retired"):
        await target(fake.url).find_attachments(issue(number))


async def test_a_deleted_file_that_is_still_linked_is_listed(fake):
    file = fake.file("deleted.txt", b"still given")
    number = fake.issue("links it", file)
    fake.retired.add(("file", file))
    [listed] = await source(fake.url).find_attachments(issue(number))
    assert listed.name == "deleted.txt"


async def sent(fake: FakeRoundup, number: int, name: str = "a.txt", content: bytes = b"a file") -> Attachment:
    draft = Draft(name, "text/plain", "", len(content))
    return await target(fake.url).upload(issue(number), draft, Bytes(content))


async def test_a_file_that_a_killed_upload_left_is_linked_and_not_sent_again(fake):
    number, left = fake.issue("one"), fake.file("a.txt", b"a file")
    made = await sent(fake, number)
    assert made.locator == str(left)
    assert len(fake.content) == 1


@pytest.mark.parametrize(("name", "content", "linked"), [
    ("b.txt", b"a file", False),
    ("a.txt", b"other!", False),
    ("a.txt", b"a file", True),
])  # fmt: skip
async def test_a_file_of_others_is_never_linked_instead(fake, name, content, linked):
    number, other = fake.issue("one"), fake.file(name, content)
    fake.make("msg", files=[other] if linked else [])
    assert (await sent(fake, number)).locator != str(other)


async def test_a_change_that_somebody_else_forestalled_is_repeated(fake):
    number, fake.loses_change = fake.issue("one"), 1
    with pytest.raises(errors.RetriableError) as caught:
        await sent(fake, number)
    assert not isinstance(caught.value, errors.OutcomeUnknownError)
    await sent(fake, number)
    assert [file[0] for file in fake.of(number)] == ["a.txt"]
    assert len(fake.content) == 1


async def test_an_empty_file_is_never_sent(fake):
    number = fake.issue("one")
    with pytest.raises(errors.RejectedError, match="empty"):
        await target(fake.url).upload(issue(number), EMPTY, Bytes(b""))
    assert not fake.items["file"]


async def test_a_deleted_file_stays_on_other_issues(fake):
    file = fake.file("shared.txt", b"shared")
    here, there = fake.issue("here", file), fake.issue("there", file)
    [listed] = await target(fake.url).find_attachments(issue(here))
    await target(fake.url).delete(listed)
    assert (fake.of(here), [shown[0] for shown in fake.of(there)]) == ([], ["shared.txt"])
    assert not fake.retired


async def test_a_file_taken_off_its_issue_is_gone_though_it_can_be_downloaded(fake):
    file = fake.file("a.txt", b"a file")
    number = fake.issue("one", file)
    [listed] = await target(fake.url).find_attachments(issue(number))
    fake.items["issue"][number]["files"].clear()
    with pytest.raises(errors.GoneError):
        await target(fake.url).read_back(listed, MemorySink())


@real[0]
@real[1]
async def test_a_real_roundup_gets_the_file_that_a_killed_upload_left():
    async with Roundup() as roundup:
        name = f"left-{secrets.token_hex(4)}.txt"
        left, number = await roundup.file(name, b"a file"), await roundup.issue("one")
        made = await target(*REAL).upload(issue(number), Draft(name, "text/plain", "", 6), Bytes(b"a file"))
        assert made.locator == left
        assert [(file.id, file.name) for file in await roundup.files_of(number)] == [(left, name)]


@real[0]
@real[1]
async def test_a_real_roundup_without_the_content_of_a_file_gives_no_file():
    """It refuses an empty file and keeps the record, whose other address answers 200 with an error message."""
    async with Roundup() as roundup:
        with pytest.raises(AssertionError, match="405"):
            await roundup.file("empty.txt", b"")
        [broken] = await roundup.newest_file()
        try:
            with pytest.raises(errors.NotExposedError):
                await source(*REAL).download(Attachment(f"file{broken}", NOBODY, "empty.txt"), MemorySink())
        finally:
            await roundup.retire(broken)
