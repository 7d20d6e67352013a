"""Which kinds of entities a crawl looks for, as a condition in SQL."""

from __future__ import annotations

from collections.abc import Sequence


def kinds_condition(kinds: Sequence[str], left_out: Sequence[str]) -> tuple[str, list[str]]:
    """An SQL condition and its parameters: these kinds, or all if there are none, except those left out."""
    among = f"AND kind IN ({', '.join('?' * len(kinds))}) " if kinds else ""
    without = f"AND kind NOT IN ({', '.join('?' * len(left_out))})" if left_out else ""
    return among + without, [*kinds, *left_out]
