"""Resolves host names, each in a daemon thread of its own.

A look-up cannot be cancelled and may take half a minute if the name server is down. In the thread pool of an event loop
(asyncio's or libuv's) it would delay the end of the program for that long.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

AddressInfos = list[tuple[Any, Any, int, str, Any]]
"""As `socket.getaddrinfo` returns them."""


async def resolve(host: str, port: int, family: int = socket.AF_UNSPEC) -> AddressInfos:
    """The addresses of a host for TCP; `OSError` or `ValueError` as from `socket.getaddrinfo`."""
    with suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    loop = asyncio.get_running_loop()
    result: asyncio.Future[AddressInfos] = loop.create_future()

    def look_up() -> None:
        addresses, error = AddressInfos(), None
        try:
            addresses = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        except (OSError, ValueError) as refused:
            error = refused
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(report, addresses, error)

    def report(addresses: AddressInfos, error: Exception | None) -> None:
        if result.cancelled():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(addresses)

    threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
    return await result


class Resolver(AbstractResolver):
    """The resolver of aiohttp's sessions."""

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=_host(address), port=port, family=kind, proto=protocol, flags=numeric)
            for kind, _, protocol, _, address in await resolve(host, port, family)
        ]

    @override
    async def close(self) -> None:
        """Nothing is kept."""


def _host(address: tuple[Any, ...]) -> str:
    """The host of a socket address; a link-local one of IPv6 needs its scope."""
    return (
        f"{address[0]}%{address[3]}" if len(address) > 3 and address[3] and "%" not in address[0] else str(address[0])
    )
