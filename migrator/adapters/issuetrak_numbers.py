"""The issues of an Issuetrak by their numbers, for servers that refuse to search: a range, a few numbers at once.

The one idea: numbers that are not there are passed over, all else that is wrong with one is told beside the others.
The one trap: where nothing at all answers, it may be the wrong range, or no Issuetrak: that is never an empty tracker.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from migrator.adapters.issuetrak_answers import range_in
from migrator.errors import AuthRefused, Forbidden, Gone, Rejected, TrackerUnreachable
from migrator.model import Cursor, Entity, EntityRef, Page, Unread
from migrator.paging import Keyset

STEP = 20  # numbers asked for with one page
SAMPLE = 200  # numbers asked to see how files are listed

Ask = Callable[[str], Awaitable[dict[str, Any]]]
"""Asks for the issue with a number; `Gone` if it isn't there."""


class Numbered:
    """The issues of a range such as `1-5000`; `entity` makes one of what an issue tells."""

    def __init__(self, kind: str, numbers: str, ask: Ask, entity: Callable[[Mapping[str, Any]], Entity]) -> None:
        self._kind, self._numbers, self._ask, self._entity = kind, numbers, ask, entity

    async def page(self, cursor: Cursor | None) -> Page:
        """See `Source.read`; `TrackerUnreachable` where the range ends without a single issue."""
        first, last = range_in(self._numbers)
        state = Keyset.parse(cursor)
        start = first if state.after is None else max(first, state.after + 1)
        numbers = range(start, min(start + STEP, last + 1))
        tried = await asyncio.gather(*(self._ask(str(number)) for number in numbers), return_exceptions=True)
        found = self._sorted_out(numbers, tried, begun=bool(state.seen))
        seen = None if state.seen is None else state.seen + len(found.ask) + len(found.unread)
        if start + STEP <= last:
            following = json.dumps({"after": numbers[-1], **({} if seen is None else {"seen": seen})})
            return Page(found.entities, ask=found.ask, unread=found.unread, next=following)
        if seen == 0:
            reason = f"none of the issues {first} to {last} answers; are options.issue_numbers and `url` right?"
            raise TrackerUnreachable(reason)
        return found

    def _sorted_out(self, numbers: range, tried: list[dict[str, Any] | BaseException], *, begun: bool) -> Page:
        entities, closed, unread = [], [], []
        for number, one in zip(numbers, tried, strict=True):
            ref = EntityRef(self._kind, str(number))
            if isinstance(one, dict):
                entities.append(self._entity(one))
            elif isinstance(one, Forbidden):
                closed.append(Entity(ref))
            elif isinstance(one, Rejected):
                unread += [] if isinstance(one, Gone) else [Unread(ref, str(one))]
            else:
                raise one
        if not begun and numbers and len(closed) == len(numbers):
            raise AuthRefused(f"{tried[0]}; is the API key right, and this machine's clock?")
        return Page(tuple(entities), ask=(*entities, *closed), unread=tuple(unread))

    async def sample(self, *, whole: bool) -> AsyncIterator[str]:
        """A few hundred numbers all over the range, from its end on; or all of them."""
        first, last = range_in(self._numbers)
        for step in (-max(1, (last - first) // SAMPLE), *([-1] if whole else [])):
            for number in range(last, first - 1, step):
                yield str(number)
