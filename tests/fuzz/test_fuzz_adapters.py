"""Every verb of every adapter against answers that are wrong in any way.

No exception but ours, no endless loop, nothing that the catalog can't hold, and no file taken for whole that isn't.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.errors import MigratorError
from migrator.layers.verify import VerifiedSource
from migrator.model import Attachment, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.ports import Source, Target
from migrator.sandbox.world.model import World
from migrator.store.catalog.rows import row_of
from migrator.testing import Bytes, MemorySink, crawl
from migrator.trackers import Adapter, adapter
from migrator.wire.client import HttpClient
from migrator.wire.rate import RateLimiter
from tests.fuzz import examples
from tests.fuzz.mutations import changes
from tests.fuzz.servers import MOST, Plan, wrong_tracker
from tests.support.parts import FULL

TRACKERS = ("issuetrak", "kiwi", "redmine", "roundup", "rt", "squash", "targetprocess", "teampulse", "trac")
WORLD = World.generate(entities=14, seed=5, attachments=24, median_bytes=300, large_bytes=0)
OPTIONS: dict[str, dict[str, Any]] = {
    "issuetrak": {"created_by": "APIUser", "page_size": 20, "zip": True},
    "kiwi": {"create_product": "Sandbox", "page_size": 5},
    "redmine": {"create_project": "secret", "create_kind": "Task"},
    "rt": {"create_queue": "General", "max_bytes": 1_000_000},
    "roundup": {},
    "squash": {"page_size": 3},
    "targetprocess": {"page_size": 5, "create_project": "Sandbox", "inline_images": "skip"},
    "teampulse": {"page_size": 5, "create_project": "Sandbox"},
    "trac": {},
}
FORMATS = {"targetprocess": ("json", "xml")}
DRAFT = EntityDraft("Bug", "a stub", "text", "migrator-" + "0" * 24)


class NoWaiting(RateLimiter):
    """Doesn't wait, whatever a tracker asks for."""

    async def acquire(self) -> None:
        """Now."""


@dataclass(frozen=True)
class Known:
    """What is in the tracker, told by answers that were right."""

    files: tuple[Attachment, ...]
    asked: tuple[Entity, ...]
    contents: frozenset[bytes]


@dataclass
class Parts:
    """An adapter at work."""

    source: Source
    target: Target
    known: Known
    plan: Plan


Verb = Callable[[Parts, int], Awaitable[None]]


def parts_of(tracker: str, url: str, auth: dict[str, str], form: str = "") -> tuple[Source, Target]:
    made: Adapter = adapter(tracker)
    http = HttpClient(url, made.signer(auth), pacer=NoWaiting(), timeout=5)
    given_ = OPTIONS[tracker] | ({"format": form} if form else {})
    options = made.options(**{k: v for k, v in given_.items() if k in made.options.__dataclass_fields__})
    return made.source(http, options), made.target(http, options)


@cache
def known(tracker: str) -> Known:
    """Asked once, in a loop of its own."""

    async def ask() -> Known:
        async with wrong_tracker(tracker, WORLD, Plan()) as running:
            source, _ = parts_of(tracker, running.url, running.auth)
            done = await crawl(source)
            await source.close()
            files = tuple(done.attachments.values())
            asked = tuple(entity for _, _, page in done.steps for entity in (*page.ask, *page.entities))
            return Known(files, asked, frozenset(WORLD.content(file) for file in WORLD.attachments) | {b"new"})

    return asyncio.run(ask())


async def read(parts: Parts, at: int) -> None:
    stream = parts.source.capabilities.streams[at % len(parts.source.capabilities.streams)]
    cursor = None
    for _ in range(40):
        page = await parts.source.read(stream, cursor)
        recordable(page.entities, page.attachments, page)
        cursor = page.next
        assert cursor is None or isinstance(cursor, str)
        if cursor is None:
            return


async def attachments_of(parts: Parts, at: int) -> None:
    found = await parts.source.attachments_of(parts.known.asked[at % len(parts.known.asked)])
    recordable((), found)


async def download(parts: Parts, at: int) -> None:
    file = parts.known.files[at % len(parts.known.files)]
    bucket = MemorySink()
    with suppress(MigratorError):
        await parts.source.attachments_of(Entity(file.owner))  # as a backup does: archives are planned here
    await VerifiedSource(parts.source).download(file, bucket)
    assert bucket.started
    if file.size is not None and not bucket.warnings:
        assert len(bucket.content) == file.size
    if parts.plan.struck <= {"broken off", "dropped", "status", "header"}:
        assert bytes(bucket.content) in parts.known.contents


