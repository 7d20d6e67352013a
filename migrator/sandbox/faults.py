"""Faults that a sandbox tracker injects on demand, into answers, bodies and uploads.

Whether a request fails depends only on the seed, the request, and how often it was made before, and none fails more
than twice in a row. So the same run meets the same faults, and a client that retries succeeds.

Beware: uploads are told apart by owner and file name, because their paths are often the same (see `of_upload`).
"""

import asyncio
import hashlib
import random
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Self

from aiohttp import web

MAX_IN_A_ROW = 2
"""How often in a row the rates let one request fail."""

_BEFORE_ANSWER = ("error_500", "unavailable", "throttled", "dropped")
_WITH_ANSWER = (*_BEFORE_ANSWER, "truncated")
_WITH_FILE = ("stalled", "login_page", "redirected", "gzipped", "wrong_size", "dribbled", "cut")


@dataclass
class Faults:
    """What goes wrong; by default nothing. Rates are from 0 to 1. May be changed while a sandbox runs."""

    seed: int = 0
    # Rates, for any request except uploads (a POST that fails this way has done nothing):
    error_500: float = 0.0
    unavailable: float = 0.0  # 503 with Retry-After
    throttled: float = 0.0  # 429 with Retry-After
    dropped: float = 0.0  # the connection ends before an answer
    truncated: float = 0.0  # half of the body, although Content-Length promises all of it (GET only)
    # Rates, for files only:
    stalled: float = 0.0  # half of the body, then nothing for `stall_seconds`
    login_page: float = 0.0  # an HTML login page with status 200
    redirected: float = 0.0  # 302 to /login.aspx
    gzipped: float = 0.0  # Content-Encoding: gzip, whatever was asked
    wrong_size: float = 0.0  # one byte less than in the metadata, with a Content-Length to match
    dribbled: float = 0.0  # the first 200 bytes one by one
    cut: float = 0.0  # half of the body, ended as if complete, without a Content-Length
    # Details of the above:
    stall_seconds: float = 30.0
    retry_after: int = 1
    retry_after_as_date: bool = False
    latency: float = 0.0  # seconds before each answer
    # What always fails:
    gone: set[int] = field(default_factory=set)  # ids of attachments whose download is 404
    broken: set[int] = field(default_factory=set)  # ... 500
    forbidden: set[int] = field(default_factory=set)  # ... 403
    forbidden_entities: set[int] = field(default_factory=set)  # ids of entities that are 403
    # Uploads (whole numbers are counted down):
    lose_upload_answers: int = 0  # stored, then the connection ends without an answer
    lose_upload_rate: float = 0.0
    fail_uploads: int = 0  # 500, nothing stored
    fail_upload_rate: float = 0.0
    upload_delay_after_accept: float = 0.0  # seconds between storing and answering
    max_upload_bytes: int | None = None

    injected: Counter[str] = field(default_factory=Counter)
    """How often each fault was injected."""
    _seen: Counter[str] = field(default_factory=Counter, repr=False)
    _in_a_row: Counter[str] = field(default_factory=Counter, repr=False)

    @classmethod
    def transient(cls, rate: float, seed: int = 0) -> Self:
        """A mixture of faults that a client must survive by retrying; about `rate` of all requests meet one."""
        share = rate / 6
        return cls(
            seed,
            error_500=share,
            unavailable=share,
            throttled=share,
            dropped=share,
            truncated=share,
            wrong_size=share,
            fail_upload_rate=rate,
            retry_after=0,
        )

    def of_request(self, key: str, *, file: bool) -> str | None:
        """The fault of this request, if any, which is counted."""
        names = _WITH_ANSWER + _WITH_FILE if file else _WITH_ANSWER if key.startswith("GET ") else _BEFORE_ANSWER
        rates = [(name, float(getattr(self, name))) for name in names]
        return self._draw(key, [(name, rate) for name, rate in rates if rate > 0])

    def of_upload(self, entity_id: int | None, name: str) -> str | None:
        """The fault of this upload, if any, which is counted: `fail_uploads` or `lose_upload_answers`."""
        for fault in ("fail_uploads", "lose_upload_answers"):
            if getattr(self, fault) > 0:
                setattr(self, fault, getattr(self, fault) - 1)
                self.injected[fault] += 1
                return fault
        rates = [("fail_uploads", self.fail_upload_rate), ("lose_upload_answers", self.lose_upload_rate)]
        return self._draw(f"upload|{entity_id}|{name}", [(fault, rate) for fault, rate in rates if rate > 0])

    def refusal(self, attachment_id: int) -> int | None:
        """The status with which downloads of this attachment always fail; None if they don't."""
        for name, status in (("gone", 404), ("broken", 500), ("forbidden", 403)):
            if attachment_id in getattr(self, name):
                self.injected[name] += 1
                return status
        return None

    def forbids(self, entity_id: int) -> bool:
        """Whether the account may not read this entity."""
        if entity_id in self.forbidden_entities:
            self.injected["forbidden_entities"] += 1
            return True
        return False

    def refuse(self, fault: str) -> web.Response:
        """The answer for `error_500`, `fail_uploads`, `unavailable` or `throttled`."""
        status = {"unavailable": 503, "throttled": 429}.get(fault, 500)
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=self.retry_after), usegmt=True)
        retry_after = date if self.retry_after_as_date else str(self.retry_after)
        headers = {} if status == 500 else {"Retry-After": retry_after}
        return web.Response(status=status, text=f"fault: {fault}", headers=headers)

    def _draw(self, key: str, rates: list[tuple[str, float]]) -> str | None:
        if not rates:
            return None
        self._seen[key] += 1
        drawn = random.Random(f"{self.seed}|{key}|{self._seen[key]}").random()
        fault = next(_struck_by(drawn, rates), None) if self._in_a_row[key] < MAX_IN_A_ROW else None
        self._in_a_row[key] = self._in_a_row[key] + 1 if fault else 0
        if fault:
            self.injected[fault] += 1
        return fault


