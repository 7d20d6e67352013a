"""What our adapters share, as far as adapters of other distributions may rely on it (see `PORT_VERSION`).

`HttpTracker` is the base of a source and of a target for an HTTP API. `Listing` walks a list that changes meanwhile,
and believes its end only if the server's own count is reached. The readers of answers are strict about what must be
there (a missing id or list is an error, so that nothing is taken for empty) and lenient about everything else.
"""

from migrator.trackers.base import HttpTracker
from migrator.trackers.keyed_lock import KeyedLock
from migrator.trackers.lenient import as_object, integer, iso_date, non_negative, raw_json, text
from migrator.trackers.listing import Listing, ListingPage, PageItems, PageOrder, PageRequest
from migrator.trackers.markers import MarkerIndex
from migrator.trackers.numbered_pages import NumberedPage, numbered_page
from migrator.trackers.strict import digits, number_in, numbered, object_in, objects_in, split

__all__ = [
    "HttpTracker",
    "KeyedLock",
    "Listing",
    "ListingPage",
    "MarkerIndex",
    "NumberedPage",
    "PageItems",
    "PageOrder",
    "PageRequest",
    "as_object",
    "digits",
    "integer",
    "iso_date",
    "non_negative",
    "number_in",
    "numbered",
    "numbered_page",
    "object_in",
    "objects_in",
    "raw_json",
    "split",
    "text",
]
