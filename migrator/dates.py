"""Dates as trackers write them, and whether two of them mean the same moment."""

from __future__ import annotations

from datetime import UTC, datetime


def same_moment(text: str, other: str) -> bool:
    """Whether two ISO 8601 texts mean the same moment. Texts that are not dates have to be equal.

    A text without an offset may be in UTC or in the other's time zone, because a tracker that changes from JSON to XML
    drops the offset. If either has no fraction of a second, whole seconds are compared.
    """
    if text == other:
        return True
    try:
        first, second = datetime.fromisoformat(text), datetime.fromisoformat(other)
    except ValueError:
        return False
    if not (first.microsecond and second.microsecond):
        first, second = first.replace(microsecond=0), second.replace(microsecond=0)
    if (first.tzinfo is None) == (second.tzinfo is None):
        return first == second
    naive, aware = (first, second) if first.tzinfo is None else (second, first)
    return naive in {aware.replace(tzinfo=None), aware.astimezone(UTC).replace(tzinfo=None)}
