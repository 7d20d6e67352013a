"""The kernel's table of file locks, which says which process holds which. Only Linux has one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

LOCKS = Path("/proc/locks")


def kernel_locks(kind: str) -> list[tuple[int, int]]:
    """Process id and inode of every lock of a kind (`FLOCK`, `POSIX`); `OSError` if the system has no such table.

    A line reads `1: POSIX  ADVISORY  WRITE 549 fe:00:1234 0 EOF`, see proc(5).
    """
    locks = []
    for line in LOCKS.read_text(encoding="ascii", errors="replace").splitlines():
        fields = line.partition(kind)[2].split()
        with suppress(ValueError, IndexError):
            locks.append((int(fields[2]), int(fields[3].rpartition(":")[2])))
    return locks
