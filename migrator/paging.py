"""Cursor arithmetic, as pure functions: how a listing goes on, and how nothing is missed when it changes meanwhile.

The one idea: a keyset (`id greater than the last`) can't miss anything; where a server only knows offsets, each page
overlaps the one before by one item, the anchor. If the anchor is not on the page, something before it was deleted and
everything moved up: step back a page and go on from there. Repeats are allowed, gaps are not.
The one trap: an offset listing must be in the order of ids, or the anchor means nothing. For a server that lists the
newest first, pass the ids negated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from migrator.errors import ArchiveDamaged, ShortListing
from migrator.model import Cursor

MOST_LOSSES = 20
"""So often an anchor may be lost without the walk coming any further; each time something was deleted before it."""


@dataclass(frozen=True, slots=True)
class Keyset:
    """Go on after this id; None at the start. `seen` is the number of items so far, None where nobody counted.

    `of` is the number of all items that the server told at the start, None where it told none.
    """

    after: int | None = None
    seen: int | None = 0
    of: int | None = None

    @classmethod
    def parse(cls, cursor: Cursor | None) -> Keyset:
        """From the text of a cursor."""
        if cursor is None:
            return cls()
        told = _parsed(cursor)
        seen, of = (_number(cursor, key) if key in told else None for key in ("seen", "of"))
        return cls(_number(cursor, "after"), seen, of)

    def following(self, ids: Sequence[int], unread: int = 0, total: int | None = None) -> Cursor | None:
        """The cursor after a page with these ids, and some items that can't be read; None if no id was new.

        `total` is the number that the server told with this page.
        """
        last = max(ids, default=None)
        if last is None or (self.after is not None and last <= self.after):
            return None
        of = self.of if self.after is not None else total
        counts = {"seen": None if self.seen is None else self.seen + len(ids) + unread, "of": of}
        return json.dumps({"after": last, **{key: count for key, count in counts.items() if count is not None}})


@dataclass(frozen=True, slots=True)
class Offset:
    """Go on behind `offset` items, the last of which was `anchor`; `back` while looking for a lost anchor.

    `lost` is how often it was lost since the walk came as far as the id `far`.
    """

    offset: int = 0
    anchor: int = 0
    back: bool = False
    lost: int = 0
    far: int = 0

    @classmethod
    def parse(cls, cursor: Cursor | None) -> Offset:
        """From the text of a cursor."""
        if cursor is None:
            return cls()
        lost, far = (_number(cursor, key) if key in _parsed(cursor) else 0 for key in ("lost", "far"))
        return cls(_number(cursor, "offset"), _number(cursor, "anchor"), bool(_number(cursor, "back")), lost, far)

    @property
    def request(self) -> int:
        """The offset to ask for: one item of overlap."""
        return max(0, self.offset - 1)

    def brings_nothing_new(self, ids: Sequence[int]) -> bool:
        """Whether a page at `request` has more than the anchor, and nothing behind it: this may be the page before."""
        return self.request > 0 and len(ids) > 1 and max(ids) <= self.anchor

    def following(self, ids: Sequence[int], page_size: int, unread: int = 0) -> Cursor | None:
        """The cursor after the page at `request` brought these ids; None at the end of the listing.

        The end is a page with the anchor alone: so pages must hold two items at least. Of `unread` items of the page
        no id is known: one of them may be what comes behind the anchor, or stands where it should be.
        `ShortListing` where anchors are lost again and again at one place: what is lacking there is not deleted.
        """
        if self.offset and not unread and (not ids or min(ids) > self.anchor):
            return self._stepped_back(page_size)
        if not ids:
            return None
        last = max(ids)
        if self.offset and len(set(ids)) == 1 and last <= self.anchor and not (self.back or unread):
            return None
        lost = self.lost if last <= self.far else 0
        return self._text(self.request + len(ids) + unread, last, back=False, lost=lost, far=self.far)

    def _stepped_back(self, page_size: int) -> Cursor:
        lost = self.lost if self.back else self.lost + 1
        if lost > MOST_LOSSES:
            raise ShortListing(f"the listing ends after {self.offset} items or so, and each time otherwise")
        far = max(self.far, self.anchor) if self.lost else self.anchor
        return self._text(max(0, self.request - page_size), self.anchor, back=True, lost=lost, far=far)

    @staticmethod
    def _text(offset: int, anchor: int, *, back: bool, lost: int, far: int) -> Cursor:
        place = {"offset": offset, "anchor": anchor, "back": int(back)}
        return json.dumps(place | ({"lost": lost, "far": far} if lost else {}))


def mode_of(cursor: Cursor | None) -> type[Keyset | Offset] | None:
    """Which of the two wrote this cursor; None at the start."""
    if cursor is None:
        return None
    return Keyset if "after" in _parsed(cursor) else Offset


def _parsed(cursor: Cursor) -> dict[str, object]:
    try:
        found = json.loads(cursor)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ArchiveDamaged(f"a checkpoint of another version: {cursor[:40]!r}; delete the row in `checkpoints`")
    return found


def _number(cursor: Cursor, key: str) -> int:
    value = _parsed(cursor).get(key)
    if not isinstance(value, int):
        raise ArchiveDamaged(f"a checkpoint without {key!r}; delete the row in `checkpoints`")
    return value
