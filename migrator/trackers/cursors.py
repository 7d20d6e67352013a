"""Cursor arithmetic as pure functions: where a listing continues, without gaps even if it changes meanwhile.

A keyset (`id` greater than the last) cannot miss anything. Where a server only knows offsets, each page overlaps the
one before by one item, the anchor. If the anchor is missing, something before it was deleted and all later items moved
up: the walk goes back one page and continues from there. Items may come twice, but none is skipped.

Beware: an offset listing must be ordered by id, or the anchor means nothing. For a server that lists the newest first,
pass the ids negated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from migrator.errors import ArchiveDamagedError, ShortListingError
from migrator.model import Cursor

N = TypeVar("N", int, None)

MAX_LOST_ANCHORS = 20
"""How often an anchor may be lost without progress. Each loss means that an item before it was deleted."""


@dataclass(frozen=True, slots=True)
class Keyset:
    """Continue after the id `after`; None at the start.

    `seen` is the number of items so far, None in a checkpoint of a version that did not count. `total` is the number of
    all items that the server stated at the start, None if it stated none.
    """

    after: int | None = None
    seen: int | None = 0
    total: int | None = None

    @classmethod
    def parse(cls, cursor: Cursor | None) -> Keyset:
        """From the text of a cursor."""
        if cursor is None:
            return cls()
        fields = _fields_in(cursor)
        return cls(_number(fields, "after"), _number_or(fields, "seen", None), _number_or(fields, "of", None))

    def next_cursor(self, ids: Sequence[int], unread: int = 0, total: int | None = None) -> Cursor | None:
        """The cursor after a page with these ids and `unread` items that can't be read; None if no id was new.

        `total` is the number of all items that the server stated with this page.
        """
        last = max(ids, default=None)
        if last is None or (self.after is not None and last <= self.after):
            return None
        first_total = self.total if self.after is not None else total
        counts = {"seen": None if self.seen is None else self.seen + len(ids) + unread, "of": first_total}
        return json.dumps({"after": last, **{key: count for key, count in counts.items() if count is not None}})


@dataclass(frozen=True, slots=True)
class Offset:
    """Continue after `offset` items, the last of which was `anchor`; `backtracking` while looking for a lost anchor.

    `lost` is how often the anchor was lost since the walk came as far as the id `farthest`. `seen` and `total` as in
    `Keyset`.
    """

    offset: int = 0
    anchor: int = 0
    backtracking: bool = False
    lost: int = 0
    farthest: int = 0
    seen: int | None = 0
    total: int | None = None

    @classmethod
    def parse(cls, cursor: Cursor | None) -> Offset:
        """From the text of a cursor."""
        if cursor is None:
            return cls()
        fields = _fields_in(cursor)
        return cls(
            offset=_number(fields, "offset"),
            anchor=_number(fields, "anchor"),
            backtracking=bool(_number(fields, "back")),
            lost=_number_or(fields, "lost", 0),
            farthest=_number_or(fields, "far", 0),
            seen=_number_or(fields, "seen", None),
            total=_number_or(fields, "of", None),
        )

    @property
    def skip(self) -> int:
        """The offset of the next request: one item before the end, so that pages overlap."""
        return max(0, self.offset - 1)

    @property
    def _begun(self) -> bool:
        return self.offset > 0 or self.anchor != 0

    def is_repeat(self, ids: Sequence[int]) -> bool:
        """Whether a page at `skip` has several items and none after the anchor, as if the page before came again."""
        return self.skip > 0 and len(ids) > 1 and max(ids) <= self.anchor

    def seen_with(self, ids: Sequence[int], unread: int = 0) -> int | None:
        """The number of items so far, these included; `ids` ascend. The anchor was counted with the page before."""
        if self.seen is None:
            return None
        new = [number for number in ids if not self._begun or number > self.anchor]
        repeated_anchors = max(0, list(ids).count(self.anchor) - 1) if self._begun else 0
        return self.seen + len(new) + repeated_anchors + unread

    def next_cursor(
        self, ids: Sequence[int], page_size: int, unread: int = 0, total: int | None = None
    ) -> Cursor | None:
        """The cursor after the page at `skip` brought these ids; None at the end of the listing.

        The end is a page with the anchor alone, so pages must hold at least two items. The ids of `unread` items are
        unknown: one of them may be the anchor, or come after it. `total` is the number of all items that the server
        stated with this page. `ShortListingError` if anchors are lost again and again at one place: items are missing
        there, and not because they were deleted.
        """
        if self.offset and not unread and (not ids or min(ids) > self.anchor):
            return self._backtracked(page_size, total)
        if not ids:
            return None
        last = max(ids)
        if self.offset and len(set(ids)) == 1 and last <= self.anchor and not (self.backtracking or unread):
            return None
        place = replace(self, offset=self.skip + len(ids) + unread, anchor=last, backtracking=False)
        place = replace(place, lost=self.lost if last <= self.farthest else 0, seen=self.seen_with(ids, unread))
        return replace(place, total=self.total if self._begun else total).text

    def _backtracked(self, page_size: int, total: int | None) -> Cursor:
        lost = self.lost if self.backtracking else self.lost + 1
        if lost > MAX_LOST_ANCHORS:
            of_total = "" if total is None else f" of {total}"
            reason = f"the listing keeps ending after about {self.offset}{of_total} items, at a different one each time"
            raise ShortListingError(reason)
        farthest = max(self.farthest, self.anchor) if self.lost else self.anchor
        return replace(self, offset=max(0, self.skip - page_size), backtracking=True, lost=lost, farthest=farthest).text

    @property
    def text(self) -> Cursor:
        """As a cursor."""
        place = {"offset": self.offset, "anchor": self.anchor, "back": int(self.backtracking)}
        counts = {"seen": self.seen, "of": self.total}
        place |= {"lost": self.lost, "far": self.farthest} if self.lost else {}
        return json.dumps(place | {key: count for key, count in counts.items() if count is not None})


def mode_of(cursor: Cursor | None) -> type[Keyset | Offset] | None:
    """Which of the two classes wrote this cursor; None at the start."""
    if cursor is None:
        return None
    return Keyset if "after" in _fields_in(cursor) else Offset


def _fields_in(cursor: Cursor) -> dict[str, object]:
    try:
        fields = json.loads(cursor)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise ArchiveDamagedError(f"checkpoint of another version: {cursor[:40]!r}; delete the row in `checkpoints`")
    return fields


def _number(fields: Mapping[str, object], key: str) -> int:
    value = fields.get(key)
    if not isinstance(value, int):
        raise ArchiveDamagedError(f"a checkpoint without {key!r}; delete the row in `checkpoints`")
    return value


def _number_or(fields: Mapping[str, object], key: str, default: N) -> int | N:
    """A number that earlier versions did not write, or the default."""
    return _number(fields, key) if key in fields else default
