"""Many seeds on all cores: `python -m tests.simulation [--seeds 0-9999] [--nights | ...] [--jobs N]`.

Ends with 1 at a violation.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.in_bucket import simulate_in_bucket
from tests.simulation.nights import simulate_nights
from tests.simulation.over_http import simulate_over_http
from tests.simulation.story import Story, simulate
from tests.simulation.turns import simulate_turns


def attempt(seed: int) -> tuple[int, str, int]:
    """Play a seed; returns it, the traceback of what broke (empty if nothing did), and the number of crash points."""
    return _attempted(seed, simulate)


def attempt_nights(seed: int) -> tuple[int, str, int]:
    """The same with the nights of a seed."""
    return _attempted(seed, simulate_nights)


def attempt_in_bucket(seed: int) -> tuple[int, str, int]:
    """The same with backups into a bucket."""
    logging.disable(logging.WARNING)  # a killed run says that its catalog isn't in the bucket yet
    return _attempted(seed, simulate_in_bucket)


def attempt_turns(seed: int) -> tuple[int, str, int]:
    """The same with every job in a bucket, by machines in turns."""
    logging.disable(logging.WARNING)
    return _attempted(seed, simulate_turns)


def _attempted(seed: int, play: Callable[[int], Story]) -> tuple[int, str, int]:
    try:
        story = play(seed)
    except BaseException:  # noqa: BLE001 - any error is reported with its seed
        return seed, traceback.format_exc(), 0
    return seed, "", sum(map(len, story.traces))


def attempt_over_http(seed: int) -> tuple[int, str, int]:
    """The same against the sandboxes of the trackers."""
    warnings.simplefilter("ignore")  # nobody closes what a killed process had open
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=memory) as root:
        try:
            return seed, "", simulate_over_http(seed, Path(root)).crash_points
        except BaseException:  # noqa: BLE001
            return seed, traceback.format_exc(), 0


def main() -> int:
    """Play the seeds and print how many held; True if one didn't."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0-999", help="one seed, or a range with both ends (default %(default)s)")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--nights", action="store_true", help="nights with prune, restore, accept and earlier snapshots")
    kinds.add_argument("--over-http", action="store_true", help="real adapters, sandboxes and sockets")
    kinds.add_argument(
        "--bucket", action="store_true", help="backups into a bucket that loses answers, by two machines"
    )
    kinds.add_argument("--turns", action="store_true", help="every job in a bucket, by machines in turns")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    job, again = (attempt_over_http, " --over-http") if options.over_http else (attempt, "")
    if options.nights:
        job, again = attempt_nights, " --nights"
    if options.bucket:
        job, again = attempt_in_bucket, " --bucket"
    if options.turns:
        job, again = attempt_turns, " --turns"
    began, crash_points, broken = time.monotonic(), 0, []
    with ProcessPoolExecutor(options.jobs) as pool:
        for count, (seed, error, passed) in enumerate(pool.map(job, seeds, chunksize=8), 1):
            crash_points += passed
            if error:
                broken.append(seed)
                print(f"--- seed {seed}; again: python -m tests.simulation{again} --seeds {seed}\n{error}", flush=True)
            if count % 500 == 0:
                print(
                    f"{count} seeds, {crash_points} crash points, {time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    held = len(seeds) - len(broken)
    print(f"{held} of {len(seeds)} seeds held, {crash_points} crash points, {time.monotonic() - began:.0f} s")
    print(f"broken: {broken}" if broken else "no violation")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
