"""The credentials at work: each attempt is signed anew, and after a refusal a session is opened again."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from migrator import errors
from migrator.wire.auth import Signer
from migrator.wire.exchange import Consume, Exchange
from migrator.wire.request import Request
from migrator.wire.request_body import StreamedBody

MAX_LOGINS = 3
"""How often one request logs in again before its refusal is believed."""

T = TypeVar("T")


class Session:
    """Attempts at requests, signed by `signer` unless a request has a signer of its own.

    `logins` counts the logins so far; a caller that was refused tells by it whether somebody else logged in meanwhile.
    """

    def __init__(self, exchange: Exchange, signer: Signer) -> None:
        self.signer, self.logins = signer, 0
        self._exchange = exchange
        self._lock = asyncio.Lock()

    async def attempt(self, request: Request, consume: Consume[T]) -> T:
        """One attempt, and more after logging in again while it is refused for lack of a session.

        After a login page only one more, and none if the body is streamed. After a 401 a streamed upload is sent again,
        too, because nothing was taken.
        """
        signer = request.signer or self.signer
        if not signer.ready:
            await self.renew(signer, self.logins)
        renewals = 0
        while True:
            logins_before = self.logins
            try:
                result = await self._exchange.once(request, signer, consume)
            except (errors.AuthError, errors.LoginPageError) as error:
                page = isinstance(error, errors.LoginPageError)
                if (page and isinstance(request.body, StreamedBody)) or renewals >= (1 if page else MAX_LOGINS):
                    raise
                if not await self.renew(signer, logins_before):
                    raise
                renewals += 1
            else:
                signer.worked()
                return result

    async def renew(self, signer: Signer, logins_before: int) -> bool:
        """Log in (again), once for all workers that were refused with the same session. False: it can't be renewed."""
        async with self._lock:
            if self.logins != logins_before and signer.ready:
                return True
            renewed = await signer.login(self._exchange.post_form)
            self.logins += renewed
            return renewed
