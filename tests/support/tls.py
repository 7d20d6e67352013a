"""Certificates for servers on the loopback interface, a server that shows them, and a small real proxy."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass
class Certificates:
    """A certificate authority, and the certificates that it issues, as files in a folder."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    @property
    def ca(self) -> Path:
        """The certificate of the authority."""
        path = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(path)
        return path

    def client(self, name: str = "client") -> tuple[Path, Path]:
        """Certificate and key of a client."""
        issued = self.authority.issue_cert(f"{name}@example.org")
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def server(self, *, host: str = "127.0.0.1", expired: bool = False, demands: bool = False) -> ssl.SSLContext:
        """The TLS context of a server with that name; `demands`: clients need a certificate of this authority."""
        until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
        since = datetime(2019, 1, 1, tzinfo=UTC) if expired else None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(host, not_after=until, not_before=since).configure_cert(context)
        if demands:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context


@contextlib.asynccontextmanager
async def served(answer: Any, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve one handler for every path, over TLS if a context is given; yields the base URL."""
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app, scheme="https" if context else "http")
    await server.start_server(ssl=context)
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def in_front(port: int, context: ssl.SSLContext) -> AsyncIterator[str]:
    """Serve over TLS what a server on this port of the loopback interface serves; yields the base URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(passed(reader, server_writer), passed(server_reader, writer))

    front = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{front.sockets[0].getsockname()[1]}"
    finally:
        front.close()
        await front.wait_closed()


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray | None = None) -> None:
    """Pass on what is read until its end, and add it to `seen`."""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            if seen is not None:
                seen += chunk
            writer.write(chunk)
            await writer.drain()
    writer.close()


class Proxy:
    """An HTTP proxy: CONNECT is tunnelled, anything else passed on.

    `heads` are the request heads that it received, `through` the bytes that it passed in both directions.
    """

    def __init__(self, username: str = "", password: str = "") -> None:
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._wanted = f"proxy-authorization: basic {pair}".lower() if username else ""
        self.heads: list[str] = []
        self.through = bytearray()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        if self._wanted not in head.lower():
            writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\nProxy-Authenticate: Basic\r\n\r\n")
            await writer.drain()
            return
        method, url, rest = head.split(" ", 2)
        if method == "CONNECT":
            host, _, port = url.rpartition(":")
            first = b""
        else:
            host, _, path = url.removeprefix("http://").partition("/")
            host, _, port = host.rpartition(":")
            kept = [line for line in rest.split("\r\n") if not line.lower().startswith(("proxy-", "connection"))]
            first = f"{method} /{path} {kept[0]}\r\nConnection: close\r\n".encode() + "\r\n".join(kept[1:]).encode()
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        server_writer.write(first)
        if not first:
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(passed(reader, server_writer, self.through), passed(server_reader, writer, self.through))
