"""TeamPulse as a source: two walks in the order of ids, and a look-up of the owners of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from typing_extensions import override

from migrator import errors
from migrator.model import NOBODY, Cursor, EntityRef, Page, Unread
from migrator.ports import Source
from migrator.trackers.failed_attempts import FailedAttempts
from migrator.trackers.lenient import integer
from migrator.trackers.listing import Items, oddities_of_order
from migrator.trackers.prefetch import Prefetcher
from migrator.trackers.strict import number_in
from migrator.trackers.teampulse.client import Options, TeamPulse
from migrator.trackers.teampulse.parse import UNTYPED, attachment_in
from migrator.wire import HttpClient

MAX_IDS_PER_FILTER = 20
"""Servers of this age allow 100 nodes in a filter, and `id eq 1 or` makes four."""


class TeamPulseSource(TeamPulse, Source):
    """Work items of all types, including deleted ones, then all attachments, both in the order of their ids."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._prefetchers = {stream: Prefetcher(number_in) for stream in self.capabilities.streams}
        self._attempts = FailedAttempts()
        self._knows_owners = False  # whether a look-up has found a work item: then one that isn't found doesn't exist

    @override
    async def close(self) -> None:
        for prefetcher in self._prefetchers.values():
            await prefetcher.close()
        await super().close()

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """Files whose work item can't be read belong to nobody."""
        listing = self._listing(stream, first=cursor is None)
        listed = await self._prefetchers[stream].wrap(listing).read(cursor)
        page = await (self._work_items(listed.items) if stream == "workitems" else self._attachments(listed.items))
        return replace(page, next=listed.next, unread=(*listed.unread, *page.unread))

    @override
    async def oddities(self) -> tuple[str, ...]:
        sentences = list(await super().oddities())
        for stream in self.capabilities.streams:
            sentences += await self._oddities_of(stream)
        return tuple(sentences)

    async def _oddities_of(self, stream: str) -> list[str]:
        try:
            items, cursor = await self._listing(stream).page(None)
        except errors.ItemFailedError as error:
            lost = "no file is found" if stream == "attachments" else "work items without files are not"
            return [f"{stream} can't be listed ({error}): {lost}"]
        sentences = []
        try:
            if cursor is not None and len(items) < self._options.page_size:
                await self._listing(stream, first=False).page(cursor)
        except errors.ShortListingError as error:
            sentences.append(f"{stream}: {error}; until that changes, each backup says that it is incomplete")
        sentences += oddities_of_order(stream, cursor)
        if stream == "workitems" and items and await self._filtered(f"id eq {number_in(items[0])}", 1) is None:
            sentences.append("it refuses filters of work items: the owners of files are requested one by one")
        return sentences

    async def _work_items(self, items: Sequence[Mapping[str, Any]]) -> Page:
        entities = tuple(self._entity(item) for item in items)
        untyped = [entity.ref.id for entity in entities if entity.ref.kind == UNTYPED]
        warning = f"{len(untyped)} work items without a type, and so kept as {UNTYPED}: {', '.join(untyped[:10])}"
        return Page(entities, warnings=(warning,) if untyped else ())

    async def _attachments(self, items: Sequence[Mapping[str, Any]]) -> Page:
        numbers = [integer(item.get("workItemId")) for item in items]
        owners, unread = await self._owners(sorted({number for number in numbers if number is not None}))
        refs = [NOBODY if number is None else owners.get(number, NOBODY) for number in numbers]
        files = tuple(attachment_in(item, ref, self._http) for item, ref in zip(items, refs, strict=True))
        return Page(attachments=files, unread=tuple(unread))

    async def _owners(self, numbers: Sequence[int]) -> tuple[dict[int, EntityRef], list[Unread]]:
        """The work items that can be read, and failures of others: many at once if filters work, else one by one."""
        refs: dict[int, EntityRef] = {}
        for start in range(0, len(numbers), MAX_IDS_PER_FILTER):
            condition = " or ".join(f"id eq {number}" for number in numbers[start : start + MAX_IDS_PER_FILTER])
            items = await self._filtered(condition, MAX_IDS_PER_FILTER) or []
            refs |= {number_in(item): self._entity(item).ref for item in items}
        failures: dict[int, errors.MigratorError] = {}
        missing = await self._one_by_one([number for number in numbers if number not in refs], refs, failures)
        self._require_final(failures)
        reasons = {number: str(error) for number, error in failures.items()}
        self._knows_owners = self._knows_owners or bool(refs)
        if missing and not await self._can_look_up():
            reasons |= dict.fromkeys(missing, "no work item can be looked up, so this one may exist")
        return refs, [
            Unread(EntityRef(UNTYPED, str(number)), f"{reason}; its files are kept without an owner")
            for number, reason in sorted(reasons.items())
        ]

    async def _one_by_one(
        self, numbers: Sequence[int], refs: dict[int, EntityRef], failures: dict[int, errors.MigratorError]
    ) -> list[int]:
        """Look up each work item, and add it to `refs` or `failures`; returns those that this account doesn't see."""
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
                refs[number] = owner.ref
        return missing

    async def _can_look_up(self) -> bool:
        """Whether existing work items are found by look-up, so that one that is not found doesn't exist."""
        if not self._knows_owners:
            sample: Items = []
            with suppress(errors.RejectedError, errors.UnexpectedBodyError):
                sample = await self._list("workitems", {"$top": "2"})
            self._knows_owners = any([await self._owner(number_in(item)) for item in sample])
        return self._knows_owners

    def _require_final(self, failures: Mapping[int, errors.MigratorError]) -> None:
        """Raise the first of these failures that is not final yet."""
        temporary = [error for number, error in failures.items() if not self._attempts.is_final(number, error)]
        if temporary:
            raise temporary[0]
