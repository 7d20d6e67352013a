"""What the query languages of the trackers have in common: numbers, and ranges of ids."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from migrator.sandbox.errors import RefusedError


def number_in(query: Mapping[str, str], name: str, default: int, refusal: Callable[[str], RefusedError]) -> int:
    """A number in a query that must not be negative; raises the `refusal` of any other text."""
    text = query.get(name, str(default))
    if not text.isdecimal():
        raise refusal(text)
    return int(text)


def in_id_range(rows: Sequence[Any], operator: str, number: int) -> Sequence[Any]:
    """The rows whose id satisfies a comparison such as `gt 7`; `rows` are sorted by id.

    The bisection makes keyset paging over a hundred thousand rows fast.
    """
    left = bisect_left(rows, number, key=lambda row: row.id)
    right = bisect_right(rows, number, key=lambda row: row.id)
    return rows[ID_RANGES[operator](left, right)]


ID_RANGES: Mapping[str, Callable[[int, int], slice]] = {
    "eq": slice,
    "gt": lambda _, right: slice(right, None),
    "ge": lambda left, _: slice(left, None),
    "lt": lambda left, _: slice(0, left),
    "le": lambda _, right: slice(0, right),
}
"""The slice of the rows for each operator, from the positions before and after the row with that very id."""
