"""Exchanges that curl recorded: `NN-case.request.txt`, `.headers.txt`, `.body.*` and `.result.txt`, one after another.

`check --thorough --record DIR` writes the same form. A body that was cut keeps its beginning and its real length.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRACKERS = Path(os.environ.get("MIGRATOR_TRACKERS", ROOT.parent / "shared" / "trackers"))
RECORDED = TRACKERS / "recorded"
"""What real trackers answered. It is no part of this project, and stays where it is."""

_METHOD = re.compile(r'"method":\s*"([\w.]+)"|<methodName>([\w.]+)<')
OWN_ID = re.compile(rb'"id" *: *([0-9]+)')
"""In what a Request Tracker answers, the ids of others are strings."""
_STATED = re.compile(rb'Content-Length: ([0-9]+)"')
_SENDING = ("-d", "--data-binary", "-F")
_NOT_PASSED_ON = {"content-length", "transfer-encoding", "connection", "content-encoding"}


@dataclass(frozen=True)
class Recorded:
    """One exchange of a folder."""

    folder: Path
    case: str

    @cached_property
    def words(self) -> list[str]:
        """The command line."""
        text = self._text("request")
        try:
            return shlex.split(text)
        except ValueError:  # what was recorded has a quote too many
            return text.split()

    @property
    def method(self) -> str:
        """GET, or what the options of curl mean."""
        if "-X" in self.words:
            return self.words[self.words.index("-X") + 1]
        if "-I" in self.words:
            return "HEAD"
        return "POST" if any(word in _SENDING for word in self.words) else "GET"

    @cached_property
    def path(self) -> str:
        """The path below the tracker's address, with its query."""
        addresses = [word for word in self.words if re.match(r"\"?\$\w*URL", word)]
        return addresses[-1].strip('"').partition("/")[2] or addresses[-1]

    @property
    def call(self) -> str:
        """The remote procedure that is called, and whether by XML; empty if it is no such call."""
        match = _METHOD.search(self._text("request"))
        return (match[1] or f"{match[2]} (XML)") if match else ""

    @cached_property
    def status(self) -> int:
        return int(self._text("result").split()[1])

    @cached_property
    def headers(self) -> list[str]:
        """The lines of the last head, without those of its length and connection."""
        last = re.split(r"\r?\n\r?\n", self._text("headers").strip())[-1].splitlines()[1:]
        return [line for line in last if line.partition(":")[0].lower() not in _NOT_PASSED_ON]

    @cached_property
    def body(self) -> bytes:
        """The body; where it was cut, it goes on with zeros, or with base64 in JSON, to its length."""
        [path] = self.folder.glob(f"{self.case}.body.*")
        if self.method == "HEAD":
            return b""
        content, size = path.read_bytes(), int(self._text("result").split()[3])
        if path.suffix != ".first2000":
            return content
        if not content.startswith(b"{"):
            return content + bytes(size - len(content))
        number, stated = OWN_ID.search(content), _STATED.search(content)
        end = b'","id":%s}' % number[1] if number else b'"}'
        there = len(content.rpartition(b'"Content" : "')[2].replace(b"\\n", b""))
        missing = size - len(content) - len(end)
        letters = -(-int(stated[1]) // 3) * 4 - there if stated else missing - (there + missing) % 4
        equals = -int(stated[1]) % 3 if stated else 0
        return content + b"A" * (letters - equals) + b"=" * equals + end + b" " * (missing - letters)

    def _text(self, part: str) -> str:
        return (self.folder / f"{self.case}.{part}.txt").read_text(encoding="utf-8")

    @asynccontextmanager
    async def answered(self) -> AsyncIterator[str]:
        """The address of a server that answers everything with this."""
        head = "\r\n".join(
            [
                f"HTTP/1.1 {self.status} Recorded",
                *self.headers,
                f"Content-Length: {len(self.body)}",
                "Connection: close",
            ]
        )

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n")
            if match := re.search(rb"(?i)\r\nContent-Length: *(\d+)", request):
                await reader.readexactly(int(match[1]))
            writer.write(f"{head}\r\n\r\n".encode("latin-1") + self.body)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def exchanges_in(folder: Path) -> list[Recorded]:
    """All exchanges of a folder, in their order."""
    return [Recorded(folder, path.name.partition(".")[0]) for path in sorted(folder.glob("*.request.txt"))]
