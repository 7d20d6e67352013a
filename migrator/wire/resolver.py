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
