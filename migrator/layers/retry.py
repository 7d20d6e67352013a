"""Retries around any tracker: `Retrying(Verified(adapter))` for a source, `DryRun(Retrying(adapter))` for a target.

Calls are retried here and nowhere else. The request rate is not a layer, because it limits requests, and one call may
need several; it is in `wire.rate`.

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

from migrator import errors
from migrator.layers.forwarding import SourceWrapper, TargetWrapper
from migrator.layers.verifying_sink import verified_download
from migrator.model import Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.ports import Body, Sink, Source, Target
from migrator.wire import Waits

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

MaxRetries = Callable[[errors.MigratorError], int]
"""How often a call that ended in this error may be repeated."""

MAX_FIRST_RETRIES = 3
"""Retries of the first login, because a person is waiting for it."""
_MAY_BE_MISTAKEN = (errors.RejectedError, errors.AuthError, errors.LoginPageError, errors.TrackerUnreachableError)
"""Errors that are final, but that a tracker that has answered before may return by mistake once in a while."""
_MAX_REFUSED_FILES = 10
"""After this many refused files in a row, a refusal counts as final at once."""
_log = logging.getLogger("migrator.retries")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try again; waits in seconds.

    The first wait is about `backoff`, each further one is twice as long, up to `backoff_max`, all with jitter. A
    tracker's Retry-After is obeyed. All waits together are limited by `max_total_wait`; the work itself is not.
    `login_pages` is how often a login page is retried. `waits` logs the long waits.
    """

    retries: int = 8
    backoff: float = 0.5
    backoff_max: float = 60.0
    max_total_wait: float = 900.0
    login_pages: int = 2
    sleep: Sleep = asyncio.sleep
    waits: Waits = field(default_factory=Waits, compare=False)

    async def call(self, call: Callable[[], Awaitable[T]], mistakes: MaxRetries = lambda _: 0) -> T:
        """The result of the call, or its last error once no retries are left.

        `mistakes` says how often a final error is retried all the same, because it may be a mistake.
        """
        try:
            return await call()  # outside of tenacity, which takes as long as a third of a small download
        except errors.MigratorError as error:
            if not self._max_retries(error, mistakes):
                raise
            return await self._call_again(call, mistakes, error)

    def _max_retries(self, error: BaseException | None, mistakes: MaxRetries) -> int:
        if isinstance(error, errors.RetriableError) and not isinstance(error, errors.LoginPageError):
            return self.retries
        allowed = mistakes(error) if isinstance(error, _MAY_BE_MISTAKEN) else 0
        return max(allowed, self.login_pages) if isinstance(error, errors.LoginPageError) else allowed

    async def _call_again(
        self, call: Callable[[], Awaitable[T]], mistakes: MaxRetries, error: errors.MigratorError
    ) -> T:
        """The result of a call that failed once with this error."""

        def is_last(state: RetryCallState) -> bool:
            allowed = self._max_retries(state.outcome.exception() if state.outcome else None, mistakes)
            return state.attempt_number > allowed or state.idle_for + _requested_wait(state) > self.max_total_wait

        first_error = [error]
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(lambda error: self._max_retries(error, mistakes) > 0),
            wait=self._wait,
            stop=is_last,
            sleep=self.sleep,
            before_sleep=lambda state: self._log_wait(state, mistakes),
            reraise=True,
        ):
            with attempt:
                if first_error:
                    raise first_error.pop()
                return await call()
        raise AssertionError  # pragma: no cover - the loop returns or raises

    async def call_briefly(self, call: Callable[[], Awaitable[str]]) -> str:
        """`call` for the first login: only a few retries, and any failure is `TrackerUnreachableError`."""
        call = self.waits.warning_of_silence(call)
        try:
            return await replace(self, retries=min(self.retries, MAX_FIRST_RETRIES)).call(call)
        except errors.ItemFailedError as error:
            raise errors.TrackerUnreachableError(str(error)) from error

    def _wait(self, state: RetryCallState) -> float:
        step = min(self.backoff_max, self.backoff * 2 ** (state.attempt_number - 1))
        jittered = random.uniform(step / 2, step)  # noqa: S311 - not a secret
        return max(jittered, _requested_wait(state))

    def _log_wait(self, state: RetryCallState, mistakes: MaxRetries) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait = state.next_action.sleep if state.next_action else 0.0
        _log.info("%s; again in %.1f s (try %d)", error, wait, state.attempt_number)
        # If another host asked to wait, that is a plain RetriableError, and not to be logged as the tracker's wish.
        if _requested_wait(state) >= wait and isinstance(error, errors.ThrottledError):
            self.waits.asked(wait, getattr(error, "status", None))
        else:
            answered = not isinstance(error, errors.ConnectError | errors.ReadTimeoutError)
            attempts = self._max_retries(error, mistakes) + 1
            self.waits.trying_again(wait, str(error), state.attempt_number + 1, attempts, answered=answered)


def _requested_wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after or 0.0) if isinstance(error, errors.RetriableError) else 0.0


