"""Issuetrak's issues by number, for servers that refuse to search: walks a range, a few numbers at once.

Numbers that do not exist are skipped; any other fault of one issue is reported beside the others.

Beware: if nothing answers at all, the range may be wrong or the server no Issuetrak; that is never an empty tracker.
Nor is it the end of the tracker if answers stop: gaps are believed only while an issue that answered before still
does.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from migrator.errors import (
    AuthError,
    ConnectError,
    ForbiddenError,
    GoneError,
    RejectedError,
    RetriableError,
    ThrottledError,
    TrackerUnreachableError,
)
from migrator.model import Cursor, Entity, EntityRef, Page, Unread
from migrator.trackers.cursors import Keyset
from migrator.trackers.issuetrak.parse import range_in
from migrator.trackers.lenient import text

NUMBERS_PER_PAGE = 20  # numbers asked for with one page
SAMPLE_SIZE = 200  # numbers asked to see how files are listed
MAX_WITNESSES = 3  # issues that answered, of which one has to do so still where others are missing
MAX_ATTEMPTS = 3  # attempts at a broken issue before it becomes a failure of its own, and the rest is read

Ask = Callable[[str], Awaitable[dict[str, Any]]]
"""Asks for the issue with a number; `GoneError` if it isn't there."""


class Numbered:
    """The issues of a range such as `1-5000`; `entity` makes one of what an issue tells."""

    def __init__(self, kind: str, numbers: str, ask: Ask, entity: Callable[[Mapping[str, Any]], Entity]) -> None:
        self._kind, self._numbers, self._ask, self._entity = kind, numbers, ask, entity
        self._broken: Counter[str] = Counter()

    async def page(self, cursor: Cursor | None) -> Page:
        """One page of issues, for `Source.read`.

        `TrackerUnreachableError` where the range ends without a single issue, `RetriableError` where
        numbers are missing and issues that answered before do so no more.
        """
        first, last = range_in(self._numbers)
        state, known = Keyset.parse(cursor), _known_in(cursor)
        start = first if state.after is None else max(first, state.after + 1)
        numbers = range(start, min(start + NUMBERS_PER_PAGE, last + 1))
        tried = await asyncio.gather(*(self._ask(str(number)) for number in numbers), return_exceptions=True)
        found = self._page_of(numbers, tried, begun=bool(state.seen))
        known = [*known, *(entity.ref.id for entity in found.entities)][-MAX_WITNESSES:]
        if any(isinstance(one, GoneError) for one in tried):
            await self._require_one_of(known)
        seen = None if state.seen is None else state.seen + len(found.ask) + len(found.unread)
        if start + NUMBERS_PER_PAGE <= last:
            following = {"after": numbers[-1], **({} if seen is None else {"seen": seen}), "known": known}
            return replace(found, next=json.dumps(following))
        if seen == 0:
            reason = f"none of the issues {first} to {last} answers; are options.issue_numbers and `url` right?"
            raise TrackerUnreachableError(reason)
        return found

    async def _require_one_of(self, known: Sequence[str]) -> None:
        for number in reversed(known):
            with suppress(RejectedError):
                await self._ask(number)
                return
        if known:
            raise RetriableError(
                f"Issue {known[-1]} answered before and does so no more, so no gap in the numbers is believed"
            )

    def _page_of(self, numbers: range, tried: list[dict[str, Any] | BaseException], *, begun: bool) -> Page:
        entities, closed, unread = [], [], []
        broken: dict[str, RetriableError | AuthError] = {}
        for number, one in zip(map(str, numbers), tried, strict=True):
            ref = EntityRef(self._kind, number)
            if isinstance(one, dict):
                entities.append(self._entity(one))
            elif isinstance(one, ForbiddenError):
                closed.append(Entity(ref))
            elif isinstance(one, RejectedError):
                unread += [] if isinstance(one, GoneError) else [Unread(ref, str(one))]
            elif isinstance(one, RetriableError | AuthError):
                broken[number] = one
            else:
                raise one
        if not begun and numbers and len(closed) == len(numbers):
            raise AuthError(f"{tried[0]}; is the API key right, and this machine's clock?")
        self._require_final(broken, others=len(broken) < len(numbers))
        failed = [Unread(EntityRef(self._kind, number), str(error)) for number, error in broken.items()]
        ask = (*entities, *closed, *(Entity(one.ref) for one in failed))
        return Page(tuple(entities), ask=ask, unread=(*unread, *failed))

    def _require_final(self, broken: Mapping[str, RetriableError | AuthError], *, others: bool) -> None:
        """Raise the first of these, unless each came `MAX_ATTEMPTS` times and others answer; their files may exist."""
        self._broken.update(broken.keys())
        for number, error in broken.items():
            of_all = isinstance(error, ConnectError | ThrottledError) or not others
            if of_all or self._broken[number] < MAX_ATTEMPTS:
                raise error

    async def sample(self, *, whole: bool) -> AsyncIterator[str]:
        """A few hundred numbers all over the range, from its end on; or all of them."""
        first, last = range_in(self._numbers)
        for step in (-max(1, (last - first) // SAMPLE_SIZE), *([-1] if whole else [])):
            for number in range(last, first - 1, step):
                yield str(number)


def _known_in(cursor: Cursor | None) -> list[str]:
    """Issues that answered on pages before."""
    found = json.loads(cursor).get("known") if cursor else None
    return [text(number) for number in found] if isinstance(found, list) else []
