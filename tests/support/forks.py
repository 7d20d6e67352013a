"""Processes forked from a server process that has no threads and has loaded the modules that most of them need.

A fork of the process that runs the tests could inherit a lock that one of its threads holds.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["tests.support.dying", "tests.simulation.mutants", "tests.simulation.nights", "tests.simulation.over_http"]
)


def in_a_process(work: Callable[..., Any], *arguments: object) -> Any:
    """The result of the work, done in a process of its own, which closes what killed runs leave open."""
    silence = {"initializer": warnings.simplefilter, "initargs": ("ignore",)}
    with ProcessPoolExecutor(1, mp_context=FORKS, **silence) as pool:
        return pool.submit(work, *arguments).result()
