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
from migrator.wire.failures import TRANSPORT_ERRORS, is_silence, send, translate_error
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
MAX_HOPS = 5

T = TypeVar("T")
Consume = Callable[[Response, Hop], Awaitable[T]]
"""Reads a response that is what was requested."""


class Exchange:
    """Exchanges with one tracker at `base`. `timeout` is in seconds without a byte."""

    def __init__(
        self, base: URL, transport: Transport, limiter: AdaptiveLimiter, pacer: RateLimiter, timeout: float
    ) -> None:
        self.timeout = timeout
        self._stem = f"{base}/"
        self._transport, self._limiter, self._pacer = transport, limiter, pacer
        self._redirects = Redirects(base.origin())

    async def once(self, request: Request, signer: Signer, consume: Consume[T]) -> T:
        """What `consume` makes of the response; any other response or failure is one of `migrator.errors`."""
        hop = Hop(self._address(request.path), request.query, request.what)
        for _ in range(MAX_HOPS):
            present, acquired_at = signer if hop.own else None, await self._limiter.acquire()
            try:
                await self._pacer.acquire()
                outgoing = await self._signed(request, hop, present)
                async with await send(self._transport, outgoing, hop.what) as response:
                    if is_taken(request, response):
                        result = await consume(response, hop)
                        self._succeeded(hop)
                        return result
                    if 300 <= response.status < 400 and response.status != 304:
                        hop = self._redirects.next_hop(request, hop, response)
                    elif not (present and is_challenge(present, outgoing.signature, response)):
                        raise await self._fault(hop, outgoing.signature, response)
            except TRANSPORT_ERRORS as error:
                if not self._transport.reroutes(error, request.method, direct=hop.direct):
                    raise self._failure(hop, error, acquired_at) from None
            except errors.ThrottledError:
                self._limiter.on_overload(acquired_at)
                raise
            finally:
                self._limiter.release()
        raise hop.judged(errors.RejectedError(f"{hop.what}: more than {MAX_HOPS} redirects"))

    async def post_form(self, path: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        """Post a login form and return status and body; again where a load balancer wants its cookie first."""
        what = f"POST {path}"
        hop, status, body = Hop(self._address(path), {}, what), 0, b""
        encoded = urlencode(form).encode()
        for _ in range(MAX_HOPS):
            try:
                await self._pacer.acquire()
                headers = {"Content-Type": "application/x-www-form-urlencoded"}
                if self._redirects.cookies.any:
                    headers["Cookie"] = self._redirects.cookies.added_to("", hop.url)
                async with await send(self._transport, OutgoingRequest("POST", hop.url, headers, encoded), what) as got:
                    status, (body, _) = got.status, await self.read(got, MAX_ERROR_BYTES, what)
                    if not (300 <= status < 400 and self._redirects.only_sets_cookie(hop, got)):
                        break
            except TRANSPORT_ERRORS as error:
                raise translate_error(error, what) from None
        return status, body

    async def read(self, response: Response, limit: int, what: str) -> tuple[bytes, bool]:
        """A body without its coding, up to a limit or a little more, and whether that is all of it."""
        return await read_up_to(body_of_answer(response, self.timeout, what), limit)

    async def spend(self, size: int) -> None:
        """Count bytes that came or went: for the bandwidth, and for how many requests at once are worth it."""
        self._limiter.on_bytes(size)
        await self._pacer.consume(size)

    async def _signed(self, request: Request, hop: Hop, signer: Signer | None) -> OutgoingRequest:
        headers = {**request.headers}
        signature, body, url = UNSIGNED, request.body, hop.url.update_query(hop.query) if hop.query else hop.url
        if isinstance(body, StreamedBody):
            headers.update(body.headers)
        if signer is not None:
            signature = await signer.sign(RequestToSign(request.method, url, body))
            headers.update(signature.headers)
            url = url.update_query(signature.query) if signature.query else url
            if self._redirects.cookies.any:
                headers["Cookie"] = self._redirects.cookies.added_to(headers.get("Cookie", ""), url)
        sent = self._counted(body) if isinstance(body, StreamedBody) else body
        return OutgoingRequest(request.method, url, headers, sent, signature, request.file, hop.own, hop.direct)

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
        return hop.judged(translate_error(error, hop.what))

    async def _fault(self, hop: Hop, signature: Signature, response: Response) -> errors.MigratorError:
        """The error that a refusal means. One that says 'slow down' slows all requests down."""
        body = b""
        with suppress(errors.UnexpectedBodyError):
            body, _ = await self.read(response, MAX_ERROR_BYTES, hop.what)
        fault = fault_of(response, hop, without_credentials(body, signature), self._pacer.longest)
        if isinstance(fault, errors.ThrottledError):
            self._pacer.throttled(fault.retry_after, fault.status)
        return fault

    def _address(self, path: str) -> URL:
        """A URL below the base, whatever the path contains; existing percent-encoding is kept."""
        plain, mark, query = path.lstrip("/").partition("?")
        return URL(f"{self._stem}{encoded_path(plain)}{mark}{encoded_query(query) if query else ''}", encoded=True)
