"""Exchanges with a tracker: written down on their way to a real one, and played again without it.

What a program sends is kept as method, path, query and body, without headers; a login is kept without its credentials,
and a cookie without its value. `$URL` stands for the address of the server.
"""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from tests.support.answered import Recorded

URL = b"$URL"
KEPT_HEADERS = ("Content-Type", "Content-Disposition", "ETag", "Last-Modified", "Location", "X-Count-Total")
MADE_UP = re.compile("migrator-check-[0-9a-f]+")
"""What the program makes up anew in each check."""
MAX_BODY_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Exchange:
    """One request and its answer; a body is text, or base64 where it is no UTF-8."""

    request: str
    status: int
    headers: dict[str, str]
    text: str = ""
    binary: str = ""
    cookies: list[str] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return base64.b64decode(self.binary) if self.binary else self.text.encode()


def read_recording(path: Path) -> list[Exchange]:
    return [Exchange(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def write_recording(path: Path, exchanges: Iterable[Exchange]) -> None:
    lines = [json.dumps({key: value for key, value in asdict(one).items() if value}) + "\n" for one in exchanges]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(dict.fromkeys(lines)), encoding="utf-8")


def played(recorded: Recorded) -> Exchange:
    """An exchange of the other form, as the player wants it."""
    words, body = recorded.words, ""
    if "-d" in words:
        body = _kept(words[words.index("-d") + 1])
    headers = dict(line.split(": ", 1) for line in recorded.headers if not line.startswith("Set-Cookie"))
    cookies = [line.partition(": ")[2] for line in recorded.headers if line.startswith("Set-Cookie")]
    content = recorded.body.replace(b"http://tracker.example", URL)
    headers = {name: value.replace("http://tracker.example", "$URL") for name, value in headers.items()}
    request = f"{recorded.method} /{recorded.path} {body}".rstrip()
    binary = base64.b64encode(content).decode()
    return Exchange(MADE_UP.sub("made-up", request), recorded.status, headers, binary=binary, cookies=cookies)


def _kept(body: str) -> str:
    """A body as it is kept: that of a login without its credentials."""
    return "Auth.login" if "Auth.login" in body else body


async def _request_of(request: web.BaseRequest) -> tuple[str, bytes]:
    """The request as it is kept, and its body."""
    body = await request.read()
    kept = _kept(body.decode(errors="replace"))
    return MADE_UP.sub("made-up", f"{request.method} {request.raw_path} {kept}".rstrip()), body


@asynccontextmanager
async def _serving(answer: Callable[[web.BaseRequest], Any]) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def recording(
    url: str, secrets: Iterable[str], spoil: Callable[[Exchange], Exchange] = lambda exchange: exchange
) -> AsyncIterator[tuple[str, list[Exchange]]]:
    """The address of a server that passes everything on to another one, and what it has passed on.

    What of an answer is a secret is replaced by a word. `spoil` may change any answer.
    """
    parts = urlsplit(url)
    origin, exchanges = f"{parts.scheme}://{parts.netloc}", list[Exchange]()

    async def pass_on(request: web.BaseRequest) -> web.Response:
        kept, body = await _request_of(request)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in PASSED_ON_ANEW}
        headers["Accept-Encoding"] = "identity"
        async with session.request(
            request.method, origin + request.raw_path, data=body or None, headers=headers, allow_redirects=False
        ) as answer:
            content = (await answer.read()).replace(origin.encode(), URL)
            for secret in filter(None, secrets):
                content = content.replace(secret.encode(), b"secret")
            cookies = answer.headers.getall("Set-Cookie", [])
            exchange = spoil(_exchange(kept, answer, content, cookies))
        exchanges.append(exchange)
        return _response(exchange, here[0], cookies)

    here: list[str] = []
    connector, jar = aiohttp.TCPConnector(force_close=True), aiohttp.DummyCookieJar()
    async with (
        aiohttp.ClientSession(cookie_jar=jar, connector=connector) as session,
        _serving(pass_on) as address,
    ):
        here.append(address)
        yield address + parts.path, exchanges


PASSED_ON_ANEW = {"host", "content-length", "transfer-encoding", "accept-encoding", "connection"}


def _exchange(kept: str, answer: aiohttp.ClientResponse, content: bytes, cookies: list[str]) -> Exchange:
    headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
    blank = [f"{cookie.partition('=')[0]}=blank; Path=/" for cookie in cookies]
    try:
        return Exchange(kept, answer.status, headers, text=content.decode(), cookies=blank)
    except UnicodeDecodeError:
        return Exchange(kept, answer.status, headers, binary=base64.b64encode(content).decode(), cookies=blank)


def _response(exchange: Exchange, address: str, cookies: Iterable[str]) -> web.Response:
    headers = {name: value.replace("$URL", address) for name, value in exchange.headers.items()}
    response = web.Response(status=exchange.status, headers=headers, body=exchange.body.replace(URL, address.encode()))
    for cookie in cookies:
        response.headers.add("Set-Cookie", cookie)
    return response


@dataclass
class Player:
    """Answers as a recording does. `unknown` is what it was asked that the recording doesn't have.

    Equal requests are answered in the order of the recording, the last answer again and again. `spoil` may change any
    answer.
    """

    exchanges: list[Exchange]
    spoil: Callable[[Exchange], Exchange] = lambda exchange: exchange
    unknown: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """The address, without the path of the tracker."""
        answers: dict[str, list[Exchange]] = defaultdict(list)
        for exchange in self.exchanges:
            answers[exchange.request].append(exchange)
        here: list[str] = []

        async def answer(request: web.BaseRequest) -> web.Response:
            kept, _ = await _request_of(request)
            known = answers.get(kept)
            if not known:
                self.unknown.append(kept)
                return web.Response(status=501)
            exchange = self.spoil(known.pop(0) if len(known) > 1 else known[0])
            return _response(exchange, here[0], exchange.cookies)

        async with _serving(answer) as address:
            here.append(address)
            yield address
