"""Keeps what travels between this program and a tracker, for a person who wants to show it to others.

Beware: what is kept here is as it was, credentials included. Nothing but scrubbed copies of it may be written.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from typing_extensions import override

from migrator.wire.reading import Readable
from migrator.wire.transport import OutgoingRequest, Response, Transport

MAX_KEPT_BYTES = 8 * 1024 * 1024
MAX_KEPT_FILE_BYTES = 60_000
CUT_BYTES = 2000
"""How much is kept of a body, of one that is a file, and of one that is larger."""


@dataclass(slots=True)
class KeptBody:
    """A body, and its size; a large one is cut to its beginning."""

    limit: int
    content: bytes = b""
    size: int = 0

    @property
    def cut(self) -> bool:
        """Whether only the beginning is here."""
        return len(self.content) < self.size

    def add(self, chunk: bytes) -> None:
        """What comes next."""
        self.size += len(chunk)
        if self.size <= self.limit:
            self.content += chunk
        else:
            self.content = (
                (self.content + chunk)[:CUT_BYTES] if len(self.content) < CUT_BYTES else self.content[:CUT_BYTES]
            )


@dataclass(slots=True)
class KeptExchange:
    """A request and its answer; `status` is 0 if none came. `case` says what it was for."""

    case: str
    method: str
    url: str
    headers: Mapping[str, str]
    file: bool
    sent: KeptBody
    status: int = 0
    answered: list[tuple[str, str]] = field(default_factory=list)
    received: KeptBody = field(default_factory=lambda: KeptBody(MAX_KEPT_BYTES))


class Recorder:
    """Exchanges in the order of their requests. `case` is what is being done now, in a few words."""

    def __init__(self) -> None:
        self.case = "start"
        self.exchanges: list[KeptExchange] = []

    def begin(self, request: OutgoingRequest) -> KeptExchange:
        """A request that is about to be sent."""
        limit = MAX_KEPT_FILE_BYTES if request.file else MAX_KEPT_BYTES
        kept = KeptExchange(
            self.case,
            request.method,
            str(request.url),
            dict(request.headers),
            request.file,
            KeptBody(MAX_KEPT_FILE_BYTES),
        )
        kept.received.limit = limit
        self.exchanges.append(kept)
        return kept


class RecordingTransport(Transport):
    """Sends over another transport, and tells a recorder of it."""

    def __init__(self, inner: Transport, recorder: Recorder) -> None:
        self._inner, self._recorder = inner, recorder

    @override
    async def send(self, request: OutgoingRequest) -> Response:
        kept = self._recorder.begin(request)
        if isinstance(request.body, bytes):
            kept.sent.add(request.body)
        elif request.body is not None:
            request = replace(request, body=_watched(request.body, kept.sent))
        response = await self._inner.send(request)
        kept.status, kept.answered = response.status, list(response.headers.items())
        return _KeptResponse(response, kept.received)

    @override
    async def close(self) -> None:
        await self._inner.close()


async def _watched(body: AsyncIterable[bytes], kept: KeptBody) -> AsyncIterator[bytes]:
    async for chunk in body:
        kept.add(chunk)
        yield chunk


class _KeptContent(Readable):
    """A body whose bytes are kept while they are read."""

    def __init__(self, content: Readable, kept: KeptBody) -> None:
        self._content, self._kept = content, kept

    @override
    async def readany(self) -> bytes:
        chunk = await self._content.readany()
        self._kept.add(chunk)
        return chunk


class _KeptResponse(Response):
    """Another response, whose body is kept."""

    def __init__(self, inner: Response, kept: KeptBody) -> None:
        self._inner, self._content = inner, _KeptContent(inner.content, kept)

    @property
    @override
    def status(self) -> int:
        return self._inner.status

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return self._inner.headers

    @property
    @override
    def content(self) -> Readable:
        return self._content

    @override
    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)
