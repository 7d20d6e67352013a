"""Request Tracker keeps the port: against a strict stand-in always, against the real one where there is one.

The real one: `.ci/with-tracker rt`, or MIGRATOR_RT_URL and MIGRATOR_RT_API_KEY, then `pytest -m rt`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrator import errors
from migrator.layers.retry import RetryingTarget
from migrator.layers.retry_policy import RetryPolicy
from migrator.layers.verify import VerifiedSource
from migrator.model import Attachment, Draft, Entity, EntityDraft, EntityRef
from migrator.ports import BodyFacts
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
    nowhere,
)
from migrator.trackers import adapter
from migrator.trackers.rt import ADAPTER, Options, RtSource, RtTarget
from migrator.trackers.rt.api import attachment_in, entity_in, stated_length
from migrator.trackers.rt.source import NO_SUPERUSER
from migrator.trackers.rt.target import ALWAYS
from migrator.wire.base64_field import Base64Sink
from migrator.wire.client import HttpClient
from tests.support.opened import closed_later
from tests.support.real_rt import TOKEN as REAL_TOKEN
from tests.support.real_rt import URL, Rt, Sent, real
from tests.trackers.odd_rt import TOKEN, OddRt

FIXTURES = Path(__file__).parents[1] / "fixtures" / "rt"
TEXTS = [
    (b"ascii", "text/plain"),
    ("Grüße".encode(), "text/plain"),
    (b"a\0b", "text/plain"),
    ("Grüße".encode("latin-1"), "application/octet-stream"),
    ("Grüße".encode("utf-16"), "application/octet-stream"),
    ("no character \uffff".encode(), "application/octet-stream"),
    ("ends early ü".encode()[:-1], "application/octet-stream"),
]
"""Contents of texts, and the type that each is sent as."""


def client(url: str, token: str) -> HttpClient:
    return closed_later(HttpClient(url, ADAPTER.signer({"token": token}), timeout=20))


def source(url: str, token: str = TOKEN, query: str = "") -> RtSource:
    return closed_later(RtSource(client(url, token), Options(query)))


def target(url: str, token: str = TOKEN, queue: str = "General", max_bytes: int = 0) -> RtTarget:
    return closed_later(RtTarget(client(url, token), Options(create_queue=queue, max_bytes=max_bytes)))


def ticket(number: int | str) -> EntityRef:
    return EntityRef("Ticket", str(number))


@pytest.fixture
async def fake():
    async with OddRt() as running:
        yield running


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr("migrator.trackers.rt.source.PAGE_SIZE", 2)
    monkeypatch.setattr("migrator.trackers.rt.api.PAGE_SIZE", 2)


@pytest.mark.usefixtures("small_pages")
class TestRtSource(SourceContract):
    @pytest.fixture(params=["a superuser", "another account"])
    async def bound(self, fake, request):
        fake.quirks.superuser = request.param == "a superuser"
        numbers, files = [fake.ticket(f"ticket {n}") for n in range(5)], []
        for sample in SAMPLES:
            number = numbers[sample.entity]
            fake.file(number, sample.name, sample.content, sample.media_type)
            files.append(Expected.of(ticket(number), sample.name, sample.content))
        return BoundSource(
            source(fake.url),
            lambda: source(fake.url),
            {ticket(n) for n in numbers},
            files,
            gone=Attachment("4040", ticket(numbers[0]), "gone.txt"),
            missing=Entity(ticket(4040)),
            refused=lambda: source(fake.url, "wrong"),
            unreachable=lambda: source(nowhere()),
            attach=lambda ref: fake.file(int(ref.id), "new.txt", b"new", "text/plain"),
        )


class TestRtTarget(TargetContract):
    @pytest.fixture(params=[None, 1_200_000])
    async def bound(self, fake, request):
        number = fake.ticket("a ticket")
        fake.file(number, "there.txt", b"there", "text/plain")
        fake.quirks.max_size = request.param

        async def files_of(ref: EntityRef) -> list[Truth]:
            return [(file.name, file.size, file.sha256, "") for file in fake.state.files_of(int(ref.id))]

        return BoundTarget(
            target(fake.url, max_bytes=(request.param or 0) * 3 // 4),
            lambda: target(fake.url),
            ticket(number),
            ticket(4040),
            files_of,
            gone=Attachment("4040", ticket(number), "gone.txt"),
            refused=lambda: target(fake.url, "wrong"),
            unreachable=lambda: target(nowhere()),
        )


@pytest.mark.usefixtures("small_pages")
class TestRealRtSource(SourceContract):
    pytestmark = real

    @pytest.fixture
    async def bound(self):
        async with Rt() as rt:
            queue = await rt.queue()
            numbers, files = [await rt.ticket(queue, f"ticket {n}") for n in range(5)], []
            for sample in SAMPLES:
                number = numbers[sample.entity]
                await rt.comment(number, [Sent(sample.name, sample.content, sample.media_type)])
                files.append(Expected.of(ticket(number), sample.name, sample.content))
            query = f"Queue = '{queue}'"
            yield BoundSource(
                source(URL, REAL_TOKEN, query),
                lambda: source(URL, REAL_TOKEN, query),
                {ticket(n) for n in numbers},
                files,
                gone=Attachment("99999999", ticket(numbers[0]), "gone.txt"),
                missing=Entity(ticket(99_999_999)),
                refused=lambda: source(URL, "wrong", query),
                unreachable=lambda: source(nowhere(), REAL_TOKEN, query),
            )


class TestRealRtTarget(TargetContract):
    pytestmark = real

    @pytest.fixture
    async def bound(self):
        async with Rt() as rt:
            queue = await rt.queue()
            number = await rt.ticket(queue, "a ticket")
            await rt.comment(number, [Sent("there.txt", b"there")])

            async def files_of(ref: EntityRef) -> list[Truth]:
                return [(f.name, f.size, f.sha256, "") for f in await rt.files_of(ref.id)]

            yield BoundTarget(
                target(URL, REAL_TOKEN, queue),
                lambda: target(URL, REAL_TOKEN, queue),
                ticket(number),
                ticket(99_999_999),
                files_of,
                gone=Attachment("99999999", ticket(number), "gone.txt"),
                refused=lambda: target(URL, "wrong"),
                unreachable=lambda: target(nowhere()),
            )


# --- oddities


def recorded(name: str) -> dict[str, Any]:
    """What a real RT 5.0.3 answered."""
    return json.loads((FIXTURES / f"{name}.json").read_bytes())


def test_rt_is_in_the_registry():
    assert adapter("rt") is ADAPTER


async def test_name_and_password_work_as_well(fake):
    signature = await ADAPTER.signer({"username": "root", "password": "x"}).sign(None)
    assert signature.headers["Authorization"].startswith("Basic ")


def test_only_recorded_attachments_with_a_name_are_files():
    items = recorded("ticket-attachments")["items"]
    files = [file for item in items if (file := attachment_in(item, ticket(56))).name]
    assert [(file.name, file.size) for file in files] == [
        ("five.bin", 5_242_880),
        ("latin1.txt", 18),
        ("Änderung 日本.txt", 6),
        ("twelve.bin", 12_582_912),
    ]
    assert (files[0].id, files[0].comment_id, files[0].created_by) == ("633", "542", "root")
    assert files[0].created_at == "2026-11-22T04:02:18Z"


async def test_recorded_text_is_decoded_and_has_the_stated_length(fake):
    sink = MemorySink()
    decoded = Base64Sink(sink, "Content")
    await decoded.start(BodyFacts())
    for byte in (FIXTURES / "attachment-latin1.json").read_bytes():
        await decoded.write(bytes([byte]))
    assert stated_length(decoded.finish()) == len(sink.content) == 18
    assert sink.content.decode() == "Grüße aus Köln\n"


def test_recorded_tickets_have_the_date_of_their_last_change():
    [first, *_] = [entity_in(item, "http://rt") for item in recorded("tickets")["items"]]
    assert (first.ref, first.url) == (ticket(4), "http://rt/Ticket/Display.html?id=4")
    assert first.modified_at == "2026-11-22T03:56:20Z"


@pytest.mark.usefixtures("small_pages")
async def test_files_after_pages_of_hidden_ones_are_found_without_totals(fake):
    number = fake.ticket("a ticket")
    stored = [fake.file(number, f"{n}.txt", b"x", "text/plain") for n in range(6)]
    fake.quirks.superuser, fake.quirks.hidden = False, frozenset(file.id for file in stored[1:3])
    files = await source(fake.url).attachments_of(Entity(ticket(number)))
    assert [file.name for file in files] == ["0.txt", "3.txt", "4.txt", "5.txt"]


@pytest.mark.parametrize("superuser", [True, False])
async def test_account_that_may_not_see_all_is_warned_of_in_each_backup(fake, superuser):
    fake.ticket("a ticket")
    fake.quirks.superuser = superuser
    made = source(fake.url)
    for _ in range(2):
        assert (await made.read("tickets", None)).warnings == (() if superuser else (NO_SUPERUSER,))
        await made.oddities()


async def test_list_that_is_shorter_than_its_total_is_no_list(fake):
    number = fake.ticket("a ticket")
    fake.quirks.hidden = frozenset({fake.file(number, "hidden.txt", b"x", "text/plain").id})
    with pytest.raises(errors.ShortListingError, match="3 of 4"):
        await source(fake.url).attachments_of(Entity(ticket(number)))


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("superuser", [True, False])
async def test_server_that_repeats_a_page_is_not_believed(fake, superuser):
    number = fake.ticket("a ticket")
    for n in range(4):
        fake.file(number, f"{n}.txt", b"x", "text/plain")
    fake.quirks.superuser, fake.repeats = superuser, True
    with pytest.raises(errors.ShortListingError, match="an earlier one again"):
        await source(fake.url).attachments_of(Entity(ticket(number)))


async def test_empty_list_of_a_forbidden_ticket_is_not_believed(fake):
    number = fake.ticket("secret")
    fake.faults.forbidden_entities = {number}
    with pytest.raises(errors.ForbiddenError):
        await source(fake.url).attachments_of(Entity(ticket(number)))


async def test_tickets_without_a_total_are_no_listing(fake):
    fake.ticket("a ticket")
    fake.quirks.sql_acl = False
    with pytest.raises(errors.RejectedError, match="UseSQLForACLChecks"):
        await source(fake.url).read("tickets", None)


async def test_a_500_for_a_file_that_is_still_listed_does_not_mean_gone(fake):
    number = fake.ticket("a ticket")
    file, made = fake.file(number, "listed.txt", b"x", "text/plain"), source(fake.url)
    [listed] = await made.attachments_of(Entity(ticket(number)))
    fake.faults.broken = {file.id}
    with pytest.raises(errors.RetriableError, match="status 500"):
        await made.download(listed, MemorySink())


async def test_file_that_rt_cut_is_stored_with_a_warning(fake):
    number = fake.ticket("a ticket")
    fake.quirks.max_size = 100
    fake.file(number, "cut.bin", b"x" * 1000, "image/png")
    made = source(fake.url)
    [listed] = await made.attachments_of(Entity(ticket(number)))
    sink = MemorySink()
    await VerifiedSource(made).download(listed, sink)
    assert len(sink.content) == 100
    assert sink.warnings == [
        "RT has 100 bytes of it; it had 1000 when RT took it, and cut or dropped it",
        "listed with 1000 bytes, 100 came",
    ]


@pytest.mark.parametrize("drops", [False, True])
async def test_file_that_is_cut_has_its_real_size_and_is_no_arrival(fake, drops):
    number = fake.ticket("a ticket")
    fake.quirks.max_size, fake.quirks.drops = 800, drops
    made = target(fake.url)
    cut = await made.upload(ticket(number), Draft("big.bin", "", "", 1000), Bytes(bytes(1000)))
    assert cut.size == (24 if drops else 600)
    later = target(fake.url)
    assert [(f.name, f.size) for f in await later.find_attachments(ticket(number))] == [(cut.name, cut.size)]


async def test_recorded_file_that_was_cut_has_its_real_size(fake):
    fake.answers_with["ticket/1/attachments"] = recorded("truncated-attachments")
    fake.answers_with["ticket/1/history"] = recorded("truncated-history")
    fake.answers_with["attachment/3"] = {"id": 3, "Content": base64.b64encode(bytes(750_000)).decode()}
    [file] = await target(fake.url).find_attachments(ticket(1))
    assert (file.name, file.size) == ("five.bin", 750_000)


@pytest.mark.parametrize("another_run", [False, True])
async def test_files_that_would_surely_be_cut_are_not_sent(fake, another_run):
    number = fake.ticket("a ticket")
    fake.quirks.max_size, made = 800, target(fake.url)
    await made.upload(ticket(number), Draft("big.bin", "", "", 1000), Bytes(bytes(1000)))
    made = target(fake.url) if another_run else made
    assert await made.refuses(ticket(number), Draft("not sure.bin", "", "", 800)) is None
    with pytest.raises(errors.RejectedError, match=r"over 800 bytes; see target\.options\.max_bytes"):
        await made.upload(ticket(number), Draft("big.bin", "", "", 801), Bytes(bytes(801)))
    assert fake.names_of(number) == ["big.bin"]
    assert await target(fake.url, max_bytes=5000).refuses(ticket(number), Draft("big.bin", "", "", 801)) is None


async def test_file_with_other_bytes_of_equal_size_is_no_arrival(fake, monkeypatch):
    number, take = fake.ticket("a ticket"), fake.tickets.take
    monkeypatch.setattr(fake.tickets, "take", lambda at, name, kind, content: take(at, name, kind, content[::-1]))
    with pytest.raises(errors.OutcomeUnknownError, match="different content") as caught:
        await target(fake.url).upload(ticket(number), Draft("a.bin", "", "", 2), Bytes(b"ab"))
    assert caught.value.accepted


@pytest.mark.parametrize("record", [{"id": 7, "Content": "eA=="}, {"id": 3, "Content": None}, {"id": 3}])
async def test_answer_that_is_not_the_attachment_is_no_file(fake, record):
    fake.answers_with["attachment/3"] = record
    with pytest.raises(errors.UnexpectedBodyError, match="not this attachment"):
        await source(fake.url).download(Attachment("3", ticket(1), "a.txt"), MemorySink())


async def test_file_that_was_cut_is_not_asked_for_again_and_again(fake):
    number = fake.ticket("a ticket")
    fake.quirks.max_size, made = 800, RetryingTarget(target(fake.url), RetryPolicy(backoff=100.0))
    cut = await made.upload(ticket(number), Draft("big.bin", "", "", 1000), Bytes(bytes(1000)))
    with pytest.raises(errors.RejectedError, match="600 of 1000 bytes are there"):
        await made.read_back(replace(cut, size=1000), MemorySink())


async def test_comment_without_its_file_is_a_doubt_and_no_arrival(fake, monkeypatch):
    number = fake.ticket("a ticket")
    monkeypatch.setattr(fake.tickets, "take", lambda *_: None)
    with pytest.raises(errors.OutcomeUnknownError, match="0 files") as caught:
        await target(fake.url).upload(ticket(number), Draft("lost.txt", "", "", 1), Bytes(b"x"))
    assert caught.value.accepted


@pytest.mark.parametrize(("content", "media_type"), TEXTS)
async def test_every_byte_of_a_text_arrives(fake, content, media_type):
    number = fake.ticket("a ticket")
    draft = Draft("text.txt", "text/plain; charset=iso-8859-1", "", len(content))
    file = await target(fake.url).upload(ticket(number), draft, Bytes(content, 3))
    assert [stored.sha256 for stored in fake.state.files_of(number)] == [hashlib.sha256(content).hexdigest()]
    assert file.size == len(content)
    assert (await source(fake.url).attachments_of(Entity(ticket(number))))[0].media_type == media_type


@pytest.mark.parametrize("name", ["=?utf-8?q?a?=.txt", '"a"', '""', "0", "x\n/y", "\u2028", "\ud800.txt", "a/"])
async def test_name_that_rt_would_change_is_changed_before(fake, name):
    number, made = fake.ticket("a ticket"), target(fake.url)
    legal = made.legal_name(name)
    assert legal != name
    await made.upload(ticket(number), Draft(legal, "", "", 1), Bytes(b"x"))
    assert fake.names_of(number) == [legal]


async def test_description_is_the_text_of_the_comment(fake):
    number = fake.ticket("a ticket")
    draft = Draft("a.txt", "", "[first attached by Ann on 2024-02-03]", 1)
    await target(fake.url).upload(ticket(number), draft, Bytes(b"x"))
    assert draft.description.encode() in [message.content for message in fake.tickets.messages.values()]


async def test_ticket_created_without_its_link_ends_the_load(fake):
    fake.quirks.keeps_links = False
    with pytest.raises(errors.ConfigError, match="ModifyTicket"):
        await target(fake.url).create_entity(EntityDraft("Bug", "a bug", "text", "migrator-1"))


async def test_ticket_that_cannot_be_looked_for_is_not_created_again(fake):
    fake.answers_with["tickets"] = {"items": None}
    with pytest.raises(errors.OutcomeUnknownError, match="Ticket 101 was created"):
        await target(fake.url).create_entity(EntityDraft("Bug", "a bug", "text", "migrator-1"))


@pytest.mark.parametrize(("queue", "reason"), [("", "is needed"), ("Nope", "sees no queue 'Nope'")])
async def test_queue_for_new_tickets_must_be_named_and_exist(fake, queue, reason):
    with pytest.raises(errors.ConfigError, match=f"create_queue.* {reason}"):
        await target(fake.url, queue=queue).require_creating()


async def test_query_of_the_options_limits_the_tickets(fake):
    await source(fake.url, query="Queue = 'A' OR Queue = 'B'").read("tickets", None)
    assert fake.queries[-1] == "(Queue = 'A' OR Queue = 'B') AND id > 0"


async def test_check_names_what_is_odd(fake):
    number = fake.ticket("a ticket")
    assert await source(fake.url).oddities() == ()
    assert await target(fake.url).oddities() == ALWAYS
    fake.quirks.max_size, fake.quirks.file_fields = 10, ("Signed contract",)
    fake.file(number, "big.bin", b"x" * 20, "")
    told = await source(fake.url).oddities()
    assert told[0].startswith("RT cuts or drops large files when it takes them, last 2026-11-22T00:00:04Z one of 20")
    assert told[1] == "files in custom fields are not backed up: Signed contract"
    assert "set target.options.max_bytes" in (await target(fake.url).oddities())[-1]
    assert await target(fake.url, max_bytes=10).oddities() == ALWAYS


async def test_site_that_is_no_rt_is_unreachable(fake):
    with pytest.raises(errors.TrackerUnreachableError, match="is `url` right"):
        await source(fake.url + "/wrong").check()


def test_address_of_a_file_is_that_of_its_page():
    file = Attachment("643", ticket(56), "a b?.txt", comment_id="554")
    assert ADAPTER.url_of("http://rt", file) == "http://rt/Ticket/Attachment/554/643/a%20b%3F.txt"
