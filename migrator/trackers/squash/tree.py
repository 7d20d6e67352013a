"""The way down to the twelve kinds of owners in a Squash TM: seven lists, and what is below each of their items.

What is still to be requested is a list of steps, which is also the cursor. Each page takes a few of them and replaces
them by what is to be read after them.

Beware: a branch that cannot be read (forbidden, unknown to the server, broken) must not look empty. It becomes an
entity whose id is its path; asking for the files of that entity says what is wrong, and so it is recorded.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from migrator.errors import (
    GoneError,
    NotExposedError,
    RejectedError,
    RetriableError,
    ShortListingError,
    UnexpectedBodyError,
)
from migrator.model import Cursor, Entity, EntityRef, Page, Unread
from migrator.trackers.lenient import raw_json, text
from migrator.trackers.listing import Items
from migrator.trackers.squash.hal import Get, PageStep, decode, encode, number_of, read_page
from migrator.trackers.squash.records import PLANS, STREAMS, Records, listing
from migrator.trackers.strict import digits, objects_in

CHILDREN = {
    "test-cases": ("steps",),
    "campaigns": ("iterations",),
    "iterations": ("test-suites", "test-plan"),
    "executions": ("execution-steps",),
}
KINDS = ({*STREAMS} - {"requirements"}) | {
    *("requirement-versions", "test-steps", "iterations", "test-suites", "executions", "execution-steps")
}
KIND_OF = {
    "requirements": "requirement-versions",
    "versions": "requirement-versions",
    "steps": "test-steps",
    "test-plan": "executions",
}
"""Kinds of what a listing holds, where it isn't called the same."""
UNAUTHORIZED = "unauthorized-resource"
LISTINGS_PER_STEP = 8  # listings asked in one step
MAX_SHORT_ANSWERS = 3  # times that a page may lack items before it is accepted, with a failure for what it lacks
MAX_FAILURES = 6  # of a listing that fails by an error of the server's own when all else in its step is read


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step brought, whose files are to be asked for, what is to be read next, and what can't be read."""

    entities: tuple[Entity, ...] = ()
    ask: tuple[Entity, ...] = ()
    below: tuple[PageStep, ...] = ()
    unread: tuple[Unread, ...] = ()


