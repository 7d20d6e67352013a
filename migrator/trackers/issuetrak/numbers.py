"""Issuetrak's issues by number, for servers that refuse to search: walks a range, a few numbers at once.

Numbers that do not exist are skipped; any other failure of one issue is reported beside the others.

Beware: if no number exists, the range may be wrong or the server may not be an Issuetrak, so this never means an empty
tracker. Numbers that stop existing don't mean its end either: gaps are believed only while an issue that answered
before still answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from migrator.errors import (
    AuthError,
    ForbiddenError,
    GoneError,
    RejectedError,
    RetriableError,
    TrackerUnreachableError,
)
from migrator.model import Cursor, Entity, EntityRef, Page, Unread
from migrator.trackers.cursors import Keyset
from migrator.trackers.failed_attempts import FailedAttempts
from migrator.trackers.issuetrak.parse import range_in
from migrator.trackers.lenient import text

NUMBERS_PER_PAGE = 20
SAMPLE_SIZE = 200
"""Issues of a sample, whose lists of files are requested to find one that answers."""
MAX_WITNESSES = 3
"""Issues that answered before; one of them must still answer for gaps to be believed."""

Ask = Callable[[str], Awaitable[dict[str, Any]]]
"""Requests the issue with a number; `GoneError` if it doesn't exist."""


class IssueRange:
    """The issues of a range such as `1-5000`; `entity` makes an entity from an issue."""

    def __init__(self, kind: str, numbers: str, ask: Ask, entity: Callable[[Mapping[str, Any]], Entity]) -> None:
        self._kind, self._numbers, self._ask, self._entity = kind, numbers, ask, entity
        self._attempts = FailedAttempts()

    async def page(self, cursor: Cursor | None) -> Page:
        """One page of issues, for `Source.read`.

        `TrackerUnreachableError` if the range ends without a single issue, `RetriableError` if numbers are missing and
        issues that answered before no longer do.
        """
        first, last = range_in(self._numbers)
        state, known = Keyset.parse(cursor), _known_in(cursor)
        start = first if state.after is None else max(first, state.after + 1)
        numbers = range(start, min(start + NUMBERS_PER_PAGE, last + 1))
        answers = await asyncio.gather(*(self._ask(str(number)) for number in numbers), return_exceptions=True)
        page = self._page_of(numbers, answers, begun=bool(state.seen))
        known = [*known, *(entity.ref.id for entity in page.entities)][-MAX_WITNESSES:]
        if any(isinstance(answer, GoneError) for answer in answers):
            await self._require_one_of(known)
        seen = None if state.seen is None else state.seen + len(page.ask) + len(page.unread)
        if start + NUMBERS_PER_PAGE <= last:
            cursor_fields = {"after": numbers[-1], **({} if seen is None else {"seen": seen}), "known": known}
            return replace(page, next=json.dumps(cursor_fields))
        if seen == 0:
            reason = f"none of the issues {first} to {last} answers; are options.issue_numbers and `url` right?"
            raise TrackerUnreachableError(reason)
        return page

    async def _require_one_of(self, known: Sequence[str]) -> None:
        for number in reversed(known):
            with suppress(RejectedError):
                await self._ask(number)
                return
        if known:
            raise RetriableError(
                f"Issue {known[-1]} answered before and no longer does, so gaps in the numbers are not trusted"
            )

    def _page_of(self, numbers: range, answers: list[dict[str, Any] | BaseException], *, begun: bool) -> Page:
        entities, forbidden, unread = [], [], []
        broken: dict[str, RetriableError | AuthError] = {}
        for number, answer in zip(map(str, numbers), answers, strict=True):
            ref = EntityRef(self._kind, number)
            if isinstance(answer, dict):
                entities.append(self._entity(answer))
            elif isinstance(answer, ForbiddenError):
                forbidden.append(Entity(ref))
            elif isinstance(answer, RejectedError):
                unread += [] if isinstance(answer, GoneError) else [Unread(ref, str(answer))]
            elif isinstance(answer, RetriableError | AuthError):
                broken[number] = answer
            else:
                raise answer
        if not begun and numbers and len(forbidden) == len(numbers):
            raise AuthError(f"{answers[0]}; is the API key right, and this machine's clock?")
        self._require_final(broken, others=len(broken) < len(numbers))
        failed = [Unread(EntityRef(self._kind, number), str(error)) for number, error in broken.items()]
        ask = (*entities, *forbidden, *(Entity(failure.ref) for failure in failed))
        return Page(tuple(entities), ask=ask, unread=(*unread, *failed))

    def _require_final(self, broken: Mapping[str, RetriableError | AuthError], *, others: bool) -> None:
        """Raise the first of these errors, unless all are final and `others` answered."""
        temporary = [error for number, error in broken.items() if not self._attempts.is_final(number, error)]
        if not others:
            temporary = list(broken.values())
        if temporary:
            raise temporary[0]

    async def sample(self, *, whole: bool) -> AsyncIterator[str]:
        """A few hundred numbers all over the range, the last first; or all of them."""
        first, last = range_in(self._numbers)
        for step in (-max(1, (last - first) // SAMPLE_SIZE), *([-1] if whole else [])):
            for number in range(last, first - 1, step):
                yield str(number)


def _known_in(cursor: Cursor | None) -> list[str]:
    """The issues in a cursor that answered before."""
    known = json.loads(cursor).get("known") if cursor else None
    return [text(number) for number in known] if isinstance(known, list) else []
