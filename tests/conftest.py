"""Where tests keep their files, and what they inherit.

Files are kept in memory where the machine offers that, since thousands of flushes to a slow disk cost minutes and prove
nothing (a killed process leaves the same files on either). MIGRATOR_TEST_DISK=1 takes the disk.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

MEMORY = Path("/dev/shm")
ENOUGH = 6 * 10**9

HERE = Path(__file__).parent
REAL = ("redmine", "kiwi", "roundup", "rt", "trac")
"""Marks of tests that need a real server."""
FOLDERS = {"system", "simulation"}
"""Folders whose tests all have the mark `system`."""
PROCESSES = {"start", "run_process", "subprocess", "in_child", "dies_at"}
"""Whoever uses one of these starts a process."""


collect_ignore = ["example_adapter"]  # a distribution of its own: .ci/example, and test_example_adapter.py
settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")  # a busy machine fails no property


def pytest_configure() -> None:
    """Before pytest makes its first folder. Tests that were started by `nohup` would hand that on to every program.

    Bytecode is kept, whatever the environment says: without it each program that a test starts compiles all modules.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    wanted = "MIGRATOR_TEST_DISK" not in os.environ and "PYTEST_DEBUG_TEMPROOT" not in os.environ
    if wanted and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs more than this process. There is one real server of a kind, so one worker has all its tests."""
    for item in items:
        real = next(filter(item.get_closest_marker, REAL), None)
        if real:
            item.add_marker(pytest.mark.xdist_group(real))
        if real or FOLDERS & {*item.path.relative_to(HERE).parts} or starts_a_process(item):
            item.add_marker(pytest.mark.system)


def pytest_collection_finish() -> None:
    """Thousands of tests are looked at by each full garbage collection, and none of them is ever garbage."""
    gc.freeze()


def starts_a_process(item: pytest.Item) -> bool:
    """Whether the code of a test itself names what does."""
    test = getattr(item, "function", None)
    used = {*test.__code__.co_names} if test else set()
    return "create_subprocess_exec" in used or any(name in test.__globals__ for name in PROCESSES & used)
