"""Counts failed attempts at single items, so that one broken item fails by itself and the rest is read.

The layer above repeats a whole page after a temporary error. An item that fails each time would keep it from ever
getting further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from migrator.errors import ConnectError, MigratorError, ThrottledError

MAX_ATTEMPTS = 3
"""Attempts at an item before its failure is recorded and the rest is read."""


class FailedAttempts:
    """The failed attempts of one reader, by item. A failure is final once an item has failed `limit` times."""

    def __init__(self, limit: int = MAX_ATTEMPTS) -> None:
        self._limit = limit
        self._counts: Counter[Hashable] = Counter()

    def is_final(self, item: Hashable, error: MigratorError) -> bool:
        """Count a failure, and say whether it is final: never if the server is away or asks for patience."""
        self._counts[item] += 1
        return self._counts[item] >= self._limit and not isinstance(error, ConnectError | ThrottledError)

    def forget(self, item: Hashable) -> None:
        """The item was read; start counting anew."""
        self._counts.pop(item, None)
