"""The lock of an archive, so that only one run uses it: the file `lock`, which people can read.

The lock is a `flock`, which the kernel releases when the process ends for any reason; the text only says who holds it
and since when. The folder is locked as well, so that deleting the file releases nothing.

Beware: on a share that several hosts mount, the kernel may not know of another host's lock. If the text was written by
another host, the lock therefore counts as held. The boot id identifies the host: containers on one host have different
names, but share one kernel.

After a run was killed, its `Scribe` process may hold the lock until it has finished a batch; `ArchiveLock` waits for
it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from migrator.errors import ArchiveLockedError, StorageError
from migrator.store import disk
from migrator.store.clock import now
from migrator.store.disk import disk_errors
from migrator.store.kernel_locks import kernel_locks
from migrator.store.layout import LOCK
from migrator.units import local_time

LEFTOVER_WAIT_SECONDS = 30.0
"""How long to wait for the process that a killed run left behind; with a healthy disk it needs milliseconds."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ArchiveLock:
    """A context manager that locks the archive in `root`, which exists.

    With `reads` nothing is written, and only the folder is locked. `ArchiveLockedError` if another run holds the lock;
    `StorageError` if the file system has no locks, so that nobody can know whether it is held.
    """

    def __init__(self, root: Path, command: str, *, reads: bool = False) -> None:
        self._root = root
        self._path = root / LOCK
        self._command, self._reads = command, reads
        self._folder = self._handle = -1

    def __enter__(self) -> Self:
        try:
            self._lock_folder()
            if self._reads:
                self._open_to_read()
            else:
                self._lock_file()
            if _is_on_another_host(self._holder()):
                self._refuse()
            if not self._reads:
                with disk_errors(str(self._path)):
                    self._write(json.dumps(self._own_entry()).encode())
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle >= 0 and not self._reads:
            with suppress(OSError):  # the next run on this host overwrites a text that can't be wiped
                self._write(b"")
        self._release()

    @property
    def handles(self) -> tuple[int, ...]:
        """The descriptors that hold the lock. A process that inherits them also holds it, until all are closed."""
        return tuple(handle for handle in (self._handle, self._folder) if handle >= 0)

    def _lock_folder(self) -> None:
        """Lock the folder. Some file systems can't; there the lock on the file has to suffice."""
        with disk_errors(str(self._root)):
            self._folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):
            if not self._acquire(self._folder):
                self._open_to_read()
                self._refuse()

    def _open_to_read(self) -> None:
        with suppress(OSError):
            self._handle = os.open(self._path, os.O_RDONLY)

    def _lock_file(self) -> None:
        """Lock the file, and start again if it was deleted meanwhile: a lock on a deleted file keeps nobody out."""
        while True:
            with disk_errors(str(self._path)):
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if not self._acquire(self._handle):
                    self._refuse()
            except OSError as error:
                message = f"{self._path} can't be locked ({error.strerror}): the archive needs a file system with locks"
                raise StorageError(message) from error
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._handle), self._path.stat()):
                    return
            os.close(self._handle)

    def _acquire(self, handle: int) -> bool:
        """Whether the kernel grants the lock; waits for the process that a killed run left behind."""
        deadline = time.monotonic() + LEFTOVER_WAIT_SECONDS
        while not (acquired := _flock(handle)) and time.monotonic() < deadline and self._holder_has_ended():
            time.sleep(0.02)
        return acquired

    def _holder_has_ended(self) -> bool:
        """Whether the process that wrote the text ran on this host and has ended."""
        try:
            holder = parsed(self._path.read_bytes())
            if holder and not _is_on_another_host(holder):
                os.kill(int(str(holder["pid"])), 0)
        except ProcessLookupError:
            return True
        except (OSError, ValueError, OverflowError):
            return False
        return False

    def _refuse(self) -> None:
        holder, name = self._holder(), "another run"
        if holder:
            process = f"process {holder['pid']} on {holder['host']}, since {local_time(str(holder['since']))}"
            name = f"`{holder['command']}` ({process})"
        remedy = f"; if that process is long gone, delete {self._path}" if _is_on_another_host(holder) else ""
        raise ArchiveLockedError(f"{self._root} is held by {name}{remedy}")

    def _own_entry(self) -> dict[str, object]:
        return {
            "command": self._command,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": now(),
            "boot": boot_id(),
        }

    def _holder(self) -> dict[str, object]:
        """The holder that the text names; empty if it was wiped or isn't ours."""
        with suppress(OSError):
            return parsed(os.pread(self._handle, 4096, 0))
        return {}

    def _write(self, text: bytes) -> None:
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        disk.write_all(self._handle, text)

    def _release(self) -> None:
        for handle in (self._handle, self._folder):
            if handle >= 0:
                os.close(handle)
        self._folder = self._handle = -1


def holder_of(root: Path) -> dict[str, str] | None:
    """Who holds the archive in `root`: command, pid, host, since. None if nobody does, or only a reader."""
    try:
        holder = parsed((root / LOCK).read_bytes())
    except OSError:
        return None
    if not holder or (not _is_on_another_host(holder) and not _still_holds(root, holder)):
        return None
    return {name: str(holder[name]) for name in ("command", "pid", "host", "since")}


def _still_holds(root: Path, holder: dict[str, object]) -> bool:
    """Whether the process that wrote the text still holds the lock; its id alone may have been reused."""
    with suppress(OSError, ValueError):
        pids, inodes = zip(*kernel_locks("FLOCK"), (0, 0), strict=True)
        if int(str(holder["pid"])) in pids or (root / LOCK).stat().st_ino in inodes:
            return True
        return holder["host"] != socket.gethostname() and _is_locked(root)
    return _is_locked(root)


def _is_locked(root: Path) -> bool:
    """Try the lock for a moment, because another container's locks are missing from our table of locks."""
    with suppress(OSError), (root / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def parsed(text: bytes) -> dict[str, object]:
    """The holder that this text names; empty if it isn't ours."""
    try:
        holder = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) and {"command", "pid", "host", "since"} <= holder.keys() else {}


def _flock(handle: int) -> bool:
    """Whether the kernel granted the lock; `OSError` if the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def boot_id() -> str:
    """Identifies the running kernel: the same in all its containers, different after a restart."""
    with suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return ""


def _is_on_another_host(holder: dict[str, object]) -> bool:
    """Whether the text is from another host, whose lock this kernel may not know."""
    if not holder or holder["host"] == socket.gethostname():
        return False
    return not holder.get("boot") or holder["boot"] != boot_id()
