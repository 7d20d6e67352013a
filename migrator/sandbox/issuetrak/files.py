"""Files in the JSON of a sandbox Issuetrak: sent as base64 in chunks, and received like that, whatever their size.

Of a received object only the text of `FileContent` is large. It is decoded as it comes, and the rest is parsed as JSON
with an empty text in its place.

Beware: this must not share a line with the program that sends what it reads.
"""

import base64
import binascii
import hashlib
import io
import json
import re
import secrets
import zipfile
from collections.abc import AsyncIterator
from typing import Any

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.uploads import ReceivedFile, StoredContent

_OPENING = re.compile(rb'(?<!\\)"FileContent"\s*:\s*"')
_HEAD = 64 * 1024
BLOCK = 48 * 1024  # a multiple of three, so that base64 needs no padding between blocks
_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10)}
LONGEST_NAME = 150


class UploadBody:
    """The body of an upload, fed chunk by chunk; `parts` are the values, and `content` is the file."""

    def __init__(self) -> None:
        self.content = StoredContent()
        self._digest = hashlib.sha256()
        self._rest = b""
        self._group = b""
        self._state = "before"

    def feed(self, piece: bytes) -> None:
        """Take the next bytes; `RefusedError` if they are malformed."""
        if self._state == "before":
            self._rest += piece
            found = _OPENING.search(self._rest)
            if found is None:
                if len(self._rest) > _HEAD:
                    raise RefusedError(400, "The request is invalid.")
                return
            piece, self._rest = self._rest[found.end() :], self._rest[: found.end()]
            self._state = "inside"
        if self._state == "inside":
            text, quote, behind = piece.partition(b'"')
            self._decode(text, last=bool(quote))
            if not quote:
                return
            self._state, piece = "behind", quote + behind
        self._rest += piece

    def _decode(self, text: bytes, *, last: bool) -> None:
        text = self._group + text
        cut = len(text) if last else len(text) - len(text) % 4
        self._group = text[cut:]
        try:
            content = binascii.a2b_base64(text[:cut], strict_mode=True) if cut else b""
        except ValueError:
            raise RefusedError(400, "FileContent is no base64.") from None
        self._digest.update(content)
        self.content.write(content)

    def values(self) -> dict[str, Any]:
        """The other values; `RefusedError` if the body was not an object with a FileContent."""
        try:
            values = json.loads(self._rest)
        except ValueError:
            values = None
        if not isinstance(values, dict) or self._state != "behind":
            raise RefusedError(400, "The request is invalid.")
        return values

    def file(self, name: str) -> ReceivedFile:
        """The file, in the form that the store takes."""
        kind = "application/octet-stream"
        return ReceivedFile("FileContent", name, kind, self.content.size, self._digest.hexdigest(), self.content)


def complaint_about(name: object) -> str:
    """What is wrong with a file name on Windows; empty if nothing."""
    if not isinstance(name, str) or not name:
        return "FileName is required."
    if len(name.encode("utf-16-le", "surrogatepass")) // 2 > LONGEST_NAME:
        return f"FileName is longer than {LONGEST_NAME} characters."
    if any(c in '<>:"/\\|?*' or c < " " for c in name) or name[-1] in " .":
        return "FileName holds characters that a file name can't have."
    if name.split(".")[0].rstrip().upper() in _RESERVED:
        return "FileName is the name of a device."
    return ""


async def wrapped(record: dict[str, Any], chunks: AsyncIterator[bytes], *, escaped: bool) -> AsyncIterator[bytes]:
    """A record as JSON, with the file as its FileContent, in chunks."""
    head, tail = json.dumps({**record, "FileContent": "\0"}).split('"\\u0000"')
    yield head.encode() + b'"'
    rest = b""
    async for chunk in chunks:
        rest += chunk
        cut = len(rest) - len(rest) % BLOCK
        for start in range(0, cut, BLOCK):
            yield _encoded(rest[start : start + BLOCK], escaped=escaped)
        rest = rest[cut:]
    yield _encoded(rest, escaped=escaped) + b'"' + tail.encode()


def _encoded(content: bytes, *, escaped: bool) -> bytes:
    text = base64.b64encode(content)
    return text.replace(b"+", b"\\u002B").replace(b"/", b"\\/") if escaped else text


def zipped(contents: list[bytes], *, bomb: bool) -> tuple[list[str], bytes]:
    """A ZIP of these contents under random names; a bomb holds much more."""
    names = [f"{secrets.token_hex(4)}.{secrets.token_hex(2)[:3]}" for _ in contents]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(names, contents, strict=True):
            archive.writestr(name, b"\0" * 50_000_000 if bomb else content)
    return names, packed.getvalue()
