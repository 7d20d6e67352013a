"""Which other processes have the catalog locked: SQLite only says that somebody has.

Beware: this must not open the file. A process that closes any descriptor of a file loses all its own locks on it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LOCKS = Path("/proc/locks")
"""Linux's table of all file locks, see proc(5); on other systems no holder can be named."""


def holders_of(catalog: Path) -> list[str]:
    """The other processes that have locks on this SQLite file, by name and id; empty where the system doesn't say."""
    inodes = set()
    for path in (catalog, catalog.with_name(f"{catalog.name}-shm")):
        with suppress(OSError):
            inodes.add(path.stat().st_ino)
    pids = {pid for pid, inode in _locks() if inode in inodes and pid != os.getpid()}
    return [f"`{name}` (process {pid})" for pid in sorted(pids) if (name := _name_of(pid))]


def _locks() -> list[tuple[int, int]]:
    """Process id and inode of every lock: `1: POSIX  ADVISORY  WRITE 549 fe:00:1234 120 120`."""
    locks = []
    with suppress(OSError):
        for line in LOCKS.read_text(encoding="ascii", errors="replace").splitlines():
            words = line.split()
            with suppress(ValueError, IndexError):
                at = words.index("POSIX")
                locks.append((int(words[at + 3]), int(words[at + 4].rpartition(":")[2])))
    return locks


def _name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return ""
