"""One run at a time on an archive: the file `lock`, held through the kernel and readable by people.

The one idea: `flock` decides, and the kernel lets go of it when the process dies, however it dies; the text in the
file only says who and since when.
The one trap: on a share that several hosts mount, the kernel may know nothing of another host's lock; a text that
another host left there and did not wipe is therefore taken at its word.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Self

from migrator.catalog import now
from migrator.disk import disk_errors
from migrator.errors import ArchiveHeld


class ArchiveLock:
    """A context manager that holds the archive in `root`, or raises `ArchiveHeld`."""

    def __init__(self, root: Path, command: str) -> None:
        self._path = root / "lock"
        self._command = command
        self._handle = -1

    def __enter__(self) -> Self:
        with disk_errors(str(self._path)):
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._refuse()
        if self._holder().get("host", socket.gethostname()) != socket.gethostname():
            self._refuse()
        text = {"command": self._command, "pid": os.getpid(), "host": socket.gethostname(), "since": now()}
        self._write(json.dumps(text).encode())
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle >= 0:
            self._write(b"")
            os.close(self._handle)
            self._handle = -1

    def _refuse(self) -> None:
        who = self._holder()
        os.close(self._handle)
        self._handle = -1
        by = (
            f"`{who['command']}` (process {who['pid']} on {who['host']}, since {who['since']})"
            if who
            else "another run"
        )
        raise ArchiveHeld(f"{self._path.parent} is held by {by}; if that is long dead, delete {self._path}")

    def _holder(self) -> dict[str, object]:
        try:
            found = json.loads(os.pread(self._handle, 4096, 0))
        except ValueError:
            return {}
        return found if isinstance(found, dict) and {"command", "pid", "host", "since"} <= found.keys() else {}

    def _write(self, text: bytes) -> None:
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, text, 0)
