"""What exists in a Squash TM and what doesn't: records that show it, and which routes this server has.

A 404 may mean that one thing does not exist or that the route is unknown. It counts as a deletion only while the same
route answers for another thing of that kind; otherwise the route itself may be missing.

Beware: requirements and the items of a test plan have two routes each, and a server knows one, or both by turns.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from migrator.errors import (
    ConnectError,
    GoneError,
    ItemFailedError,
    LoginPageError,
    NotExposedError,
    RejectedError,
    RetriableError,
    ThrottledError,
    UnexpectedBodyError,
)
from migrator.trackers.lenient import as_object, as_objects, non_negative
from migrator.trackers.listing import Items
from migrator.trackers.squash.hal import Get, PageStep, items_in, number_of, read_page
from migrator.trackers.strict import objects_in

STREAMS = (
    "projects",
    "requirement-folders",
    "requirements",
    "test-case-folders",
    "test-cases",
    "campaign-folders",
    "campaigns",
)
PLANS = ("iteration-test-plan-items", "test-plan-items")  # the second since version 14
PARENTS = {
    "iterations": ("campaigns", "iterations"),
    "executions": ("iterations", "test-plan"),
    "plan": ("iterations", "test-plan"),
}
"""Where things that no list tells of are found: below what, and by which listing."""
NO_RECORDS = (
    "files tell neither size nor date (GET attachments/{id} is not there, or makes no sense): "
    "they are backed up and loaded, but sizes are not compared"
)
MAX_THROTTLED_LISTS = (
    2  # lists that ask for patience (429, 503), before no other is asked: a server that is down has each say so
)
SAMPLE_SIZE = 4  # things of a kind that are asked whether the route to their records is there


def listing(path: str, page_size: int) -> PageStep:
    """The first page of one. Steps of a test case have an order of their own; a page must hold two items at least."""
    return PageStep(path, size=max(2, page_size), sorts=not path.endswith("/steps"))


class Records:
    """The records of one server that are no owners of files, and whether what was listed is still there."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._plans: tuple[str, ...] = PLANS
        self._recent: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=SAMPLE_SIZE))

    async def first_answer(self) -> tuple[str, dict[str, Any]]:
        """The first of the seven lists that answers, and what it says: any one proves that the API is there.

        Where none does, why not.
        """
        failures: list[ItemFailedError] = []
        for stream in STREAMS:
            if len(failures) >= MAX_THROTTLED_LISTS and all(
                isinstance(failure, ThrottledError) for failure in failures
            ):
                break
            try:
                answer = await self._get(stream, listing(stream, SAMPLE_SIZE).query(0, SAMPLE_SIZE))
                items_in(answer, stream)
            except (ConnectError, LoginPageError):
                raise
            except ItemFailedError as error:
                failures.append(error)
            else:
                return stream, answer
        raise next((failure for failure in failures if type(failure) is RetriableError), failures[0])

    async def versions(self, path: str) -> Items:
        """The versions of a requirement; the current one among them tells its files."""
        try:
            found = await self._get(path, {})
        except GoneError:
            found = await self._get(f"high-level-{path}", {})
        current = [] if found.get("current_version") is None else [found["current_version"]]
        versions = [*objects_in(found, "versions"), *objects_in(current)]
        if not versions:
            raise UnexpectedBodyError(f"GET {path}: it tells of no version, though each requirement has one")
        return list({number_of(version): version for version in versions}.values())

    async def executions(
        self, step: PageStep, odd: list[str] | None = None, *, short: bool = False
    ) -> tuple[Items, PageStep | None]:
        """Those of an item of a test plan, by whichever of the two paths this server knows."""
        _, rest = step.path.split("/", 1)
        for plan in self._plans:
            try:
                items, following = await read_page(self._get, replace(step, path=f"{plan}/{rest}"), odd, short=short)
            except GoneError:
                continue
            self._plans = (plan,)
            return items, replace(following, path=step.path) if following else None
        if len(self._plans) > 1:
            raise NotExposedError("the items of a test plan are under neither of the two paths")
        raise GoneError(f"GET {step.path}: no longer there")

    def remember(self, steps: Iterable[PageStep]) -> None:
        """Things that a listing has just shown, and whose children are about to be read."""
        for step in steps:
            family, _, rest = step.path.partition("/")
            if rest and (number := rest.partition("/")[0]) not in self._recent[family]:
                self._recent[family].append(number)

    async def was_deleted(self, path: str) -> bool:
        """Whether what is asked for below a thing is not there because that thing was deleted since it was listed."""
        family, _, rest = path.partition("/")
        number = rest.partition("/")[0]
        if not rest or await self._answers(family, number) is not False:
            return False
        others = {*self._recent[family]} - {number}
        return await self._any_answers(family, others) or await self._any_answers(
            family, {*await self._sample(family)} - {number} - others
        )

    async def _any_answers(self, family: str, numbers: Iterable[str]) -> bool:
        for number in numbers:
            if await self._answers(family, number):
                return True
        return False

    async def _answers(self, family: str, number: str) -> bool | None:
        """Whether the record of a thing exists; None if nobody can say."""
        try:
            if family == "requirements":
                await self.versions(f"{family}/{number}")
            elif family == "plan":
                await self.executions(listing(f"{family}/{number}/executions", SAMPLE_SIZE))
            else:
                await self._get(f"{family}/{number}", {})
        except GoneError:
            return False
        except (RejectedError, UnexpectedBodyError):
            return None
        return True

    async def _sample(self, family: str) -> list[str]:
        """A few numbers of things of a kind, as the server lists them now; none where it doesn't."""
        if family in STREAMS:
            return [str(number_of(item)) for item in await self.first_items(family)]
        if family not in PARENTS:
            return []
        above, part = PARENTS[family]
        items = [
            item for number in await self._sample(above) for item in await self.first_items(f"{above}/{number}/{part}")
        ]
        if family == "executions":
            items = [execution for item in items for execution in as_objects(item.get("executions"))]
        return [str(number_of(item)) for item in items]

    async def first_items(self, path: str) -> Items:
        """The first items of a listing; none where there is no such listing."""
        try:
            items, _ = await read_page(self._get, listing(path, SAMPLE_SIZE))
        except (RejectedError, UnexpectedBodyError):
            return []
        return items


async def odd_lists(get: Get, page_size: int) -> tuple[str, ...]:
    """What is odd about the seven lists, and what each oddity means."""
    told: list[str] = []
    for stream in STREAMS:
        try:
            answer = await get(stream, listing(stream, page_size).query(0, page_size))
            found = items_in(answer, stream)
        except ConnectError:
            raise
        except ItemFailedError as error:
            told.append(f"{stream} can't be listed ({error}): neither they nor what is below them is backed up")
            continue
        size, total = (non_negative(as_object(answer.get("page")).get(key)) for key in ("size", "totalElements"))
        if total is not None and len(found) < min(total, size or page_size):
            lost = "what lacks can't be listed, and as long as it is so, each backup says that it is incomplete"
            told.append(f"{stream}: {len(found)} of {total} items come on the first page: {lost}")
        if size is not None and size < page_size:
            told.append(f"{stream}: a page holds {size} items at most, not {page_size}: listing takes more requests")
        if stream == "projects" and not found:
            told.append("no project is to be seen: this account may read none, so there is nothing to back up or load")
    return tuple(told)
