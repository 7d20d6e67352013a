"""The wire: one `HttpClient` for each tracker. Signs each attempt, keeps credentials at home, maps every failure.

The one idea: an answer is either what was asked for or one of `migrator.errors`; whoever calls never sees aiohttp.
The one trap: paths are joined to the configured base (which may hold a virtual directory), and absolute URLs that a
tracker puts into its answers are rebased onto it: their host is the server's own idea, often wrong.
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
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote
from xml.etree.ElementTree import Element  # a type only

import aiohttp
from yarl import URL

from migrator import __version__, errors
from migrator.answers import (
    SNIFF,
    error_for,
    facts_of,
    is_error_page,
    json_in,
    looks_like_login,
    page_instead,
    wait_of,
    xml_in,
)
from migrator.auth import Signature, Signer, Unsigned
from migrator.bodies import CHUNK, Steady, limited
from migrator.gate import Gate
from migrator.lane import Lane
from migrator.multipart import Streamed
from migrator.pacing import Pacer
from migrator.ports import Sink
from migrator.tls import DIRECT, Route
from migrator.wire import FAILURES, Response, sent, wire_error

ANSWER_LIMIT = 64 * 1024 * 1024
ERROR_LIMIT = 64 * 1024
MAX_HOPS = 5
MAX_RENEWALS = 3
_UNSIGNED = Signature()
_AGENT = {"User-Agent": f"migrator/{__version__}"}

T = TypeVar("T")
_log = logging.getLogger("migrator.answers")


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
            raise errors.WrongBody(f"{self.what}: the answer says that it has no content (status {self.status})")
        return json_in(self, self._replaced)

    def xml(self) -> Element:
        """The root of the body as XML, without a DTD or entities of its own; see `answers.xml_in`."""
        return xml_in(self, self._replaced)

    def _replaced(self, count: int) -> None:
        self.noticed(self.what, count)


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the adapter means it; `path` is below the base, `query` in plain text.

    `file`: what is asked for is a file as it is. Redirects are followed, and it travels by the lane where that leads.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Streamed | None = None
    signer: Signer | None = None
    file: bool = False

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
        pacer: Pacer | None = None,
        timeout: float = 60.0,
        connections: int = 16,
        route: Route = DIRECT,
    ) -> None:
        self.base = URL(base.rstrip("/"))
        self._home = self.base.origin()
        self._signer, self._files = signer, files or signer
        self._pacer = pacer or Pacer()
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, 30.0), sock_read=timeout)
        self._patience, self._route = timeout, route
        self._gate = Gate(connections)
        self._session: aiohttp.ClientSession | None = None
        self._lane: Lane | None = None
        if route.proxy is None:
            self._lane = Lane(self._home, most=connections, timeout=timeout, context=route.home)
        self._login = asyncio.Lock()
        self._logins = 0
        self._odd: set[str] = set()

    async def get(self, path: str, query: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """GET, the whole answer; headers as keywords with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(Call("GET", path, query or {}, named))

    async def send(self, call: Call) -> Answer:
        """Any API call; 2xx is an `Answer`, everything else an error. A redirect is an error, too."""

        async def whole(response: Response) -> Answer:
            body, all_of_it = await self._read(response, ANSWER_LIMIT, call.what)
            if not all_of_it:
                raise errors.Rejected(f"{call.what}: the answer is larger than {ANSWER_LIMIT} bytes")
            await self._spend(len(body))
            return Answer(response.status, response.headers, body, call.what, self._notice)

        return await self._attempt(call, whole)

    async def get_json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """GET, the answer as JSON; `WrongBody` if it is none. A login page in its place: log in again once."""
        stamp = self._logins
        answer = await self.get(path, query, Accept="application/json")
        try:
            return answer.json()
        except errors.LoginPage:
            if not await self._renew(self._signer, stamp):
                raise
        return (await self.get(path, query, Accept="application/json")).json()

    async def send_json(self, method: str, path: str, value: object, query: Mapping[str, str] | None = None) -> Answer:
        """Send a value as JSON."""
        return await self.send(_json_call(method, path, value, query))

    async def write_json(self, method: str, path: str, value: object, query: Mapping[str, str] | None = None) -> Answer:
        """The same for what must not be repeated blindly, see `write`."""
        return await self.write(_json_call(method, path, value, query))

    async def write(self, call: Call) -> Answer:
        """A call that must not be repeated blindly: unless it surely was not taken, it ends as `Unanswered`."""
        try:
            return await self.send(call)
        except errors.ConnectFailed:
            raise
        except errors.Retriable as error:
            if error.status == 429:
                raise
            finished = error.status in {500, 503}
            raise errors.Unanswered(f"{call.what}: its fate is unknown ({error})", finished=finished) from None

    async def download(
        self,
        path: str,
        sink: Sink,
        query: Mapping[str, str] | None = None,
        *,
        html_expected: bool = False,
        accept: str = "*/*",
    ) -> None:
        """Stream a file into the sink: identity encoding, redirects to other hosts without credentials.

        A login page or another page for people in its stead means: log in again once, else `WrongBody`.
        """

        async def stream(response: Response) -> None:
            await self._stream(response, sink, call.what, html_expected=html_expected)

        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        call = Call("GET", path, query or {}, headers, signer=self._files, file=True)
        await self._attempt(call, stream)

    def path_of(self, url: str) -> str:
        """The path (and query) below the base of an absolute or relative URL that the tracker wrote.

        Its scheme, host and port are forgotten; the base's own directory is taken off once. `WrongBody` if it is none.
        """
        try:
            there = URL(url, encoded="%" in url)
        except ValueError:
            raise errors.WrongBody("the tracker wrote an address that is none") from None
        path = there.raw_path_qs
        home = self.base.raw_path.rstrip("/")
        return path[len(home) :].lstrip("/") if home and path.startswith(home + "/") else path.lstrip("/")

    async def close(self) -> None:
        """Close the connections; may be called twice."""
        if self._lane is not None:
            await self._lane.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _attempt(self, call: Call, consume: Callable[[Response], Awaitable[T]]) -> T:
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
            except (errors.AuthRefused, errors.LoginPage) as error:
                page = isinstance(error, errors.LoginPage)
                if (page and isinstance(call.body, Streamed)) or renewals >= (1 if page else MAX_RENEWALS):
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

    async def _once(self, call: Call, signer: Signer, consume: Callable[[Response], Awaitable[T]]) -> T:
        url, query = self._url(call.path), call.query
        for _ in range(MAX_HOPS):
            present = signer if self._is_home(url) else None
            entered = await self._gate.enter()
            try:
                await self._pacer.turn()
                signed, request = await self._signed(call, url, query, present)
                async with await sent(request, call.what) as response:
                    if response.status < 300 or response.status == 304:
                        result = await consume(response)
                        self._pacer.went_well()
                        return result
                    if response.status < 400:
                        url, query = _next_hop(call, url, response), {}
                    elif not (present and _refused(present, signed, response)):
                        raise await self._fault(call, signed, response)
            except FAILURES as error:
                if isinstance(error, TimeoutError):
                    self._gate.complaint(entered)
                raise wire_error(error, call.what) from None
            except errors.Throttled:
                self._gate.complaint(entered)
                raise
            finally:
                self._gate.leave()
        raise errors.Rejected(f"{call.what}: more than {MAX_HOPS} redirects")

    async def _signed(
        self, call: Call, url: URL, query: Mapping[str, str], signer: Signer | None
    ) -> tuple[Signature, Awaitable[Response]]:
        """The request, signed and ready to be awaited; nothing is sent before."""
        headers = {**call.headers}
        signed, sent_to = _UNSIGNED, url.update_query(query) if query else url
        if isinstance(call.body, Streamed):
            headers.update(call.body.headers)
        if signer is not None:
            signed = await signer.sign(Unsigned(call.method, sent_to, call.body))
            headers.update(signed.headers)
            sent_to = sent_to.update_query(signed.query) if signed.query else sent_to
        return signed, self._request(call, sent_to, headers)

    def _request(self, call: Call, url: URL, headers: Mapping[str, str]) -> Awaitable[Response]:
        """The one place where it is chosen by what a request travels."""
        home = self._is_home(url)
        if home and call.file and self._lane is not None:
            return self._lane.get(url.raw_path_qs, {**_AGENT, **headers})
        body = self._paced(call.body) if isinstance(call.body, Streamed) else call.body
        return self._open().request(
            call.method, url, headers=headers, data=body, allow_redirects=False, **self._way(home=home)
        )

    def _is_home(self, url: URL) -> bool:
        return url.origin() == self._home

    def _way(self, *, home: bool) -> dict[str, Any]:
        """How a request travels: certificates for the tracker itself or for others, and the proxy."""
        context, proxy = self._route.home if home else self._route.abroad, self._route.proxy
        way: dict[str, Any] = {} if context is None else {"ssl": context}
        if proxy is not None:
            way["proxy"] = proxy.url
            if proxy.username:
                way["proxy_headers"] = proxy.headers
        return way

    async def _fault(self, call: Call, signed: Signature, response: Response) -> errors.MigratorError:
        """What an answer that is a refusal means; one that says 'slow down' is told to everybody."""
        body, _ = await self._read(response, ERROR_LIMIT, call.what)
        body = _without(body, signed)
        fault = error_for(response.status, response.headers, call.what, body)
        if isinstance(fault, errors.Retriable):
            fault.retry_after = wait_of(response.status, response.headers, self._pacer.longest)
        if isinstance(fault, errors.Throttled):
            self._pacer.throttled(fault.retry_after, fault.status)
        return fault

    def _notice(self, what: str, count: int) -> None:
        """Characters of an answer were replaced: told once for each kind of question."""
        if (kind := re.sub("[0-9]+", "0", what)) not in self._odd:
            self._odd.add(kind)
            _log.warning("%s: %d characters of the answer are no text and were read as U+FFFD", what, count)

    async def _read(self, response: Response, limit: int, what: str) -> tuple[bytes, bool]:
        return await limited(Steady(response.content, self._patience, what), limit)

    async def _paced(self, body: Streamed) -> AsyncIterator[bytes]:
        async for chunk in body:
            await self._spend(len(chunk))
            yield chunk

    async def _spend(self, size: int) -> None:
        """Bytes that came or went: they count for the pace, and tell how much the requests under way bring."""
        self._gate.moved(size)
        await self._pacer.spend(size)

    async def _stream(self, response: Response, sink: Sink, what: str, *, html_expected: bool) -> None:
        if response.headers.get("Content-Encoding", "identity").lower() not in {"identity", ""}:
            raise errors.WrongBody(f"{what}: compressed, though it was asked for as it is")
        facts, body = facts_of(response.headers), Steady(response.content, self._patience, what)
        length = facts.length
        piece = await body.more(SNIFF if length is None or length > CHUNK else length)
        if is_error_page(facts, piece, html_expected=html_expected):
            raise errors.LoginPage(f"{what}: {page_instead(piece)}")
        await sink.start(facts)
        while piece:
            await self._spend(len(piece))
            await sink.write(piece)
            piece = await body.more(CHUNK)

    async def _post_form(self, path: str, form: Mapping[str, str]) -> tuple[int, bytes]:
        try:
            await self._pacer.turn()
            request = self._open().post(self._url(path), data=dict(form), allow_redirects=False, **self._way(home=True))
            async with request as response:
                return response.status, (await self._read(response, ERROR_LIMIT, f"POST {path}"))[0]
        except FAILURES as error:
            raise wire_error(error, f"POST {path}") from None

    def _url(self, path: str) -> URL:
        """Below the base, whatever the path looks like; what is percent-encoded already stays as it is."""
        plain, mark, query = path.lstrip("/").partition("?")
        encoded = plain if "%" in plain else URL.build(path="/" + plain).raw_path[1:]
        return URL(f"{self.base}/{encoded}{mark}{query}", encoded=True)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._gate.most, ttl_dns_cache=300),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                headers=_AGENT,
            )
        return self._session


def _json_call(method: str, path: str, value: object, query: Mapping[str, str] | None) -> Call:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Call(method, path, query or {}, headers, json.dumps(value).encode())


def _refused(signer: Signer, signed: Signature, response: Response) -> bool:
    """Whether the signer wants to answer this refusal with another request (a nonce, a challenge)."""
    return response.status in {401, 403} and signer.refused(signed, response.headers)


def _next_hop(call: Call, url: URL, response: Response) -> URL:
    location = response.headers.get("Location", "")
    if looks_like_login(location):
        raise errors.LoginPage(f"{call.what}: redirected to a login page; are these credentials good for this?")
    try:
        place = url.join(URL(location, encoded=True))
        usable = bool(location and place.host) and place.scheme in {"http", "https"}
    except ValueError:
        usable = False
    if not usable:
        raise errors.Rejected(f"{call.what}: the tracker redirects to nowhere")
    if not call.file:
        raise errors.Rejected(f"{call.what}: the tracker redirects to {place.with_query(None)}; is `url` right?")
    return place


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
