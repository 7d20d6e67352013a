"""Quantities as people write and read them: sizes, rates, durations, shares, counts and dates.

MB is 10^6 bytes, MiB is 2^20.

The `parse_` functions read what stands in a configuration or behind an option; they raise `ValueError` with a sentence
that shows how to write it. The `human_` functions make text.
"""

from __future__ import annotations

import re
from datetime import datetime

_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_DURATIONS = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "hours": 3600.0}
_DURATIONS |= dict.fromkeys(("d", "day", "days"), 86_400.0) | dict.fromkeys(("w", "week", "weeks"), 604_800.0)
_SHARE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*")
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*(/\s*s)?\s*")


def parse_size(value: object) -> int:
    """`"10 MB"`, `"512 KiB"` or a number of bytes."""
    number, unit, per_second = _quantity(value)
    if per_second or unit not in _SIZES:
        raise ValueError("not a size; write it like '10 MB', '512 KiB' or 2000")
    return int(number * _SIZES[unit])


def parse_rate(value: object) -> float:
    """`"20 MB/s"`, `"512 KiB/s"` or a number, in bytes a second; the `/s` may be left out."""
    number, unit, _ = _quantity(value)
    if unit not in _SIZES:
        raise ValueError('not a bandwidth; write it like "20 MB/s" or "512 KiB/s"')
    return number * _SIZES[unit]


def parse_duration(value: object) -> float:
    """`"0.5 s"`, `"2 min"`, `"1 h"` or a number, in seconds."""
    number, unit, per_second = _quantity(value)
    if per_second or unit not in _DURATIONS:
        raise ValueError('not a time; write it like "0.5 s", "2 min" or "1 h"')
    return number * _DURATIONS[unit]


def parse_share(value: object) -> float:
    """`"20%"` as a number from 0 to 1."""
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match is None or float(match[1]) > 100:
        raise ValueError('not a share; write it like "20%"')
    return float(match[1]) / 100


def _quantity(value: object) -> tuple[float, str, bool]:
    """The number, its unit in lower case, and whether it is per second."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value), "", False
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not a number with a unit")
    return float(match[1]), match[2].lower(), bool(match[3])


def human_size(size: float) -> str:
    """`3.2 MB`, in the units in which disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_duration(seconds: float) -> str:
    """`40 s`, `5 min`, `1.5 h`, `8 days`. From 1.5 of a unit on (or exactly 1) in that unit, so `70 s` and `75 min`.

    Days are whole, and begin with 2.
    """
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:.0f} days"
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= size * 1.5 or seconds == size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def human_time_left(seconds: float) -> str:
    """`40 s`, `4m 10s`, `5h 3m`, `2d 4h`: two units, for a number that is watched while it falls."""
    left = round(seconds)
    if left < 60:
        return f"{left} s"
    for size, unit, smaller, small_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if left >= size:
            return f"{left // size}{unit} {left % size // smaller}{small_unit}"
    raise AssertionError  # pragma: no cover - the last size is a minute


def human_took(seconds: float) -> str:
    """How long something took: `8.2 s`, and from a minute on as `human_time_left`."""
    return f"{seconds:.1f} s" if seconds < 59.95 else human_time_left(seconds)


def human_number(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 file`, `12,345 files`."""
    return f"{human_number(number)} {singular if number == 1 else plural or f'{singular}s'}"


def local_time(moment: str) -> str:
    """`2026-11-28 02:00 CET` for an ISO 8601 text: the time on the clock of this machine, with its zone.

    A text that is no date stays as it is.
    """
    try:
        return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M %Z}"
    except ValueError:
        return moment