async def check(parts: Parts, at: int) -> None:
    assert isinstance(await (parts.target if at % 2 else parts.source).check(), str)


async def find_attachments(parts: Parts, at: int) -> None:
    recordable((), await parts.target.find_attachments(owner(parts, at)))


async def upload(parts: Parts, at: int) -> None:
    draft = Draft(
        'new "x" é.txt' if at % 3 == 0 else "new.txt", "text/plain", "a description", 3, "2024-01-01T00:00:00", "Ann"
    )
    made = await parts.target.upload(
        owner(parts, at), replace(draft, name=parts.target.legal_name(draft.name)), Bytes(b"new")
    )
    if made is not None:
        recordable((), (made,))


async def describe(parts: Parts, at: int) -> None:
    await parts.target.describe(parts.known.files[at % len(parts.known.files)], "another")


async def read_back(parts: Parts, at: int) -> None:
    await parts.target.read_back(parts.known.files[at % len(parts.known.files)], MemorySink())


async def delete(parts: Parts, at: int) -> None:
    await parts.target.delete(parts.known.files[at % len(parts.known.files)])


async def create_entity(parts: Parts, at: int) -> None:
    with suppress(MigratorError):
        ref_is_text(await parts.target.create_entity(DRAFT))
    ref_is_text(await parts.target.find_entity(DRAFT))


async def find_entity(parts: Parts, at: int) -> None:
    ref_is_text(await parts.target.find_entity(DRAFT))


VERBS: tuple[Verb, ...] = (
    *(read, attachments_of, download, check, find_attachments, upload, describe, read_back, delete),
    *(create_entity, find_entity),
)


def owner(parts: Parts, at: int) -> EntityRef:
    return parts.known.files[at % len(parts.known.files)].owner


def ref_is_text(ref: EntityRef | None) -> None:
    assert ref is None or (isinstance(ref.kind, str) and isinstance(ref.id, str) and ref.id)


def recordable(entities: Any, attachments: Any, page: Page | None = None) -> None:
    """SQLite takes it: whole numbers of 64 bits, and text that is UTF-8."""
    with sqlite3.connect(":memory:") as db:
        for entity in entities:
            db.execute("SELECT ?, ?, ?, ?, ?", [entity.ref.kind, entity.ref.id, entity.title, entity.url, entity.raw])
        for file in attachments:
            row = row_of(file)
            db.execute(f"SELECT {', '.join('?' * len(row))}", row)
            assert file.id
            assert file.size is None or isinstance(file.size, int)
        for link in page.links if page else ():
            db.execute("SELECT ?, ?", [link.attachment_id, link.comment_id])
    db.close()


async def one(tracker: str, plan: Plan, verb: Verb, at: int, form: str) -> Plan:
    """One example: a fresh tracker, one verb."""
    async with wrong_tracker(tracker, WORLD, plan) as running:
        source, target = parts_of(tracker, running.url, running.auth, form)
        try:
            with suppress(MigratorError):
                async with asyncio.timeout(30):
                    await verb(Parts(source, target, known(tracker), plan), at)
        finally:
            await source.close()
            await target.close()
    assert plan.requests <= MOST, f"{plan.requests} requests for {verb.__name__}"
    return plan


@pytest.mark.parametrize("tracker", TRACKERS)
def test_wrong_answers_end_in_our_errors_whatever_is_asked(tracker):
    known(tracker)
    struck: set[tuple[str, str]] = set()
    with asyncio.Runner() as runner:

        @examples(200)
        @given(
            st.sampled_from(VERBS),
            st.lists(changes, min_size=1, max_size=3),
            st.sampled_from((0, 0, 0, 1, 2, 3)),  # most verbs are one request
            st.booleans(),
            st.integers(0, 400),
            st.sampled_from(FORMATS.get(tracker, ("",))),
        )
        def attempt(verb, some, first, lasting, at, form):
            plan = runner.run(one(tracker, Plan(tuple(some), first, lasting), verb, at, form))
            struck.update((verb.__name__, what) for what in plan.struck)

        attempt()
    if not FULL:
        return  # so few examples need not strike each
    silent = {verb.__name__ for verb in VERBS} - {verb for verb, _ in struck}
    assert silent <= {"describe", "delete", "create_entity", "find_entity"}, "these were never answered wrongly"
