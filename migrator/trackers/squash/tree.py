"""The walk to the twelve kinds of owners in a Squash TM: seven lists, and the lists below their items.

The cursor is a list of steps, the pages that are still to be requested. Each page of a stream takes a few of them and
puts in their place the steps that follow from their answers.

Beware: a listing that cannot be read (forbidden, unknown to the server, broken) must not look empty. An entity whose id
is the path stands for it; requesting the files of that entity fails, so that the reason is recorded.
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
from migrator.trackers.lenient import iso_date, raw_json, text
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
"""The kind of the items of a listing, where the two have different names."""
DATED_KINDS = frozenset({"test-cases", "campaigns", "requirement-versions"})
"""Kinds of which each version that dates its changes gives an owner a new date when a file is added or deleted."""
FIELDS = "name,created_on,last_modified_on"
"""The fields that lists of these kinds are asked for; by themselves, they show no dates."""
UNAUTHORIZED = "unauthorized-resource"
STEPS_PER_PAGE = 8
"""Steps that are taken at once for one page of a stream."""
MAX_SHORT_ANSWERS = 3
"""How often a page may lack items before it is accepted, with a failure for what it lacks."""
MAX_FAILURES = 6
"""How often a listing may fail by a server error, while others answer, before it counts as unreadable."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step: owners, those in `ask` whose files are to be read, further steps, and failures."""

    entities: tuple[Entity, ...] = ()
    ask: tuple[Entity, ...] = ()
    below: tuple[PageStep, ...] = ()
    unread: tuple[Unread, ...] = ()


