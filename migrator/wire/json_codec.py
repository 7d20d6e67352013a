"""JSON as trackers send it, read and written by a fast library; what that refuses is repaired and read slowly.

With the standard library, half the time of a listing went into parsing answers and writing their items out again.

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
_HALF = re.compile("[\ud800-\udfff]")


def _untold(count: int) -> None:
    """Nobody wants to know how many characters were replaced."""


def read_json(body: bytes, charset: str = "", replaced: Callable[[int], None] = _untold) -> Any:
    """What an answer says. `ValueError`, whose text tells the place, or `RecursionError` where it is no JSON.

    Bytes and halves of characters that are no text become U+FFFD, and `replaced` is told how many did; raw control
    characters stay, as if they had been escaped. What is not UTF-8 is read in `charset`, if the answer names one.
    """
    try:
        return _read(body)
    except ValueError:
        return _read_all_the_same(body, charset, replaced)


def _read_all_the_same(body: bytes, charset: str, replaced: Callable[[int], None]) -> Any:
    text, count = decoded(body, json.detect_encoding(body), charset)
    try:
        value = _parsed(text)
    except json.JSONDecodeError:
        text, more = _spelled(text)
        value, count = _parsed(text), count + more
    whole = json.dumps(value, ensure_ascii=False)
    count += len(_HALF.findall(whole))
    if count:
        replaced(count)
    return json.loads(whole.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))


def decoded(body: bytes, encoding: str, charset: str = "") -> tuple[str, int]:
    """Bytes as text, and how many characters of it are U+FFFD in place of what is none.

    `encoding` is what they seem to be in, `charset` what they are said to be in: believed where nothing but ASCII is
    right in the other one.
    """
    with suppress(ValueError):
        return body.decode(encoding), 0
    right = body.decode(encoding, "ignore")
    if right.isascii():
        with suppress(ValueError, LookupError):
            return body.decode(charset), 0
    text = body.decode(encoding, "replace")
    return text, text.count("\ufffd") - right.count("\ufffd")


def written_json(value: object) -> str:
    """A value that was read as compact JSON, in text that every database takes. NaN, which JSON lacks, becomes null."""
    try:
        return _written(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def _parsed(text: str) -> Any:
    """As Python reads it, NaN and raw control characters included."""
    return json.loads(text.lstrip("\ufeff"), strict=False, parse_int=_whole)


def _whole(digits: str) -> int | None:
    """A number of thousands of digits, which Python doesn't read, is none."""
    try:
        return int(digits)
    except ValueError:
        return None


def _spelled(text: str) -> tuple[str, int]:
    """The same without commas before an end and without escapes that JSON lacks; and how many of those are lost."""
    lost = 0

    def escape(match: re.Match[str]) -> str:
        nonlocal lost
        known, cut, other = match.groups()
        lost += cut is not None
        return match[0] if known else "\ufffd" if cut else other if other == "'" else "\\\\" + other

    def piece(match: re.Match[str]) -> str:
        return "" if match[0] == "," else _ESCAPE.sub(escape, match[0])

    return _PIECE.sub(piece, text), lost
