"""Seeds of machines in a bucket in which every rule holds, and defects that must break one."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest

from migrator.errors import StorageError
from migrator.store.objects import blobs, lease, receiving
from migrator.store.objects.lease import Lease
from migrator.store.objects.mirror import Mirror
from tests.simulation.faults import ViolationError
from tests.simulation.in_bucket import simulate_in_bucket
from tests.simulation.story import Story
from tests.simulation.turns import simulate_turns
from tests.support.forks import in_a_process
from tests.support.parts import FULL

SEEDS = 200 if FULL else 12
FOUND = (86,)  # the probe that tells how old a lock is stayed, as its deletion was refused
FOUND_BY = 3
"""The seed that finds the defect."""


TURNS = 100 if FULL else 12
FOUND_IN_TURNS = (FOUND_BY_PRUNING := 175, FOUND_BY_RELEASING := 6, FOUND_BY_FORGETTING := 67, FOUND_BY_READING := 253)
"""A prune that died had removed what the bucket's journal still needed; two loads that died were named to nobody; a
machine without the private key did not know the journal that it had sent."""


def logs_of(seeds: Iterable[int], play: Callable[[int], Story] = simulate_in_bucket) -> str:
    """The log of the runs of these seeds, which all have to hold."""
    logging.disable(logging.WARNING)
    return "\n".join(line for seed in seeds for line in play(seed).log)


@pytest.mark.timeout(300)
def test_whatever_the_store_and_two_machines_do_nothing_is_lost():
    """A violation names its seed: python -m tests.simulation --bucket --seeds N. All that can happen does."""
    log = in_a_process(logs_of, {*range(SEEDS), *FOUND})
    for end in ("complete", "interrupted", "killed", "StorageError", "ConfigError"):
        assert re.search(rf"^backup on [ab]: {end}", log, re.MULTILINE), end
    assert "killed at crash point" in log
    assert re.search(r"before (put|copy|delete)|after (put|copy|delete)", log), "in a request to the store"


def violation_of(play: Callable[[int], Any], seed: int) -> str:
    """The violation that a seed finds; empty if it holds."""
    logging.disable(logging.WARNING)
    try:
        play(seed)
    except ViolationError as violation:
        return str(violation)
    return ""


def violation_by_a_defect() -> str:
    """The violation where a write of a file that the store refused is taken for done."""
    put = receiving.StoringObjects._put

    def careless(self: Any, *arguments: Any) -> None:
        with suppress(StorageError):
            put(self, *arguments)

    with patch.object(receiving.StoringObjects, "_put", careless):
        return violation_of(simulate_in_bucket, FOUND_BY)


@pytest.mark.timeout(300)
def test_a_write_that_is_believed_too_early_is_found():
    assert "the store lacks them" in in_a_process(violation_by_a_defect)


@pytest.mark.timeout(300)
def test_whatever_machines_do_in_turns_nothing_is_lost_or_done_twice():
    """A violation names its seed: python -m tests.simulation --turns --seeds N. Each job is killed, and continued."""
    log = in_a_process(logs_of, {*range(TURNS), *FOUND_IN_TURNS}, simulate_turns)
    for job in ("backup", "load", "rollback", "prune", "restore"):
        assert re.search(rf"^{job} on [abc]: complete", log, re.MULTILINE), job
    for job in ("backup", "load"):
        assert re.search(rf"^{job} on [abc]: killed", log, re.MULTILINE), job


def violation_by_removing_too_early() -> str:
    """The violation where a prune removes what the journal in the bucket has not forgotten yet."""
    begin = blobs.ObjectBlobs.__init__

    def careless(self: Any, bucket: Any, local: Any, guard: Any, encoding: Any, _: Any) -> None:
        begin(self, bucket, local, guard, encoding)

    with patch.object(blobs.ObjectBlobs, "__init__", careless):
        return violation_of(simulate_turns, FOUND_BY_PRUNING)


@pytest.mark.timeout(300)
def test_a_file_that_is_removed_too_early_is_found():
    assert re.search("needs is in the bucket", in_a_process(violation_by_removing_too_early))


def violation_by_always_releasing() -> str:
    """The violation where a load that could not tell the bucket what it sent releases the lock."""
    with patch.object(Lease, "stays", property(lambda _: False)):
        return violation_of(simulate_turns, FOUND_BY_RELEASING)


def violation_by_naming_one_only() -> str:
    """The violation where a load that died is forgotten once the next machine has died, too."""
    died = lease._died
    with patch.object(lease, "_died", lambda holder: died({**holder, "died": []})):
        return violation_of(simulate_turns, FOUND_BY_FORGETTING)


@pytest.mark.timeout(300)
def test_a_load_of_which_nobody_is_told_is_found():
    assert "the lock stays until somebody is told" in in_a_process(violation_by_always_releasing)
    assert "died on another machine is named" in in_a_process(violation_by_naming_one_only)


def violation_by_reading_what_was_sent() -> str:
    """The violation where a machine has to read the journal in the bucket to know that it is its own."""
    with patch.object(Mirror, "_is_there", lambda *_: False):
        return violation_of(simulate_turns, FOUND_BY_READING)


@pytest.mark.timeout(300)
def test_a_machine_that_does_not_know_its_own_journal_is_found():
    assert "knows the journal that it has sent" in in_a_process(violation_by_reading_what_was_sent)
