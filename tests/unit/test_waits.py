"""What a tracker asks to wait, however it spells it, and that a person hears of a long wait once."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.errors import ForbiddenError, RejectedError, RetriableError, ThrottledError
from migrator.layers.retry_policy import RetryPolicy
from migrator.wire.rate import RateLimiter
from migrator.wire.status import error_for_status
from migrator.wire.waits import DEFAULT_MAX_WAIT_SECONDS, Waits, retry_after, until_reset

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        ("0.5", 0.5),
        ("1,5", 1.5),
        ("-5", 0),
        ("30 s", 30),
        ("30sec", 30),
        ("30000ms", 30),
        ("30000 milliseconds", 30),
        ("2 minutes", 120),
        ("PT30S", 30),
        ("30, 30", 30),
        ("30; comment", 30),
        ("30000", 30),
        ("5000", 5),
        ("3600", DEFAULT_MAX_WAIT_SECONDS),
        (f"{EPOCH + 30}", 30),
        (f"{EPOCH - 30}", 0),
        (f"{EPOCH + 30}.5", 30.5),
        (f"{EPOCH * 1000 + 30_000}", 30),
        ("Wed, 01 May 2024 12:00:30 GMT", 30),
        ("2024-05-01T12:00:30Z", 30),
        ("2024-05-01 14:00:30+02:00", 30),
        ("Thu, 02 May 2024 12:00:30 GMT", DEFAULT_MAX_WAIT_SECONDS),
        ("1e300", DEFAULT_MAX_WAIT_SECONDS),
        ("soon", None),
        ("", None),
        ("30 parsecs and more", None),
        ("30 years", None),
    ],
)
def test_wait_is_understood_and_capped(value, seconds):
    assert retry_after({"Retry-After": value}, NOW, DEFAULT_MAX_WAIT_SECONDS) == seconds


@pytest.mark.parametrize("ahead", [-3600, 0, 3600, 86_400])
@pytest.mark.parametrize("spelled", ["date", "epoch", "milliseconds"])
def test_moment_is_held_against_the_clock_of_who_named_it(ahead, spelled):
    theirs = datetime.fromtimestamp(EPOCH + ahead, UTC)
    until = EPOCH + ahead + 40
    told = {
        "date": datetime.fromtimestamp(until, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "epoch": str(until),
        "milliseconds": str(until * 1000),
    }[spelled]
    headers = {"Date": theirs.strftime("%a, %d %b %Y %H:%M:%S GMT"), "Retry-After": told}
    assert retry_after(headers, NOW, DEFAULT_MAX_WAIT_SECONDS) == 40


def test_number_of_seconds_is_believed_as_far_as_the_configuration_goes():
    assert retry_after({"Retry-After": "7200"}, NOW, 4 * 3600) == 7200
    assert retry_after({"Retry-After": "7200"}, NOW, 3600) == 7.2
    assert retry_after({"Retry-After": "7200 s"}, NOW, 3600) == 3600


def test_milliseconds_by_name_are_understood():
    assert retry_after({"Retry-After-Ms": "1500"}, NOW) == 1.5


@given(st.text(), st.text(), st.floats(1, 1e6))
def test_any_text_is_a_wait_within_bounds_or_none(value, date, longest):
    for headers in ({"Retry-After": value, "Date": date}, {"X-RateLimit-Reset": value}, {"RateLimit": value}):
        for reads in (retry_after, until_reset):
            seconds = reads(headers, NOW, longest)
            assert seconds is None or 0 <= seconds <= longest


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"X-RateLimit-Reset": str(EPOCH + 40), "X-RateLimit-Remaining": "0"}, 40),
        ({"X-RateLimit-Reset": "40"}, 40),
        ({"X-Rate-Limit-Reset": str(EPOCH * 1000 + 40_000), "X-Rate-Limit-Remaining": "0"}, 40),
        ({"RateLimit-Reset": "40", "RateLimit-Remaining": "0"}, 40),
        ({"RateLimit": "limit=100, remaining=0, reset=40"}, 40),
        ({"RateLimit": '"default";r=0;t=40'}, 40),
        ({"X-RateLimit-Reset": "2024-05-01T12:00:40Z"}, 40),
        ({"X-RateLimit-Reset": "40", "X-RateLimit-Remaining": "99"}, None),
        ({"X-RateLimit-Remaining": "0"}, None),
    ],
)
def test_reset_of_a_rate_limit_is_understood(headers, seconds):
    assert until_reset(headers, NOW, DEFAULT_MAX_WAIT_SECONDS) == seconds


@pytest.mark.parametrize(
    ("status", "headers", "kind", "wait"),
    [
        (403, {"Retry-After": "40"}, ThrottledError, 40),
        (403, {"Retry-After": "0"}, ForbiddenError, None),
        (403, {}, ForbiddenError, None),
        (403, {"X-RateLimit-Remaining": "0"}, ThrottledError, None),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "40"}, ThrottledError, 40),
        (403, {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "40"}, ForbiddenError, None),
        (429, {"X-RateLimit-Reset": "40"}, ThrottledError, 40),
        (429, {"Retry-After": "20", "X-RateLimit-Reset": "40"}, ThrottledError, 20),
        (503, {"RateLimit-Reset": "40"}, ThrottledError, 40),
        (503, {"RateLimit-Reset": "40", "RateLimit-Remaining": "7"}, ThrottledError, None),
        (500, {"Retry-After": "40"}, RetriableError, 40),
        (500, {"RateLimit-Reset": "40"}, RetriableError, None),
        (400, {"Retry-After": "40"}, RejectedError, None),
    ],
)
def test_slow_down_is_told_from_a_refusal(status, headers, kind, wait):
    error = error_for_status(status, headers, "GET a")
    assert type(error) is kind
    assert getattr(error, "retry_after", None) == wait


# --- telling


@pytest.fixture
def told(caplog):
    """What a person hears."""
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("migrator")]


class Clock:
    """Time that passes when it is told to."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_wait_of_many_workers_is_told_once_and_the_next_one_again(told):
    clock = Clock()
    waits = Waits(clock)
    for _ in range(16):
        clock.now += 0.1
        waits.asked(300, 429)
    assert len(told()) == 1
    assert "the tracker asked to wait 5 min (429); going on at " in told()[0]
    clock.now += 300
    waits.asked(300, 429)
    assert len(told()) == 2


