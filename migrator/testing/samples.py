"""Files to put into a tracker under test, and a sink and a body that keep to the rules of the ports."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from typing_extensions import override

from migrator.model import EntityRef
from migrator.ports import Body, BodyFacts, Sink

LARGEST_CHUNK = 1024 * 1024
"""The most bytes that a source may write to a sink at once."""


@dataclass(frozen=True)
class Sample:
    """A file that a tracker under test should hold. `entity` is the index of one of its entities."""

    entity: int
    name: str
    content: bytes
    description: str = ""
    media_type: str = "application/octet-stream"


SAMPLES = (
    Sample(0, "notes.txt", b"two lines\nof text\n", "what was said", "text/plain"),
    Sample(0, "empty.bin", b""),
    Sample(0, "Änderung 日本 😀.txt", "Grüße".encode(), media_type="text/plain"),
    Sample(1, "same.txt", b"the first", media_type="text/plain"),
    Sample(1, "same.txt", b"the other", media_type="text/plain"),
    Sample(1, "100 & more #1 [ok] +.txt", b"odd characters", "Größe & \u201cquotes\u201d", "text/plain"),
    Sample(2, "page.html", b"<!DOCTYPE html><html><body>a real page</body></html>", media_type="text/html"),
    Sample(3, "large.bin", bytes(range(256)) * 9_000),
)
"""Put these into the tracker as far as it can hold them, on at least five entities, the last of them without files."""


@dataclass(frozen=True)
class Expected:
    """One file that the tracker really holds."""

    owner: EntityRef
    name: str
    size: int
    sha256: str
    description: str = ""

    @classmethod
    def of(cls, owner: EntityRef, name: str, content: bytes, description: str = "") -> Expected:
        """The file with this content."""
        return cls(owner, name, len(content), hashlib.sha256(content).hexdigest(), description)


class MemorySink(Sink):
    """A sink that keeps the bytes, and checks that the caller follows the rules of `Sink`."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.largest = 0
        self.started = False
        self.facts = BodyFacts()
        self.warnings: list[str] = []

    @override
    async def start(self, facts: BodyFacts) -> None:
        assert not self.started, "start comes once for each try"
        self.started, self.facts = True, facts

    @override
    async def write(self, chunk: bytes) -> None:
        assert self.started, "start comes before write"
        self.content += chunk
        self.largest = max(self.largest, len(chunk))

    @override
    def rewind(self) -> None:
        self.content.clear()
        self.warnings.clear()
        self.started = False

    @override
    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @property
    def sha256(self) -> str:
        """The hash of what was written."""
        assert self.started, "start comes for an empty file, too"
        return hashlib.sha256(self.content).hexdigest()


class Bytes(Body):
    """A body for an upload, in small chunks. `passes` counts how often it was iterated."""

    def __init__(self, content: bytes, chunk_size: int = 100_000) -> None:
        self.size = len(content)
        self._content, self._chunk_size = content, chunk_size
        self.passes = 0

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.passes += 1
        for start in range(0, self.size, self._chunk_size):
            yield self._content[start : start + self._chunk_size]


def nowhere() -> str:
    """A URL where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
