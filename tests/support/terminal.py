"""Runs the program on a terminal of its own: what a person sees, and answers."""

from __future__ import annotations

import asyncio
import os
import pty
from typing import Any

from tests.support.program import ended, start

END = b"(end)"


async def on_terminal(*words: object, answers: str = "", within: float = 60, **how: Any) -> tuple[int, str]:
    """The exit status, and all that the terminal showed. `answers` are typed before the program asks."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answers.encode())
        process = await start(*words, **{"stdin": theirs, "stdout": theirs, "stderr": theirs, **how})
        shown = asyncio.ensure_future(asyncio.to_thread(_until_end, ours))
        finished = await ended(process, within)
        os.write(theirs, END)
        return finished.code, (await shown).replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)


def _until_end(terminal: int) -> str:
    shown = b""
    while not shown.endswith(END):
        shown += os.read(terminal, 65536)
    return shown.removesuffix(END).decode(errors="replace")
