"""Receivers of messages on the loopback interface: a web server for webhooks and pings, and a mail server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from aiohttp import web
from aiosmtpd.handlers import Message as Handler
from aiosmtpd.smtp import SMTP


@dataclass
class WebReceiver:
    """What came: method, path with query, body. `status` is what it answers; `silent`: nothing."""

    url: str = ""
    status: int = 200
    silent: bool = False
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Note it, and answer."""
        self.requests.append((request.method, request.path_qs, await request.text()))
        if self.silent:
            await asyncio.sleep(600)
        return web.Response(status=self.status)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The documents that Apprise's `json://` posts to /hook."""
        return [json.loads(body) for _, path, body in self.requests if path.startswith("/hook")]

    @property
    def pings(self) -> list[tuple[str, str]]:
        """Method and path of each ping."""
        return [(method, path) for method, path, _ in self.requests if path.startswith("/ping")]


@asynccontextmanager
async def web_receiver() -> AsyncIterator[WebReceiver]:
    """A web server that takes everything."""
    receiver, app = WebReceiver(), web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class MailReceiver:
    """The mails that came."""

    host: str = ""
    mails: list[Message] = field(default_factory=list)


class _Kept(Handler):
    def __init__(self, mails: list[Message]) -> None:
        super().__init__()
        self._mails = mails

    def handle_message(self, message: Message) -> None:
        self._mails.append(message)


@asynccontextmanager
async def mail_receiver() -> AsyncIterator[MailReceiver]:
    """A mail server that takes everything."""
    receiver = MailReceiver()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(_Kept(receiver.mails)), "127.0.0.1", 0)
    receiver.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield receiver
