"""Trac keeps the port: against a stand-in always, against the real one where there is one.

The real one: `.ci/with-tracker trac`, or MIGRATOR_TRAC_URL, _USER and _PASSWORD, then `pytest -m trac`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrator import errors
from migrator.model import Attachment, Draft, Entity, EntityRef
from migrator.sandbox.trac.methods import forbidden
from migrator.sandbox.trac.query import failed
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
from migrator.trackers.trac import ADAPTER, Options, TracSource, TracTarget
from migrator.trackers.trac.api import result_in
from migrator.trackers.trac.client import attachments_in
from migrator.wire.client import HttpClient
from tests.support.opened import closed_later
from tests.support.real_redmine import Sent, digest
from tests.support.real_trac import PASSWORD as REAL_PASSWORD
from tests.support.real_trac import URL, Trac
from tests.support.real_trac import USER as REAL_USER
from tests.trackers.odd_trac import PASSWORD, USER, OddTrac

real = [
    pytest.mark.trac,
    pytest.mark.skipif(not URL, reason="MIGRATOR_TRAC_URL, _USER and _PASSWORD are not set"),
]
REAL = (URL, REAL_USER, REAL_PASSWORD)
FIXTURES = Path(__file__).parents[1] / "fixtures" / "trac"


def client(url: str, user: str = USER, password: str = PASSWORD) -> HttpClient:
    return closed_later(HttpClient(url, ADAPTER.signer({"username": user, "password": password}), timeout=20))


def source(url: str, *account: str) -> TracSource:
    return TracSource(client(url, *account), Options())


def target(url: str, *account: str) -> TracTarget:
    return TracTarget(client(url, *account), Options(create_type="task"))


def ticket(number: int | str) -> EntityRef:
    return EntityRef("ticket", str(number))


def gone(number: int | str) -> Attachment:
    return Attachment(f"{number}/gone.txt", ticket(number), "gone.txt")


# --- the contracts


@pytest.fixture
async def fake():
    async with OddTrac() as running:
        yield running


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr("migrator.trackers.trac.source.PAGE_SIZE", 2)


def seeded(fake: OddTrac) -> tuple[list[int], list[Expected]]:
    numbers, files = [fake.ticket(f"ticket {n}", "closed" if n % 2 else "new") for n in range(5)], []
    for sample in SAMPLES:
        owner = numbers[sample.entity]
        name = fake.put(owner, sample.name, sample.description, sample.content, replace=False)
        files.append(Expected.of(ticket(owner), name, sample.content, sample.description))
    return numbers, files


@pytest.mark.usefixtures("small_pages")
class TestTracSource(SourceContract):
    @pytest.fixture
    async def bound(self, fake):
        numbers, files = seeded(fake)
        return BoundSource(
            source(fake.url),
            lambda: source(fake.url),
            {ticket(n) for n in numbers},
            files,
            gone=gone(numbers[0]),
            missing=Entity(ticket(4040)),
            refused=lambda: source(fake.url, USER, "wrong"),
            unreachable=lambda: source(nowhere()),
        )


class TestTracTarget(TargetContract):
    @pytest.fixture
    async def bound(self, fake):
        numbers, _ = seeded(fake)

        async def files_of(ref: EntityRef) -> list[Truth]:
            return fake.of(int(ref.id))

        return BoundTarget(
            target(fake.url),
            lambda: target(fake.url),
            ticket(numbers[3]),
            ticket(4040),
            files_of,
            gone=gone(numbers[3]),
            refused=lambda: target(fake.url, USER, "wrong"),
            unreachable=lambda: target(nowhere()),
            limits_names=False,
        )


class TestRealTracTarget(TargetContract):
    pytestmark = real

    @pytest.fixture
    async def bound(self):
        async with Trac() as trac:
            number = await trac.issue("a target")
            await trac.attach(number, Sent("first.txt", b"first", "the first"))

            async def files_of(ref: EntityRef) -> list[Truth]:
                return await trac.truth_of(ref.id)

            yield BoundTarget(
                target(*REAL),
                lambda: target(*REAL),
                ticket(number),
                ticket(99_999_999),
                files_of,
                gone=gone(number),
                refused=lambda: target(URL, REAL_USER, "wrong"),
                unreachable=lambda: target(nowhere()),
                limits_names=False,
            )


# --- what only Trac does


def test_recorded_answers_are_read():
    recorded = json.loads((FIXTURES / "attachments.json").read_text(encoding="utf-8"))
    files = attachments_in(result_in(recorded, "ticket.listAttachments"), ticket(1))
    assert [(file.name, file.size) for file in files[:4]] == [
        ("notes.txt", 5),
        ("empty.bin", 0),
        ("../../evil.txt", 1),
        ("", 1),
    ]
    assert (files[0].id, files[0].description, files[0].created_by) == ("1/notes.txt", "third", "admin")
    assert files[0].created_at == "2026-11-28T07:34:19+00:00"
    with pytest.raises(errors.GoneError, match="404"):
        result_in(json.loads((FIXTURES / "gone.json").read_text(encoding="utf-8")), "ticket.get")


async def test_a_query_that_is_cut_off_is_no_end(fake):
    """As if `max=0` were not obeyed: the first tickets come, and the highest is missing."""
    seeded(fake)
    fake.quirks.items_per_page, fake.quirks.obeys_max = 3, False
    with pytest.raises(errors.ShortListingError):
        await crawl(source(fake.url))


async def test_a_page_that_lacks_tickets_is_noticed_at_the_end(fake):
    seeded(fake)
    fake.methods.lists_fewer = 1
    with pytest.raises(errors.ShortListingError):
        await crawl(source(fake.url))


async def test_long_gaps_and_closed_tickets_hide_nothing(fake):
    first, *deleted, last = [fake.ticket(f"ticket {n}", "closed") for n in range(450)]
    for number in deleted:
        del fake.state.created[number]
    assert (await crawl(source(fake.url))).entities == {ticket(first), ticket(last)}


async def test_a_ticket_whose_list_is_refused_fails_alone(fake):
    numbers, _ = seeded(fake)
    fake.methods.refused = {"ticket.listAttachments": forbidden("ATTACHMENT_VIEW")}
    page = await source(fake.url).read("tickets", None)
    assert {failure.ref for failure in page.unread} == {ticket(n) for n in numbers}
    assert "ATTACHMENT_VIEW" in page.unread[0].reason


async def test_files_that_the_account_may_not_see_are_failures_and_not_absent(fake):
    numbers, _ = seeded(fake)
    fake.quirks.shows_files = False
    page = await source(fake.url).read("tickets", None)
    assert {failure.ref for failure in page.unread} == {ticket(n) for n in numbers[:-1]}
    assert len(page.entities) == len(numbers)


async def test_the_empty_list_of_a_ticket_that_is_gone_is_not_believed(fake):
    with pytest.raises(errors.GoneError):
        await source(fake.url).find_attachments(ticket(4040))


async def test_an_error_in_place_of_a_file_is_no_empty_file(fake):
    number = fake.ticket("one")
    fake.put(number, "a.txt", "", b"a file")
    fake.methods.refused = {"ticket.getAttachment": failed("database is locked")}
    with pytest.raises(errors.RetriableError, match="locked"):
        await source(fake.url).download(gone(number), MemorySink())


async def test_a_file_without_a_name_is_listed_and_said_to_be_out_of_reach(fake):
    fake.put(fake.ticket("one"), "", "", b"no name")
    [file] = (await crawl(source(fake.url))).attachments.values()
    with pytest.raises(errors.NotExposedError, match="without a name"):
        await source(fake.url).download(file, MemorySink())


async def test_an_error_that_may_pass_leaves_open_whether_a_file_arrived(fake):
    number = fake.ticket("one")
    fake.methods.refused = {"ticket.putAttachment": failed("database is locked")}
    with pytest.raises(errors.OutcomeUnknownError):
        await target(fake.url).upload(ticket(number), Draft("a.txt", "", "", 1), Bytes(b"x"))


async def test_an_account_without_the_permission_is_told_so(fake):
    fake.quirks.permits_rpc = False
    with pytest.raises(errors.AuthError, match="XML_RPC"):
        await source(fake.url).check()


async def replaced_by(made: TracTarget, number: str) -> list[str]:
    """The names on a ticket after a second file of the same name."""
    for content in (b"older", b"newer"):
        await made.upload(ticket(number), Draft("a.txt", "", "", 5), Bytes(content))
    return [file.name for file in await made.find_attachments(ticket(number))]


async def test_an_upload_never_replaces_an_older_file_of_its_name(fake):
    number = fake.ticket("one")
    assert await replaced_by(target(fake.url), str(number)) == ["a.txt", "a.2.txt"]
    assert [sha256 for _, _, sha256, _ in fake.of(number)] == [digest(b"older"), digest(b"newer")]


@real[0]
@real[1]
async def test_a_real_trac_keeps_the_older_file_and_lists_closed_tickets():
    async with Trac() as trac:
        number = await trac.issue("one")
        assert await replaced_by(target(*REAL), number) == ["a.txt", "a.2.txt"]
        await trac.close_issue(number)
        assert ticket(number) in (await crawl(source(*REAL))).entities
