"""JSON as trackers send it, read and written by a fast library; what that refuses is repaired and read slowly.

With the standard library, half the time of a listing was spent on parsing answers and serializing their items.

Beware: trackers send what JSON forbids: a byte order mark, raw control characters, lone surrogates, bytes of another
encoding, NaN, a trailing comma. All of it is read, because one bad name must not cost a whole listing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

_read = msgspec.json.Decoder().decode
_written = msgspec.json.Encoder().encode

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"?|,(?=\s*[\]}])', re.DOTALL)
_ESCAPE = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|(u)|(.))', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def _ignore(count: int) -> None:
    """Does nothing."""


def read_json(body: bytes, charset: str = "", replaced: Callable[[int], None] = _ignore) -> Any:
    """The value of a body. `ValueError`, whose text names the position, or `RecursionError` if it is not JSON.

    Bytes and surrogates that are no text become U+FFFD, and `replaced` is called with their number; raw control
    characters are kept. A body that is not UTF-8 is read in `charset`, if the answer declares one.
    """
    try:
        return _read(body)
    except ValueError:
        return _read_repaired(body, charset, replaced)


def _read_repaired(body: bytes, charset: str, replaced: Callable[[int], None]) -> Any:
    text, count = decoded(body, json.detect_encoding(body), charset)
    try:
        value = _parsed(text)
    except json.JSONDecodeError:
        text, more = _repaired(text)
        value, count = _parsed(text), count + more
    text = json.dumps(value, ensure_ascii=False)
    count += len(_SURROGATE.findall(text))
    if count:
        replaced(count)
    return json.loads(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))


def decoded(body: bytes, encoding: str, charset: str = "") -> tuple[str, int]:
    """Bytes as text, and how many U+FFFD in it replace bytes that are no text.

    `encoding` is detected, `charset` declared. The declared one is used if the detected one decodes only the ASCII.
    """
    with suppress(ValueError):
        return body.decode(encoding), 0
    valid = body.decode(encoding, "ignore")
    if valid.isascii():
        with suppress(ValueError, LookupError):
            return body.decode(charset), 0
    text = body.decode(encoding, "replace")
    return text, text.count("\ufffd") - valid.count("\ufffd")


def written_json(value: object) -> str:
    """A value as compact JSON that every database can store. NaN, which JSON lacks, becomes null."""
    try:
        return _written(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def _parsed(text: str) -> Any:
    """The value, including NaN and raw control characters."""
    return json.loads(text.lstrip("\ufeff"), strict=False, parse_int=_integer)


def _integer(digits: str) -> int | None:
    """The number; None if it has thousands of digits, which Python refuses."""
    try:
        return int(digits)
    except ValueError:
        return None


def _repaired(text: str) -> tuple[str, int]:
    """The text without trailing commas and escapes that JSON lacks, and how many characters were lost."""
    lost = 0

    def escape(match: re.Match[str]) -> str:
        nonlocal lost
        known, incomplete, other = match.groups()
        lost += incomplete is not None
        return match[0] if known else "\ufffd" if incomplete else other if other == "'" else "\\\\" + other

    def piece(match: re.Match[str]) -> str:
        return "" if match[0] == "," else _ESCAPE.sub(escape, match[0])

    return _PIECE.sub(piece, text), lost
