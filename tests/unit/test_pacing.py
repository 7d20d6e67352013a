"""One tracker, one pace: rate, bandwidth, and a common step back."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from migrator.wire import rate
from migrator.wire.rate import RateLimiter, TokenBucket


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(rate.time, "monotonic", made.monotonic)
    monkeypatch.setattr(rate.asyncio, "sleep", made.sleep)
    return made


async def test_no_limit_means_no_wait(clock):
    pacer = RateLimiter()
    for _ in range(1000):
        await pacer.acquire()
        await pacer.consume(10**9)
    assert clock.now == 1000


async def test_rate_allows_a_burst_of_one_second_and_then_keeps_to_it(clock):
    pacer = RateLimiter(requests_per_second=50)
    for _ in range(50):
        await pacer.acquire()
    assert clock.now == 1000
    for _ in range(100):
        await pacer.acquire()
    assert clock.now == pytest.approx(1002)


async def test_saved_up_time_is_one_second_at_most(clock):
    pacer = RateLimiter(requests_per_second=10)
    await pacer.acquire()
    clock.now += 3600
    for _ in range(20):
        await pacer.acquire()
    assert clock.now == pytest.approx(1000 + 3600 + 1)


async def test_bandwidth_counts_bytes_and_bears_a_piece_larger_than_a_second(clock):
    pacer = RateLimiter(bytes_per_second=1000)
    await pacer.consume(5000)
    assert clock.now == pytest.approx(1004)
    await pacer.consume(1000)
    assert clock.now == pytest.approx(1005)


def test_rate_below_one_a_second_is_kept():
    bucket = TokenBucket(0.5)
    assert bucket.take(1, 100.0) == pytest.approx(1.0)
    assert bucket.take(1, 101.0) == pytest.approx(2.0)


async def test_after_a_slow_down_nobody_starts_before_the_pause_is_over(clock):
    pacer = RateLimiter()
    pacer.throttled(30)
    await pacer.acquire()
    assert clock.now == pytest.approx(1030)


async def test_slow_down_without_a_time_means_a_short_pause(clock):
    pacer = RateLimiter()
    pacer.throttled(None)
    await pacer.acquire()
    assert clock.now == pytest.approx(1000 + RateLimiter.DEFAULT_PAUSE_SECONDS)


async def test_workers_start_one_after_the_other_after_a_slow_down(clock):
    pacer = RateLimiter()
    pacer.throttled(0)
    clock.now += 2
    pacer.throttled(0)
    starts = []
    for _ in range(4):
        await pacer.acquire()
        starts.append(clock.now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps == pytest.approx([pacer._spacing] * 3)
    assert pacer._spacing == RateLimiter.FIRST_SPACING_SECONDS * 2


async def test_space_between_starts_has_an_end(clock):
    pacer = RateLimiter()
    for _ in range(100):
        pacer.throttled(0)
        clock.now += 10
    assert pacer._spacing == RateLimiter.MAX_SPACING_SECONDS


async def test_refusals_that_come_together_slow_down_once(clock):
    pacer = RateLimiter()
    for _ in range(16):
        pacer.throttled(0)
        clock.now += 0.05
    assert pacer._spacing == RateLimiter.FIRST_SPACING_SECONDS


async def test_speed_comes_back_with_answers_that_go_well(clock):
    pacer = RateLimiter()
    pacer.throttled(0)
    spacings = []
    while pacer._spacing:
        spacings.append(pacer._spacing)
        pacer.on_success()
        assert len(spacings) < 100, "full speed never comes back"
    assert spacings == sorted(spacings, reverse=True)
    await pacer.acquire()
    assert clock.now == 1000


async def test_shorter_pause_does_not_undo_a_longer_one(clock):
    pacer = RateLimiter()
    pacer.throttled(60)
    pacer.throttled(1)
    await pacer.acquire()
    assert clock.now >= 1060


async def test_waiting_can_be_cancelled():
    pacer = RateLimiter()
    pacer.throttled(60)
    task = asyncio.create_task(pacer.acquire())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
