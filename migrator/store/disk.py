"""Every call that changes the archive's disk: files written, named, made safe. Here and nowhere else.

The one idea: what is written is safe only after `sync_files`, and a name only after `sync_folders`; whoever records
a file calls both before. With all such calls in one place, tests can fail, kill or cut the power at each of them
(`tests/simulation`).
The one trap: all of it blocks, and raises `OSError`; `disk_errors` makes that ours.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from migrator.errors import StorageError
from migrator.units import human_size

OWN, SEALED = 0o600, 0o400
"""Modes of files: the owner reads and writes; the owner reads, and nobody writes."""
_NO_MORE_FILES = {errno.EMFILE, errno.ENFILE}
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "this account's share of the disk (its quota) is used up"}


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """A disk that refuses, as ours; `what` names the file or folder."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            room = f"{_FULL[error.errno]}: {what} can't be written{_left_for(what)}"
            raise StorageError(f"{room}; nothing is lost, run the same command again once there is room") from error
        once = "`ulimit -n` allows more" if error.errno in _NO_MORE_FILES else "it can be written"
        message = f"{what}: {error.strerror or error}; nothing is lost, run the same command again once {once}"
        raise StorageError(message) from error


def _left_for(what: str) -> str:
    """How much is left beside a file or in a folder, if that is what it is."""
    place = Path(what)
    folder = next((one for one in (place, *place.parents) if one.is_dir()), None) if place.is_absolute() else None
    free = None
    with suppress(OSError):
        free = free_bytes(folder) if folder else None
    return "" if free is None else f", {human_size(free)} are free in {folder}"


@contextmanager
def own_limits(what: str) -> Iterator[None]:
    """Reading that fails for the rights and limits of this process, which says nothing about the file, as ours."""
    try:
        yield
    except OSError as error:
        if error.errno not in {*_NO_MORE_FILES, errno.ENOMEM, errno.EACCES, errno.EPERM}:
            raise
        with disk_errors(what):
            raise


def expect_descriptors(count: int) -> None:
    """Let this process have so many files and connections open at once; may be called again.

    `StorageError` if the system won't have it: a run that finds out in the middle would take it for other faults.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        raise StorageError(
            f"only {hard} files may be open at once, and {count} are needed: raise the limit (`ulimit -n {count}`), or "
            "lower [limits] downloads and uploads"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def create(path: Path, mode: int = OWN) -> int:
    """A new, empty file that only its owner may read; gives its descriptor, which writes even if it is `SEALED`."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)


def append(handle: int, chunk: bytes) -> None:
    """Write all of it."""
    _write(handle, chunk)


def write_file(path: Path, body: bytes, mode: int = OWN) -> None:
    """A whole small file that only its owner may read."""
    handle = create(path, mode)
    try:
        append(handle, body)
    finally:
        os.close(handle)


def extend(path: Path, at: int, chunk: bytes) -> None:
    """Write at `at` of a file that only its owner may read, made if need be; what stood there is cut off first."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, OWN)
    try:
        os.ftruncate(handle, at)
        os.lseek(handle, at, os.SEEK_SET)
        _write(handle, chunk)
    finally:
        os.close(handle)


def send_on(handle: int, start: int, size: int) -> None:
    """Begin to write this part of a file to the disk, where the system offers it. Nothing is safe by that yet.

    Without it a large file lies in memory until `sync_files`, which then takes as long as the disk does for all of it.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(handle, start, size, os.POSIX_FADV_DONTNEED)


def sync_files(folder: Path, files: Collection[Path]) -> None:
    """These files of one folder are safe: one `fsync` each costs a factor of four, one `syncfs` for many 15 %."""
    if len(files) > 2 and _sync_filesystem(folder):
        return
    for path in files:
        _sync_path(path)


def rename(path: Path, to: Path) -> None:
    """Give a file another name, in place of what had it. The name is safe after `sync_folders`."""
    path.replace(to)


def sync_folders(folders: Collection[Path], root: Path) -> None:
    """The names in these folders, which are in `root` or are it, are safe when this returns."""
    if len(folders) > 2 and _sync_filesystem(root):
        return
    for folder in folders:
        _sync_path(folder)


def seal(folder: Path) -> None:
    """Nobody may write to the files in this folder any more; who may read them stays. Best effort: no bytes hang on it.

    Files of other owners, and file systems without modes, stay as they are.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) and mode & 0o222:
                with suppress(OSError):
                    Path(entry).chmod(stat.S_IMODE(mode) & ~0o222)


def remove(path: Path) -> None:
    """Delete a file, if it is there."""
    path.unlink(missing_ok=True)


def flush(folder: Path) -> None:
    """Everything that was written to the file system of this folder is safe on disk when this returns."""
    if not _sync_filesystem(folder):
        os.sync()


def _write(handle: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


def free_bytes(folder: Path) -> int | None:
    """What may still be written to the file system of this folder; None where it doesn't say."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def total_bytes(folder: Path) -> int | None:
    """How large the file system of this folder is; None where it doesn't say."""
    found = os.statvfs(folder)
    return found.f_blocks * found.f_frsize or None


def _sync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _find_syncfs() -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


_syncfs = _find_syncfs()


def _sync_filesystem(folder: Path) -> bool:
    """One flush for everything on this file system, where the kernel offers it; False if it doesn't."""
    if _syncfs is None:
        return False
    handle = os.open(folder, os.O_RDONLY)
    try:
        if _syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(handle)
    return True
