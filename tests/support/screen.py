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
from itertools import groupby
from operator import attrgetter
from typing import Any

import pyte

from tests.support.program import SURROUNDINGS

ROWS = 50
_NAMES = {"brown": "yellow", "brightblack": "grey", "brightred": "red", "brightgreen": "green"}
"""Colours as people call them, by the names that the emulator has."""


def drawn(written: bytes, columns: int, rows: int = 200) -> pyte.Screen:
    """What a terminal of this size shows after this was written to it."""
    screen = pyte.Screen(columns, rows)
    pyte.ByteStream(screen).feed(written)
    return screen


def text_of(screen: pyte.Screen) -> str:
    """The characters on a screen, without empty lines at its end."""
    return "\n".join(line.rstrip() for line in screen.display).rstrip()


def _in_colour(text: str, colour: str) -> str:
    return text if colour == "default" else f"{{{_NAMES.get(colour, colour)}:{text}}}"


def painted(screen: pyte.Screen) -> str:
    """The same with colours: `{red:FAIL}`."""
    lines = []
    for row in range(screen.lines):
        cells = [screen.buffer[row][column] for column in range(screen.columns)]
        runs = [(colour, "".join(cell.data for cell in run)) for colour, run in groupby(cells, attrgetter("fg"))]
        lines.append("".join(_in_colour(text, colour) for colour, text in runs).rstrip())
    return "\n".join(lines).rstrip()


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
        return text_of(self.screen)

    def type(self, keys: bytes) -> None:
        """Press keys, `\\x03` for Ctrl-C, which a terminal turns into a signal and shows as `^C`."""
        os.write(self._master, keys)

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
