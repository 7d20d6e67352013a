"""The adapter keeps the port: against a stand-in always, against a real django-helpdesk where there is one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import migrator_helpdesk
import pytest
from fake_helpdesk import REFUSED, TOKEN, FakeHelpdesk
from migrator_helpdesk import ADAPTER, HelpdeskSource, HelpdeskTarget, Options
from real_helpdesk import KEY, URL, RealHelpdesk, real

from migrator import errors
from migrator.model import Attachment, Draft, Entity, EntityRef
from migrator.testing import (
    SAMPLES,
    BoundSource,
    BoundTarget,
    Bytes,
    Expected,
    SourceContract,
    TargetContract,
    Truth,
    crawl,
    nowhere,
)
from migrator.trackers import adapter
from migrator.wire import HttpClient


def client(url: str, token: str) -> HttpClient:
    return HttpClient(url, ADAPTER.signer({"token": token}), timeout=20)


def source(url: str, token: str = TOKEN) -> HelpdeskSource:
    return HelpdeskSource(client(url, token), Options())


def target(url: str, token: str = TOKEN) -> HelpdeskTarget:
    return HelpdeskTarget(client(url, token), Options(queue=1))


def ticket(number: int | str) -> EntityRef:
    return EntityRef("ticket", str(number))


@pytest.fixture
async def fake() -> AsyncIterator[FakeHelpdesk]:
    async with FakeHelpdesk().running() as running:
        yield running


def seeded(fake: FakeHelpdesk) -> tuple[list[int], list[Expected]]:
    """Five tickets with the samples, but for the empty one, which django-helpdesk takes from nobody."""
    numbers, files = [fake.ticket(f"ticket {number}") for number in range(5)], []
    for sample in SAMPLES:
        if sample.content:
            owner = numbers[sample.entity]
            fake.attach(fake.follow_up(owner, "a file")["id"], sample.name, sample.content, sample.media_type)
            files.append(Expected.of(ticket(owner), sample.name, sample.content))
    return numbers, files


class TestHelpdeskSource(SourceContract):
    @pytest.fixture
    async def bound(self, fake, monkeypatch):
        monkeypatch.setattr(migrator_helpdesk, "PAGE_SIZE", 2)
        numbers, files = seeded(fake)
        gone = fake.attach(fake.follow_up(numbers[0], "deleted")["id"], "gone.txt", b"x")
        del fake.files[gone["id"]]
        bound = BoundSource(
            source(fake.url),
            lambda: source(fake.url),
            {ticket(number) for number in numbers},
            files,
            gone=Attachment(str(gone["id"]), ticket(numbers[0]), "gone.txt"),
            missing=Entity(ticket(4040)),
            refused=lambda: source(fake.url, "wrong"),
            unreachable=lambda: source(nowhere()),
        )
        yield bound
        await bound.source.close()


class TestHelpdeskTarget(TargetContract):
    @pytest.fixture
    async def bound(self, fake):
        numbers, _ = seeded(fake)

        async def files_of(ref: EntityRef) -> list[Truth]:
            return fake.of(int(ref.id))

        bound = BoundTarget(
            target(fake.url),
            lambda: target(fake.url),
            ticket(numbers[3]),
            ticket(4040),
            files_of,
            gone=Attachment("4040", ticket(numbers[3]), "gone.txt"),
            refused=lambda: target(fake.url, "wrong"),
            unreachable=lambda: target(nowhere()),
        )
        yield bound
        await bound.target.close()


class TestRealSource(SourceContract):
    pytestmark = real

    @pytest.fixture
    async def bound(self):
        async with RealHelpdesk(URL, KEY) as helpdesk:
            await helpdesk.empty()
            numbers, files = [await helpdesk.ticket(f"ticket {number}") for number in range(5)], []
            for sample in SAMPLES:
                if sample.content:
                    owner = numbers[sample.entity]
                    await helpdesk.attach(owner, sample.name, sample.content, sample.media_type)
                    files.append(Expected.of(ticket(owner), sample.name, sample.content))
            gone = await helpdesk.attach(numbers[0], "gone.txt", b"x", "text/plain")
            await helpdesk.delete(gone)
            bound = BoundSource(
                source(URL, KEY),
                lambda: source(URL, KEY),
                {ticket(number) for number in numbers},
                files,
                gone=Attachment(str(gone), ticket(numbers[0]), "gone.txt"),
                missing=Entity(ticket(404040)),
                refused=lambda: source(URL, "wrong"),
                unreachable=lambda: source(nowhere()),
            )
            yield bound
            await bound.source.close()


class TestRealTarget(TargetContract):
    pytestmark = real

    @pytest.fixture
    async def bound(self):
        async with RealHelpdesk(URL, KEY) as helpdesk:
            await helpdesk.empty()
            number = await helpdesk.ticket("a target")
            await helpdesk.attach(number, "before.txt", b"before", "text/plain")

            async def files_of(ref: EntityRef) -> list[Truth]:
                return await helpdesk.truth_of(int(ref.id))

            bound = BoundTarget(
                target(URL, KEY),
                lambda: target(URL, KEY),
                ticket(number),
                ticket(404040),
                files_of,
                refused=lambda: target(URL, "wrong"),
                unreachable=lambda: target(nowhere()),
            )
            yield bound
            await bound.target.close()


# --- what only django-helpdesk does


def test_migrator_finds_the_adapter_by_its_name():
    assert adapter("helpdesk") is ADAPTER


async def test_a_ticket_that_the_listing_leaves_out_is_missed(fake):
    for number in range(5):
        fake.ticket(f"ticket {number}")
    fake.drops = 3
    reader = source(fake.url)
    with pytest.raises(errors.ShortListingError):
        await crawl(reader)
    await reader.close()


async def test_a_load_makes_one_follow_up_for_all_files_of_a_ticket(fake):
    number, writer = fake.ticket("one"), target(fake.url)
    for name in ("a.txt", "b.txt"):
        await writer.upload(ticket(number), Draft(name, "text/plain", "", 1), Bytes(b"x"))
    await writer.close()
    assert [made["title"] for made in fake.tickets[number]["followup_set"]] == ["Migrated files"]


async def test_an_extension_that_is_not_allowed_is_refused(fake):
    number, writer = fake.ticket("one"), target(fake.url)
    with pytest.raises(errors.RejectedError, match="400"):
        await writer.upload(ticket(number), Draft(f"a{REFUSED}", "text/plain", "", 1), Bytes(b"x"))
    await writer.close()
    assert fake.of(number) == []
