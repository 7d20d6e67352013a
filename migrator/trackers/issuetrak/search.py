"""Issuetrak's `issues/search`: all issues, page by page, on servers that return fewer or more than requested.

Each answer is checked against what it states: its count, the number of all issues, its page size.

Beware: pages are numbered, so the items after an offset are on a page that starts before it. A server with a page size
of its own numbers its pages by that size, and the search must be repeated with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from migrator.errors import RejectedError, RetriableError, ShortListingError, UnexpectedBodyError
from migrator.trackers.issuetrak.parse import collection_in, page_window, search_for_all
from migrator.trackers.lenient import non_negative
from migrator.trackers.listing import Items, Listing, PageItems, PageOrder, PageRequest
from migrator.trackers.strict import number_in, object_in
from migrator.wire import HttpClient

PATHS = ("api/v1/issues/search", "api/v1/issues/search/")  # the vendor's sample; what a client in use sends
MIN_CUT_PAGE = 10
"""A short page with at least this many issues shows the server's own page size; a shorter one lacks issues."""
MAX_ATTEMPTS = 3
"""Attempts at one page while the server's page size turns out to be another."""


class Search:
    """The search of one server, whether it `has_answered`, and its own page size, if it ignores the requested one."""

    def __init__(self, http: HttpClient, size: int) -> None:
        self._http, self._size = http, size
        self._paths: tuple[str, ...] = PATHS
        self._first_index = 0  # 1 if the server counts pages from 1
        self.own_page_size: int | None = None
        self.has_answered = False

    def listing(self) -> Listing:
        """All issues in the order of their numbers."""
        orders = (PageOrder.OFFSET_SORTED, PageOrder.OFFSET_UNSORTED)
        return Listing(self._fetch, lambda issue: number_in(issue, "IssueNumber"), self._size, orders)

    async def page(self, index: int, size: int) -> tuple[Items, int | None]:
        """The issues of a page, and their total number, if the server states it.

        A refusal is a `RejectedError` as long as no search has been answered, then a `RetriableError`.
        `ShortListingError` if issues are missing.
        """
        answer = await self._answer(index, size)
        issues, total = collection_in(answer), non_negative(answer.get("TotalCount"))
        stated_size = non_negative(answer.get("PageSize")) or size
        due = len(issues) if total is None else min(size, total - index * size)
        if stated_size < size or len(issues) > size:
            raise _OtherSizeError(max(stated_size, len(issues)))
        if MIN_CUT_PAGE <= len(issues) < due:
            raise _OtherSizeError(len(issues))
        if len(issues) < due:
            raise ShortListingError(f"issues/search: page {index} holds {len(issues)} issues, of {total} in all")
        return issues, total

    async def count(self) -> int | None:
        """The number of all issues, if the server states it. Errors as for `page`."""
        answer = await self._answer(0, 1)
        collection_in(answer)
        return non_negative(answer.get("TotalCount"))

    async def sample(self, *, whole: bool) -> AsyncIterator[str]:
        """The numbers of the issues on a few pages all over the listing, the last page first; or on all pages."""
        last = max(0, (await self.count() or 0) - 1) // (self.own_page_size or self._size)
        sample = (last, last // 2, last // 4, last * 3 // 4, 0)
        for index in dict.fromkeys((*sample, *range(last + 1))) if whole else dict.fromkeys(sample):
            try:
                issues, _ = await self.page(index, self.own_page_size or self._size)
            except _OtherSizeError as other:
                self.own_page_size = other.size
            except UnexpectedBodyError:
                continue
            else:
                for issue in issues:
                    yield str(non_negative(issue.get("IssueNumber")) or 0)

    async def _fetch(self, request: PageRequest) -> PageItems:
        """The issues after an offset: at least two, if there are two."""
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._fetch_after(request)
            except _OtherSizeError as other:
                self.own_page_size = other.size
        raise UnexpectedBodyError("issues/search: the size of its pages changes each time")

    async def _fetch_after(self, request: PageRequest) -> PageItems:
        index, size = (
            (request.skip // self.own_page_size, self.own_page_size)
            if self.own_page_size
            else page_window(request.skip, request.take)
        )
        issues, total = await self.page(index, size)
        if 0 < len(issues) < size and (await self.page(index + 1, size))[0]:
            raise _OtherSizeError(len(issues))
        issues = issues[request.skip - index * size :]
        if len(issues) == 1 and (request.skip + 1) % size == 0:
            issues += (await self.page(index + 1, size))[0]
        return PageItems(issues, total=total)

    async def _answer(self, index: int, size: int) -> Mapping[str, Any]:
        query = search_for_all(index + self._first_index, size)
        refusals: list[RejectedError] = []
        for path in self._paths:
            try:
                answer = object_in((await self._http.send_json("POST", path, query)).json())
            except RejectedError as error:
                refusals.append(error)
                continue
            self._paths, self.has_answered = (path,), True
            if answer.get("IsPageIndexZeroBased") is False and not self._first_index:
                self._first_index = 1
                return await self._answer(index, size)
            return answer
        if self.has_answered:
            raise RetriableError(f"{refusals[0]}, although it answered before", status=refusals[0].status)
        raise refusals[0]


class _OtherSizeError(Exception):
    """The server returns pages of another size than was requested."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size