class OwnerTree:
    """The owners of one server. `view` is its address as people see it; `projects`: they are asked for files, too."""

    def __init__(self, get: Get, records: Records, view: str, page_size: int, *, projects: bool) -> None:
        self._get, self._records, self._view, self._page_size = get, records, view, page_size
        self._projects = projects
        self._kinds_with_files: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._short_answers: Counter[str] = Counter()
        self._reasons: dict[EntityRef, str] = {}

    async def page(self, stream: str, cursor: Cursor | None) -> Page:
        """One page of a stream, for `Source.read`."""
        todo = [listing(stream, self._page_size)] if cursor is None else decode(cursor)
        self._records.remember(todo[:LISTINGS_PER_STEP])
        tried = await asyncio.gather(
            *(self._result_of(step) for step in todo[:LISTINGS_PER_STEP]), return_exceptions=True
        )
        found = await self._without_failures(tried, todo)
        todo = [*(step for one in found for step in one.below), *todo[LISTINGS_PER_STEP:]]
        return Page(
            entities=tuple(entity for one in found for entity in one.entities),
            ask=tuple(entity for one in found for entity in one.ask),
            next=encode(todo) if todo else None,
            unread=tuple(unread for one in found for unread in one.unread),
        )

    async def resume_listing(self, unreadable_listing: EntityRef) -> Cursor | None:
        """The cursor of a way that was closed; None if what it hangs on was deleted since.

        Raises what it is refused for, if it still is.
        """
        if why := self._reasons.get(unreadable_listing):
            raise NotExposedError(f"{unreadable_listing.id}: {why}")
        step = listing(unreadable_listing.id.replace(f"{PLANS[0]}/", "plan/"), self._page_size)
        try:
            await self._read(step)
        except GoneError:
            if await self._records.was_deleted(step.path):
                return None
            raise NotExposedError(f"{unreadable_listing.id}: the server knows no such listing") from None
        return encode([step])

    async def _without_failures(
        self, tried: Sequence[StepResult | BaseException], steps: Sequence[PageStep]
    ) -> list[StepResult]:
        """What came of these steps; one that failed is read again. Raises a failure if none got any further."""
        failed = {step: one for one, step in zip(tried, steps, strict=False) if isinstance(one, BaseException)}
        for failure in failed.values():
            if not isinstance(failure, RetriableError):
                raise failure
        all_failed = all(isinstance(one, BaseException) for one in tried)
        given_up = await self._hopeless(failed) if all_failed else {}
        again = {step: given_up.get(step, StepResult(below=(step,))) for step in failed}
        return [one if isinstance(one, StepResult) else again[step] for one, step in zip(tried, steps, strict=False)]

    async def _hopeless(self, failed: Mapping[PageStep, BaseException]) -> dict[PageStep, StepResult]:
        """Those of which the server makes an error each time, while it answers else: closed ways."""
        self._failures.update(step.path for step in failed)
        hopeless = {
            step: why for step, why in failed.items() if self._failures[step.path] >= MAX_FAILURES and is_broken(why)
        }
        hopeless = {step: why for step, why in hopeless.items() if step.path not in STREAMS}
        if not hopeless:
            raise next(iter(failed.values()))
        await self._records.first_answer()
        self._reasons.update((unreadable_listing(step).ref, str(why)) for step, why in hopeless.items())
        return {step: StepResult(ask=(unreadable_listing(step),)) for step in hopeless}

    async def _result_of(self, step: PageStep) -> StepResult:
        """What a step brings. A way that is closed is asked for as an entity, so that it is recorded, not forgotten."""
        try:
            found = await self._read(step)
        except GoneError:
            if step.path in STREAMS:
                raise
            found = (
                StepResult()
                if await self._records.was_deleted(step.path)
                else StepResult(ask=(unreadable_listing(step),))
            )
        except RejectedError:
            found = StepResult(ask=(unreadable_listing(step),))
        self._failures.pop(step.path, None)
        return found

    async def _read(self, step: PageStep) -> StepResult:
        if step.path.startswith("requirements/"):
            return self._classified(await self._records.versions(step.path), "versions")
        odd: list[str] = []
        try:
            items, following = await self._page(step, odd)
        except ShortListingError:
            self._short_answers[step.path] += 1
            if self._short_answers[step.path] < MAX_SHORT_ANSWERS:
                raise
            items, following = await self._page(step, odd, short=True)
        found = self._classified(items, listing_of(step))
        unread = tuple(Unread(unreadable_listing(step).ref, reason) for reason in odd)
        return replace(found, below=(*found.below, *([following] if following else [])), unread=unread)

    async def _page(self, step: PageStep, odd: list[str], *, short: bool = False) -> tuple[Items, PageStep | None]:
        if step.path.startswith("plan/"):
            return await self._records.executions(step, odd, short=short)
        return await read_page(self._get, step, odd, short=short)

    def _classified(self, items: Iterable[Mapping[str, Any]], where: str) -> StepResult:
        """What the items of a listing are: owners, ways further down, or what may not be read."""
        there = [item for item in items if item.get("_type") != UNAUTHORIZED]
        barred = tuple(unreadable_item(item, where) for item in items if item.get("_type") == UNAUTHORIZED)
        if where == "requirements":
            return StepResult(ask=barred, below=self._steps(f"requirements/{number_of(item)}" for item in there))
        if where == "test-plan":
            return self._of_plan(there, barred)
        kind = KIND_OF.get(where, where)
        owners = [(item, self._entity(item, kind)) for item in there if carries_files(item, where)]
        asked = tuple(entity for item, entity in owners if self._is_asked(item, kind))
        parts = self._steps(
            f"{kind}/{entity.ref.id}/{part}" for item, entity in owners for part in parts_of(item, kind)
        )
        return StepResult(tuple(entity for _, entity in owners), (*asked, *barred), parts)

    def _of_plan(self, items: Iterable[Mapping[str, Any]], barred: tuple[Entity, ...]) -> StepResult:
        """The executions that the items of a test plan hold, or where to ask for those of an item that holds none."""
        known = [item["executions"] for item in items if item.get("executions") is not None]
        told = [execution for executions in known for execution in objects_in(executions)]
        found = self._classified(told, "executions")
        more = self._steps(f"plan/{number_of(item)}/executions" for item in items if item.get("executions") is None)
        return StepResult(found.entities, (*found.ask, *barred), (*found.below, *more))

    def _steps(self, paths: Iterable[str]) -> tuple[PageStep, ...]:
        return tuple(listing(path, self._page_size) for path in paths)

    def _is_asked(self, item: Mapping[str, Any], kind: str) -> bool:
        """A list usually doesn't mention files. That there are none counts only once it has mentioned some."""
        if item.get("attachments"):
            self._kinds_with_files.add(kind)
        told_none = item.get("attachments") == [] and kind in self._kinds_with_files
        return not told_none and (kind != "projects" or self._projects)

    def _entity(self, item: Mapping[str, Any], kind: str) -> Entity:
        ref = EntityRef(kind, str(number_of(item)))
        return Entity(ref, text(item.get("name")), f"{self._view}/{kind}/{ref.id}", raw_json(item))


