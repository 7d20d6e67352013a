"""Seeds that hold, and defects that don't: see `tests/simulation`."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys

import pytest

from tests.parts import FULL
from tests.simulation.mutants import MUTANTS, TOLD_BY
from tests.simulation.story import Violation, simulate
from tests.test_pairs import FOUR

SEEDS = 240 if FULL else 80
CHUNK = 80
STORMS = 20 if FULL else 12
FOUND = (
    2321,  # `rebuild` was killed before the name of the new catalog was safe, and nothing made it safe later
    1686,  # an interrupted backup tells what failed in the run before, which is right
)
PATIENCE_WITH_MUTANTS = 600

# What a killed process had open is closed by nobody; here that is told when the garbage is collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _no_garbage_for_others():
    yield
    gc.collect()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_happens_nothing_is_lost_and_nothing_done_twice(first):
    """A violation tells its seed: python -m tests.simulation --seeds N."""
    told = "\n".join(line for seed in range(first, first + CHUNK) for line in simulate(seed).log)
    expect_variety(told)


def expect_variety(told: str) -> None:
    """The stories were killed at every kind of edge, and met every kind of end."""
    for edge in ("begin", "commit", "committed", "create", "append", "sync_files", "rename", "sync_folders"):
        assert re.search(rf"killed at edge \d+, (before |after )?{edge};", told), edge
    for verb in ("read", "attachments_of", "download", "find_attachments", "upload", "uploaded", "delete", "read_back"):
        assert re.search(rf"killed at edge \d+, {verb} ", told), verb
    for end in ("complete", "incomplete", "interrupted", "DiskRefused", "AuthRefused", "TrackerUnreachable"):
        assert f": {end}" in told, end


def test_the_seeds_that_once_found_something_hold():
    for seed in FOUND:
        simulate(seed)


TELL = """
import hashlib
from tests.simulation.story import simulate
for seed in range(5):
    story = simulate(seed)
    print(hashlib.sha256(repr((story.traces, story.log)).encode()).hexdigest())
"""


def test_a_seed_gives_the_same_run_in_every_process():
    said = [
        subprocess.run(
            [sys.executable, "-c", TELL],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    assert len(said[0]) == 5
    assert said[0] == said[1]


STORM = """
import sys
from pathlib import Path
from tests.simulation.storm import storm
for seed in range(int(sys.argv[1])):
    print("\\n".join(storm(seed, Path(sys.argv[2]) / str(seed)).log))
"""


@pytest.mark.timeout(300)
def test_whatever_happens_on_the_wire_nothing_is_lost_and_nothing_done_twice(tmp_path):
    # In a process of its own, with which the connections of killed runs end.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STORM, str(STORMS), tmp_path],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    told = done.stdout
    for edge in ("request GET", "answer GET", "begin", "commit"):
        assert re.search(rf"killed at edge \d+, {edge}", told), edge
    faults = ("error_500", "dropped", "truncated", "stalled", "login_page", "wrong_size", "lose_upload_answers", "gone")
    for fault in faults:
        assert fault in told, fault
    for tracker in FOUR:
        assert re.search(rf"^{tracker} -> ", told, re.MULTILINE)
        assert f"-> {tracker}" in told


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_defect_is_found(name):
    with MUTANTS[name](), pytest.raises(Violation):
        all(map(simulate, (TOLD_BY.get(name, 0), *range(PATIENCE_WITH_MUTANTS))))
