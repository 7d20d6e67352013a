"""How long a tracker asks us to wait, a log that mentions each long wait once, and the latest wait, for the progress.

No wait is longer than the configuration allows, whatever the server asks for.

Beware: servers write milliseconds, Unix timestamps, and dates from clocks that are wrong. A number too large to be a
wait is taken for one of the first two; a date is compared with the `Date` header of the same answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from migrator.units import human_duration

T = TypeVar("T")

DEFAULT_MAX_WAIT_SECONDS = 900.0
"""Maximum wait in seconds, unless the configuration says otherwise."""
MIN_LOGGED_SECONDS = 10.0
"""Only waits longer than this are logged."""
LOGIN_SECONDS = 10.0
"""After so long without an answer, a login is said to be waiting for one."""
_MAX_PLAUSIBLE_SECONDS = 3600.0
"""A larger number of seconds is taken for milliseconds, unless a longer wait is configured."""
_DECADE_SECONDS = 10 * 365 * 86_400.0

_QUANTITY = re.compile(r"([+-]?[0-9]{1,18}(?:[.,][0-9]{1,9})?)\s*([a-z]+)?(?:\s*[,;].*)?", re.IGNORECASE | re.DOTALL)
_UNITS = (("ms", 0.001), ("mil", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0))
_RESETS = ("X-RateLimit-Reset-After", "X-RateLimit-Reset", "X-Rate-Limit-Reset", "RateLimit-Reset")
_REMAINING = ("X-RateLimit-Remaining", "X-Rate-Limit-Remaining", "RateLimit-Remaining")
_RESET_PARAMETER = re.compile(r"(?:\b(?:reset|t))\s*=\s*(\d+)")
_REMAINING_PARAMETER = re.compile(r"(?:\b(?:remaining|r))\s*=\s*(\d+)")

_log = logging.getLogger("migrator.waits")


def retry_after(headers: Mapping[str, str], now: datetime | None = None, max_wait: float = 86_400.0) -> float | None:
    """Seconds to wait according to Retry-After, from 0 to `max_wait`. None if it is missing or not understood."""
    now = _server_time(headers, now)
    seconds = _seconds(headers.get("Retry-After", ""), now, max_wait)
    if seconds is None and "Retry-After-Ms" in headers:
        seconds = _seconds(f"{headers['Retry-After-Ms']} ms", now, max_wait)
    return seconds


def until_reset(headers: Mapping[str, str], now: datetime | None = None, max_wait: float = 86_400.0) -> float | None:
    """Seconds to wait according to rate limit headers; None if they say that requests are left, or nothing."""
    if remaining(headers):
        return None
    now = _server_time(headers, now)
    for name in _RESETS:
        if (seconds := _seconds(headers.get(name, ""), now, max_wait)) is not None:
            return seconds
    reset = _RESET_PARAMETER.search(headers.get("RateLimit", ""))
    return _seconds(reset[1], now, max_wait) if reset else None


def remaining(headers: Mapping[str, str]) -> int | None:
    """How many requests are left according to rate limit headers; None if they don't say."""
    for name in _REMAINING:
        if match := re.match(r"\s*(\d{1,9})\b", headers.get(name, "")):
            return int(match[1])
    left = _REMAINING_PARAMETER.search(headers.get("RateLimit", ""))
    return int(left[1]) if left else None


def _server_time(headers: Mapping[str, str], now: datetime | None) -> datetime:
    """The server's current time, or ours if the answer has no `Date`."""
    return _when(headers.get("Date", "")) or now or datetime.now(UTC)


def _seconds(value: str, now: datetime, max_wait: float) -> float | None:
    """Seconds from now, from a number with or without a unit, a date, or a Unix timestamp."""
    value = value.strip().removeprefix("PT")
    seconds: float | None = None
    if (when := _when(value)) is not None:
        seconds = (when - now).total_seconds()
    elif match := _QUANTITY.fullmatch(value):
        seconds = _with_unit(float(match[1].replace(",", ".")), (match[2] or "").lower(), now, max_wait)
    else:
        with suppress(ValueError):
            seconds = _plausible(float(value), now, max_wait)
    return None if seconds is None else max(0.0, min(seconds, max_wait))


def _with_unit(number: float, unit: str, now: datetime, max_wait: float) -> float | None:
    if not unit:
        return _plausible(number, now, max_wait)
    return next((number * factor for begin, factor in _UNITS if unit.startswith(begin)), None)


def _plausible(number: float, now: datetime, max_wait: float) -> float:
    """Seconds meant by a bare number: a wait or a Unix timestamp, either of them possibly in milliseconds."""
    for moment in (number, number / 1000):
        if abs(moment - now.timestamp()) < _DECADE_SECONDS:
            return moment - now.timestamp()
    return number / 1000 if max(_MAX_PLAUSIBLE_SECONDS, max_wait) < number < float("inf") else number


def _when(value: str) -> datetime | None:
    """A date in the format of HTTP or ISO 8601. A bare number such as 20240501 is never read as a date."""
    from email.utils import parsedate_to_datetime

    if not re.search("[ -]", value.strip().lstrip("-")):
        return None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        with suppress(ValueError, TypeError, IndexError, OverflowError):
            when = read(value)
            return when if when.tzinfo else when.replace(tzinfo=UTC)
    return None


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait before a request is repeated. `began` is on the monotonic clock, which all processes share.

    `until`, in Unix time, is set if the tracker asked for the wait. Otherwise try number `attempt` of at most
    `attempts` comes next; `answered` says whether the tracker has answered the last one, if only with an error.
    """

    began: float
    until: float | None = None
    attempt: int = 0
    attempts: int = 0
    answered: bool = False


class Waits:
    """Logs the long waits for one tracker, as warnings; a wait that many workers share is logged once.

    `latest` is the wait that began last, however short.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._logged_until = 0.0
        self.latest: Wait | None = None

    def asked(self, seconds: float, status: int | None = None) -> None:
        """The tracker asked to wait, with this status."""
        self.begun(Wait(time.monotonic(), until=self._clock() + seconds))
        self._log(seconds, f"the tracker asked to wait {human_duration(seconds)}{f' ({status})' if status else ''}")

    def trying_again(self, seconds: float, why: str, attempt: int, attempts: int, *, answered: bool) -> None:
        """A failed request is sent again after `seconds`; see `Wait`."""
        self.begun(Wait(time.monotonic(), None, attempt, attempts, answered))
        self._log(seconds, f"{why}; waiting {human_duration(seconds)} before the next try")

    def warning_of_silence(self, call: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
        """The same call, with a warning if the tracker doesn't answer for long; for what comes before any progress."""

        async def watched() -> T:
            text = f"the tracker has not answered the login for {human_duration(LOGIN_SECONDS)}; still waiting"
            timer = asyncio.get_running_loop().call_later(LOGIN_SECONDS, _log.warning, text)
            try:
                return await call()
            finally:
                timer.cancel()

        return watched

    def begun(self, wait: Wait) -> None:
        """A wait has begun, in this process or in another one."""
        self.latest = wait

    def _log(self, seconds: float, reason: str) -> None:
        until = self._clock() + seconds
        if seconds > MIN_LOGGED_SECONDS and until > self._logged_until + MIN_LOGGED_SECONDS:
            self._logged_until = until
            _log.warning("%s; going on at %s", reason, time.strftime("%H:%M:%S", time.localtime(until)))
