"""What one process lends to others so that together they are one client of a tracker: its session, rate and pauses.

One process logs in and keeps the passwords. Those that it lends to get signers that can sign, and ask it for another
session when theirs is refused. They also ask it before each request, where the rate is limited.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from migrator.wire.auth import PostForm, RequestToSign, Signature, Signer
from migrator.wire.rate import RateLimiter
from migrator.wire.waits import Waits


@dataclass(frozen=True, slots=True)
class LentSession:
    """A signer that can sign, but not log in; `logins` says how often its lender had logged in."""

    signer: Signer
    logins: int


class Lender(Protocol):
    """The client of the process that lends. `files`: the session for files, where they have one of their own."""

    @abstractmethod
    async def renewed(self, lent: LentSession, *, files: bool) -> LentSession | None:
        """Another session for one that was refused; None if these credentials have none. Raises what a login raises."""

    @abstractmethod
    async def acquire(self) -> None:
        """Wait until one more request may start."""

    @abstractmethod
    async def consume(self, size: int) -> None:
        """Count bytes, and wait if they exceed the limit."""

    @abstractmethod
    def throttled(self, retry_after: float | None, status: int | None) -> None:
        """The tracker asked this process to slow down: all have to."""


class BorrowingSigner:
    """Signs with a lent session, and has its lender log in."""

    def __init__(self, lent: LentSession, lender: Lender, *, files: bool = False) -> None:
        self._lent, self._lender, self._files = lent, lender, files

    @property
    def ready(self) -> bool:
        """Whether the session can sign."""
        return self._lent.signer.ready

    async def sign(self, request: RequestToSign) -> Signature:
        """By the lent session."""
        return await self._lent.signer.sign(request)

    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:
        """What this process learns of a refusal, such as the server's clock, it keeps for itself."""
        return self._lent.signer.refused(signature, headers)

    async def login(self, post: PostForm) -> bool:  # noqa: ARG002 - the lender posts
        """Get another session from the lender."""
        renewed = await self._lender.renewed(self._lent, files=self._files)
        if renewed is None:
            return False
        self._lent = renewed
        return True

    def worked(self) -> None:
        """By the lent session."""
        self._lent.signer.worked()

    def lent(self) -> Signer:
        """The lent session."""
        return self._lent.signer


class SharedRateLimiter(RateLimiter):
    """The limits that the lender counts for all, if there are any, and the pauses that it passes on to all."""

    def __init__(self, lender: Lender, *, limited: bool, max_wait: float, waits: Waits | None = None) -> None:
        super().__init__(max_wait=max_wait, waits=waits)
        self._lender, self._limited = lender, limited

    @override
    async def acquire(self) -> None:
        await super().acquire()
        if self._limited:
            await self._lender.acquire()

    @override
    async def consume(self, size: int) -> None:
        if self._limited:
            await self._lender.consume(size)

    @override
    def throttled(self, retry_after: float | None, status: int | None = None) -> None:
        super().throttled(retry_after, status)
        self._lender.throttled(retry_after, status)

    def others_throttled(self, retry_after: float | None, status: int | None) -> None:
        """The tracker asked another process to slow down."""
        super().throttled(retry_after, status)