class OwnerTree:
    """The owners of one server. `view` is its address for people; `projects`: their files are read, too.

    `dates`: owners have the dates of their changes, as far as the server gives them.
    """

    def __init__(self, get: Get, records: Records, view: str, page_size: int, *, projects: bool, dates: bool) -> None:
        self._get, self._records, self._view, self._page_size = get, records, view, page_size
        self._projects, self._dates = projects, dates
        self._kinds_with_files: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._short_answers: Counter[str] = Counter()
        self._reasons: dict[EntityRef, str] = {}

    async def page(self, stream: str, cursor: Cursor | None) -> Page:
        """One page of a stream, for `Source.read`."""
        todo = [listing(stream, self._page_size)] if cursor is None else decode(cursor)
        steps = todo[:STEPS_PER_PAGE]
        self._records.remember(steps)
        answers = await asyncio.gather(*(self._result_of(step) for step in steps), return_exceptions=True)
        results = await self._without_failures(answers, steps)
        todo = [*(step for result in results for step in result.below), *todo[STEPS_PER_PAGE:]]
        return Page(
            entities=tuple(entity for result in results for entity in result.entities),
            ask=tuple(entity for result in results for entity in result.ask),
            next=encode(todo) if todo else None,
            unread=tuple(failure for result in results for failure in result.unread),
        )

    async def resume_listing(self, ref: EntityRef) -> Cursor | None:
        """A cursor for a listing that was unreadable; None if its owner was deleted since. Raises if it still fails."""
        if reason := self._reasons.get(ref):
            raise NotExposedError(f"{ref.id}: {reason}")
        step = listing(ref.id.replace(f"{PLANS[0]}/", "plan/"), self._page_size)
        try:
            await self._read(step)
        except GoneError:
            if await self._records.was_deleted(step.path):
                return None
            raise NotExposedError(f"{ref.id}: the server knows no such listing") from None
        return encode([step])

    async def _without_failures(
        self, answers: Sequence[StepResult | BaseException], steps: Sequence[PageStep]
    ) -> list[StepResult]:
        """The results of these steps. A step that failed is its own next step; if all failed, an error is raised."""
        failed = {
            step: answer for answer, step in zip(answers, steps, strict=True) if isinstance(answer, BaseException)
        }
        for error in failed.values():
            if not isinstance(error, RetriableError):
                raise error
        all_failed = all(isinstance(answer, BaseException) for answer in answers)
        unreadable = await self._unreadable(failed) if all_failed else {}
        instead = {step: unreadable.get(step, StepResult(below=(step,))) for step in failed}
        pairs = zip(answers, steps, strict=True)
        return [answer if isinstance(answer, StepResult) else instead[step] for answer, step in pairs]

    async def _unreadable(self, failed: Mapping[PageStep, BaseException]) -> dict[PageStep, StepResult]:
        """Results for the listings that always fail by a server error, while the server answers other requests."""
        self._failures.update(step.path for step in failed)
        broken = {step: error for step, error in failed.items() if step.path not in STREAMS and is_broken(error)}
        unreadable = {step: error for step, error in broken.items() if self._failures[step.path] >= MAX_FAILURES}
        if not unreadable:
            raise next(iter(failed.values()))
        await self._records.first_answer()
        self._reasons.update((unreadable_listing(step).ref, str(error)) for step, error in unreadable.items())
        return {step: StepResult(ask=(unreadable_listing(step),)) for step in unreadable}

    async def _result_of(self, step: PageStep) -> StepResult:
        """The result of a step. For an unreadable listing it has an entity to ask, so that the failure is recorded."""
        unreadable = StepResult(ask=(unreadable_listing(step),))
        try:
            result = await self._read(step)
        except GoneError:
            if step.path in STREAMS:
                raise
            result = StepResult() if await self._records.was_deleted(step.path) else unreadable
        except RejectedError:
            result = unreadable
        self._failures.pop(step.path, None)
        return result

    async def _read(self, step: PageStep) -> StepResult:
        if step.path.startswith("requirements/"):
            return self._classified(await self._records.versions(step.path), "versions")
        reasons: list[str] = []
        try:
            items, next_step = await self._page(step, reasons)
        except ShortListingError:
            self._short_answers[step.path] += 1
            if self._short_answers[step.path] < MAX_SHORT_ANSWERS:
                raise
            items, next_step = await self._page(step, reasons, short=True)
        result = self._classified(items, listing_of(step))
        unread = tuple(Unread(unreadable_listing(step).ref, reason) for reason in reasons)
        return replace(result, below=(*result.below, *([next_step] if next_step else [])), unread=unread)

    async def _page(self, step: PageStep, reasons: list[str], *, short: bool = False) -> tuple[Items, PageStep | None]:
        if step.path.startswith("plan/"):
            return await self._records.executions(step, reasons, short=short)
        return await read_page(self._get_list, step, reasons, short=short)

    async def _get_list(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        dated = self._dates and path.rpartition("/")[2] in DATED_KINDS
        return await self._get(path, {**query, "fields": FIELDS} if dated else query)

    def _classified(self, items: Iterable[Mapping[str, Any]], listing_name: str) -> StepResult:
        """The items of a listing as owners, further steps, or entities that stand for unreadable items."""
        readable = [item for item in items if item.get("_type") != UNAUTHORIZED]
        unreadable = tuple(unreadable_item(item, listing_name) for item in items if item.get("_type") == UNAUTHORIZED)
        if listing_name == "requirements":
            return StepResult(ask=unreadable, below=self._steps(f"requirements/{number_of(item)}" for item in readable))
        if listing_name == "test-plan":
            return self._of_plan(readable, unreadable)
        kind = KIND_OF.get(listing_name, listing_name)
        owners = [(item, self._entity(item, kind)) for item in readable if carries_files(item, listing_name)]
        ask = tuple(entity for item, entity in owners if self._may_have_files(item, kind))
        parts = self._steps(
            f"{kind}/{entity.ref.id}/{part}" for item, entity in owners for part in parts_of(item, kind)
        )
        return StepResult(tuple(entity for _, entity in owners), (*ask, *unreadable), parts)

    def _of_plan(self, items: Iterable[Mapping[str, Any]], unreadable: tuple[Entity, ...]) -> StepResult:
        """The executions inside the items of a test plan, and a step for each item that doesn't show its own."""
        lists = [item["executions"] for item in items if item.get("executions") is not None]
        executions = [execution for listed in lists for execution in objects_in(listed)]
        result = self._classified(executions, "executions")
        more = self._steps(f"plan/{number_of(item)}/executions" for item in items if item.get("executions") is None)
        return StepResult(result.entities, (*result.ask, *unreadable), (*result.below, *more))

    def _steps(self, paths: Iterable[str]) -> tuple[PageStep, ...]:
        return tuple(listing(path, self._page_size) for path in paths)

    def _may_have_files(self, item: Mapping[str, Any], kind: str) -> bool:
        """Whether an owner may have files. Lists usually don't show files, so an empty list of them counts only for a
        kind of which some list showed files.
        """
        if item.get("attachments"):
            self._kinds_with_files.add(kind)
        has_none = item.get("attachments") == [] and kind in self._kinds_with_files
        return not has_none and (kind != "projects" or self._projects)

    def _entity(self, item: Mapping[str, Any], kind: str) -> Entity:
        ref = EntityRef(kind, str(number_of(item)))
        date = change_date(item) if self._dates and kind in DATED_KINDS else ""
        return Entity(ref, text(item.get("name")), f"{self._view}/{kind}/{ref.id}", raw_json(item), date)


def listing_of(step: PageStep) -> str:
    """The name of a step's listing: the last part of its path."""
    return step.path.rpartition("/")[2]


def is_broken(failure: BaseException) -> bool:
    """Whether the server answered, but with a server error or with nonsense."""
    return (isinstance(failure, RetriableError) and failure.status == 500) or type(failure) in {
        UnexpectedBodyError,
        ShortListingError,
    }


def is_unreadable_listing(ref: EntityRef) -> bool:
    """Whether an entity stands for an unreadable listing."""
    return "/" in ref.id or ref.id in STREAMS


def unreadable_listing(step: PageStep) -> Entity:
    """The entity that stands for a listing that can't be read."""
    return Entity(unreadable_ref(step.path.replace("plan/", f"{PLANS[0]}/"), listing_of(step)))


def unreadable_ref(path: str, listing_name: str) -> EntityRef:
    """The reference for a path that can't be read; its kind is that of the items there."""
    kind = "requirement-versions" if path.startswith("requirements/") else KIND_OF.get(listing_name, listing_name)
    return EntityRef(kind, path)


def unreadable_item(item: Mapping[str, Any], listing_name: str) -> Entity:
    """The entity for an item that this account may not read; requesting its files records the refusal."""
    kind, number = f"{text(item.get('resource_type'))}s", str(number_of(item))
    known = kind in KINDS
    return Entity(EntityRef(kind, number) if known else unreadable_ref(f"{listing_name}/{number}", listing_name))


def change_date(item: Mapping[str, Any]) -> str:
    """The date of an owner's last change; an owner that was never changed has only that of its creation."""
    if "last_modified_on" not in item:
        return ""
    return iso_date(item["last_modified_on"]) or (
        iso_date(item.get("created_on")) if item["last_modified_on"] is None else ""
    )


def carries_files(item: Mapping[str, Any], listing_name: str) -> bool:
    """Whether an item can have files. Of the steps of a test case only actions can, not calls or keywords."""
    return listing_name != "steps" or item.get("_type") in {"action-step", None} or "attachments" in item


def parts_of(item: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The listings below an item. Only plain test cases have steps that carry files."""
    plain = kind != "test-cases" or text(item.get("_type")) in {"test-case", ""}
    return CHILDREN.get(kind, ()) if plain else ()


def path_of(owner: EntityRef) -> str:
    """The path of an owner; `RejectedError` for a kind that carries no files."""
    if owner.kind not in KINDS:
        raise RejectedError(
            f"{owner.kind!r} is not a kind that carries files in Squash TM; those are {', '.join(sorted(KINDS))}"
        )
    return f"{owner.kind}/{digits(owner.id)}"
