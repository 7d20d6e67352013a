"""A file inside a JSON answer, as base64, decoded while it streams and in constant memory (Issuetrak, RT, Trac).

The string that holds the file is decoded as it arrives. The rest of the answer is kept, up to a limit, with an empty
string in the file's place, and parsed by `json` at the end, which checks everything that this scanner doesn't.

Beware: JSON may escape any character of that string: `\\/`, `\\n` between lines, `\\u002B` for a plus. An escape, like
a base64 group of four, may also be split between two chunks.
"""

from __future__ import annotations

import binascii
import json
import re
import string
from typing import Any

from typing_extensions import override

from migrator.errors import UnexpectedBodyError
from migrator.ports import BodyFacts, Sink

MAX_REST_BYTES = 1024 * 1024
"""Maximum number of bytes in an answer besides the file."""

_SPACE = b" \t\r\n"
_LETTERS = (string.ascii_letters + string.digits + "+/=").encode()
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|([nrt/]))")
_INCOMPLETE_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")


class Base64Text:
    """Decodes base64 text from inside a JSON string, chunk by chunk."""

    def __init__(self) -> None:
        self._escape = b""  # an escape that is not complete yet
        self._group = b""  # a group of four that is not complete yet
        self._ended = False

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that this chunk completes; `UnexpectedBodyError` if it is not base64."""
        text = self._escape + chunk
        incomplete = _INCOMPLETE_ESCAPE.search(text[-5:])
        self._escape = incomplete[0] if incomplete else b""
        text = text[: len(text) - len(self._escape)]
        return self._decode(_unescaped(text) if b"\\" in text else text)

    def _decode(self, text: bytes) -> bytes:
        letters = self._group + text.translate(None, b" ")
        if self._ended and letters:
            raise UnexpectedBodyError("the base64 text of the file continues after its end")
        whole = len(letters) - len(letters) % 4
        self._group = letters[whole:]
        self._ended = self._ended or b"=" in letters[:whole]
        try:
            return binascii.a2b_base64(memoryview(letters)[:whole], strict_mode=True) if whole else b""
        except ValueError:
            raise UnexpectedBodyError("the text of the file is not base64") from None

    def close(self) -> None:
        """End the text; `UnexpectedBodyError` if it breaks off."""
        if self._escape or self._group:
            raise UnexpectedBodyError("the base64 text of the file breaks off")


def _unescaped(text: bytes) -> bytes:
    """The text without escapes. Line ends and tabs become spaces; an escape that base64 can't contain becomes `!`."""

    def plain(escape: re.Match[bytes]) -> bytes:
        code = min(int(escape[1], 16), 127) if escape[1] else {b"/": 47}.get(escape[2], 32)
        return b" " if code in _SPACE else bytes([code]) if code in _LETTERS else b"!"

    return _ESCAPE.sub(plain, text)


class Base64Field:
    """Reads a JSON object in chunks, decodes the file in one of its fields, and keeps the other fields.

    `list_depth`: instead, the file is the string after the string `name` in a list that is nested so deep.
    """

    def __init__(self, name: str, list_depth: int | None = None) -> None:
        self._name = name
        self._file_depth, self._separator = (1, 0x3A) if list_depth is None else (list_depth, 0x2C)  # colon or comma
        self._rest = bytearray()
        self._text: Base64Text | None = None  # while inside the file
        self._is_opened = False  # the file has begun, and may have ended
        self._depth = 0
        self._string = -1  # where the current string begins in `_rest`; -1 outside strings
        self._escaped = False
        self._last = b""  # the last string at the depth of the file
        self._value_next = False  # after the colon of the field

    def feed(self, chunk: bytes) -> bytes:
        """The bytes of the file that this chunk completes."""
        decoded, position = [], 0
        while position < len(chunk):
            if self._text is None:
                position = self._outside(chunk, position)
                continue
            end = chunk.find(b'"', position)
            decoded.append(self._inside(chunk[position:] if end < 0 else chunk[position:end]))
            position = len(chunk) if end < 0 else end
            if end >= 0:
                self._text.close()
                self._text, self._string = None, len(self._rest) - 1
        return b"".join(decoded)

    def close(self) -> dict[str, Any]:
        """The object, with an empty string for the file; `UnexpectedBodyError` if it is not an object."""
        try:
            rest = json.loads(self._rest)
        except (ValueError, RecursionError):
            raise UnexpectedBodyError("the answer is not JSON, or it broke off") from None
        if not isinstance(rest, dict):
            raise UnexpectedBodyError("the answer is not an object")
        return rest

    def _inside(self, piece: bytes) -> bytes:
        if self._text is None or re.search(rb"[\x00-\x1f]", piece):
            raise UnexpectedBodyError("the answer is not JSON")
        return self._text.feed(piece)

    def _outside(self, chunk: bytes, start: int) -> int:
        """Read up to the beginning of the file or the end of the chunk; returns the position reached."""
        for position in range(start, len(chunk)):
            byte = chunk[position]
            self._rest.append(byte)
            if self._string >= 0:
                self._in_string(byte)
            elif self._starts_file(byte):
                return position + 1
        if len(self._rest) > MAX_REST_BYTES:
            raise UnexpectedBodyError(f"the answer has more than {MAX_REST_BYTES} bytes beside the file")
        return len(chunk)

    def _in_string(self, byte: int) -> None:
        if self._escaped:
            self._escaped = False
        elif byte == 0x5C:  # backslash
            self._escaped = True
        elif byte == 0x22:  # quote
            if self._depth == self._file_depth:
                self._last = bytes(self._rest[self._string :])
            self._string = -1

    def _starts_file(self, byte: int) -> bool:
        """Read a byte outside of strings; returns whether it is the quote that opens the file."""
        value_next, self._value_next = self._value_next, False
        if byte == 0x22:
            self._string = len(self._rest) - 1
            return value_next and self._open()
        if byte in b"{[":
            self._depth += 1
        elif byte in b"}]":
            self._depth -= 1
        elif byte == self._separator:
            self._value_next = self._depth == self._file_depth and self._is_field(self._last)
        elif byte in _SPACE:
            self._value_next = value_next
        return False

    def _open(self) -> bool:
        if self._is_opened:
            raise UnexpectedBodyError(f"the answer has {self._name} twice")
        self._is_opened, self._text = True, Base64Text()
        return True

    def _is_field(self, key: bytes) -> bool:
        try:
            return bool(json.loads(key) == self._name)
        except ValueError:
            return False


class Base64Sink(Sink):
    """A `Sink` for a JSON answer that passes the file in one of its fields on to another sink."""

    def __init__(self, inner: Sink, field: str, list_depth: int | None = None) -> None:
        self._inner, self._place = inner, (field, list_depth)
        self._field = Base64Field(field, list_depth)
        self.size = 0

    @override
    async def start(self, facts: BodyFacts) -> None:
        """Start the file. It certainly is one, and `finish` checks that it is complete."""
        self._field, self.size = Base64Field(*self._place), 0
        await self._inner.start(BodyFacts(named=True, framed=True))

    @override
    async def write(self, chunk: bytes) -> None:
        if decoded := self._field.feed(chunk):
            self.size += len(decoded)
            await self._inner.write(decoded)

    @override
    def rewind(self) -> None:
        self._inner.rewind()

    @override
    def warn(self, text: str) -> None:
        self._inner.warn(text)

    def finish(self) -> dict[str, Any]:
        """All other fields, after the last write; `UnexpectedBodyError` if the answer is not a complete JSON object."""
        return self._field.close()
