"""Detects a listing that never ends: the same cursor or the same page comes again and again.

Cursors are opaque and a tracker may list anything, but in a crawl that makes progress one of the two changes.

Beware: if the listing changes meanwhile, the crawl goes back a page, so a few repeats mean nothing.
"""

from __future__ import annotations

from collections import Counter

from migrator.errors import RejectedError
from migrator.model import Cursor, Page

MAX_REPEATS = 10
"""A cursor seen more often than this, or this many equal pages in a row, means that the listing loops."""


class LoopDetector:
    """Checks the pages of one stream."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._cursors: Counter[Cursor] = Counter()
        self._last_content, self._repeats = 0, 0

    def check(self, page: Page) -> None:
        """Check the next page; `RejectedError` if the stream loops."""
        if page.next is None:
            return
        content = _content(page)
        self._cursors[page.next] += 1
        self._repeats = self._repeats + 1 if content and content == self._last_content else 0
        self._last_content = content
        if self._cursors[page.next] > MAX_REPEATS or self._repeats >= MAX_REPEATS:
            raise RejectedError(f"the listing {self._stream!r} loops: the same page came {MAX_REPEATS} times")


def _content(page: Page) -> int:
    """A hash of what is on the page; 0 for an empty one."""
    refs = tuple(entity.ref for entity in (*page.entities, *page.ask))
    ids = tuple(attachment.id for attachment in page.attachments)
    return hash((refs, ids)) if refs or ids else 0
