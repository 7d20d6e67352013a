"""Every call that changes an archive on disk: write, rename, sync. No other module makes such calls.

Written data is durable only after `sync_files`, and a new name only after `sync_folders`; whoever records a file calls
both first. Because all these calls are in one place, tests can fail, kill or cut the power at each of them
(`tests/simulation`).

Beware: everything here blocks, and raises `OSError`; `disk_errors` turns that into our own errors.
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

StrPath = str | Path
"""A path. As text where there is one for each file: a `Path` takes as long to make as the call that gets it."""
OWNER_ONLY, SEALED = 0o600, 0o400
"""File modes: read and write for the owner; read-only for the owner. Nobody else has access."""
_TOO_MANY_FILES = {errno.EMFILE, errno.ENFILE}
_NO_SPACE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "this account's share of the disk (its quota) is used up"}


@contextmanager
def disk_errors(subject: str) -> Iterator[None]:
    """Turn a disk's refusal into `StorageError`; `subject` names the file or folder."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            message = f"{_NO_SPACE[error.errno]}: {subject} can't be written{_left_for(subject)}"
            raise StorageError(f"{message}; nothing is lost, run the same command again once there is room") from error
        remedy = "`ulimit -n` allows more" if error.errno in _TOO_MANY_FILES else "it can be written"
        message = f"{subject}: {error.strerror or error}; nothing is lost, run the same command again once {remedy}"
        raise StorageError(message) from error


def _left_for(subject: str) -> str:
    """How much space is free on the file system of the subject, if that is an absolute path."""
    place = Path(subject)
    folder = (
        next((parent for parent in (place, *place.parents) if parent.is_dir()), None) if place.is_absolute() else None
    )
    free = None
    with suppress(OSError):
        free = free_bytes(folder) if folder else None
    return "" if free is None else f", {human_size(free)} are free in {folder}"


@contextmanager
def own_limits(subject: str) -> Iterator[None]:
    """Turn a read error into `StorageError` if rights or limits of this process caused it, and not the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in {*_TOO_MANY_FILES, errno.ENOMEM, errno.EACCES, errno.EPERM}:
            raise
        with disk_errors(subject):
            raise


def require_descriptors(count: int) -> None:
    """Raise the limit of open files and connections to at least `count`; may be called again.

    `StorageError` if the system refuses: a run that hit the limit halfway would mistake it for other faults.
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


def create(path: StrPath, mode: int = OWNER_ONLY) -> int:
    """Create an empty file that only its owner may read. The descriptor can write even if the mode is `SEALED`."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)


def close(handle: int) -> None:
    """Close what `create` has opened."""
    os.close(handle)


def write_all(handle: int, chunk: bytes) -> None:
    """Write all of the chunk."""
    _write(handle, chunk)


def write_file(path: StrPath, body: bytes, mode: int = OWNER_ONLY) -> None:
    """Write a small file, readable by its owner only."""
    handle = create(path, mode)
    try:
        write_all(handle, body)
    finally:
        os.close(handle)


def write_at(path: Path, offset: int, chunk: bytes) -> None:
    """Truncate the file to `offset` bytes and append there. Creates it if necessary, readable by its owner only."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY)
    try:
        os.ftruncate(handle, offset)
        os.lseek(handle, offset, os.SEEK_SET)
        _write(handle, chunk)
    finally:
        os.close(handle)


def start_writeback(handle: int, start: int, size: int) -> None:
    """Start writeback of this range, if the platform supports it. This makes nothing durable.

    Otherwise a large file stays in memory until `sync_files`, which then takes as long as the disk needs for all of it.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(handle, start, size, os.POSIX_FADV_DONTNEED)


def sync_files(folder: Path, files: Collection[StrPath]) -> None:
    """Make these files of one folder durable.

    An `fsync` for each quadruples the time that storing takes; one `syncfs` for many adds 15 %.
    """
    if len(files) > 2 and _syncfs_if_offered(folder):
        return
    for path in files:
        _sync_path(path)


def rename(path: StrPath, to: StrPath) -> None:
    """Rename a file, replacing any file of that name. The name is durable after `sync_folders`."""
    os.replace(path, to)  # noqa: PTH105 - a method of a `Path`


def sync_folders(folders: Collection[Path], root: Path) -> None:
    """Make the names in these folders durable; each is `root` or lies below it."""
    if len(folders) > 2 and _syncfs_if_offered(root):
        return
    for folder in folders:
        _sync_path(folder)


def seal(folder: Path) -> None:
    """Make the files in this folder read-only; who may read them stays the same. Best effort: no data depends on it.

    Files of other owners, and file systems without modes, are left unchanged.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) and mode & 0o222:
                with suppress(OSError):
                    Path(entry).chmod(stat.S_IMODE(mode) & ~0o222)


def remove(path: Path) -> None:
    """Delete a file, if it exists."""
    path.unlink(missing_ok=True)


def sync_filesystem(folder: Path) -> None:
    """Make everything written to this folder's file system durable."""
    if not _syncfs_if_offered(folder):
        os.sync()


def _write(handle: int, chunk: bytes) -> None:
    written = os.write(handle, chunk)
    if written == len(chunk):
        return
    view = memoryview(chunk)[written:]
    while view:
        view = view[os.write(handle, view) :]


def free_bytes(folder: Path) -> int | None:
    """How many bytes can still be written to this folder's file system; None if it doesn't say."""
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize if stats.f_blocks else None


def total_bytes(folder: Path) -> int | None:
    """The size of this folder's file system in bytes; None if it doesn't say."""
    stats = os.statvfs(folder)
    return stats.f_blocks * stats.f_frsize or None


def _sync_path(path: StrPath) -> None:
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


def _syncfs_if_offered(folder: Path) -> bool:
    """Flush the whole file system with one call; False if the kernel has none."""
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
