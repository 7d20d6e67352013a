"""Runs the program on a terminal of its own, and shows what a person would see there."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyte

from tests.support.program import SURROUNDINGS

ROWS = 50


class Terminal:
    """A terminal emulator with a program on it. `written` has what came, each piece with the time when it did."""

    def __init__(self, process: asyncio.subprocess.Process, master: int, columns: int) -> None:
        self.process, self._master = process, master
        self.screen = pyte.Screen(columns, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        self.written: list[tuple[float, bytes]] = []
        self._began = time.monotonic()
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            piece = os.read(self._master, 65_536)
        except OSError:  # the program has closed its side
            piece = b""
        if not piece:
            asyncio.get_running_loop().remove_reader(self._master)
            self._ended.set()
            return
        self.written.append((time.monotonic() - self._began, piece))
        self._stream.feed(piece)

    @property
    def text(self) -> str:
        """What stands on the screen now."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    async def shows(self, condition: Callable[[str], object], within: float = 60) -> str:
        """Wait until the screen is such; returns its text."""
        async with asyncio.timeout(within):
            while not condition(self.text):
                await asyncio.sleep(0.01)
        return self.text

    async def ended(self, within: float = 60) -> int:
        """Wait until the program has ended; returns its exit status."""
        async with asyncio.timeout(within):
            code = await self.process.wait()
            await self._ended.wait()
        os.close(self._master)
        return code


async def on_terminal(
    arguments: Sequence[object], columns: int, *, env: dict[str, str] | None = None, **how: Any
) -> Terminal:
    """Start `migrator ...` on a terminal of so many columns, with colours."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    environment = {**os.environ, **SURROUNDINGS, "TERM": "xterm-256color", "COLORTERM": "", **(env or {})}
    environment.pop("COLUMNS")
    if not (env or {}).get("NO_COLOR"):
        environment.pop("NO_COLOR")
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "migrator",
            *map(str, arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            **how,
        )
    finally:
        os.close(slave)
    return Terminal(process, master, columns)
