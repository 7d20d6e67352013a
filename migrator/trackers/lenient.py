"""Reading the fields of an answer that may be malformed: every function takes anything and never raises.

The caller says which type it wants; a value of another type counts as missing.

Beware: text from JSON may contain half a surrogate pair, which neither files nor SQLite accept. `text` replaces it.
"""

from __future__ import annotations

import html
import re
from datetime import datetime
from typing import Any

from migrator.wire import written_json

_ADDRESS = re.compile(r"https?://[^\s<>\"]+")
_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_LARGE = 1 << 62


def text(value: object) -> str:
    """A string, unchanged; an empty string for anything else."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def integer(value: object) -> int | None:
    """An integer, also if written as a string (XML) or as 3.0 (some gateways); None for anything else."""
    if type(value) is int:  # first, because nearly all are
        return value if -_LARGE < value < _LARGE else None
    if isinstance(value, float) and value.is_integer():
        return integer(int(value))
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value.strip()) else None


def non_negative(value: object) -> int | None:
    """An integer of at least 0, such as a size; None for anything else."""
    number = integer(value)
    return number if number is not None and number >= 0 else None


def iso_date(value: object) -> str:
    """A date in ISO 8601, unchanged; an empty string for anything else."""
    try:
        datetime.fromisoformat(text(value))
    except ValueError:
        return ""
    return text(value)


def raw_json(value: object) -> str:
    """The value as JSON for the `raw` column: text that every database accepts."""
    return written_json(value)


def as_object(value: object) -> dict[str, Any]:
    """An object, unchanged; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_objects(value: object) -> list[dict[str, Any]]:
    """The objects in a list; anything else in it is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_html(plain: str) -> str:
    """Plain text for a field that holds HTML: lines stay lines, addresses become links."""
    lines = (_ADDRESS.sub(r'<a href="\g<0>">\g<0></a>', html.escape(line, quote=False)) for line in plain.split("\n"))
    return f"<div>{'<br/>'.join(lines)}</div>"
