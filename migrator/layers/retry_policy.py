"""How often and how long a call is tried again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from migrator import errors
from migrator.wire import Waits

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

MaxRetries = Callable[[errors.MigratorError], int]
"""How often a call that ended in this error may be repeated."""

MAX_FIRST_RETRIES = 3
"""Retries of the first login where a person is waiting for it."""
_MAY_BE_MISTAKEN = (errors.RejectedError, errors.AuthError, errors.LoginPageError, errors.TrackerUnreachableError)
"""Errors that are final, but that a tracker that has answered before may return by mistake once in a while."""
_log = logging.getLogger("migrator.retries")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to try again; waits in seconds.

    The first wait is about `backoff`, each further one is twice as long, up to `backoff_max`, all with jitter. A
    tracker's Retry-After is obeyed. All waits together are limited by `max_total_wait`; the work itself is not.
    `login_pages` is how often a login page is retried, `first_retries` how often the first login at most. `waits` logs
    the long waits.
    """

    retries: int = 8
    backoff: float = 0.5
    backoff_max: float = 60.0
    max_total_wait: float = 900.0
    login_pages: int = 2
    first_retries: int = MAX_FIRST_RETRIES
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
        from tenacity import AsyncRetrying, retry_if_exception  # most runs, and most workers, never need it

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
        """`call` for the first login: few retries, and any failure of an item is `TrackerUnreachableError`."""
        call = self.waits.warning_of_silence(call)
        try:
            return await replace(self, retries=min(self.retries, self.first_retries)).call(call)
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
