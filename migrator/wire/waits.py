"""How long a tracker asks to be left alone, and telling a person of a long wait once.

The one idea: whatever a server means by a number, nobody waits longer than the configuration allows.
The one trap: servers write milliseconds, moments since 1970, and dates by clocks that are wrong. A number that is no
plausible wait is one of the first two; a date is held against the `Date` of the same answer.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from migrator.units import human_duration

LONGEST = 900.0
"""Seconds that are waited at the most, unless the configuration says otherwise."""
NOTABLE = 10.0
"""Seconds above which a person is told of a wait."""
_PLAUSIBLE = 3600.0
"""Seconds above which a number is taken for milliseconds, where no longer wait is configured."""
_DECADE = 10 * 365 * 86_400.0

_QUANTITY = re.compile(r"([+-]?[0-9]{1,18}(?:[.,][0-9]{1,9})?)\s*([a-z]+)?(?:\s*[,;].*)?", re.IGNORECASE | re.DOTALL)
_UNITS = (("ms", 0.001), ("mil", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0))
_RESETS = ("X-RateLimit-Reset-After", "X-RateLimit-Reset", "X-Rate-Limit-Reset", "RateLimit-Reset")
_REMAINING = ("X-RateLimit-Remaining", "X-Rate-Limit-Remaining", "RateLimit-Remaining")
_RATE = re.compile(r"(?:\b(?:reset|t))\s*=\s*(\d+)")
_LEFT = re.compile(r"(?:\b(?:remaining|r))\s*=\s*(\d+)")

_log = logging.getLogger("migrator.waits")


def retry_after(headers: Mapping[str, str], now: datetime | None = None, longest: float = 86_400.0) -> float | None:
    """Seconds to wait, by Retry-After: from 0 to `longest`. None where there is none to be understood."""
    now = _clock_of(headers, now)
    told = _seconds(headers.get("Retry-After", ""), now, longest)
    if told is None and "Retry-After-Ms" in headers:
        told = _seconds(f"{headers['Retry-After-Ms']} ms", now, longest)
    return told


def until_reset(headers: Mapping[str, str], now: datetime | None = None, longest: float = 86_400.0) -> float | None:
    """The same by the headers of a rate limit, unless they say that there is something left of it."""
    if remaining(headers):
        return None
    now = _clock_of(headers, now)
    for name in _RESETS:
        if (told := _seconds(headers.get(name, ""), now, longest)) is not None:
            return told
    rate = _RATE.search(headers.get("RateLimit", ""))
    return _seconds(rate[1], now, longest) if rate else None


def remaining(headers: Mapping[str, str]) -> int | None:
    """How many requests the headers of a rate limit say are left; None where they don't."""
    for name in _REMAINING:
        if match := re.match(r"\s*(\d{1,9})\b", headers.get(name, "")):
            return int(match[1])
    left = _LEFT.search(headers.get("RateLimit", ""))
    return int(left[1]) if left else None


def _clock_of(headers: Mapping[str, str], now: datetime | None) -> datetime:
    """What the server takes for now; ours where it doesn't say."""
    return _when(headers.get("Date", "")) or now or datetime.now(UTC)


def _seconds(value: str, now: datetime, longest: float) -> float | None:
    """A number, with a unit or without, a date, or a moment since 1970."""
    value = value.strip().removeprefix("PT")
    told: float | None = None
    if (when := _when(value)) is not None:
        told = (when - now).total_seconds()
    elif match := _QUANTITY.fullmatch(value):
        told = _with_unit(float(match[1].replace(",", ".")), (match[2] or "").lower(), now, longest)
    else:
        with suppress(ValueError):
            told = _meant(float(value), now, longest)
    return None if told is None else max(0.0, min(told, longest))


def _with_unit(number: float, unit: str, now: datetime, longest: float) -> float | None:
    if not unit:
        return _meant(number, now, longest)
    return next((number * factor for begin, factor in _UNITS if unit.startswith(begin)), None)


def _meant(number: float, now: datetime, longest: float) -> float:
    """What a bare number means, in seconds: a wait, a moment, either of them in thousandths."""
    for moment in (number, number / 1000):
        if abs(moment - now.timestamp()) < _DECADE:
            return moment - now.timestamp()
    return number / 1000 if max(_PLAUSIBLE, longest) < number < float("inf") else number


def _when(value: str) -> datetime | None:
    """A date of HTTP or ISO 8601. A number is none, though 20240501 might be."""
    if not re.search("[ -]", value.strip().lstrip("-")):
        return None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, TypeError, IndexError, OverflowError):
            when = read(value)
            return when if when.tzinfo else when.replace(tzinfo=UTC)
    return None


class Waits:
    """The waits for one tracker, of which many workers hear at once: each is told once, by a warning in the log."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._told_until = 0.0

    def asked(self, seconds: float, status: int | None = None) -> None:
        """The tracker asked for it, with this status."""
        self._begin(seconds, f"the tracker asked to wait {human_duration(seconds)}{f' ({status})' if status else ''}")

    def trying_again(self, seconds: float, why: str) -> None:
        """What failed is tried again after so long."""
        self._begin(seconds, f"{why}; waiting {human_duration(seconds)} before the next try")

    def _begin(self, seconds: float, told: str) -> None:
        until = self._clock() + seconds
        if seconds > NOTABLE and until > self._told_until + NOTABLE:
            self._told_until = until
            _log.warning("%s; going on at %s", told, time.strftime("%H:%M:%S", time.localtime(until)))
