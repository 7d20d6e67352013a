"""Writes a file whole or not at all: readers see the earlier file or the new one, never a part.

Beware: errors are plain `OSError`; callers turn them into `StorageError` with their own advice.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

MAX_SHOWN_CHARACTERS = 40
"""How much of the file's name its temporary name shows, so that the temporary name is never too long."""


@contextmanager
def whole_file(path: Path, mode: int = 0o600) -> Iterator[TextIO]:
    """A text file to write; it replaces the one at `path` when the block ends, unless that fails or raises.

    A symbolic link stays one, and an existing file keeps its rights. A new one gets `mode`, whatever the umask.
    """
    destination = Path(os.path.realpath(path))  # `resolve` raises `RuntimeError` for a circle of links
    temporary = destination.with_name(f".{destination.name[:MAX_SHOWN_CHARACTERS]}.{os.getpid()}.new")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            with suppress(FileNotFoundError):
                mode = stat.S_IMODE(destination.stat().st_mode)
            os.fchmod(handle, mode)
            yield file
            file.flush()
            os.fsync(handle)
        temporary.replace(destination)
        _sync_names(destination.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_names(folder: Path) -> None:
    """Make the new name durable, if the file system can sync a folder; some network file systems can't."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
