"""Resolves host names, each in a thread that nobody has to wait for.

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
"""As `socket.getaddrinfo` tells."""


async def looked_up(host: str, port: int, family: int = socket.AF_UNSPEC) -> AddressInfos:
    """The addresses of a host, for TCP; `OSError` or `ValueError` as from `socket.getaddrinfo`."""
    with suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    loop = asyncio.get_running_loop()
    found: asyncio.Future[AddressInfos] = loop.create_future()

    def look() -> None:
        told, error = AddressInfos(), None
        try:
            told = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        except (OSError, ValueError) as refused:
            error = refused
        with suppress(RuntimeError):  # the loop is closed, so nobody wants to know any more
            loop.call_soon_threadsafe(tell, told, error)

    def tell(told: AddressInfos, error: Exception | None) -> None:
        if found.cancelled():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(told)

    threading.Thread(target=look, name=f"look up {host}", daemon=True).start()
    return await found


class Resolver(AbstractResolver):
    """The same for aiohttp."""

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=_address(where), port=port, family=kind, proto=protocol, flags=numeric)
            for kind, _, protocol, _, where in await looked_up(host, port, family)
        ]

    @override
    async def close(self) -> None:
        """Nothing is kept."""


def _address(where: tuple[Any, ...]) -> str:
    """Host of a socket's address; a link-local one in IPv6 is nothing without its scope."""
    return f"{where[0]}%{where[3]}" if len(where) > 3 and where[3] and "%" not in where[0] else str(where[0])
