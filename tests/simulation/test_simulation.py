"""Seeds in which every rule holds, and defects that must break one: see `tests/simulation`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.simulation.faults import ViolationError
from tests.simulation.mutants import FOUND_BY, MUTANTS, NIGHT_MUTANTS, SLOW, Mutant
from tests.simulation.nights import simulate_nights
from tests.simulation.over_http import TRACKERS, simulate_over_http
from tests.simulation.story import Story, simulate
from tests.support.forks import in_a_process
from tests.support.parts import FULL

SEEDS = 250 if FULL else 45
NIGHT_SEEDS = 60 if FULL else 12
HTTP_SEEDS = 9 * (9 if FULL else 2)  # in nine, each tracker is source and target
FOUND = (
    2321,  # `rebuild` was killed before the name of the new catalog was safe, and nothing made it safe later
    1686,  # an interrupted backup tells what failed in the run before, which is right
)
MAX_SEEDS_PER_MUTANT = 600


def logs_of(seeds: Iterable[int]) -> str:
    """The log of the runs of these seeds, which all have to hold."""
    return "\n".join(line for seed in seeds for line in simulate(seed).log)


@pytest.mark.timeout(300)
def test_whatever_happens_nothing_is_lost_and_nothing_done_twice():
    """A violation names its seed: python -m tests.simulation --seeds N. Every kind of crash point and end occurs."""
    log = in_a_process(logs_of, range(SEEDS))
    for crash_point in ("begin", "commit", "committed", "create", "write_all", "sync_files", "rename", "sync_folders"):
        assert re.search(rf"killed at crash point \d+, (before |after )?{crash_point};", log), crash_point
    for verb in ("read", "attachments_of", "download", "find_attachments", "upload", "uploaded", "delete", "read_back"):
        assert re.search(rf"killed at crash point \d+, {verb} ", log), verb
    for end in ("complete", "incomplete", "interrupted", "StorageError", "AuthError", "TrackerUnreachableError"):
        assert f": {end}" in log, end


def logs_of_nights(seeds: Iterable[int]) -> str:
    """The log of the runs of the nights of these seeds."""
    return "\n".join(line for seed in seeds for line in simulate_nights(seed).log)


@pytest.mark.timeout(300)
def test_whatever_happens_each_snapshot_stays_and_what_is_lost_is_put_back():
    """A violation names its seed: python -m tests.simulation --nights --seeds N. Every job is played, and disturbed."""
    log = in_a_process(logs_of_nights, range(NIGHT_SEEDS))
    for job in ("backup", "prune", "restore", "load", "read", "rollback"):
        assert re.search(rf"^{job}: complete", log, re.MULTILINE), job
    for job in ("backup", "prune", "restore"):
        assert re.search(rf"^{job}: killed", log, re.MULTILINE), job


def test_the_seeds_that_once_found_something_hold():
    assert in_a_process(logs_of, FOUND)


DIGESTS = """
import hashlib, logging, sys
from tests.simulation.in_bucket import simulate_in_bucket
from tests.simulation.story import simulate
logging.disable(logging.WARNING)
for argument in sys.argv[1:]:
    play = simulate_in_bucket if argument in ("442", "443") else simulate
    story = play(int(argument))
    log = [line for line in story.log if "process" not in line]
    print(argument, hashlib.sha256(repr((story.traces, log)).encode()).hexdigest())
"""
"""In a bucket, seed 443 takes what a catalog's tables are made of from memory, if a seed before it left it there."""


def test_a_seed_gives_the_same_run_in_every_process_and_after_others():
    seeds = ["0", "1", "2", "442", "443"]
    printed = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DIGESTS, *order],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.splitlines()
        for hash_seed, order in (("1", seeds), ("2", seeds[::-1]))
    ]
    assert len(printed[0]) == len(seeds)
    assert sorted(printed[0]) == sorted(printed[1])


def logs_over_http(seeds: Iterable[int], root: Path) -> str:
    """The log of the runs of these seeds over HTTP."""
    return "\n".join(line for seed in seeds for line in simulate_over_http(seed, root / str(seed)).log)


@pytest.mark.timeout(300)
def test_whatever_happens_over_http_nothing_is_lost_or_done_twice(tmp_path):
    log = in_a_process(logs_over_http, range(HTTP_SEEDS), tmp_path)
    for crash_point in ("request GET", "answer GET", "begin", "commit"):
        assert re.search(rf"killed at crash point \d+, {crash_point}", log), crash_point
    faults = ("error_500", "dropped", "truncated", "stalled", "login_page", "wrong_size", "lose_upload_answers", "gone")
    for fault in faults:
        assert fault in log, fault
    for tracker in TRACKERS:
        assert re.search(rf"^{tracker} -> ", log, re.MULTILINE)
        assert f"-> {tracker}" in log


def violation_by(mutants: dict[str, Mutant], play: Callable[[int], Story], mutant: str) -> str:
    """The violation that the first seed finds with this defect; empty if none finds any."""
    with mutants[mutant]():
        for seed in (FOUND_BY.get(mutant, 0), *range(MAX_SEEDS_PER_MUTANT)):
            try:
                play(seed)
            except ViolationError as violation:
                return str(violation)
    return ""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if FULL or mutant not in SLOW])
def test_a_defect_is_found(mutant):
    assert in_a_process(a_defect_found, mutant)


def a_defect_found(mutant: str) -> str:
    """The violation that a load or backup with this defect makes."""
    return violation_by(MUTANTS, simulate, mutant)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", NIGHT_MUTANTS)
def test_a_defect_in_the_history_is_found(mutant):
    assert in_a_process(a_night_defect_found, mutant)


def a_night_defect_found(mutant: str) -> str:
    """The violation that nights with this defect make."""
    return violation_by(NIGHT_MUTANTS, simulate_nights, mutant)
