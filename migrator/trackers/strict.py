"""Reads required fields of an answer: the strict counterpart of `lenient`, where a missing value would hide an item.

A missing field is an `UnexpectedBodyError`, so that a listing is requested again instead of being taken as empty.

Beware: ids become parts of paths, and only `digits` makes sure that one cannot lead elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from migrator.errors import GoneError, RejectedError, UnexpectedBodyError
from migrator.model import EntityRef, Unread
from migrator.trackers.lenient import as_objects, non_negative

T = TypeVar("T")


def object_in(answer: object, key: str | None = None) -> dict[str, Any]:
    """An answer that has to be one object, or the object that it has under a key."""
    value = answer if key is None else _under(answer, key)
    if not isinstance(value, dict):
        raise UnexpectedBodyError("the answer is not a JSON object" if key is None else f"the answer holds no {key!r}")
    return value


def objects_in(answer: object, key: str | None = None) -> list[dict[str, Any]]:
    """An answer that has to be a list of objects and nothing else, or the list that it has under a key."""
    value = answer if key is None else _under(answer, key)
    objects = as_objects(value)
    if not isinstance(value, list) or len(objects) != len(value):
        where = "where a list of objects should be" if key is None else f"where its list of {key!r} should be"
        raise UnexpectedBodyError(f"the answer has something else {where}")
    return objects


def list_in(answer: object, key: str | None = None) -> list[Any]:
    """An answer that has to be a list, or the list that it has under a key. `split` checks the items."""
    value = answer if key is None else _under(answer, key)
    if not isinstance(value, list):
        raise UnexpectedBodyError("the answer is not a list" if key is None else f"the answer holds no list of {key!r}")
    return value


def split(
    items: Sequence[object], read: Callable[[dict[str, Any]], T], place: str, kind: str = ""
) -> tuple[list[T], tuple[Unread, ...]]:
    """The result of `read` for each item of a list, and a failure for each item that can't be read.

    The failures are for `Page.unread`: `place` is the path that was requested (and the page of it), `kind` the kind of
    the items. `UnexpectedBodyError` if none of several items can be read: then the answer is wrong, not the items.
    """
    results: list[T] = []
    failures: list[Unread] = []
    for position, item in enumerate(items, 1):
        try:
            if not isinstance(item, dict):
                raise UnexpectedBodyError("it is not a JSON object")  # noqa: TRY301 - it is one of the reasons
            results.append(read(item))
        except (UnexpectedBodyError, RejectedError) as error:
            reason = f"{place}: item {position} of {len(items)} can't be read: {error}"
            failures.append(Unread(EntityRef(kind, place), reason))
    if len(failures) > 1 and not results:
        raise UnexpectedBodyError(failures[0].reason)
    return results, tuple(failures)


def numbered(item: dict[str, Any], key: str = "id") -> dict[str, Any]:
    """The item itself; `UnexpectedBodyError` if it has no number. For `split`, where a listing is walked by ids."""
    number_in(item, key)
    return item


def number_in(item: object, key: str = "id") -> int:
    """The number that an item must have, 0 or more."""
    number = non_negative(item.get(key)) if isinstance(item, dict) else None
    if number is None:
        raise UnexpectedBodyError(f"an item of the answer has no {key}")
    return number


def digits(number: str) -> str:
    """An id that may stand in a path; `GoneError` for any other, because no tracker has such an id."""
    if not (number.isascii() and number.isdecimal()):
        raise GoneError(f"{number[:40]!r} is not a number, so nothing in this tracker has this id")
    return number


def _under(answer: object, key: str) -> object:
    return answer.get(key) if isinstance(answer, dict) else None
