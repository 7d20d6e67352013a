"""What exists in a Squash TM and what doesn't: records that show it, and the routes that this server has.

A 404 may mean that a record does not exist or that the route is unknown. It counts as a deletion only while the same
route returns another record of that kind; otherwise the route itself may be missing.

Beware: requirements and the items of a test plan have two routes each, and a server knows one of them, or now one and
now the other.
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
"""For records that have no list of their own: the kind of their parents, and the listing below a parent."""
NO_RECORDS = (
    "files have neither size nor date (GET attachments/{id} doesn't exist, or its answer is invalid): "
    "they are backed up and loaded, but sizes are not compared"
)
MAX_THROTTLED_LISTS = 2
"""After this many lists that answer 429 or 503 no other is requested: the server is down, and all would say so."""
SAMPLE_SIZE = 4
"""Records of a kind that are requested to find out whether their route exists."""


def listing(path: str, page_size: int) -> PageStep:
    """The first page of a listing. Steps of a test case have an order of their own; pages need at least two items."""
    return PageStep(path, size=max(2, page_size), sorts=not path.endswith("/steps"))


class Records:
    """The records of one server, and whether those that were listed still exist."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._plans: tuple[str, ...] = PLANS
        self._recent: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=SAMPLE_SIZE))

    async def first_answer(self) -> tuple[str, dict[str, Any]]:
        """The name and answer of the first of the seven lists that answers, which proves that the API exists.

        Raises the most telling failure if none answers.
        """
        failures: list[ItemFailedError] = []
        for stream in STREAMS:
            all_throttled = all(isinstance(failure, ThrottledError) for failure in failures)
            if all_throttled and len(failures) >= MAX_THROTTLED_LISTS:
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
        """The versions of a requirement; the record of the current one shows its files."""
        try:
            record = await self._get(path, {})
        except GoneError:
            record = await self._get(f"high-level-{path}", {})
        current = [] if record.get("current_version") is None else [record["current_version"]]
        versions = [*objects_in(record, "versions"), *objects_in(current)]
        if not versions:
            raise UnexpectedBodyError(f"GET {path}: it has no version, although each requirement has one")
        return list({number_of(version): version for version in versions}.values())

    async def executions(
        self, step: PageStep, unread: list[str] | None = None, *, short: bool = False
    ) -> tuple[Items, PageStep | None]:
        """The executions of an item of a test plan, by the one of two paths that this server knows; see `read_page`."""
        _, rest = step.path.split("/", 1)
        for plan in self._plans:
            try:
                items, next_step = await read_page(self._get, replace(step, path=f"{plan}/{rest}"), unread, short=short)
            except GoneError:
                continue
            self._plans = (plan,)
            return items, replace(next_step, path=step.path) if next_step else None
        if len(self._plans) > 1:
            raise NotExposedError("the items of a test plan are under neither of the two paths")
        raise GoneError(f"GET {step.path}: no longer there")

    def remember(self, steps: Iterable[PageStep]) -> None:
        """Remember records that were just listed, and whose children are about to be read."""
        for step in steps:
            family, _, rest = step.path.partition("/")
            if rest and (number := rest.partition("/")[0]) not in self._recent[family]:
                self._recent[family].append(number)

    async def was_deleted(self, path: str) -> bool:
        """Whether the listing at `path` is missing because the record above it was deleted since it was listed."""
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
        """Whether a record exists; None if its answer doesn't say."""
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
        """The numbers of a few records of a kind that are listed now; none if they can't be listed."""
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
        """The first items of a listing; none if it can't be read."""
        try:
            items, _ = await read_page(self._get, listing(path, SAMPLE_SIZE))
        except (RejectedError, UnexpectedBodyError):
            return []
        return items


async def odd_lists(get: Get, page_size: int) -> tuple[str, ...]:
    """Sentences on what is odd about the seven lists, and what each oddity means."""
    sentences: list[str] = []
    for stream in STREAMS:
        try:
            answer = await get(stream, listing(stream, page_size).query(0, page_size))
            items = items_in(answer, stream)
        except ConnectError:
            raise
        except ItemFailedError as error:
            sentences.append(f"{stream} can't be listed ({error}): neither they nor what is below them is backed up")
            continue
        size, total = (non_negative(as_object(answer.get("page")).get(key)) for key in ("size", "totalElements"))
        if total is not None and len(items) < min(total, size or page_size):
            lost = "the rest can't be listed, and until it can, each backup says that it is incomplete"
            sentences.append(f"{stream}: the first page has {len(items)} of {total} items: {lost}")
        if size is not None and size < page_size:
            sentences.append(
                f"{stream}: a page holds {size} items at most, not {page_size}: listing takes more requests"
            )
        if stream == "projects" and not items:
            sentences.append(
                "no project can be seen: this account may not read any, so there is nothing to back up or load"
            )
    return tuple(sentences)
