"""Pages by number, for APIs that know no offset: the page of a chosen size that holds what is requested.

A walk by offset overlaps its pages by one item, so it starts in the middle of a numbered page, maybe at its last item.
With pages of another size the same item stands near a page's start.

Beware: a server that allows at most N items on a page needs a `Listing` with pages of N / 2.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

from migrator.trackers.listing import PageRequest


class NumberedPage(NamedTuple):
    """Page `number`, from 1 on, of pages with `size` items each; its first `before` items were not requested."""

    number: int
    size: int
    before: int


def numbered_page(request: PageRequest) -> NumberedPage:
    """The page with all the requested items, of the smallest size that has one.

    From 50 items on, it is less than twice as large as what is requested.
    """
    size = next(size for size in count(request.take) if size - request.skip % size >= request.take)
    page, before = divmod(request.skip, size)
    return NumberedPage(page + 1, size, before)
