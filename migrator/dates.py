"""Dates as trackers spell them: whether two texts mean the same moment."""

from __future__ import annotations

from datetime import UTC, datetime


def same_moment(one: str, other: str) -> bool:
    """Whether two ISO 8601 texts mean the same moment. Text that is no date is the same only if it is equal.

    One without an offset may be in UTC or in the zone of the other: a tracker that changes from JSON to XML leaves
    its offset out. Where one of them has no fraction of a second, whole seconds are compared.
    """
    if one == other:
        return True
    try:
        first, second = datetime.fromisoformat(one), datetime.fromisoformat(other)
    except ValueError:
        return False
    if not (first.microsecond and second.microsecond):
        first, second = first.replace(microsecond=0), second.replace(microsecond=0)
    if (first.tzinfo is None) == (second.tzinfo is None):
        return first == second
    plain, told = (first, second) if first.tzinfo is None else (second, first)
    return plain in {told.replace(tzinfo=None), told.astimezone(UTC).replace(tzinfo=None)}
