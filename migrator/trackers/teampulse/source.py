"""TeamPulse as a source: two walks in the order of ids; the kinds of owners are looked up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from typing_extensions import override

from migrator import errors
from migrator.model import NOBODY, Cursor, EntityRef, Page, Unread
from migrator.ports import Source
from migrator.trackers.cursors import Offset, mode_of
from migrator.trackers.lenient import integer
from migrator.trackers.listing import Items
from migrator.trackers.prefetch import Prefetcher
from migrator.trackers.strict import number_in
from migrator.trackers.teampulse.client import Options, TeamPulse
from migrator.trackers.teampulse.parse import UNTYPED, attachment_in
from migrator.wire import HttpClient

MAX_IDS_PER_FILTER = 20  # in one filter: servers of this age allow it 100 nodes, and `id eq 1 or` makes four
MAX_ATTEMPTS = 3  # times that a work item is asked for, before a failure is taken for its last word


class TeamPulseSource(TeamPulse, Source):
    """Work items of all types, deleted ones too, then all attachments; both in the order of their ids."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._prefetchers = {stream: Prefetcher(number_in) for stream in self.capabilities.streams}
        self._attempts: Counter[int] = Counter()
        self._knows_owners = False  # a work item was found where it was looked up, so one that is not is not there

    @override
    async def close(self) -> None:
        for prefetcher in self._prefetchers.values():
            await prefetcher.close()
        await super().close()

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """Files of a work item that can't be read belong to nobody."""
        listing = self._listing(stream, first=cursor is None)
        came = await self._prefetchers[stream].wrap(listing).read(cursor)
        page = await (self._work_items(came.items) if stream == "workitems" else self._attachments(came.items))
        return replace(page, next=came.next, unread=(*came.unread, *page.unread))

    @override
    async def oddities(self) -> tuple[str, ...]:
        found = list(await super().oddities())
        for stream in self.capabilities.streams:
            found += await self._oddities_of(stream)
        return tuple(found)

    async def _oddities_of(self, stream: str) -> list[str]:
        try:
            items, cursor = await self._listing(stream).page(None)
        except errors.ItemFailedError as error:
            lost = "no file is found" if stream == "attachments" else "work items without files are not"
            return [f"{stream} can't be listed ({error}): {lost}"]
        found = []
        try:
            if cursor is not None and len(items) < self._options.page_size:
                await self._listing(stream, first=False).page(cursor)
        except errors.ShortListingError as error:
            found.append(f"{stream}: {error}; as long as it is so, each backup says that it is incomplete")
        if mode_of(cursor) is Offset:
            found.append(
                f"{stream} are listed by position and not by id: what is deleted meanwhile costs some requests"
            )
        if stream == "workitems" and items and await self._filtered(f"id eq {number_in(items[0])}", 1) is None:
            found.append("it takes no filter of work items: the owners of files are asked for one by one")
        return found

    async def _work_items(self, items: Sequence[Mapping[str, Any]]) -> Page:
        entities = tuple(self._entity(item) for item in items)
        untyped = [entity.ref.id for entity in entities if entity.ref.kind == UNTYPED]
        told = f"without a type, and so kept as {UNTYPED}: {', '.join(untyped[:10])}"
        return Page(entities, warnings=(f"{len(untyped)} work items {told}",) if untyped else ())

    async def _attachments(self, items: Sequence[Mapping[str, Any]]) -> Page:
        numbers = [integer(item.get("workItemId")) for item in items]
        owners, unread = await self._owners(sorted({number for number in numbers if number is not None}))
        refs = [NOBODY if number is None else owners.get(number, NOBODY) for number in numbers]
        files = tuple(attachment_in(item, ref, self._http) for item, ref in zip(items, refs, strict=True))
        return Page(attachments=files, unread=tuple(unread))

    async def _owners(self, numbers: Sequence[int]) -> tuple[dict[int, EntityRef], list[Unread]]:
        """Those of these work items that can be read: many at once where filters work, else one by one."""
        found: dict[int, EntityRef] = {}
        for at in range(0, len(numbers), MAX_IDS_PER_FILTER):
            some = " or ".join(f"id eq {number}" for number in numbers[at : at + MAX_IDS_PER_FILTER])
            found |= {
                number_in(item): self._entity(item).ref for item in await self._filtered(some, MAX_IDS_PER_FILTER) or []
            }
        failures: dict[int, errors.MigratorError] = {}
        missing = await self._one_by_one([number for number in numbers if number not in found], found, failures)
        reasons = {number: str(error) for number, error in self._final_failures(failures).items()}
        self._knows_owners = self._knows_owners or bool(found)
        if missing and not await self._can_look_up():
            reasons |= dict.fromkeys(missing, "no work item can be looked up, so this one may be there")
        told = {number: f"{reason}; its files are kept as nobody's" for number, reason in sorted(reasons.items())}
        return found, [Unread(EntityRef(UNTYPED, str(number)), reason) for number, reason in told.items()]

    async def _one_by_one(
        self, numbers: Sequence[int], found: dict[int, EntityRef], failures: dict[int, errors.MigratorError]
    ) -> list[int]:
        """Look each work item up; gives those that are not there for us."""
        missing = []
        for number in numbers:
            try:
                owner = await self._owner(number)
            except (errors.AuthError, errors.ItemFailedError) as error:
                failures[number] = error
                continue
            if owner is None:
                missing.append(number)
            else:
                found[number] = owner.ref
        return missing

    async def _can_look_up(self) -> bool:
        """Whether a work item that is there is found, so that one which is not found is not there."""
        if not self._knows_owners:
            some: Items = []
            with suppress(errors.RejectedError, errors.UnexpectedBodyError):
                some = await self._list("workitems", {"$top": "2"})
            self._knows_owners = any([await self._owner(number_in(item)) for item in some])
        return self._knows_owners

    def _final_failures(self, failures: Mapping[int, errors.MigratorError]) -> Mapping[int, errors.MigratorError]:
        """Why work items can't be read, if it was tried often enough of each; raises one of the failures if not."""
        self._attempts.update([*failures])
        for number, error in failures.items():
            if isinstance(error, errors.ConnectError | errors.ThrottledError) or self._attempts[number] < MAX_ATTEMPTS:
                raise error
        return failures
