"""The lists of files of Issuetrak's issues: which of two routes serves them, and when neither can be trusted.

A 404 may mean an issue without files or a missing route, in words that differ by server. It is believed only of a
route that has returned a list, for this issue or for another one that is requested to find out. If the route never
returned one, nothing is known, and that is an error. The route may also disappear during a run, for example when a
proxy gets new rules. A 404 is therefore confirmed by a list that arrives after it, from another issue that is being
requested anyway, or from a witness: an issue that is known to have a list.

Beware: the first issues of a tracker may have no files at all. Then the lists of other issues are requested, once: of a
few hundred all over the tracker, and if none of them has a list and the result depends on it, of all issues.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

from migrator.errors import (
    ForbiddenError,
    GoneError,
    NotExposedError,
    RejectedError,
    RetriableError,
    ShortListingError,
    TrackerUnreachableError,
)
from migrator.trackers.issuetrak.parse import collection_in
from migrator.trackers.lenient import non_negative
from migrator.trackers.listing import Items

ROUTES = ("issuenumber", "issue")
UNKNOWN_ROUTE = "nosuchlist"
"""A route that no server has, requested to see how the server refuses one."""
MAX_SEEN_ISSUES = 500
"""The most issues that are remembered, to request their lists until one answers."""
MAX_WITNESSES = 3
MAX_CONCURRENT = 8
"""The most lists that are requested at once, to find one that answers."""
MAX_ATTEMPTS = 3
"""Failed searches for a list that answers, each ended by temporary errors, before the search is given up."""

Get = Callable[[str], Awaitable[dict[str, Any]]]
"""Requests a path below the API; `RejectedError` with its status for a refusal."""
Numbers = Callable[[bool], AsyncIterator[str]]
"""The numbers of a few hundred issues all over the tracker that may exist; True: of all of them."""


class Lists:
    """The lists of one server. `require_issue` raises if an issue doesn't exist; `route` is one that has answered."""

    def __init__(
        self, get: Get, configured: str, require_issue: Callable[[str], Awaitable[object]], others: Numbers
    ) -> None:
        self._get, self._require_issue, self._others = get, require_issue, others
        self._routes = (configured.lower(),) if configured else ROUTES
        self._configured = bool(configured)
        self._seen: deque[str] = deque(maxlen=MAX_SEEN_ISSUES)
        self._witnesses: deque[str] = deque(maxlen=MAX_WITNESSES)
        self._search_lock, self._witness_lock = asyncio.Lock(), asyncio.Lock()
        self._searched = {False: False, True: False}  # whether a search without result is done: of a sample, of all
        self._failed_searches: list[BaseException] = []
        self._lists_received = 0
        self.route: str | None = None

    def remember(self, numbers: Iterable[str]) -> None:
        """Remember issues that exist, to request their lists while none has answered."""
        if self.route is None:
            self._seen.extend(numbers)

    async def of(self, number: str, *, trusting: bool = False) -> Items:
        """The files of an issue; `GoneError` if there is no such issue.

        `TrackerUnreachableError` if the server surely has no such route, `NotExposedError` if that isn't known.
        `trusting`: if it isn't known, but the server refuses an invented route in other words, the issue has no files.
        """
        answer = await self.ask(number)
        if isinstance(answer, list):
            return answer
        received = self._lists_received
        await self._require_issue(number)
        trusting = trusting or self._configured
        await self.find_route(whole=not trusting)
        if self.route is not None:
            no_files = _no_files(answer.get(self.route) or next(iter(answer.values())))
            await self._require_route(received)
            return no_files
        if forbidden := next((error for error in answer.values() if isinstance(error, ForbiddenError)), None):
            raise forbidden
        return await self._unproven(number, answer, trusting=trusting)

    async def ask(self, number: str) -> Items | dict[str, RejectedError]:
        """The files, from the first route that returns them, or the refusal of each route."""
        refused: dict[str, RejectedError] = {}
        for route in self._routes:
            try:
                items = _complete(await self._get(f"attachments/{route}/{number}/false"), route)
            except RejectedError as error:
                refused[route] = error
                continue
            self.route, self._routes = route, (route,)
            self._seen.clear()
            self._lists_received += 1
            if (items or not self._witnesses) and number not in self._witnesses:
                self._witnesses.append(number)
            return items
        return refused

    async def _require_route(self, received: int) -> None:
        """`RetriableError` if no list arrived after the first `received` ones, and no witness returns one now."""
        async with self._witness_lock:
            if self._lists_received > received:
                return
            for witness in [*self._witnesses]:
                if isinstance(await self.ask(witness), list):
                    return
        raise RetriableError(
            f"attachments/{self.route} no longer returns a list, not even for issues that had one before"
        )

    async def find_route(self, *, whole: bool = False) -> None:
        """Request the lists of other issues (`whole`: of all) until one answers; done once."""
        async with self._search_lock:
            if self.route is not None or self._searched[whole]:
                return
            if len(self._failed_searches) >= MAX_ATTEMPTS:
                raise self._failed_searches[0]
            failures = await self._ask_all([*self._seen])
            async for numbers in _chunks(self._others(whole)):
                failures += await self._ask_all(numbers)
                if self.route is not None:
                    return
            if failures and self.route is None:
                self._failed_searches.append(failures[0])
                raise failures[0]
            self._searched |= {False: True, whole: True}

    async def _ask_all(self, numbers: list[str]) -> list[BaseException]:
        """Request these lists, a few at once, until one answers; returns the failures."""
        failures: list[BaseException] = []
        for start in range(0, len(numbers), MAX_CONCURRENT):
            if self.route is None:
                calls = (self.ask(number) for number in numbers[start : start + MAX_CONCURRENT])
                results = await asyncio.gather(*calls, return_exceptions=True)
                failures += [result for result in results if isinstance(result, BaseException)]
        return failures

    async def still_lists(self, number: str, file: str) -> bool:
        """Whether an issue still lists a file; `GoneError` if the route itself may be gone."""
        answer = await self.ask(number)
        if isinstance(answer, list):
            return any(str(item.get("AttachmentID")) == file for item in answer)
        await self._require_issue(number)
        for witness in [*self._witnesses]:
            if witness != number and isinstance(await self.ask(witness), list):
                return False
        raise next(iter(answer.values()))

    async def _unproven(self, number: str, refused: Mapping[str, RejectedError], *, trusting: bool) -> Items:
        routes = " and ".join(f"attachments/{route}" for route in refused)
        names = {*ROUTES, *refused, UNKNOWN_ROUTE}
        unknown = {_wording(await self._refusal_of_unknown_route(number), names) for _ in range(2)}
        known = [
            error
            for error in refused.values()
            if isinstance(error, GoneError) and _wording(error, names) not in unknown
        ]
        if not known or len(unknown) > 1:
            raise TrackerUnreachableError(
                f"the server has no route {routes}; is it spelled differently there? See options.list_route"
            )
        if trusting:
            return []
        raise NotExposedError(
            f"Issue {number}: it is not known whether it has files: {routes} never returned a list; "
            "if one of them is right, name it in options.list_route"
        )

    async def _refusal_of_unknown_route(self, number: str) -> RejectedError:
        try:
            await self._get(f"attachments/{UNKNOWN_ROUTE}/{number}/false")
        except RejectedError as error:
            return error
        return RejectedError("any route answers")


async def _chunks(numbers: AsyncIterator[str]) -> AsyncIterator[list[str]]:
    chunk: list[str] = []
    async for number in numbers:
        chunk.append(number)
        if len(chunk) == MAX_CONCURRENT:
            yield chunk
            chunk = []
    yield chunk


def _complete(answer: Mapping[str, Any], route: str) -> Items:
    """The files of a list; `ShortListingError` if they are fewer than it states."""
    items, total = collection_in(answer), non_negative(answer.get("TotalCount"))
    if total is not None and len(items) < total:
        raise ShortListingError(f"attachments/{route}: {len(items)} of {total} files are listed")
    return items


def _no_files(error: RejectedError) -> Items:
    """No files, if a route that has returned lists says so; any other refusal is raised."""
    if isinstance(error, GoneError):
        return []
    raise error


def _wording(error: RejectedError, names: Collection[str]) -> str:
    """The words of a refusal, without what it repeats of the request: routes, numbers and addresses."""
    words = re.split(r"[\s/]+", str(error).lower())
    return " ".join(word for word in words if word not in names and not re.search("[0-9]", word))
