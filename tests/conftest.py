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
from typing import Any

import pytest
from hypothesis import settings

MEMORY = Path("/dev/shm")
ENOUGH = 6 * 10**9

HERE = Path(__file__).parent
REAL = ("pairs", "redmine", "kiwi", "roundup", "rt", "trac")
"""Marks of tests that need a real server."""
FOLDERS = {"system", "simulation"}
"""Folders whose tests all have the mark `system`."""
PROCESSES = {"start", "run_process", "subprocess", "in_child", "dies_at"}
"""Whoever uses one of these starts a process."""


FULL = not {"CI", "MIGRATOR_SLOW"}.isdisjoint(os.environ)
VARIANT = pytest.mark.skip(reason="a variant of a sandbox that plays the contract: CI=true tests/run")

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
    """Marks what needs more than this process. Tests share the real servers, so one worker has all that need one."""
    for item in items:
        real = any(map(item.get_closest_marker, REAL))
        if real:
            item.add_marker(pytest.mark.xdist_group("real"))
        if not FULL and not real and is_variant(item):
            item.add_marker(VARIANT)
        if real or FOLDERS & {*item.path.relative_to(HERE).parts} or starts_a_process(item):
            item.add_marker(pytest.mark.system)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A table of the pairs of real trackers that were tried, and what became of the files."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    pairs = [value for report in reports for name, value in report.user_properties if name == "pair"]
    if pairs:
        terminalreporter.write_sep("-", "pairs of real trackers")
        for row in [dict(zip(pairs[0], pairs[0], strict=True)), *pairs]:
            terminalreporter.write_line("".join(f"{row[key]!s:<12}" for key in pairs[0]).rstrip())


def pytest_collection_finish() -> None:
    """Thousands of tests are looked at by each full garbage collection, and none of them is ever garbage."""
    gc.freeze()


def is_variant(item: pytest.Item) -> bool:
    """Whether it plays the contract of a tracker with a variant of its sandbox, and not with the first one or a server.

    Those are the later classes of a module, and the later values of a fixture that makes the tracker.
    """
    from migrator.testing import SourceContract, TargetContract

    cls = getattr(item, "cls", None)
    if cls is None or not issubclass(cls, SourceContract | TargetContract):
        return False
    contract = SourceContract if issubclass(cls, SourceContract) else TargetContract
    classes = [each for each in vars(item.module).values() if isinstance(each, type) and issubclass(each, contract)]
    own = [each for each in classes if each.__name__.startswith("Test") and each.__module__ == cls.__module__]
    indices = getattr(getattr(item, "callspec", None), "indices", {})
    return cls is not own[0] or indices.get("bound", 0) > 0


def starts_a_process(item: pytest.Item) -> bool:
    """Whether the code of a test itself names what does."""
    test = getattr(item, "function", None)
    used = {*test.__code__.co_names} if test else set()
    return "create_subprocess_exec" in used or any(name in test.__globals__ for name in PROCESSES & used)
