"""Running a job's coroutine: the loop, signals, and the archive it works on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from migrator import manifest
from migrator.archive import Archive
from migrator.catalog import Catalog
from migrator.catalog.store import NAME
from migrator.catalog.store import disk_errors as catalog_errors
from migrator.disk import disk_errors
from migrator.errors import ConfigError
from migrator.lock import ArchiveLock

T = TypeVar("T")
PATIENCE = 13.0
"""Seconds after a first signal until what still runs is cancelled: 15 s are promised."""


def run_job(job: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run a job; the first SIGINT or SIGTERM sets its event, a second one ends the process at once.

    A job that does not end within PATIENCE after the first is cancelled: `KeyboardInterrupt`.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(_with_signals(job))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


async def _with_signals(job: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    task = asyncio.ensure_future(job(stop))

    def stopped() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()
        loop.call_later(PATIENCE, task.cancel)
        print("migrator: stopping; what is in flight is finished first (once more to stop at once)", file=sys.stderr)  # noqa: T201

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped)
    return await task


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """The result of work that leaves nothing to finish, like a login: a stop ends it at once."""
    task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise asyncio.CancelledError
        return task.result()
    finally:
        for one in (task, stopping):
            one.cancel()
        await asyncio.wait({task, stopping})


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextmanager
def held_archive(root: Path, command: str, *, create: bool = False) -> Iterator[tuple[Archive, Catalog]]:
    """The archive, held by this run and by no other, and its catalog. It must exist unless `create`."""
    with held_folder(root, command, create=create) as archive, closing(Catalog(root)) as catalog, catalog_errors():
        yield archive, catalog


@contextmanager
def held_folder(root: Path, command: str, *, create: bool = False) -> Iterator[Archive]:
    """The same, for those who open the catalog themselves, or make it."""
    if not create and not any((root / name).is_file() for name in (NAME, manifest.NAME)):
        raise ConfigError(f"{root} is no archive: it has no {NAME}")
    with disk_errors(str(root)):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ArchiveLock(root, command):
        archive = Archive(root)
        archive.prepare()
        yield archive