def _struck_by(drawn: float, rates: list[tuple[str, float]]) -> Iterator[str]:
    reached = 0.0
    for name, rate in rates:
        reached += rate
        if drawn < reached:
            yield name


async def request_key(request: web.Request) -> str:
    """A name for a request, which only its repetitions share; uploads to one path share it too."""
    body = b"" if request.content_type.startswith("multipart/") else await request.read()
    return f"{request.method} {request.path_qs} {hashlib.sha1(body, usedforsecurity=False).hexdigest()}"


def drop(request: web.Request) -> web.Response:
    """Cut the connection without an answer. What is returned here reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def send(
    request: web.Request,
    chunks: AsyncIterator[bytes],
    size: int,
    headers: dict[str, str],
    fault: str | None,
    stall: float = 0.0,
) -> web.StreamResponse:
    """Answer 200 with a body of `size` bytes from `chunks`, damaged according to `fault`."""
    if fault == "gzipped":
        return await _send_gzipped(request, chunks, headers)
    announced = max(0, size - 1) if fault == "wrong_size" else size
    allowed = size // 2 if fault in {"truncated", "stalled", "cut"} else announced
    length = {} if fault == "cut" else {"Content-Length": str(announced)}
    response = web.StreamResponse(headers={**headers, **length})
    await response.prepare(request)
    async for chunk in chunks:
        piece, allowed = chunk[:allowed], max(0, allowed - len(chunk))
        await _write(response, piece, dribbled=fault == "dribbled")
    if fault == "stalled":
        await asyncio.sleep(stall)
    if fault in {"truncated", "stalled"} and request.transport is not None:
        request.transport.close()
    return response


async def _write(response: web.StreamResponse, piece: bytes, *, dribbled: bool) -> None:
    if dribbled:
        for position in range(min(200, len(piece))):
            await response.write(piece[position : position + 1])
            await asyncio.sleep(0)
        piece = piece[200:]
    if piece:
        await response.write(piece)


async def _send_gzipped(
    request: web.Request, chunks: AsyncIterator[bytes], headers: dict[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(headers={**headers, "Content-Encoding": "gzip"})
    packer = zlib.compressobj(wbits=31)
    await response.prepare(request)
    async for chunk in chunks:
        await response.write(packer.compress(chunk))
    await response.write(packer.flush())
    return response
