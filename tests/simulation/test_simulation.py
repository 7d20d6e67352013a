"""Seeds that hold, and defects that don't: see `tests/simulation`."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.simulation.mutants import MUTANTS, TOLD_BY
from tests.support.parts import FULL
from tests.system.test_pairs import FOUR

SEEDS = 240 if FULL else 80
HTTP_SEEDS = 20 if FULL else 12
FOUND = (
    2321,  # `rebuild` was killed before the name of the new catalog was safe, and nothing made it safe later
    1686,  # an interrupted backup tells what failed in the run before, which is right
)
PATIENCE_WITH_MUTANTS = 600


def in_a_process(script: str, *arguments: object, hashes: str = "0") -> str:
    """What the script prints, run in a process of its own: what killed runs leave open ends with it."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": "."},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout


SEEDS_HOLD = """
import sys
from tests.simulation.story import simulate
for seed in map(int, sys.argv[1:]):
    print("\\n".join(simulate(seed).log))
"""


@pytest.mark.timeout(300)
def test_whatever_happens_nothing_is_lost_and_nothing_done_twice():
    """A violation tells its seed: python -m tests.simulation --seeds N. Every kind of crash point and end is met."""
    told = in_a_process(SEEDS_HOLD, *range(SEEDS))
    for crash_point in ("begin", "commit", "committed", "create", "write_all", "sync_files", "rename", "sync_folders"):
        assert re.search(rf"killed at crash point \d+, (before |after )?{crash_point};", told), crash_point
    for verb in ("read", "attachments_of", "download", "find_attachments", "upload", "uploaded", "delete", "read_back"):
        assert re.search(rf"killed at crash point \d+, {verb} ", told), verb
    for end in ("complete", "incomplete", "interrupted", "StorageError", "AuthError", "TrackerUnreachableError"):
        assert f": {end}" in told, end


def test_the_seeds_that_once_found_something_hold():
    assert in_a_process(SEEDS_HOLD, *FOUND)


TELL = """
import hashlib
from tests.simulation.story import simulate
for seed in range(5):
    story = simulate(seed)
    print(hashlib.sha256(repr((story.traces, story.log)).encode()).hexdigest())
"""


def test_a_seed_gives_the_same_run_in_every_process():
    said = [in_a_process(TELL, hashes=hashes).splitlines() for hashes in ("1", "2")]
    assert len(said[0]) == 5
    assert said[0] == said[1]


OVER_HTTP = """
import sys
from pathlib import Path
from tests.simulation.over_http import simulate_over_http
for seed in range(int(sys.argv[1])):
    print("\\n".join(simulate_over_http(seed, Path(sys.argv[2]) / str(seed)).log))
"""


@pytest.mark.timeout(300)
def test_whatever_happens_over_http_nothing_is_lost_or_done_twice(tmp_path):
    told = in_a_process(OVER_HTTP, HTTP_SEEDS, tmp_path)
    for crash_point in ("request GET", "answer GET", "begin", "commit"):
        assert re.search(rf"killed at crash point \d+, {crash_point}", told), crash_point
    faults = ("error_500", "dropped", "truncated", "stalled", "login_page", "wrong_size", "lose_upload_answers", "gone")
    for fault in faults:
        assert fault in told, fault
    for tracker in FOUR:
        assert re.search(rf"^{tracker} -> ", told, re.MULTILINE)
        assert f"-> {tracker}" in told


DEFECT = """
import sys
from tests.simulation.mutants import MUTANTS
from tests.simulation.story import ViolationError, simulate
name, *seeds = sys.argv[1:]
with MUTANTS[name]():
    for seed in map(int, seeds):
        try:
            simulate(seed)
        except ViolationError as violation:
            print("found:", violation)
            break
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_defect_is_found(name):
    assert in_a_process(DEFECT, name, TOLD_BY.get(name, 0), *range(PATIENCE_WITH_MUTANTS)).startswith("found: ")
