"""JSON as trackers send it, read and written by a fast library; what that one is too strict for goes the long way.

The one idea: half the time of a listing went into reading an answer, and writing each of its items down again.
The one trap: trackers send what JSON forbids: a byte order mark, halves of characters, NaN. All of it is read.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

_read = msgspec.json.Decoder().decode
_written = msgspec.json.Encoder().encode


def read_json(body: bytes) -> Any:
    """What an answer says; half a character, cut by a server, becomes U+FFFD. `ValueError` or `RecursionError`."""
    try:
        return _read(body)
    except ValueError:
        value = json.loads(body)
    whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return json.loads(whole)


def written_json(value: object) -> str:
    """A value that was read as compact JSON, in text that every database takes. NaN, which JSON lacks, becomes null."""
    try:
        return _written(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
