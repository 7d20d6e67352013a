"""Runs work in a child process that dies at its n-th step, as SIGKILL would end it.

The child is a fork of this process and ends itself with `_exit`, so no cleanup runs. Steps are the crash points: before
and after each verb of the tracker, each flush to disk, each rename, each commit. The target outlives its client,
because it is written to disk at each upload.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import traceback
from contextlib import contextmanager
from pathlib import Path

from migrator.store import disk
from migrator.store.catalog.database import CatalogDatabase
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.parts import FULL

DIED = 9
DONE = 0
STRIDE = 1 if FULL else 4
"""Every how many steps a child is killed. To be quick not at each: `tests/simulation` kills at random ones."""


class Steps:
    """Counts steps and dies at one of them."""

    def __init__(self, die_at: int) -> None:
        self.count, self._die_at = 0, die_at

    def __call__(self, *_: object) -> None:
        self.count += 1
        if self.count == self._die_at:
            os._exit(DIED)

    async def verb(self, *_: object) -> None:
        self()

    def around(self, function):
        def wrapped(*args, **kwargs):
            self()
            result = function(*args, **kwargs)
            self()
            return result

        return wrapped


def with_steps(steps: Steps) -> None:
    """Put steps at the crash points of disk and database. Only for a child: nothing is put back."""
    for name in ("sync_files", "sync_folders", "write_file", "rename", "write_at"):
        setattr(disk, name, steps.around(getattr(disk, name)))
    CatalogDatabase.transaction = _stepping_transactions(steps, CatalogDatabase.transaction)


def _stepping_transactions(steps: Steps, writing):
    @contextmanager
    def stepped(self):
        with writing(self):
            yield
            steps()
        steps()

    return stepped


class LastingTarget(MemoryTarget):
    """A target that writes its state to disk before it answers. There are steps before and after each change."""

    def __init__(self, tracker: MemoryTracker, path: Path, steps: Steps) -> None:
        super().__init__(tracker)
        self._path, self._steps = path, steps

    async def upload(self, owner, draft, body):
        self._steps()
        remote = await super().upload(owner, draft, body)
        self._save()
        self._steps()
        return remote

    async def describe(self, remote, description):
        await super().describe(remote, description)
        self._save()

    async def delete(self, remote):
        self._steps()
        await super().delete(remote)
        self._save()
        self._steps()

    def _save(self):
        state = {"files": self._tracker.files, "content": self._tracker.content, "uploads": self._tracker.uploads}
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(pickle.dumps(state))
        fresh.replace(self._path)


def in_child(work, die_at: int) -> tuple[int, int]:
    """Run the work in a child that dies at a step (0: never); its exit code, and its steps if it came to the end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            steps = Steps(die_at)
            with_steps(steps)
            asyncio.run(work(steps))
            os.write(writing, str(steps.count).encode())
            code = DONE
        except BaseException:  # noqa: BLE001 - it is printed here, because the parent sees only the exit code
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    count = os.read(reading, 100)
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), int(count or 0)


def restore(target: MemoryTracker, state: Path) -> None:
    """Give a target the files that a `LastingTarget` wrote to disk, if it did."""
    if state.exists():
        saved = pickle.loads(state.read_bytes())
        target.files, target.content, target.uploads = saved["files"], saved["content"], saved["uploads"]
        target._last_number = max(map(int, [*saved["files"], "100"]))
