"""Roundup keeps the port: against the sandbox always, against the real one where there is one.

The real one: `.ci/with-tracker roundup`, or MIGRATOR_ROUNDUP_URL, _USER and _PASSWORD, then `pytest -m roundup`.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from migrator import errors
from migrator.model import NOBODY, Attachment, Draft, Entity, EntityRef
from migrator.sandbox.roundup import RoundupSandbox
from migrator.sandbox.world import World
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
from tests.support.attached import attach
from tests.support.opened import closed_later
from tests.support.real_roundup import PASSWORD as REAL_PASSWORD
from tests.support.real_roundup import URL, Roundup
from tests.support.real_roundup import USER as REAL_USER

real = [
    pytest.mark.roundup,
    pytest.mark.skipif(not URL, reason="MIGRATOR_ROUNDUP_URL, _USER and _PASSWORD are not set"),
]
REAL = (URL, REAL_USER, REAL_PASSWORD)
FIXTURES = Path(__file__).parents[1] / "fixtures" / "roundup"
EMPTY = Draft("empty.txt", "text/plain", "", 0)
USER, PASSWORD = RoundupSandbox.user, RoundupSandbox.password


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
async def sandbox():
    """It calls itself by another name than that by which it is reached."""
    async with RoundupSandbox(World(0, ()), address="https://tracker.example.org/demo") as running:
        yield running


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr("migrator.trackers.roundup.client.PAGE_SIZE", 2)


def opened(sandbox: RoundupSandbox, title: str, *files: int) -> int:
    """A new issue that links these files."""
    return sandbox.records.create("issue", {"title": title, "files": [*files], "messages": []})


def kept(sandbox: RoundupSandbox, name: str, content: bytes, media_type: str = "text/plain") -> int:
    """A new file that nothing links."""
    return attach(sandbox, None, name.strip(), content, media_type).id


def linked(sandbox: RoundupSandbox, number: int) -> list[Truth]:
    """Name, size, hash and description of the files of an issue."""
    return [(file.name, file.size, file.sha256, "") for file in sandbox.state.files_of(number)]


def seeded(sandbox: RoundupSandbox) -> tuple[list[int], list[Expected]]:
    numbers, files = [opened(sandbox, f"issue {n}") for n in range(5)], []
    for sample in SAMPLES:
        if sample.content:
            owner = numbers[sample.entity]
            sandbox.state.link(kept(sandbox, sample.name, sample.content, sample.media_type), owner)
            files.append(Expected.of(issue(owner), sample.name, sample.content))
    sandbox.state.link(1, numbers[1])  # the first file is on two issues
    files.append(Expected.of(issue(numbers[1]), SAMPLES[0].name, SAMPLES[0].content))
    kept(sandbox, "loose.txt", b"on no issue")
    return numbers, [*files, Expected.of(NOBODY, "loose.txt", b"on no issue")]


@pytest.mark.usefixtures("small_pages")
class TestRoundupSource(SourceContract):
    @pytest.fixture
    async def bound(self, sandbox):
        numbers, files = seeded(sandbox)
        return BoundSource(
            source(sandbox.url),
            lambda: source(sandbox.url),
            {issue(n) for n in numbers},
            files,
            gone=gone(numbers[0]),
            missing=Entity(issue(4040)),
            refused=lambda: source(sandbox.url, USER, "wrong"),
            unreachable=lambda: source(nowhere()),
        )


class TestRoundupWithAWorld(SourceContract):
    """The world that `migrator sandbox` serves, in another folder and at another pace."""

    @pytest.fixture(params=[{"base_path": "/demo"}, {"base_path": "", "rate": (100_000, 60)}], ids=str)
    async def bound(self, request):
        world = World.generate(entities=12, seed=3, median_bytes=500, large_bytes=0)
        async with RoundupSandbox(world, **request.param) as sandbox:
            first = world.entities[0].id
            files = [
                Expected(
                    issue(file.entity_id) if file.entity_id else NOBODY,
                    file.name,
                    file.size,
                    sandbox.state.sha256_of(file),
                    "",
                )
                for file in sandbox.world.attachments
            ]
            yield BoundSource(
                source(sandbox.url),
                lambda: source(sandbox.url),
                {issue(entity.id) for entity in world.entities},
                files,
                gone=gone(first),
                missing=Entity(issue(4040)),
                refused=lambda: source(sandbox.url, USER, "wrong"),
                unreachable=lambda: source(nowhere()),
            )


class TestRoundupTarget(TargetContract):
    @pytest.fixture
    async def bound(self, sandbox):
        numbers, _ = seeded(sandbox)

        async def files_of(ref: EntityRef) -> list[Truth]:
            return linked(sandbox, int(ref.id))

        return BoundTarget(
            target(sandbox.url),
            lambda: target(sandbox.url),
            issue(numbers[0]),
            issue(4040),
            files_of,
            gone=gone(numbers[0]),
            refused=lambda: target(sandbox.url, USER, "wrong"),
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


async def test_numbers_without_issues_end_no_listing(sandbox):
    """Roundup never gives a number twice, so a tracker may have long gaps."""
    first, *retired, last = [opened(sandbox, f"issue {n}") for n in range(450)]
    sandbox.records.retired = {("issue", number) for number in retired}
    assert (await crawl(source(sandbox.url))).entities == {issue(first), issue(last)}


async def test_no_page_but_the_first_is_asked_for_by_its_position(sandbox, monkeypatch):
    """A page past the end states a wrong total, and each page is made from all that follow it."""
    seeded(sandbox)
    asked = []
    monkeypatch.setattr(sandbox.faults, "of_request", lambda key, **_: asked.append(key))
    await crawl(source(sandbox.url))
    pages = [key for key in asked if "page_index" in key]
    assert pages
    assert all("page_index=1&" in key for key in pages)


async def test_an_answer_with_fewer_records_than_it_counts_is_no_page(sandbox):
    seeded(sandbox)
    sandbox.quirks.lists_fewer = 1
    with pytest.raises(errors.ShortListingError):
        await source(sandbox.url).read("issue", None)


async def test_a_record_without_content_fails_and_the_message_says_why(sandbox):
    """At its other address Roundup answers 200 with a line of text, which must not become the file."""
    sandbox.records.lost.add(kept(sandbox, "lost.txt", b"x"))
    [file] = (await crawl(source(sandbox.url))).attachments.values()
    with pytest.raises(errors.NotExposedError, match="no content"):
        await source(sandbox.url).download(file, MemorySink())


async def test_anything_but_plain_bytes_is_no_file(sandbox, monkeypatch):
    """Asked for any type, Roundup answers with one of its own and status 200."""
    seeded(sandbox)
    monkeypatch.setattr("migrator.trackers.roundup.client.BYTES", "*/*")
    with pytest.raises(errors.UnexpectedBodyError, match="instead of the file's bytes"):
        await source(sandbox.url).download(gone(1).__class__("issue1/file1", issue(1), "notes.txt"), MemorySink())


async def test_a_deleted_issue_is_gone_although_roundup_still_shows_it(sandbox):
    number = opened(sandbox, "retired")
    sandbox.records.retired.add(("issue", number))
    with pytest.raises(errors.GoneError, match="retired"):
        await target(sandbox.url).find_attachments(issue(number))


async def test_a_deleted_file_that_is_still_linked_is_listed(sandbox):
    file = kept(sandbox, "deleted.txt", b"still given")
    number = opened(sandbox, "links it", file)
    sandbox.records.retired.add(("file", file))
    [listed] = await source(sandbox.url).find_attachments(issue(number))
    assert listed.name == "deleted.txt"


async def sent(sandbox: RoundupSandbox, number: int, name: str = "a.txt", content: bytes = b"a file") -> Attachment:
    draft = Draft(name, "text/plain", "", len(content))
    return await target(sandbox.url).upload(issue(number), draft, Bytes(content))


async def test_a_file_that_a_killed_upload_left_is_linked_and_not_sent_again(sandbox):
    number, left = opened(sandbox, "one"), kept(sandbox, "a.txt", b"a file")
    made = await sent(sandbox, number)
    assert made.locator == str(left)
    assert len(sandbox.state.uploads) == 1


@pytest.mark.parametrize(("name", "content", "linked"), [
    ("b.txt", b"a file", False),
    ("a.txt", b"other!", False),
    ("a.txt", b"a file", True),
])  # fmt: skip
async def test_a_file_of_others_is_never_linked_instead(sandbox, name, content, linked):
    number, other = opened(sandbox, "one"), kept(sandbox, name, content)
    sandbox.records.create("msg", {"files": [other] if linked else []})
    assert (await sent(sandbox, number)).locator != str(other)


async def test_a_change_that_somebody_else_forestalled_is_repeated(sandbox):
    number, sandbox.quirks.loses_changes = opened(sandbox, "one"), 1
    with pytest.raises(errors.RetriableError) as caught:
        await sent(sandbox, number)
    assert not isinstance(caught.value, errors.OutcomeUnknownError)
    await sent(sandbox, number)
    assert [file[0] for file in linked(sandbox, number)] == ["a.txt"]
    assert len(sandbox.state.uploads) == 1


async def test_an_empty_file_is_never_sent(sandbox):
    number = opened(sandbox, "one")
    with pytest.raises(errors.RejectedError, match="empty"):
        await target(sandbox.url).upload(issue(number), EMPTY, Bytes(b""))
    assert not sandbox.state.uploads


async def test_a_deleted_file_stays_on_other_issues(sandbox):
    file = kept(sandbox, "shared.txt", b"shared")
    here, there = opened(sandbox, "here", file), opened(sandbox, "there", file)
    [listed] = await target(sandbox.url).find_attachments(issue(here))
    await target(sandbox.url).delete(listed)
    assert (linked(sandbox, here), [shown[0] for shown in linked(sandbox, there)]) == ([], ["shared.txt"])
    assert not sandbox.records.retired


async def test_a_file_taken_off_its_issue_is_gone_though_it_can_be_downloaded(sandbox):
    file = kept(sandbox, "a.txt", b"a file")
    number = opened(sandbox, "one", file)
    [listed] = await target(sandbox.url).find_attachments(issue(number))
    sandbox.state.unlink(file, number)
    with pytest.raises(errors.GoneError):
        await target(sandbox.url).read_back(listed, MemorySink())


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
