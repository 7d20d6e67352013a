"""A listing that never ends, recognised by the same cursor or the same page coming again and again.

Cursors are opaque and a tracker may list anything, but a crawl that makes progress changes one or the other.

Beware: a listing that changes goes back a page now and then, so a cursor may come a few times and mean nothing.
"""

from __future__ import annotations

from collections import Counter

from migrator.errors import RejectedError
from migrator.model import Page

MAX_REPEATS = 10
"""So often the same place of a stream, or the same page in a row, is a circle."""


class LoopDetector:
    """Counts for one stream, page by page."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._places: Counter[int] = Counter()
        self._last, self._row = 0, 0

    def check(self, page: Page) -> None:
        """Take note of a page that was read; `RejectedError` where the stream leads in a circle."""
        if page.next is None:
            return
        place, content = hash(page.next), _content(page)
        self._places[place] += 1
        self._row = self._row + 1 if content and content == self._last else 0
        self._last = content
        if self._places[place] > MAX_REPEATS or self._row >= MAX_REPEATS:
            raise RejectedError(
                f"the listing {self._stream!r} leads in a circle: the same page came {MAX_REPEATS} times"
            )


def _content(page: Page) -> int:
    """What is on it; 0 for nothing."""
    refs = tuple(entity.ref for entity in (*page.entities, *page.ask))
    ids = tuple(attachment.id for attachment in page.attachments)
    return hash((refs, ids)) if refs or ids else 0
