"""Behaviour around any tracker: `Retrying(Verified(adapter))` for a source, `DryRun(Retrying(adapter))` for a target.

Each layer is itself a Source or Target and passes the same contract tests. Calls are retried here and nowhere else.
The request rate is not a layer, because it applies to each request and not to each verb; it is in `wire.rate`.

Beware: an upload is never repeated blindly. Only one that certainly did not arrive (no connection, a 429 or 503) is
sent again; an `OutcomeUnknownError` goes up to the load, which looks at the target first.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from typing_extensions import override

from migrator.errors import (
    AuthError,
    ForbiddenError,
    ItemFailedError,
    LoginPageError,
    MigratorError,
    NotExposedError,
    OutcomeUnknownError,
    RejectedError,
    RetriableError,
    ThrottledError,
    TrackerUnreachableError,
    UnauthorizedError,
    UnexpectedBodyError,
)
from migrator.layers.checked_sink import checked
from migrator.model import Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.ports import Body, Sink, Source, Target
from migrator.wire import Waits

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

Tries = Callable[[MigratorError], int]
"""How often a call that ended in this error may be repeated."""

_ODD = (RejectedError, AuthError, LoginPageError, TrackerUnreachableError)
"""What a tracker that has answered before may also say by mistake, once in a while."""
_USUAL = 10
"""Files in a row that were refused before a refusal is no passing fault any more, and is asked for once."""
_log = logging.getLogger("migrator.retries")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try again; waits in seconds.

    The first wait is about `backoff`, each further one double, up to `backoff_max`, all with jitter. A tracker's
    Retry-After is obeyed. All waits together are capped by `max_total_wait`; the work itself takes as long as it takes.
    `waits` tells a person of the long ones, of each once however many workers wait.
    """

    retries: int = 8
    backoff: float = 0.5
    backoff_max: float = 60.0
    max_total_wait: float = 900.0
    login_pages: int = 2
    sleep: Sleep = asyncio.sleep
    waits: Waits = field(default_factory=Waits, compare=False)

    async def call(self, call: Callable[[], Awaitable[T]], odd: Tries = lambda _: 0) -> T:
        """The result of the call, or its last error when patience is at an end.

        `odd` tells of errors that are no passing fault by themselves how often they are repeated all the same.
        """
        try:
            return await call()  # outside of tenacity, which costs a third of a small download
        except MigratorError as error:
            if not self._tries(error, odd):
                raise
            return await self._again(call, odd, error)

    def _tries(self, error: BaseException | None, odd: Tries) -> int:
        """How often a call that ended in this error is repeated."""
        if isinstance(error, RetriableError) and not isinstance(error, LoginPageError):
            return self.retries
        told = odd(error) if isinstance(error, _ODD) else 0
        return max(told, self.login_pages) if isinstance(error, LoginPageError) else told

    async def _again(self, call: Callable[[], Awaitable[T]], odd: Tries, error: MigratorError) -> T:
        """The result of a call that failed once."""

        def ends(state: RetryCallState) -> bool:
            allowed = self._tries(state.outcome.exception() if state.outcome else None, odd)
            return state.attempt_number > allowed or state.idle_for + _asked_for(state) > self.max_total_wait

        failed = [error]
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(lambda error: self._tries(error, odd) > 0),
            wait=self._wait,
            stop=ends,
            sleep=self.sleep,
            before_sleep=self._tell,
            reraise=True,
        ):
            with attempt:
                if failed:
                    raise failed.pop()
                return await call()
        raise AssertionError  # pragma: no cover - the loop returns or raises

    async def call_briefly(self, call: Callable[[], Awaitable[str]]) -> str:
        """The same for a first login: only a few tries, and whatever is wrong says that there is no going on."""
        try:
            return await replace(self, retries=min(self.retries, 3)).call(call)
        except ItemFailedError as error:
            raise TrackerUnreachableError(str(error)) from error

    def _wait(self, state: RetryCallState) -> float:
        step = min(self.backoff_max, self.backoff * 2 ** (state.attempt_number - 1))
        jittered = random.uniform(step / 2, step)  # noqa: S311 - not a secret
        return max(jittered, _asked_for(state))

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        _log.info("%s; again in %.1f s (try %d)", error, wait, state.attempt_number)
        if _asked_for(state) >= wait and isinstance(error, ThrottledError):  # another host's wishes are no tracker's
            self.waits.asked(wait, getattr(error, "status", None))
        else:
            self.waits.trying_again(wait, str(error))


def _asked_for(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after or 0.0) if isinstance(error, RetriableError) else 0.0


