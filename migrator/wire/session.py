"""Requests with credentials: each attempt is signed anew, and after a refusal we log in again."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from migrator import errors
from migrator.wire.auth import Signer
from migrator.wire.exchange import Consume, Exchange
from migrator.wire.request import Request
from migrator.wire.request_body import StreamedBody

MAX_LOGINS = 3
"""How often one request logs in again before its refusal counts as final."""

T = TypeVar("T")


class Session:
    """Sends requests, signed by `signer` unless a request has a signer of its own.

    `logins` counts the logins so far, so that a worker that was refused can see whether another one has logged in
    meanwhile.
    """

    def __init__(self, exchange: Exchange, signer: Signer) -> None:
        self.signer, self.logins = signer, 0
        self._exchange = exchange
        self._lock = asyncio.Lock()

    async def attempt(self, request: Request, consume: Consume[T]) -> T:
        """What `consume` makes of the response. While the request is refused, log in and send it again.

        After a 401 that is done up to MAX_LOGINS times, and for streamed bodies, too, because nothing was stored. After
        a login page it is done once, and not for a streamed body.
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
        """Log in, once for all workers that were refused with the same session. False: the signer has no session."""
        async with self._lock:
            if self.logins != logins_before and signer.ready:
                return True
            renewed = await signer.login(self._exchange.post_form)
            self.logins += renewed
            return renewed
