"""Clients that a test opens and does not close itself."""

from __future__ import annotations

from typing import Any, TypeVar

Client = TypeVar("Client")
_opened: list[Any] = []


def closed_later(client: Client) -> Client:
    """The client, which is closed after the test."""
    _opened.append(client)
    return client


async def close_all() -> None:
    """Close them, the last one first."""
    while _opened:
        await _opened.pop().close()
