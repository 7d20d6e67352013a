"""The HTTP client for one tracker: signs each attempt, keeps credentials on its origin, translates every failure.

An answer is either what was requested or one of `migrator.errors`; callers never see aiohttp.

Beware: paths are joined to the configured base, which may contain a virtual directory. Absolute URLs in a tracker's
answers are rebased onto it, because their host is the server's own idea of its name and often wrong.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import quote
from xml.etree.ElementTree import Element  # a type only

import aiohttp
from yarl import URL

from migrator import __version__, errors
from migrator.ports import BodyFacts, Sink
from migrator.wire.addresses import place, spelled_path, spelled_query
from migrator.wire.auth import RequestToSign, Signature, Signer
from migrator.wire.concurrency import AdaptiveLimiter
from migrator.wire.content_coding import UNDONE, Unpacked, coding_of, shown
from migrator.wire.cookies import Cookies
from migrator.wire.h1 import CLOSING, LINE_LIMIT, ConnectionPool
from migrator.wire.rate import RateLimiter
from migrator.wire.reading import CHUNK, StallGuard, limited
from migrator.wire.redirects import Hop, length_of_part, refused_abroad
from migrator.wire.request_body import StreamedBody
from migrator.wire.resolver import Resolver
from migrator.wire.route import DEFAULT_ROUTE, Route
from migrator.wire.status import (
    SNIFF,
    body_facts,
    error_for_status,
    expect_no_page,
    is_error_page,
    is_login_form,
    json_in,
    page_instead,
    wait_of,
    xml_in,
)
from migrator.wire.transport import TRANSPORT_ERRORS, Once, Response, is_silence, sent, translate_error

ANSWER_LIMIT = 64 * 1024 * 1024
ERROR_LIMIT = 64 * 1024
MOST_LINES = 4096
"""Lines in the head of an answer; aiohttp doesn't count the bytes of all of them."""
MAX_HOPS = 5
MAX_RENEWALS = 3
ANY = "*/*"
"""The `Accept` of a file: any type, unchanged."""
_UNSIGNED = Signature()
_REPEATED = frozenset({"PUT", "DELETE"})
"""Writes that aiohttp sends a second time by itself unless it is stopped."""
_AGENT = {"User-Agent": f"migrator/{__version__}"}

T = TypeVar("T")
_log = logging.getLogger("migrator.answers")


def _is_no_frame(_: bytes) -> bool:
    """A page is a page."""
    return False


