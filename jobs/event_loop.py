"""The event loop: uvloop's where it is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