class RetryingSource(SourceWrapper):
    """Repeats calls that may succeed next time; the sink of a download is rewound before each try.

    Once a tracker has answered, it is known to be reachable and to accept the credentials. From then on a refusal, a
    404 or a page in the middle of a listing is retried like any other fault, and a 401 that persists is about this one
    item, unless `check` is refused, too. `answered`: another process has seen that.
    """

    def __init__(self, inner: Source, policy: RetryPolicy, *, answered: bool = False) -> None:
        super().__init__(inner)
        self._policy = policy
        self._answered, self._refused_files = answered, 0

    @override
    async def check(self) -> str:
        description = await self._policy.call_briefly(self._inner.check)
        self._answered = True
        return description

    @override
    async def oddities(self) -> tuple[str, ...]:
        return await self._policy.call(self._inner.oddities)

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        return await self._call(lambda: self._inner.still_lists(attachment), self._mistakes_of_entity)

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """`UnauthorizedError` where this listing alone is refused."""

        def mistakes(_: errors.MigratorError) -> int:
            if cursor is not None:  # in the middle of a listing nothing is final
                return self._policy.retries
            return self._policy.login_pages if self._answered else 0

        page = await self._call(lambda: self._inner.read(stream, cursor), mistakes)
        self._answered = True
        return page

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """`UnauthorizedError` where this entity alone is refused. `GoneError` only after a second request."""
        attachments = await self._call(lambda: self._inner.attachments_of(entity), self._mistakes_of_entity)
        self._answered = True
        return attachments

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """`UnauthorizedError` where this file alone is refused."""

        async def once() -> None:
            sink.rewind()
            await self._inner.download(attachment, sink)

        login_pages = 0 if self._refused_files >= _MAX_REFUSED_FILES else None
        try:
            await self._call(once, self._mistakes_of_file, login_pages)
        except (errors.UnauthorizedError, errors.LoginPageError):
            self._refused_files += 1
            raise
        self._refused_files = 0

    def _mistakes_of_file(self, error: errors.MigratorError) -> int:
        """For a file, only a 401 may be a mistake, unless all recent files got one."""
        possible = isinstance(error, errors.AuthError) and self._answered and self._refused_files < _MAX_REFUSED_FILES
        return self._policy.login_pages if possible else 0

    def _mistakes_of_entity(self, error: errors.MigratorError) -> int:
        """For an entity, a 403 is final, and any other refusal, such as a 404, is checked once."""
        if not self._answered or isinstance(error, errors.ForbiddenError | errors.NotExposedError):
            return 0
        return 1 if isinstance(error, errors.RejectedError) else self._policy.retries

    async def _call(self, call: Callable[[], Awaitable[T]], mistakes: MaxRetries, login_pages: int | None = None) -> T:
        policy = self._policy if login_pages is None else replace(self._policy, login_pages=login_pages)
        try:
            return await policy.call(call, mistakes)
        except errors.AuthError as error:
            if not self._answered or not await self._accepts_credentials():
                raise
            raise errors.UnauthorizedError(f"{error}; other requests with them are answered") from error

    async def _accepts_credentials(self) -> bool:
        try:
            await self._inner.check()
        except errors.MigratorError:
            return False
        return True


class RetryingTarget(TargetWrapper):
    """Repeats calls that may succeed next time; uploads only if they certainly did not arrive."""

    def __init__(self, inner: Target, policy: RetryPolicy) -> None:
        super().__init__(inner)
        self._policy = policy

    @override
    async def check(self) -> str:
        return await self._policy.call_briefly(self._inner.check)

    @override
    async def oddities(self) -> tuple[str, ...]:
        return await self._policy.call(self._inner.oddities)

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        return await self._policy.call(lambda: self._inner.refuses(owner, draft))

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        return await self._policy.call(lambda: self._inner.find_attachments(owner))

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        async def once() -> Attachment | None:
            try:
                return await self._inner.upload(owner, draft, body)
            except errors.UnexpectedBodyError as error:
                message = f"the answer to an upload makes no sense ({error})"
                raise errors.OutcomeUnknownError(message, login=isinstance(error, errors.LoginPageError)) from error

        return await self._policy.call(once)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        await self._policy.call(lambda: self._inner.describe(remote, description))

    @override
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """`UnexpectedBodyError` unless the listed size came: a truncated file would look like another one."""

        async def once() -> None:
            sink.rewind()
            await verified_download(
                lambda verifying: self._inner.read_back(remote, verifying), remote, sink, strict=True
            )

        await self._policy.call(once)

    @override
    async def delete(self, remote: Attachment) -> None:
        """`GoneError` may also mean that an earlier try deleted it and the answer was lost."""
        await self._policy.call(lambda: self._inner.delete(remote))

    @override
    async def require_creating(self) -> None:
        await self._policy.call(self._inner.require_creating)

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """Repeated only if it certainly was not created."""

        async def once() -> EntityRef:
            try:
                return await self._inner.create_entity(draft)
            except errors.UnexpectedBodyError as error:
                raise errors.OutcomeUnknownError(f"the answer to a new entity makes no sense ({error})") from error

        return await self._policy.call(once)

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        return await self._policy.call(lambda: self._inner.find_entity(draft))