@pytest.mark.parametrize("seconds", [0, 1, 10])
def test_short_wait_is_not_told(told, seconds):
    Waits().asked(seconds, 429)
    Waits().trying_again(seconds, "GET a: status 500", 2, 9, answered=True)
    assert told() == []


def test_longer_wait_than_the_one_that_was_told_is_told(told):
    waits = Waits(Clock())
    waits.asked(30, 503)
    waits.asked(600, 503)
    assert len(told()) == 2


def test_pause_of_all_workers_and_the_wait_of_each_are_one(told):
    waits = Waits(Clock())
    pacer = RateLimiter(max_wait=60, waits=waits)
    pacer.throttled(600, 429)
    waits.asked(60, 429)
    assert len(told()) == 1
    assert "wait 1 min (429)" in told()[0]


async def test_retry_layer_tells_of_a_long_wait_for_whichever_reason(told):
    async def sleep(_: float) -> None:
        pass

    async def fail(error: Exception) -> str:
        fail.calls += 1
        if fail.calls % 2:
            raise error
        return "done"

    fail.calls = 0
    await RetryPolicy(sleep=sleep).call(lambda: fail(ThrottledError("GET a: status 429", retry_after=40, status=429)))
    await RetryPolicy(backoff=60, sleep=sleep).call(lambda: fail(RetriableError("GET a: status 500")))
    await RetryPolicy(sleep=sleep).call(lambda: fail(RetriableError("GET a: status 500")))
    assert len(told()) == 2
    assert told()[0].startswith("the tracker asked to wait 40 s (429); going on at ")
    assert told()[1].startswith("GET a: status 500; waiting ")


async def test_wait_that_another_host_asks_for_is_not_said_to_be_the_trackers(told):
    async def sleep(_: float) -> None:
        pass

    left: list[Exception] = [RetriableError("GET a, redirected to files.example: status 503", retry_after=40)]

    async def call() -> str:
        if left:
            raise left.pop()
        return "done"

    await RetryPolicy(sleep=sleep).call(call)
    assert told()[0].startswith("GET a, redirected to files.example: status 503; waiting 40 s before the next try")


async def test_workers_of_one_source_share_what_was_told(told):
    async def sleep(_: float) -> None:
        pass

    patience = RetryPolicy(sleep=sleep)

    for _ in range(16):
        left = [ThrottledError("GET a: status 429", retry_after=40, status=429)]

        async def call(left=left) -> str:
            if left:
                raise left.pop()
            return "done"

        await patience.call(call)
    assert len(told()) == 1
