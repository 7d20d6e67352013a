"""Runs a job's coroutine: the event loop, signals, and the lock on the archive."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from migrator.errors import AuthError, ConfigError, ItemFailedError, MigratorError, TrackerUnreachableError
from migrator.filenames import readable
from migrator.jobs.event_loop import event_loop
from migrator.jobs.place import ArchivePlace, Place, folder_of
from migrator.jobs.remote import held_bucket, refresh
from migrator.jobs.signals import active_signals, interrupt_on_signals
from migrator.jobs.terminal import exit_at_once, leave_terminal, tell
from migrator.pipeline.run import error_record
from migrator.store import (
    CATALOG,
    JOURNAL,
    Archive,
    ArchiveLock,
    Catalog,
    disk_errors,
    foreign_names,
    is_archive,
    require_descriptors,
    sqlite_errors,
)

T = TypeVar("T")
STOP_SECONDS = 13.0
"""Seconds between the first signal and the cancellation of what still runs: 15 s are promised."""
LAST_RESORT_SECONDS = 1.5
"""Seconds after that until the process exits even if a thread hangs on a dead disk: a kill loses nothing either."""
OPEN_FILES = 32
"""Files that a job has open at once besides its transfers, with some to spare."""


def run_job(job: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run a job. The first stop signal sets its event; a second one ends the process at once.

    A job that does not end within STOP_SECONDS of the first signal is cancelled, which raises `KeyboardInterrupt`.
    """
    require_descriptors(OPEN_FILES)
    with asyncio.Runner(loop_factory=event_loop()) as runner:
        try:
            return runner.run(_with_signals(job))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            interrupt_on_signals()


async def _with_signals(job: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    task = asyncio.ensure_future(job(stop))

    def stopped(number: int) -> None:
        if stop.is_set():
            exit_at_once()
        if number == signal.SIGHUP:
            leave_terminal()
        stop.set()
        end = threading.Timer(STOP_SECONDS + LAST_RESORT_SECONDS, exit_at_once)
        end.daemon = True
        end.start()
        loop.call_later(STOP_SECONDS, task.cancel)
        tell("stopping after the current transfers (press Ctrl-C again to quit now)", "warning")

    for number in active_signals():
        loop.add_signal_handler(number, stopped, number)
    return await task


async def cancel_on_stop(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """Run work that a stop cancels at once, such as a login; then `CancelledError`."""
    task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise asyncio.CancelledError
        return task.result()
    finally:
        for future in (task, stopping):
            future.cancel()
        await asyncio.wait({task, stopping})


@contextmanager
def failure_recorded(command: str, catalog: Catalog) -> Iterator[None]:
    """Around a login: a tracker that refuses it or isn't reached leaves a failed run, so that `status` shows it."""
    try:
        yield
    except (AuthError, TrackerUnreachableError, ItemFailedError) as error:
        with suppress(MigratorError):  # the error being raised says more than an archive that can't record it
            _record_failure(command, catalog, error)
        raise


@contextmanager
def failure_recorded_in(place: Place, command: str) -> Iterator[None]:
    """The same for an archive that isn't held yet. Where there is none, none is made, and nothing is recorded.

    Beware: so a first backup that is refused leaves no trace. An archive without a source would be one that later
    commands can't tell from a lost one.
    """
    try:
        yield
    except (AuthError, TrackerUnreachableError, ItemFailedError) as error:
        if is_archive(folder_of(place)):
            with (
                suppress(MigratorError),  # such as another run that holds it
                held_archive(place, command) as (_, catalog),
            ):
                _record_failure(command, catalog, error)
        raise


def _record_failure(command: str, catalog: Catalog, error: MigratorError) -> None:
    catalog.ensure_journal()  # before a run is added: a catalog older than its journal must not look like a newer one
    catalog.runs.record_failure(command, error_record(error))


@contextmanager
def held_archive(
    place: Place, command: str, *, create: bool = False, reads: bool = False
) -> Iterator[tuple[Archive, Catalog]]:
    """The archive, locked for this run, and its catalog. It must exist unless `create`.

    A job that only `reads` also works on a read-only archive; then it records nothing.
    """
    root = folder_of(place)
    with held_folder(place, command, create=create, reads=reads) as archive:
        read_only = reads and not os.access(root, os.W_OK)
        with closing(Catalog(root, read_only=read_only)) as catalog, sqlite_errors(root):
            yield archive, catalog


@contextmanager
def read_archive(place: Place, at: str = "", *, as_in_bucket: bool = False) -> Iterator[Catalog]:
    """The catalog of an archive, read-only and without a lock, so that it works while a run is under way.

    `at`: as it was in that snapshot, see `migrator.pipeline.snapshots.view_at`. `as_in_bucket`: what this machine knows
    won't do where the bucket can't be read.
    """
    if isinstance(place, ArchivePlace):
        refresh(place, or_fail=as_in_bucket)
    root = folder_of(place)
    with closing(Catalog(root, read_only=True)) as catalog, sqlite_errors(root):
        if at:
            from migrator.pipeline.snapshots import view_at

            view_at(catalog, at)
        yield catalog


def require_free(root: Path) -> None:
    """`ConfigError` if there is something at `root` that belongs to no archive: a file, or files of somebody else."""
    with disk_errors(str(root)):
        if root.exists() and not root.is_dir():
            raise ConfigError(f"{readable(root)} is a file, not a folder")
        names = foreign_names(root)
    if names:
        shown = ", ".join(readable(Path(name)) for name in names[:3])
        raise ConfigError(f"{readable(root)} is not an archive; it has {shown}: give the archive a folder of its own")


@contextmanager
def held_folder(
    place: Place, command: str, *, create: bool = False, reads: bool = False, ours: bool = True
) -> Iterator[Archive]:
    """The locked archive without its catalog, for callers that inspect or create the catalog first.

    `ours`: see `held_bucket`.
    """
    if isinstance(place, ArchivePlace):
        with held_bucket(place, command, create=create, ours=ours) as archive:
            yield archive
        return
    root = place
    if not is_archive(root) and not (root / JOURNAL).is_file():
        if not create:
            raise ConfigError(f"{root} is not an archive (no {CATALOG} in it)")
        require_free(root)
    if reads and not os.access(root, os.W_OK):
        with ArchiveLock(root, command, reads=True):
            yield Archive(root)
        return
    with disk_errors(str(root)):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ArchiveLock(root, command) as lock:
        archive = Archive(root, lock.handles)
        archive.prepare()
        yield archive
