"""Which other processes have locked the catalog: SQLite only says that it is locked.

Beware: this must not open the file. A process that closes any descriptor of a file loses all its own locks on it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from migrator.store.kernel_locks import kernel_locks


def holders_of(catalog: Path) -> list[str]:
    """The other processes that have locks on this SQLite file, by name and id; empty if the system doesn't say."""
    inodes, locks = set(), list[tuple[int, int]]()
    with suppress(OSError):
        locks = kernel_locks("POSIX")
    for path in (catalog, catalog.with_name(f"{catalog.name}-shm")):
        with suppress(OSError):
            inodes.add(path.stat().st_ino)
    pids = {pid for pid, inode in locks if inode in inodes and pid != os.getpid()}
    return [f"`{name}` (process {pid})" for pid in sorted(pids) if (name := _name_of(pid))]


def _name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return ""
