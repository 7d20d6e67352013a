"""The HTTP client for one tracker: API calls, writes and downloads.

An answer is either what was requested or one of `migrator.errors`; callers never see the HTTP library.

    client     the verbs, and what is read of a response
    session    credentials: sign each attempt, log in again
    exchange   one attempt: pace, send, follow redirects, judge the response
    transport  how a request travels

Beware: paths are joined to the configured base, which may contain a virtual directory. Absolute URLs in a tracker's
answers are rebased onto it, because their host is the server's own idea of its name and often wrong.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import override
from yarl import URL

from migrator import errors
from migrator.ports import Sink
from migrator.sniffing import SNIFFED_BYTES, is_error_page, is_login_form, page_instead
from migrator.wire.addresses import parsed_url
from migrator.wire.answer import Answer
from migrator.wire.auth import Signer
from migrator.wire.concurrency import AdaptiveLimiter
from migrator.wire.content_coding import DecodedBody, body_of_answer, decoded_head
from migrator.wire.exchange import Exchange
from migrator.wire.handover import Lender, LentSession
from migrator.wire.judging import facts_of, unknown_outcome
from migrator.wire.rate import RateLimiter
from migrator.wire.reading import CHUNK_BYTES, StallGuard
from migrator.wire.recording import Recorder, RecordingTransport
from migrator.wire.redirects import Hop
from migrator.wire.request import Request, json_request
from migrator.wire.route import DEFAULT_ROUTE, Route
from migrator.wire.session import Session
from migrator.wire.split_transport import transport_to
from migrator.wire.transport import Response

MAX_ANSWER_BYTES = 64 * 1024 * 1024
ANY_TYPE = "*/*"
"""The `Accept` header for a file that is the whole body."""

_log = logging.getLogger("migrator.answers")


class HttpClient(Lender):
    """Requests to one tracker. Building it does no I/O; connections are opened by the first request.

    `files` signs downloads where they want other credentials than the API. `timeout` is in seconds without a byte.
    `connections` is a maximum: `AdaptiveLimiter` finds out how many are worth it.
    `route` holds the TLS and proxy settings. A `recorder` keeps all that is sent and received.
    """

    def __init__(
        self,
        base: str,
        signer: Signer,
        *,
        files: Signer | None = None,
        pacer: RateLimiter | None = None,
        timeout: float = 60.0,
        connections: int = 16,
        route: Route = DEFAULT_ROUTE,
        recorder: Recorder | None = None,
    ) -> None:
        self.base = URL(base.rstrip("/"))
        self._files = files or signer
        self._limiter, self._pacer = AdaptiveLimiter(connections), pacer or RateLimiter()
        transport = transport_to(self.base.origin(), route, connections=connections, timeout=timeout)
        self._transport = RecordingTransport(transport, recorder) if recorder else transport
        self._exchange = Exchange(self.base, self._transport, self._limiter, self._pacer, timeout)
        self._session = Session(self._exchange, signer)
        self._reported: set[str] = set()

    async def get(self, path: str, query: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """GET, the whole answer; headers as keywords with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(Request("GET", path, query or {}, named))

    async def send(self, request: Request) -> Answer:
        """Any API call; 2xx is an `Answer`, everything else an error, including a redirect that does more than set a
        cookie.

        A write is also an error if the answer is a page that says that nobody is logged in or that the tracker is down.
        """

        async def read_answer(response: Response, _: Hop) -> Answer:
            body, is_whole = await self._exchange.read(response, MAX_ANSWER_BYTES, request.subject)
            if not is_whole:
                raise errors.RejectedError(f"{request.subject}: the answer is larger than {MAX_ANSWER_BYTES} bytes")
            await self._exchange.spend(len(body))
            answer = Answer(response.status, response.headers, body, request.subject, self._report_replaced)
            if request.method != "GET" and not request.framed(body):
                answer.require_no_page()
            return answer

        return await self._session.attempt(request, read_answer)

    async def get_json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """GET, the answer as JSON; `UnexpectedBodyError` if it isn't. After a login page, log in and try once more."""
        logins_before = self._session.logins
        answer = await self.get(path, query, Accept="application/json")
        try:
            return answer.json()
        except errors.LoginPageError:
            if not await self._session.renew(self._session.signer, logins_before):
                raise
        return (await self.get(path, query, Accept="application/json")).json()

    async def send_json(self, method: str, path: str, value: object, query: Mapping[str, str] | None = None) -> Answer:
        """Send a value as JSON."""
        return await self.send(json_request(method, path, value, query))

    async def write_json(self, method: str, path: str, value: object, query: Mapping[str, str] | None = None) -> Answer:
        """Send a value as JSON that must not be sent twice, see `write`."""
        return await self.write(json_request(method, path, value, query))

    async def write(self, request: Request) -> Answer:
        """A call that must not be repeated blindly: `OutcomeUnknownError` unless it certainly was not carried out."""
        try:
            return await self.send(request)
        except errors.ConnectError:
            raise
        except errors.RetriableError as error:
            if error.status == 429:
                raise
            raise unknown_outcome(request, error) from error

    async def download(
        self,
        path: str,
        sink: Sink,
        query: Mapping[str, str] | None = None,
        *,
        html_expected: bool = False,
        accept: str = ANY_TYPE,
        body: bytes | None = None,
    ) -> None:
        """Stream a file into the sink, undecoded: the sink is told of a content coding and decides what to do.

        With another `accept` the answer only contains the file; then a coding is undone here. A `body` is JSON, sent by
        POST: a call whose answer contains the file.
        Redirects are followed, to other hosts without credentials; an error of another host is `RejectedError` or a
        plain `RetriableError`. A file has status 200, or 206 if that is all of it; a 203 was changed on its way.
        If a login page or another page for people comes instead, log in again once, else `UnexpectedBodyError`.
        """

        async def stream(response: Response, hop: Hop) -> None:
            await self._stream(response, sink, hop, html_expected=html_expected, undecoded=accept == ANY_TYPE)

        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        method = "GET" if body is None else "POST"
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = Request(method, path, query or {}, headers, body, signer=self._files, file=True)
        await self._session.attempt(request, stream)

    @property
    def concurrency(self) -> int:
        """How many requests at once the tracker answers fastest, as far as is known; see `AdaptiveLimiter`."""
        return self._limiter.limit

    def begin_at(self, concurrency: int) -> None:
        """Begin with what another process has found. No effect once a request was sent."""
        self._limiter.begin_at(concurrency)

    def path_of(self, url: str) -> str:
        """An absolute or relative URL that the tracker wrote, as a path (and query) below the base.

        Its scheme, host and port are ignored; the base's own directory is removed once. `UnexpectedBodyError` if it is
        not a URL.
        """
        try:
            address = parsed_url(url)
        except ValueError:
            raise errors.UnexpectedBodyError("the tracker returned an invalid address") from None
        path = address.raw_path_qs
        home = self.base.raw_path.rstrip("/")
        return path[len(home) :].lstrip("/") if home and path.startswith(home + "/") else path.lstrip("/")

    def lend(self, *, files: bool = False) -> LentSession:
        """The session for the API or for files, for another process."""
        return LentSession((self._files if files else self._session.signer).lent(), self._session.logins)

    @override
    async def renewed(self, lent: LentSession, *, files: bool) -> LentSession | None:
        renewed = await self._session.renew(self._files if files else self._session.signer, lent.logins)
        return self.lend(files=files) if renewed else None

    @override
    async def acquire(self) -> None:
        await self._pacer.acquire()

    @override
    async def consume(self, size: int) -> None:
        await self._pacer.consume(size)

    @override
    def throttled(self, retry_after: float | None, status: int | None) -> None:
        self._pacer.throttled(retry_after, status)

    def on_throttled(self, listener: Callable[[float | None, int | None], None]) -> None:
        """Have this called, with the wait and the status, each time the tracker asks this process to slow down."""
        self._pacer.on_throttled(listener)

    async def close(self) -> None:
        """Close the connections; those that don't close within seconds are dropped. May be called twice."""
        await self._transport.close()

    async def _stream(self, response: Response, sink: Sink, hop: Hop, *, html_expected: bool, undecoded: bool) -> None:
        facts = facts_of(response)
        body: StallGuard | DecodedBody
        if undecoded:
            body = StallGuard(response.content, self._exchange.timeout, hop.subject)
        else:
            body = body_of_answer(response, self._exchange.timeout, hop.subject)
            facts = replace(facts, length=None, coding="") if facts.coding else facts
        length = facts.length
        chunk = await body.read_at_least(SNIFFED_BYTES if length is None or length > CHUNK_BYTES else length)
        head = decoded_head(facts.coding, chunk, SNIFFED_BYTES) if facts.coding else chunk
        if is_error_page(facts, head, html_expected=html_expected and not (hop.login and is_login_form(head))):
            raise errors.LoginPageError(f"{hop.subject}: {page_instead(head)}")
        await sink.start(facts)
        while chunk:
            await self._exchange.spend(len(chunk))
            await sink.write(chunk)
            chunk = await body.read_at_least(CHUNK_BYTES)

    def _report_replaced(self, subject: str, count: int) -> None:
        """Log that characters of an answer were replaced, once for each kind of request."""
        if (kind := re.sub("[0-9]+", "0", subject)) not in self._reported:
            self._reported.add(kind)
            _log.warning("%s: %d characters of the answer are not valid text and were read as U+FFFD", subject, count)
