"""Issuetrak as a source: its issues by search or by number, and the files of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, Cursor, Entity, EntityRef, Page
from migrator.ports import Sink, Source
from migrator.trackers.issuetrak.client import KIND, NO_LIST, Issuetrak, Options
from migrator.trackers.issuetrak.numbers import IssueRange
from migrator.trackers.issuetrak.parse import range_in, without_query_date
from migrator.trackers.issuetrak.zip_batches import ZipBatches
from migrator.trackers.lenient import text
from migrator.trackers.strict import digits, number_in
from migrator.wire import HttpClient


class IssuetrakSource(Issuetrak, Source):
    """Issues in the order of their numbers; the files of each are requested separately."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self.capabilities = replace(
            self.capabilities,
            reports_size=False,
            fetches_alone=not options.zip,
            dates_changes=bool(options.change_date),
        )
        self._zips = ZipBatches(self._zip)
        self._numbered = IssueRange(KIND, options.issue_numbers, self._issue, self._entity)

    @override
    async def check(self) -> str:
        if self._options.issue_numbers:
            first, last = range_in(self._options.issue_numbers)
            await self._log_in()
            return f"Issuetrak accepts the API key; issues {first} to {last} will be read"
        try:
            count = await self._search.count()
        except errors.RejectedError as error:
            raise await self._without_search(error) from None
        return f"Issuetrak accepts the API key and finds {'some' if count is None else count} issues"

    @override
    async def oddities(self) -> tuple[str, ...]:
        sentences, numbers = [], self._options.issue_numbers
        page = await self.read("issues", None)
        if numbers:
            sentences.append(f"issues are requested one by one; those outside of {numbers} are not backed up")
        elif not page.entities:
            sentences.append("no issue is found, so nothing is backed up")
        if self._search.own_page_size:
            sentences.append(
                f"a page of a search has {self._search.own_page_size} issues, not {self._options.page_size}"
            )
        await self._lists.find_route()
        if self._lists.route is None:
            sentences.append(NO_LIST)
        return tuple(sentences)

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        page = await (self._numbered.page(cursor) if self._options.issue_numbers else self._found_by_search(cursor))
        self._lists.remember(entity.ref.id for entity in page.ask)
        return page

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        files = tuple(replace(file, size=file.size or None) for file in await self.find_attachments(entity.ref))
        if self._options.zip:
            self._zips.plan(entity.ref, files)
        return files

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        if not await self._zips.write(attachment, sink):
            await super().download(attachment, sink)

    async def _zip(self, owner: EntityRef) -> dict[str, Any]:
        return await self._get(f"attachments/compressed/issuenumber/{digits(owner.id)}")

    async def _found_by_search(self, cursor: Cursor | None) -> Page:
        """A page of issues found by search. A refusal is final only if no search was ever answered."""
        try:
            issues, next_cursor = await self._search.listing().page(cursor)
        except errors.RejectedError as error:
            if self._search.has_answered:
                raise
            raise await self._without_search(error) from None
        entities = tuple(self._entity(issue) for issue in issues)
        return Page(entities=entities, ask=entities, next=next_cursor)

    async def _without_search(self, error: errors.RejectedError) -> errors.ConfigError:
        await self._log_in()
        hint = 'If it is, set options.issue_numbers = "1-5000" to read issues by their numbers'
        return errors.ConfigError(f"the server refuses issues/search ({error}); is `url` right? {hint}")

    @override
    async def _others(self, whole: bool) -> AsyncIterator[str]:
        numbered = self._options.issue_numbers
        async for number in self._numbered.sample(whole=whole) if numbered else super()._others(whole):
            yield number

    def _entity(self, issue: Mapping[str, Any]) -> Entity:
        ref = EntityRef(KIND, str(number_in(issue, "IssueNumber")))
        date = text(issue.get(self._options.change_date)) if self._options.change_date else ""
        return Entity(ref, text(issue.get("Subject")), str(self._http.base), without_query_date(issue), date)
