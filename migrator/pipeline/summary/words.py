"""The names of counts and statuses as people read them; JSON, catalog and configuration keep the names themselves."""

from __future__ import annotations

_WORDS = {
    "already_there": "already present",
    "impossible": "not supported by the target",
    "in_doubt": "unconfirmed",
    "unmapped": "no mapping",
}


def in_words(name: str) -> str:
    """A count or a status in words."""
    return _WORDS.get(name, name.replace("_", " "))
