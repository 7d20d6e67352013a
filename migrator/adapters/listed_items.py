"""The items of a page of a listing, where one of them may be none that can be read.

The one idea: such an item is one failure with the place where it stands, and the others of its page are good.
The one trap: pages are asked ahead, so an item may be found before the page it stands on is wanted; it waits here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from migrator.errors import WrongBody
from migrator.listing import Items, Way
from migrator.model import EntityRef, Unread


class Unreadable:
    """What could not be read of the listings of one tracker, until a page tells of it."""

    def __init__(self) -> None:
        self._found: dict[str, dict[EntityRef, Unread]] = {}

    def readable(
        self, stream: str, path: str, items: object, way: Way, id_of: Callable[[Mapping[str, Any]], int]
    ) -> Items:
        """Those of the items that are objects with an id; `WrongBody` where there is no list at all."""
        if not isinstance(items, list):
            raise WrongBody(f"{path}: the answer has something else where a list of objects should be")
        place = f"behind {way.skip} items" if way.after is None else f"after id {way.after}"
        good: Items = []
        for number, item in enumerate(items, 1):
            try:
                id_of(item if isinstance(item, dict) else {})
                good.append(item)
            except WrongBody:
                what = "has no id" if isinstance(item, dict) else "is no object"
                ref = EntityRef(stream, f"{path}, item {number} {place}")
                self._found.setdefault(stream, {})[ref] = Unread(ref, f"GET {ref.id}: the item {what}")
        return good

    def told(self, stream: str) -> tuple[Unread, ...]:
        """What was found since this was asked last."""
        return tuple(self._found.pop(stream, {}).values())