def listing_of(step: PageStep) -> str:
    """The last part of its path."""
    return step.path.rpartition("/")[2]


def is_broken(failure: BaseException) -> bool:
    """Whether the server answered, but with an error of its own or with nonsense."""
    return (isinstance(failure, RetriableError) and failure.status == 500) or type(failure) in {
        UnexpectedBodyError,
        ShortListingError,
    }


def is_unreadable_listing(ref: EntityRef) -> bool:
    """Whether this is no owner but a way that is closed."""
    return "/" in ref.id or ref.id in STREAMS


def unreadable_listing(step: PageStep) -> Entity:
    """What stands for a listing that can't be read."""
    return Entity(unreadable_ref(step.path.replace("plan/", f"{PLANS[0]}/"), listing_of(step)))


def unreadable_ref(path: str, where: str) -> EntityRef:
    """What stands for a path that may not be read; its kind is that of what is there."""
    kind = "requirement-versions" if path.startswith("requirements/") else KIND_OF.get(where, where)
    return EntityRef(kind, path)


def unreadable_item(item: Mapping[str, Any], where: str) -> Entity:
    """What may not be read, as an entity to be asked for: the refusal is recorded then."""
    kind, number = f"{text(item.get('resource_type'))}s", str(number_of(item))
    return Entity(EntityRef(kind, number) if kind in KINDS else unreadable_ref(f"{where}/{number}", where))


def carries_files(item: Mapping[str, Any], where: str) -> bool:
    """Of the steps of a test case only actions do, not calls of other test cases, nor keywords."""
    return where != "steps" or item.get("_type") in {"action-step", None} or "attachments" in item


def parts_of(item: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The listings below an item. Scripted, keyword and exploratory test cases have no steps that carry files."""
    plain = kind != "test-cases" or text(item.get("_type")) in {"test-case", ""}
    return CHILDREN.get(kind, ()) if plain else ()


def path_of(owner: EntityRef) -> str:
    """Where an owner is; `RejectedError` for what is none."""
    if owner.kind not in KINDS:
        raise RejectedError(
            f"{owner.kind!r} is no kind of Squash TM that carries files; it knows {', '.join(sorted(KINDS))}"
        )
    return f"{owner.kind}/{digits(owner.id)}"