def _unnoticed(what: str, count: int) -> None:
    """Nobody wants to know what was replaced in an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and the whole body of an API call."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    what: str = ""
    noticed: Callable[[str, int], None] = _unnoticed

    def json(self) -> Any:
        """The body as JSON; see `answers.json_in`. What is no text becomes U+FFFD, which the client notices."""
        if self.status in {204, 205}:
            raise errors.UnexpectedBodyError(
                f"{self.what}: the answer says that it has no content (status {self.status})"
            )
        return json_in(self, self._replaced)

    def xml(self) -> Element:
        """The root of the body as XML, without a DTD or entities of its own; see `answers.xml_in`."""
        return xml_in(self, self._replaced)

    def _replaced(self, count: int) -> None:
        self.noticed(self.what, count)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the adapter means it; `path` is below the base, `query` in plain text.

    `file`: what is asked for is a file as it is. Redirects are followed, and it travels by the lane where that leads.
    `framed`: whether a page is the answer to a change; some trackers wrap it for a browser's hidden frame.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | StreamedBody | None = None
    signer: Signer | None = None
    file: bool = False
    framed: Callable[[bytes], bool] = _is_no_frame

    @property
    def what(self) -> str:
        """For messages: no query, no header."""
        return f"{self.method} {URL(self.path).path if '://' in self.path else self.path}"


class HttpClient:
    """Requests to one tracker. Building it does no I/O; the session is opened by the first request.

    `files` signs downloads where they want other credentials than the API. `timeout` is in seconds without a byte.
    `connections` is a cap: how many are used is found out (`gate.py`).
    `route` tells of certificates and of a proxy.
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
    ) -> None:
        self.base = URL(base.rstrip("/"))
        self._stem = f"{self.base}/"
        self._home, self._cookies = self.base.origin(), Cookies()
        self._signer, self._files = signer, files or signer
        self._pacer = pacer or RateLimiter()
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, 30.0), sock_read=timeout)
        self._patience, self._route = timeout, route
        self._gate = AdaptiveLimiter(connections)
        self._session: aiohttp.ClientSession | None = None
        self._lane: ConnectionPool | None = None
        if route.proxy is None:
            self._lane = ConnectionPool(self._home, most=connections, timeout=timeout, context=route.home)
        self._plain_gets = False
        self._login = asyncio.Lock()
        self._logins = 0
        self._odd: set[str] = set()

    async def get(self, path: str, query: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """GET, the whole answer; headers as keywords with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(Request("GET", path, query or {}, named))

    async def send(self, call: Request) -> Answer:
        """Any API call; 2xx is an `Answer`, everything else an error. A redirect is an error, too, unless it leads to
        the same address with a cookie.

        A change that is answered by a page for people, saying that nobody is logged in or the tracker is down, was
        not made.
        """

        async def whole(response: Response, _: Hop) -> Answer:
            body, all_of_it = await self._read(response, ANSWER_LIMIT, call.what)
            if not all_of_it:
                raise errors.RejectedError(f"{call.what}: the answer is larger than {ANSWER_LIMIT} bytes")
            await self._spend(len(body))
            answer = Answer(response.status, response.headers, body, call.what, self._notice)
            if call.method != "GET" and not call.framed(body):
                expect_no_page(answer)
            return answer

        return await self._attempt(call, whole)

    async def get_json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """GET, the answer as JSON; `UnexpectedBodyError` if it is none. A login page in its place.

        Log in again once.
        """
        stamp = self._logins
        answer = await self.get(path, query, Accept="application/json")
        try:
            return answer.json()
        except errors.LoginPageError:
            if not await self._renew(self._signer, stamp):
                raise
        return (await self.get(path, query, Accept="application/json")).json()

    async def send_json(self, method: str, path: str, value: object, query: Mapping[str, str] | None = None) -> Answer:
        """Send a value as JSON."""
        return await self.send(_json_call(method, path, value, query))

    async def write_json(self, method: str, path: str, value: object, query: Mapping[str, str] | None = None) -> Answer:
        """The same for what must not be repeated blindly, see `write`."""
        return await self.write(_json_call(method, path, value, query))

    async def write(self, call: Request) -> Answer:
        """A call that must not be repeated blindly.

        Unless it surely was not taken, it ends as `OutcomeUnknownError`.
        """
        try:
            return await self.send(call)
        except errors.ConnectError:
            raise
        except errors.RetriableError as error:
            if error.status == 429:
                raise
            raise _unanswered(call, error) from error

    async def download(
        self,
        path: str,
        sink: Sink,
        query: Mapping[str, str] | None = None,
        *,
        html_expected: bool = False,
        accept: str = ANY,
    ) -> None:
        """Stream a file into the sink as it comes: its facts tell of a coding, which is the sink's business.

        Only where `accept` asks for something else, an answer that holds a file, a coding is undone here.
        Redirects are followed, to other hosts without credentials; what those say of the file is `RejectedError` or a
        plain `RetriableError`. Status 200 alone is a file, or a 206 that is all of it: a 203 was changed on its way.
        A login page or another page for people in its stead means: log in again once, else `UnexpectedBodyError`.
        """

        async def stream(response: Response, hop: Hop) -> None:
            await self._stream(response, sink, hop, html_expected=html_expected, as_it_is=accept == ANY)

        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        call = Request("GET", path, query or {}, headers, signer=self._files, file=True)
        await self._attempt(call, stream)

    def path_of(self, url: str) -> str:
        """The path (and query) below the base of an absolute or relative URL that the tracker wrote.

        Its scheme, host and port are forgotten; the base's own directory is taken off once. `UnexpectedBodyError` if
        it is none.
        """
        try:
            there = place(url)
        except ValueError:
            raise errors.UnexpectedBodyError("the tracker wrote an address that is none") from None
        path = there.raw_path_qs
        home = self.base.raw_path.rstrip("/")
        return path[len(home) :].lstrip("/") if home and path.startswith(home + "/") else path.lstrip("/")

    async def close(self) -> None:
        """Close the connections, within seconds, whatever becomes of them; may be called twice."""
        if self._lane is not None:
            await self._lane.close()
        session, self._session = self._session, None
        if session is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSING):
                    await session.close()

    async def _attempt(self, call: Request, consume: Callable[[Response, Hop], Awaitable[T]]) -> T:
        """One attempt, and more after logging in again while it is refused for lack of a session.

        After a login page once only. A streamed upload, too, is sent again after a 401: that surely took nothing.
        """
        signer = call.signer or self._signer
        if not signer.ready:
            await self._renew(signer, self._logins)
        renewals = 0
        while True:
            stamp = self._logins
            try:
                result = await self._once(call, signer, consume)
            except (errors.AuthError, errors.LoginPageError) as error:
                page = isinstance(error, errors.LoginPageError)
                if (page and isinstance(call.body, StreamedBody)) or renewals >= (1 if page else MAX_RENEWALS):
                    raise
                if not await self._renew(signer, stamp):
                    raise
                renewals += 1
            else:
                signer.worked()
                return result

    async def _renew(self, signer: Signer, stamp: int) -> bool:
        """Log in (again), once for all workers that were refused with the same session."""
        async with self._login:
            if self._logins != stamp and signer.ready:
                return True
            renewed = await signer.login(self._post_form)
            self._logins += renewed
            return renewed

    async def _once(self, call: Request, signer: Signer, consume: Callable[[Response, Hop], Awaitable[T]]) -> T:
        hop = Hop(self._url(call.path), call.query, call.what)
        for _ in range(MAX_HOPS):
            present, acquired_at = signer if hop.own else None, await self._gate.acquire()
            try:
                await self._pacer.acquire()
                signed, request = await self._signed(call, hop, present)
                async with await sent(request, hop.what) as response:
                    if _is_taken(call, response):
                        result = await consume(response, hop)
                        self._went_well(hop)
                        return result
                    if 300 <= response.status < 400 and response.status != 304:
                        hop = self._next_hop(call, hop, response)
                    elif not (present and _refused(present, signed, response)):
                        raise await self._fault(hop, signed, response)
            except TRANSPORT_ERRORS as error:
                if not self._goes_by_lane(call, hop, error):
                    raise self._broken(hop, error, acquired_at) from None
            except errors.ThrottledError:
                self._gate.on_overload(acquired_at)
                raise
            finally:
                self._gate.release()
        raise hop.judged(errors.RejectedError(f"{hop.what}: more than {MAX_HOPS} redirects"))

    def _broken(self, hop: Hop, error: Exception, acquired_at: float) -> errors.MigratorError:
        """The error that a transport failure means. A timeout slows all requests down, unless it is another host's."""
        if is_silence(error) and not hop.abroad:
            self._gate.on_overload(acquired_at)
        return hop.judged(translate_error(error, hop.what))

    def _goes_by_lane(self, call: Request, hop: Hop, error: Exception) -> bool:
        """Whether the pool can read what aiohttp can't: a response that states its length twice (see
        `h1.response.told_once`).

        A tracker whose proxy does that does it always, so from then on it is asked that way at once.
        """
        if self._plain_gets or not (isinstance(error, aiohttp.ClientResponseError) and call.method == "GET"):
            return False
        self._plain_gets = hop.direct and self._lane is not None and "Content-Length" in error.message
        return self._plain_gets

    def _went_well(self, hop: Hop) -> None:
        if not hop.abroad:
            self._pacer.on_success()

    async def _signed(self, call: Request, hop: Hop, signer: Signer | None) -> tuple[Signature, Awaitable[Response]]:
        """The request, signed and ready to be awaited; nothing is sent before."""
        headers = {**call.headers}
        signed, sent_to = _UNSIGNED, hop.url.update_query(hop.query) if hop.query else hop.url
        if isinstance(call.body, StreamedBody):
            headers.update(call.body.headers)
        if signer is not None:
            signed = await signer.sign(RequestToSign(call.method, sent_to, call.body))
            headers.update(signed.headers)
            sent_to = sent_to.update_query(signed.query) if signed.query else sent_to
            if self._cookies.any:
                headers["Cookie"] = self._cookies.added_to(headers.get("Cookie", ""), sent_to)
        return signed, self._request(call, hop, sent_to, headers)

    def _request(self, call: Request, hop: Hop, url: URL, headers: Mapping[str, str]) -> Awaitable[Response]:
        """The only place that chooses the transport of a request."""
        if self._lane is not None and hop.direct and (call.file or (self._plain_gets and call.method == "GET")):
            return self._lane.get(url.raw_path_qs, {**_AGENT, **headers})
        way = {"headers": headers, "allow_redirects": False, **self._way(home=hop.own)}
        if call.method in _REPEATED:
            way["middlewares"] = (Once(),)
        if isinstance(call.body, StreamedBody):
            return self._streamed(call.method, url, call.body, way)
        return self._open().request(call.method, url, data=call.body, **way)

    async def _streamed(self, method: str, url: URL, body: StreamedBody, way: Mapping[str, Any]) -> Response:
        """A request whose body the tracker has to take; `TimeoutError` if it does not: aiohttp would wait for ever."""
        async with asyncio.timeout(None) as silence:
            return await self._open().request(method, url, data=self._paced(body, silence), **way)

    def _way(self, *, home: bool) -> dict[str, Any]:
        """How a request travels: certificates for the tracker itself or for others, and the proxy."""
        context, proxy = self._route.home if home else self._route.abroad, self._route.proxy
        way: dict[str, Any] = {} if context is None else {"ssl": context}
        if proxy is not None:
            way["proxy"] = proxy.url
            if proxy.username:
                way["proxy_headers"] = proxy.headers
        return way

    def _next_hop(self, call: Request, hop: Hop, response: Response) -> Hop:
        """Where a redirect leads; an error for an API call, other than one that only has to show a cookie."""
        location = response.headers.get("Location", "")
        found = hop.next(self._home, location)
        kept = hop.is_same_address(found) and self._cookies.take(hop.url, response.headers.items())
        if not call.file and not (kept and (call.method == "GET" or response.status in {307, 308})):
            there = found.url.with_user(None).with_query(None)
            raise found.judged(errors.RejectedError(f"{hop.what}: the tracker redirects to {there}; is `url` right?"))
        return found

    async def _fault(self, hop: Hop, signed: Signature, response: Response) -> errors.MigratorError:
        """The error that a refusal means; one that says 'slow down' slows all requests down."""
        status, body = response.status, b""
        with suppress(errors.UnexpectedBodyError):
            body, _ = await self._read(response, ERROR_LIMIT, hop.what)
        body = _without(body, signed)
        if status < 400:
            return hop.judged(
                errors.UnexpectedBodyError(f"{hop.what}: status {status}, which is not what was asked for")
            )
        means = refused_abroad if hop.abroad else error_for_status
        fault = means(status, response.headers, hop.what, body)
        if isinstance(fault, errors.RetriableError):
            fault.retry_after = wait_of(status, response.headers, self._pacer.longest)
        fault = hop.judged(fault)
        if isinstance(fault, errors.ThrottledError):
            self._pacer.throttled(fault.retry_after, fault.status)
        return fault

    def _notice(self, what: str, count: int) -> None:
        """Characters of an answer were replaced: reported once for each kind of request."""
        if (kind := re.sub("[0-9]+", "0", what)) not in self._odd:
            self._odd.add(kind)
            _log.warning("%s: %d characters of the answer are no text and were read as U+FFFD", what, count)

    async def _read(self, response: Response, limit: int, what: str) -> tuple[bytes, bool]:
        return await limited(self._unpacked(response, what), limit)

    def _unpacked(self, response: Response, what: str) -> StallGuard | Unpacked:
        """The body of what is no file, without the coding that it travels in."""
        body, coding = StallGuard(response.content, self._patience, what), coding_of(response.headers)
        return Unpacked(body, coding, what) if coding in UNDONE else body

    async def _paced(self, body: StreamedBody, silence: asyncio.Timeout) -> AsyncIterator[bytes]:
        """The pieces of a body; `silence` runs while one waits to be taken, and not in the time that is ours."""
        loop = asyncio.get_running_loop()
        async for chunk in body:
            await self._spend(len(chunk))
            with suppress(RuntimeError):  # the answer came before the body was sent
                silence.reschedule(loop.time() + self._patience)
            yield chunk
            with suppress(RuntimeError):
                silence.reschedule(None)

    async def _spend(self, size: int) -> None:
        """Bytes that came or went: they count for the pace, and tell how much the requests under way bring."""
        self._gate.on_bytes(size)
        await self._pacer.consume(size)

    async def _stream(self, response: Response, sink: Sink, hop: Hop, *, html_expected: bool, as_it_is: bool) -> None:
        facts = _facts(response)
        if as_it_is:
            body: StallGuard | Unpacked = StallGuard(response.content, self._patience, hop.what)
        else:
            body = self._unpacked(response, hop.what)
            facts = replace(facts, length=None, coding="") if facts.coding else facts
        length = facts.length
        piece = await body.more(SNIFF if length is None or length > CHUNK else length)
        head = shown(facts.coding, piece, SNIFF) if facts.coding else piece
        if is_error_page(facts, head, html_expected=html_expected and not (hop.login and is_login_form(head))):
            raise errors.LoginPageError(f"{hop.what}: {page_instead(head)}")
        await sink.start(facts)
        while piece:
            await self._spend(len(piece))
            await sink.write(piece)
            piece = await body.more(CHUNK)

    async def _post_form(self, path: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        """A login; sent again where a load balancer only wants its cookie shown."""
        what = f"POST {path}"
        hop, status, body = Hop(self._url(path), {}, what), 0, b""
        for _ in range(MAX_HOPS):
            try:
                await self._pacer.acquire()
                headers = {"Cookie": self._cookies.added_to("", hop.url)} if self._cookies.any else {}
                way = self._way(home=True)
                request = self._open().post(hop.url, data=dict(form), headers=headers, allow_redirects=False, **way)
                async with request as response:
                    status, (body, _) = response.status, await self._read(response, ERROR_LIMIT, what)
                    if not (300 <= status < 400 and self._wants_cookie(hop, response)):
                        break
            except TRANSPORT_ERRORS as error:
                raise translate_error(error, what) from None
        return status, body

    def _wants_cookie(self, hop: Hop, response: Response) -> bool:
        try:
            found = hop.next(self._home, response.headers.get("Location", ""))
        except errors.MigratorError:
            return False
        return hop.is_same_address(found) and self._cookies.take(hop.url, response.headers.items())

    def _url(self, path: str) -> URL:
        """An address below the base, whatever the path looks like; existing percent-encoding is kept."""
        plain, mark, query = path.lstrip("/").partition("?")
        return URL(f"{self._stem}{spelled_path(plain)}{mark}{spelled_query(query) if query else ''}", encoded=True)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._gate.most, ttl_dns_cache=300, resolver=Resolver()),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                headers={**_AGENT, "Accept-Encoding": "gzip, deflate"},
                auto_decompress=False,
                max_line_size=LINE_LIMIT,
                max_field_size=LINE_LIMIT,
                max_headers=MOST_LINES,
            )
        return self._session


