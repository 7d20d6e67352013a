"""How many requests at once: against servers of limited capacity, in time that is counted and not waited for."""

from __future__ import annotations

import asyncio
import random

import pytest

from migrator.wire.concurrency import INITIAL_LIMIT, PROBE_INTERVAL_SECONDS, AdaptiveLimiter
from tests.simulation import loop


class Server:
    """Does `capacity` requests at a time, each in `seconds`; what is beyond waits, and slows all down by `strain`."""

    def __init__(self, capacity: int, seconds: float, strain: float = 0.0) -> None:
        self.capacity, self.seconds, self.strain = capacity, seconds, strain
        self.places = asyncio.Semaphore(capacity)
        self.inside = self.done = self.most = 0

    async def serve(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        over = max(0, self.inside - self.capacity)
        try:
            async with self.places:
                await asyncio.sleep(self.seconds * (1 + self.strain * over))
            self.done += 1
        finally:
            self.inside -= 1


async def ask(gate: AdaptiveLimiter, server: Server, seconds: float, workers: int = 64) -> list[int]:
    """Workers ask as often as they get in; gives the limit at each tenth of the time."""

    async def worker() -> None:
        while True:
            await gate.acquire()
            try:
                await server.serve()
            finally:
                gate.release()

    tasks = [asyncio.ensure_future(worker()) for _ in range(workers)]
    limits = []
    for _ in range(10):
        await asyncio.sleep(seconds / 10)
        limits.append(gate.limit)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return limits


def run(work):
    return loop.run(work, random.Random(1))


class Hiccup(Server):
    """Stands still for a moment, soon after the beginning."""

    async def serve(self) -> None:
        now = asyncio.get_running_loop().time()
        if 0.15 < now - self.began < 0.4:
            await asyncio.sleep(0.4 - (now - self.began))
        await super().serve()


def test_a_moment_in_which_nothing_moved_does_not_slow_a_run_for_seconds():
    async def story():
        gate, server = AdaptiveLimiter(16), Hiccup(16, 0.05)
        server.began = asyncio.get_running_loop().time()
        return await ask(gate, server, 3.0)

    limits = run(story())
    assert limits[1] < 16, "it was misled"
    assert 16 in limits[2:7], limits


@pytest.mark.parametrize("capacity", [1, 2, 6, 16, 30])
@pytest.mark.parametrize("seconds", [0.05, 1.0])
def test_it_settles_near_what_the_server_can_do(capacity, seconds):
    async def story():
        gate, server = AdaptiveLimiter(64), Server(capacity, seconds, strain=0.05)
        await ask(gate, server, 300 * seconds)  # to find out
        found = server.done
        limits = await ask(gate, server, 500 * seconds)
        return limits, (server.done - found) / (500 * seconds), server

    limits, rate, server = run(story())
    assert rate > 0.75 * capacity / seconds, "hardly slower than the server can"
    # Of its own accord it never asks for less than INITIAL_LIMIT, and tries a little more now and then.
    assert sorted(limits)[5] <= max(1.5 * INITIAL_LIMIT, 2 * capacity), "nor much more than it can do at once"
    assert server.most <= max(2 * INITIAL_LIMIT, 4 * capacity)


def test_the_cap_is_reached_within_a_few_answers_and_never_passed():
    async def story():
        gate, server = AdaptiveLimiter(16), Server(1000, 0.05)
        return await ask(gate, server, 5.0), server

    limits, server = run(story())
    assert limits[0] == 16, "after half a second"
    assert set(limits) == {16}
    assert server.most == 16
    assert server.done > 0.95 * 16 * 5.0 / 0.05


def test_a_server_that_becomes_ten_times_slower_gets_no_more_at_once():
    async def story():
        gate, server = AdaptiveLimiter(64), Server(8, 0.02, strain=0.05)
        before = (await ask(gate, server, 20.0))[-1]
        server.seconds, server.most = 0.2, 0
        after = await ask(gate, server, 60.0)
        return before, after, server

    before, after, server = run(story())
    assert max(after) <= 2 * before
    assert server.most <= 2 * before


def test_overload_halves_the_limit_and_reports_of_one_moment_count_once():
    async def story():
        gate = AdaptiveLimiter(64)
        gate.limit = 32
        acquired_at = [await gate.acquire() for _ in range(32)]
        await asyncio.sleep(0.1)
        for moment in acquired_at:
            gate.on_overload(moment)
        halved = gate.limit
        for _ in acquired_at:
            gate.release()
        await asyncio.sleep(0.1)
        gate.on_overload(await gate.acquire())
        return halved, gate.limit

    assert run(story()) == (16, 8)


def test_after_a_complaint_more_is_tried_again_but_not_soon():
    async def story():
        gate, server = AdaptiveLimiter(64), Server(1000, 0.05)
        gate.on_overload(await gate.acquire())
        gate.release()
        soon = await ask(gate, server, PROBE_INTERVAL_SECONDS * 0.9)
        return soon, await ask(gate, server, 4 * PROBE_INTERVAL_SECONDS)

    soon, later = run(story())
    assert set(soon) == {INITIAL_LIMIT // 2}
    assert later[-1] > 16


@pytest.mark.parametrize("few_at_first", [False, True])
def test_a_worker_begins_with_what_its_run_has_found(few_at_first):
    """It keeps that at first, when the run has most of the requests and few are left for it."""

    async def story():
        gate, server = AdaptiveLimiter(16), Server(16, 0.05)
        gate.begin_at(12)
        limits = await ask(gate, server, PROBE_INTERVAL_SECONDS / 2, workers=3 if few_at_first else 64)
        gate.begin_at(2)  # once it has measured, it knows better
        return limits, gate.limit

    limits, last = run(story())
    assert {*limits, last} == {12}


async def test_who_waits_gets_in_in_turn_and_who_is_cancelled_takes_no_place():
    gate, order = AdaptiveLimiter(1), []

    async def one(name):
        await gate.acquire()
        order.append(name)
        await asyncio.sleep(0)
        gate.release()

    tasks = [asyncio.ensure_future(one(name)) for name in "abcd"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a", "c", "d"]
    assert gate.under_way == 0


async def test_a_place_that_comes_together_with_a_cancellation_is_not_lost():
    gate = AdaptiveLimiter(1)
    await gate.acquire()
    waiting = asyncio.ensure_future(gate.acquire())
    await asyncio.sleep(0)
    gate.release()  # the place is given
    waiting.cancel()  # and not taken
    await asyncio.gather(waiting, return_exceptions=True)
    assert gate.under_way == 0
    await asyncio.wait_for(gate.acquire(), 1)
