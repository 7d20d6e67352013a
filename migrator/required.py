"""Reading what an answer must have: the strict half of `fields`, where a missing value would hide an item.

The one idea: what is not there ends in `WrongBody`, so a listing is asked for again instead of being taken as empty.
The one trap: ids go into paths; only `digits` makes sure that one leads nowhere else.
"""

from __future__ import annotations

from typing import Any

from migrator.errors import Gone, WrongBody
from migrator.fields import records, whole


def object_in(answer: object, key: str | None = None) -> dict[str, Any]:
    """An answer that has to be one object, or the object that it has under a key."""
    found = answer if key is None else _under(answer, key)
    if not isinstance(found, dict):
        raise WrongBody("the answer is no JSON object" if key is None else f"the answer holds no {key!r}")
    return found


def objects_in(answer: object, key: str | None = None) -> list[dict[str, Any]]:
    """An answer that has to be a list of objects and nothing else, or the list that it has under a key."""
    value = answer if key is None else _under(answer, key)
    found = records(value)
    if not isinstance(value, list) or len(found) != len(value):
        where = "where a list of objects should be" if key is None else f"where its list of {key!r} should be"
        raise WrongBody(f"the answer has something else {where}")
    return found


def number_in(item: object, key: str = "id") -> int:
    """The number that an item must have, 0 or more."""
    number = whole(_under(item, key))
    if number is None or number < 0:
        raise WrongBody(f"an item of the answer has no {key}")
    return number


def digits(number: str) -> str:
    """An id that may stand in a path; anything that would lead elsewhere is `Gone`: no tracker has it."""
    if not (number.isascii() and number.isdecimal()):
        raise Gone(f"{number[:40]!r} is no number, so there is no such thing in this tracker")
    return number


def _under(answer: object, key: str) -> object:
    return answer.get(key) if isinstance(answer, dict) else None