def _json_call(method: str, path: str, value: object, query: Mapping[str, str] | None) -> Request:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Request(method, path, query or {}, headers, json.dumps(value).encode())


def _unanswered(call: Request, error: errors.RetriableError) -> errors.OutcomeUnknownError:
    """What is known of a write that came to this: whether the tracker is at work on it still, or ever was."""
    status, login = error.status or 0, isinstance(error, errors.LoginPageError)
    known = login or status in {500, 503} or 200 <= status < 300
    at_work = isinstance(error, errors.ReadTimeoutError) or (status >= 500 and not known)
    message = f"{call.what}: its fate is unknown ({error})"
    return errors.OutcomeUnknownError(message, finished=known, at_work=at_work, login=login)


def _refused(signer: Signer, signed: Signature, response: Response) -> bool:
    """Whether the signer wants to answer this refusal with another request (a nonce, a challenge)."""
    return response.status in {401, 403} and signer.refused(signed, response.headers)


def _is_taken(call: Request, response: Response) -> bool:
    """Whether the status says that here is what was asked for."""
    if response.status == 200:
        return True
    if call.file:
        return response.status == 206 and length_of_part(response.headers) is not None
    return 200 <= response.status < 300


def _facts(response: Response) -> BodyFacts:
    facts = body_facts(response.headers)
    if response.status == 206:
        facts = replace(facts, length=length_of_part(response.headers))
    coding = coding_of(response.headers)
    return replace(facts, coding=coding) if coding else facts


def _without(body: bytes, signature: Signature) -> bytes:
    """The body of an error without the credentials, should the tracker repeat them, in whichever form."""
    secrets = {part for value in (*signature.headers.values(), *signature.query.values()) for part in _parts(value)}
    forms = {form for secret in secrets for form in _spellings(secret)}
    for form in sorted(forms, key=len, reverse=True):
        body = body.replace(form.encode(), b"***")
    return body


def _parts(value: str) -> list[str]:
    """What is secret in a header or parameter: all of it, what follows a scheme and a name, what Basic wraps up."""
    scheme, _, rest = value.partition(" ")
    parts = [value, rest, rest.partition("=")[2].strip('"')]
    if scheme == "Basic":
        with suppress(ValueError):
            pair = b64decode(rest).decode()
            parts += [pair, pair.partition(":")[2]]
    return [part for part in parts if part.strip("=")]


def _spellings(secret: str) -> tuple[str, ...]:
    """As it is, and as it stands in addresses, in HTML and in JSON."""
    in_query = URL.build(query={"a": secret}).raw_query_string[2:]
    return secret, quote(secret), quote(secret, safe=""), in_query, html.escape(secret), json.dumps(secret)[1:-1]
