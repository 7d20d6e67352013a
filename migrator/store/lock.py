"""The lock of an archive, so that only one run uses it: the file `lock`, which people can read.

`flock` decides, and the kernel releases it when the process dies, for whatever reason; the text in the file only says
who holds it and since when. The folder is locked as well, so that deleting the file releases nothing.

Beware: on a share that several hosts mount, the kernel may know nothing of another host's lock. A text that another
host left there is therefore believed. The boot id tells whether it is another host: containers on one host have
different names, but share the kernel that decides.

After a run was killed, its `scribe` may hold the lock until it has finished a batch; `ArchiveLock` waits for that.
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
from migrator.store.layout import LOCK

LEFTOVER_WAIT_SECONDS = 30.0
"""Seconds to wait for what a killed run left behind; a healthy disk needs milliseconds."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class ArchiveLock:
    """A context manager that locks the archive in `root`, which exists.

    With `reads` nothing is written, and only the folder is locked. `ArchiveLockedError` if another run holds the lock;
    `StorageError` where no lock can be had, as that means neither held nor free.
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
            if _is_elsewhere(self._holder()):
                self._refuse()
            if not self._reads:
                with disk_errors(str(self._path)):
                    self._write(json.dumps(self._us()).encode())
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle >= 0 and not self._reads:
            with suppress(OSError):  # if it can't be wiped: it names this host, and the next run overwrites it
                self._write(b"")
        self._let_go()

    @property
    def handles(self) -> tuple[int, ...]:
        """The descriptors that hold the lock. A process that inherits them holds it, too, until all are closed."""
        return tuple(handle for handle in (self._handle, self._folder) if handle >= 0)

    def _lock_folder(self) -> None:
        """Lock the folder. Some file systems can't; there the lock on the file has to do."""
        with disk_errors(str(self._root)):
            self._folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):
            if not self._given(self._folder):
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
                if not self._given(self._handle):
                    self._refuse()
            except OSError as error:
                message = f"{self._path} can't be locked ({error.strerror}): the archive needs a file system with locks"
                raise StorageError(message) from error
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._handle), self._path.stat()):
                    return
            os.close(self._handle)

    def _given(self, handle: int) -> bool:
        """Whether the kernel grants the lock; waits for a killed run's leftover process."""
        until = time.monotonic() + LEFTOVER_WAIT_SECONDS
        while not (given := _locked(handle)) and time.monotonic() < until and self._is_left_behind():
            time.sleep(0.02)
        return given

    def _is_left_behind(self) -> bool:
        """Whether the process that wrote the text ran on this host and has ended."""
        try:
            who = _parsed(self._path.read_bytes())
            if who and not _is_elsewhere(who):
                os.kill(int(str(who["pid"])), 0)
        except ProcessLookupError:
            return True
        except (OSError, ValueError, OverflowError):
            return False
        return False

    def _refuse(self) -> None:
        who = self._holder()
        by = (
            f"`{who['command']}` (process {who['pid']} on {who['host']}, since {who['since']})"
            if who
            else "another run"
        )
        stale = f"; if that is long dead, delete {self._path}" if _is_elsewhere(who) else ""
        raise ArchiveLockedError(f"{self._root} is held by {by}{stale}")

    def _us(self) -> dict[str, object]:
        who = {"command": self._command, "pid": os.getpid(), "host": socket.gethostname(), "since": now()}
        return {**who, "boot": _boot()}

    def _holder(self) -> dict[str, object]:
        """What the text says; empty if it was wiped or isn't ours."""
        with suppress(OSError):
            return _parsed(os.pread(self._handle, 4096, 0))
        return {}

    def _write(self, text: bytes) -> None:
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        disk.write_all(self._handle, text)

    def _let_go(self) -> None:
        for handle in (self._handle, self._folder):
            if handle >= 0:
                os.close(handle)
        self._folder = self._handle = -1


def holder_of(root: Path) -> dict[str, str] | None:
    """Who holds the archive in `root`: command, pid, host, since. None if nobody does, or only a reader."""
    try:
        who = _parsed((root / LOCK).read_bytes())
    except OSError:
        return None
    if not who or (not _is_elsewhere(who) and not _is_alive(root, who)):
        return None
    return {name: str(who[name]) for name in ("command", "pid", "host", "since")}


def _is_alive(root: Path, who: dict[str, object]) -> bool:
    """Whether the writer of the text still holds the lock; its process id may have been reused."""
    with suppress(OSError, ValueError, IndexError):
        pids, inodes = zip(*_flocks(), (0, 0), strict=True)
        if int(str(who["pid"])) in pids or (root / LOCK).stat().st_ino in inodes:
            return True
        return who["host"] != socket.gethostname() and _is_taken(root)
    return _is_taken(root)


def _is_taken(root: Path) -> bool:
    """Try the lock for a moment: another container's locks are missing from our table of locks."""
    with suppress(OSError), (root / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _flocks() -> list[tuple[int, int]]:
    """Process id and inode of every flock, see proc(5): `1: FLOCK  ADVISORY  WRITE 549 fe:00:1234 0 EOF`."""
    lines = Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines()
    locks = [line.partition("FLOCK")[2].split() for line in lines if "FLOCK" in line]
    return [(int(words[2]), int(words[3].rpartition(":")[2])) for words in locks]


def _parsed(text: bytes) -> dict[str, object]:
    """The holder that this text names; empty if it isn't ours."""
    try:
        who = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return who if isinstance(who, dict) and {"command", "pid", "host", "since"} <= who.keys() else {}


def _locked(handle: int) -> bool:
    """Whether the kernel granted the lock; `OSError` where it can't say."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def _boot() -> str:
    """Identifies the running kernel: the same in all its containers, different after a restart."""
    with suppress(OSError):
        return _BOOT.read_text(encoding="ascii").strip()
    return ""


def _is_elsewhere(who: dict[str, object]) -> bool:
    """Whether the text is from another machine, whose lock this kernel may not know."""
    if not who or who["host"] == socket.gethostname():
        return False
    return not who.get("boot") or who["boot"] != _boot()
