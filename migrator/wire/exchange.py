"""One exchange with a tracker: a request is paced, signed and sent, redirects are followed, the response is judged.

Beware: signatures go to the tracker's own origin only, and what another host answers says nothing about the tracker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urlencode

from yarl import URL

from migrator import errors
from migrator.wire.addresses import encoded_path, encoded_query
from migrator.wire.auth import UNSIGNED, RequestToSign, Signature, Signer
from migrator.wire.concurrency import AdaptiveLimiter
from migrator.wire.content_coding import body_of_answer
from migrator.wire.failures import is_silence, send, translate_error, transport_errors
from migrator.wire.judging import fault_of, is_challenge, is_taken
from migrator.wire.rate import RateLimiter
from migrator.wire.reading import read_up_to
from migrator.wire.redaction import without_credentials
from migrator.wire.redirects import Hop, Redirects
from migrator.wire.request import Request
from migrator.wire.request_body import StreamedBody
from migrator.wire.transport import OutgoingRequest, Response, Transport

MAX_ERROR_BYTES = 64 * 1024
"""How much of the body of an error is read."""
MAX_WHOLE_BYTES = 48 * 1024
"""A body up to this size fits into the buffer of a connection, so the tracker need not read for it to be sent."""
MAX_HOPS = 5
"""Requests that one exchange may need: the first one, those after redirects, and those that are signed again."""

T = TypeVar("T")
Consume = Callable[[Response, Hop], Awaitable[T]]
"""Reads a response that is what was requested."""


class Exchange:
    """Exchanges with the tracker at `base`. `timeout` is how many seconds may pass without a byte."""

    def __init__(
        self, base: URL, transport: Transport, limiter: AdaptiveLimiter, pacer: RateLimiter, timeout: float
    ) -> None:
        self.timeout = timeout
        self._stem = f"{base}/"
        self._transport, self._limiter, self._pacer = transport, limiter, pacer
        self._redirects = Redirects(base.origin())

    async def once(self, request: Request, signer: Signer, consume: Consume[T]) -> T:
        """What `consume` makes of the response; any other response or failure is one of `migrator.errors`."""
        hop = Hop(self._address(request.path), request.query, request.subject)
        for _ in range(MAX_HOPS):
            own_signer = signer if hop.own else None
            acquired_at = await self._limiter.acquire()
            try:
                await self._pacer.acquire()
                outgoing = await self._signed(request, hop, own_signer)
                async with await send(self._transport, outgoing, hop.subject) as response:
                    if is_taken(request, response):
                        result = await consume(response, hop)
                        self._succeeded(hop)
                        return result
                    if 300 <= response.status < 400 and response.status != 304:
                        hop = self._redirects.next_hop(request, hop, response)
                    elif not (own_signer and is_challenge(own_signer, outgoing.signature, response)):
                        raise await self._fault(hop, outgoing.signature, response)
            except transport_errors() as error:
                raise self._failure(hop, error, acquired_at) from None
            except errors.ThrottledError:
                self._limiter.on_overload(acquired_at)
                raise
            finally:
                self._limiter.release()
        raise hop.judged(errors.RejectedError(f"{hop.subject}: more than {MAX_HOPS} redirects"))

    async def post_form(self, path: str, form: Mapping[str, str] | bytes) -> tuple[int, bytes]:
        """Post a login form, or JSON if it is bytes; returns status and body.

        It is posted again where a load balancer first sets a cookie.
        """
        is_json = isinstance(form, bytes)
        subject, encoded = f"POST {path}", form if isinstance(form, bytes) else urlencode(form).encode()
        hop, status, body = Hop(self._address(path), {}, subject), 0, b""
        for _ in range(MAX_HOPS):
            try:
                await self._pacer.acquire()
                headers = {"Content-Type": "application/json" if is_json else "application/x-www-form-urlencoded"}
                if self._redirects.cookies.any:
                    headers["Cookie"] = self._redirects.cookies.added_to("", hop.url)
                outgoing = OutgoingRequest("POST", hop.url, headers, encoded)
                async with await send(self._transport, outgoing, subject) as response:
                    status = response.status
                    body, _ = await self.read(response, MAX_ERROR_BYTES, subject)
                    if not (300 <= status < 400 and self._redirects.only_sets_cookie(hop, response)):
                        break
            except transport_errors() as error:
                raise translate_error(error, subject) from None
        return status, body

    async def read(self, response: Response, limit: int, subject: str) -> tuple[bytes, bool]:
        """A decoded body, up to a limit or a little more, and whether that is all of it."""
        return await read_up_to(body_of_answer(response, self.timeout, subject), limit)

    async def spend(self, size: int) -> None:
        """Count bytes that were sent or received, and wait if they exceed the bandwidth."""
        self._limiter.on_bytes(size)
        await self._pacer.consume(size)

    async def _signed(self, request: Request, hop: Hop, signer: Signer | None) -> OutgoingRequest:
        headers, body, signature = {**request.headers}, request.body, UNSIGNED
        url = hop.url.update_query(hop.query) if hop.query else hop.url
        if isinstance(body, StreamedBody):
            headers.update(body.headers)
        if signer is not None:
            signature = await signer.sign(RequestToSign(request.method, url, body))
            headers.update(signature.headers)
            url = url.update_query(signature.query) if signature.query else url
            if self._redirects.cookies.any:
                headers["Cookie"] = self._redirects.cookies.added_to(headers.get("Cookie", ""), url)
        sent = await self._outgoing(body) if isinstance(body, StreamedBody) else body
        return OutgoingRequest(request.method, url, headers, sent, signature, request.file, hop.own, hop.direct)

    async def _outgoing(self, body: StreamedBody) -> bytes | AsyncIterator[bytes]:
        """A body as it is sent: a small one at once, which takes a third less time than to stream it."""
        if int(body.headers["Content-Length"]) > MAX_WHOLE_BYTES:
            return self._counted(body)
        return b"".join([chunk async for chunk in self._counted(body)])

    async def _counted(self, body: StreamedBody) -> AsyncIterator[bytes]:
        """The chunks of a body, each as soon as the bandwidth allows it."""
        async for chunk in body:
            await self.spend(len(chunk))
            yield chunk

    def _succeeded(self, hop: Hop) -> None:
        if not hop.foreign:
            self._pacer.on_success()

    def _failure(self, hop: Hop, error: Exception, acquired_at: float) -> errors.MigratorError:
        """The error that a failed transport means. A timeout slows all requests down, unless it is another host's."""
        if is_silence(error) and not hop.foreign:
            self._limiter.on_overload(acquired_at)
        return hop.judged(translate_error(error, hop.subject))

    async def _fault(self, hop: Hop, signature: Signature, response: Response) -> errors.MigratorError:
        """The error that a refusal means. If the tracker asks to slow down, all requests are slowed down."""
        body = b""
        with suppress(errors.UnexpectedBodyError):
            body, _ = await self.read(response, MAX_ERROR_BYTES, hop.subject)
        fault = fault_of(response, hop, without_credentials(body, signature), self._pacer.max_wait)
        if isinstance(fault, errors.ThrottledError):
            self._pacer.throttled(fault.retry_after, fault.status)
        return fault

    def _address(self, path: str) -> URL:
        """A URL below the base, whatever the path contains; existing percent-encoding is kept."""
        plain, mark, query = path.lstrip("/").partition("?")
        return URL(f"{self._stem}{encoded_path(plain)}{mark}{encoded_query(query) if query else ''}", encoded=True)