class RetryingSource(Source):
    """Repeats what may go well next time, with the sink rewound before each try.

    A tracker that has answered is believed to be there and to take the credentials: a refusal, a 404 or a page in the
    middle of a listing is repeated like any other fault; and a 401 that stays speaks for one thing alone, unless
    `check` is refused, too.
    """

    def __init__(self, inner: Source, patience: RetryPolicy) -> None:
        self._inner, self._patience = inner, patience
        self._answered, self._refused = False, 0
        self.capabilities = inner.capabilities

    @override
    async def check(self) -> str:
        """A person is waiting, so patience is short."""
        told = await self._patience.call_briefly(self._inner.check)
        self._answered = True
        return told

    @override
    async def oddities(self) -> tuple[str, ...]:
        return await self._patience.call(self._inner.oddities)

    @override
    async def close(self) -> None:
        await self._inner.close()

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        return await self._asked(lambda: self._inner.still_lists(attachment), self._odd_of_one)

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """`UnauthorizedError` where this listing alone is refused."""

        def odd(_: MigratorError) -> int:
            """In the middle of a listing nothing is final; at its beginning little is."""
            if cursor is not None:
                return self._patience.retries
            return self._patience.login_pages if self._answered else 0

        page = await self._asked(lambda: self._inner.read(stream, cursor), odd)
        self._answered = True
        return page

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """`UnauthorizedError` where this entity alone is refused.

        `GoneError` if it is so when asked twice.
        """
        found = await self._asked(lambda: self._inner.attachments_of(entity), self._odd_of_one)
        self._answered = True
        return found

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """`UnauthorizedError` where this file alone is refused."""

        async def once() -> None:
            sink.rewind()
            await self._inner.download(attachment, sink)

        try:
            await self._asked(once, self._odd_of_file, usual=self._refused >= _USUAL)
        except (UnauthorizedError, LoginPageError):
            self._refused += 1
            raise
        self._refused = 0

    def _odd_of_file(self, error: MigratorError) -> int:
        """For a file: only a 401 may pass, unless that is all that comes; what it may mean, `_asked` tells."""
        passing = isinstance(error, AuthError) and self._answered and self._refused < _USUAL
        return self._patience.login_pages if passing else 0

    def _odd_of_one(self, error: MigratorError) -> int:
        """For an entity: what the account may not see is definite, and a 404 is asked for once more."""
        if not self._answered or isinstance(error, ForbiddenError | NotExposedError):
            return 0
        return 1 if isinstance(error, RejectedError) else self._patience.retries

    async def _asked(self, call: Callable[[], Awaitable[T]], odd: Tries, *, usual: bool = False) -> T:
        """`usual`: a login page is what comes anyway."""
        patience = replace(self._patience, login_pages=0) if usual else self._patience
        try:
            return await patience.call(call, odd)
        except AuthError as error:
            if not self._answered or not await self._takes_credentials():
                raise
            raise UnauthorizedError(f"{error}; other requests with them are answered") from error

    async def _takes_credentials(self) -> bool:
        try:
            await self._inner.check()
        except MigratorError:
            return False
        return True


class RetryingTarget(Target):
    """The same for a target; an upload only where it surely did not arrive."""

    def __init__(self, inner: Target, patience: RetryPolicy) -> None:
        self._inner, self._patience = inner, patience
        self.capabilities = inner.capabilities

    @override
    async def check(self) -> str:
        """A person is waiting, so patience is short."""
        return await self._patience.call_briefly(self._inner.check)

    @override
    async def oddities(self) -> tuple[str, ...]:
        return await self._patience.call(self._inner.oddities)

    @override
    async def close(self) -> None:
        await self._inner.close()

    @override
    def legal_name(self, name: str) -> str:
        return self._inner.legal_name(name)

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        return await self._patience.call(lambda: self._inner.refuses(owner, draft))

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        return await self._patience.call(lambda: self._inner.find_attachments(owner))

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        async def once() -> Attachment | None:
            try:
                return await self._inner.upload(owner, draft, body)
            except UnexpectedBodyError as error:
                login = isinstance(error, LoginPageError)
                raise OutcomeUnknownError(f"the answer to an upload makes no sense ({error})", login=login) from error

        return await self._patience.call(once)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        await self._patience.call(lambda: self._inner.describe(remote, description))

    @override
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """`UnexpectedBodyError` where what came is not what is listed.

        Cut, it would pass for another file.
        """

        async def once() -> None:
            sink.rewind()
            await checked(lambda watched: self._inner.read_back(remote, watched), remote, sink, strict=True)

        await self._patience.call(once)

    @override
    async def delete(self, remote: Attachment) -> None:
        """`GoneError` may also mean that an earlier try did delete it, and its answer was lost."""
        await self._patience.call(lambda: self._inner.delete(remote))

    @override
    async def expect_creating(self) -> None:
        await self._patience.call(self._inner.expect_creating)

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """Again only where it surely was not created."""

        async def once() -> EntityRef:
            try:
                return await self._inner.create_entity(draft)
            except UnexpectedBodyError as error:
                raise OutcomeUnknownError(f"the answer to a new entity makes no sense ({error})") from error

        return await self._patience.call(once)

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        return await self._patience.call(lambda: self._inner.find_entity(draft))


class DryRunTarget(Target):
    """A rehearsal: reads pass, writes are answered without being sent."""

    def __init__(self, inner: Target) -> None:
        self._inner = inner
        self.capabilities = inner.capabilities

    @override
    async def check(self) -> str:
        return await self._inner.check()

    @override
    async def oddities(self) -> tuple[str, ...]:
        return await self._inner.oddities()

    @override
    async def close(self) -> None:
        await self._inner.close()

    @override
    def legal_name(self, name: str) -> str:
        return self._inner.legal_name(name)

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        return await self._inner.refuses(owner, draft)

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        return await self._inner.find_attachments(owner)

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """What the target would have answered."""
        return Attachment("", owner, draft.name, draft.size, media_type=draft.media_type, description=draft.description)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Nothing is sent."""

    @override
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        await self._inner.read_back(remote, sink)

    @override
    async def delete(self, remote: Attachment) -> None:
        """Nothing is sent."""

    @override
    async def expect_creating(self) -> None:
        await self._inner.expect_creating()

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """Nothing is sent; nobody knows which id it would have got."""
        return EntityRef(draft.kind, "")

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        return await self._inner.find_entity(draft)
