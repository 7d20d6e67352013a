"""Answers of JSON that have the content of a file in them as base64: made in chunks, whatever the size of the file."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

CONTENT = "\0"
"""Where the content belongs in the value of an answer."""
_BLOCK_BYTES = 57 * 1024  # whole lines of base64, and so a multiple of three, which needs no padding between blocks


def in_one_line(content: bytes) -> bytes:
    """The content as base64 in one line, as it stands in JSON."""
    return base64.b64encode(content)


def in_lines(content: bytes) -> bytes:
    """The content as base64 in lines of 76 characters, as it stands in JSON."""
    return base64.encodebytes(content).replace(b"\n", b"\\n")


async def json_with_content(
    value: Any, chunks: AsyncIterator[bytes], encoded: Callable[[bytes], bytes]
) -> AsyncIterator[bytes]:
    """A value as JSON, in pieces, with the content of a file in the place of `CONTENT`."""
    head, tail = json.dumps(value).split(json.dumps(CONTENT))
    yield head.encode() + b'"'
    rest = b""
    async for chunk in chunks:
        rest += chunk
        cut = len(rest) - len(rest) % _BLOCK_BYTES
        for start in range(0, cut, _BLOCK_BYTES):
            yield encoded(rest[start : start + _BLOCK_BYTES])
        rest = rest[cut:]
    yield encoded(rest) + b'"' + tail.encode()


async def length_of(pieces: AsyncIterator[bytes]) -> int:
    """The number of bytes in all pieces."""
    return sum([len(piece) async for piece in pieces])
