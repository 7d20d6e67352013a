"""Copies of blobs: hashed before they are trusted, and cloned where the file system can share blocks.

A copy belongs to whoever gets it: writable, dated as the attachment, nothing of the archive hangs on it. All block.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from migrator.model import Blob
from migrator.store import OWNER_ONLY, own_limits

READ_BYTES = 1024 * 1024
FICLONE = 0x40049409
"""ioctl_ficlone(2): one file gets the blocks of another, and keeps them when that changes. btrfs, XFS, NFS 4.2, ..."""

OnBytes = Callable[[int], None]
"""Told of each chunk; may raise to end the work."""


class BlobDamagedError(Exception):
    """A blob is `damaged` or `missing`, as the message says."""


def chunks(file: BinaryIO | io.FileIO) -> Iterator[bytes]:
    """What is left of a file."""
    while chunk := file.read(READ_BYTES):
        yield chunk


def is_sound(wanted: Blob, blob: Path, on_bytes: OnBytes) -> bool:
    """Whether a blob is what its name says."""
    try:
        with _opened(blob) as file:
            return _hashed(chunks(file), on_bytes) == wanted
    except OSError:
        return False


def copy_blob(wanted: Blob, blob: Path, path: Path, on_bytes: OnBytes, created_at: str = "") -> None:
    """A new file at `path` with the content of a blob.

    `BlobDamagedError`, and no file, if that is not what its name says.
    """
    try:
        file = _opened(blob)
    except OSError as error:
        raise damaged(blob) from error
    with file, io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "r+b") as out:
        found = _hashed(chunks(out) if _cloned(file, out) else _copied(file, out), on_bytes)
        _date(out, created_at)
    if found != wanted:
        path.unlink()
        raise damaged(blob)


def damaged(blob: Path) -> BlobDamagedError:
    """What is wrong with a blob that is not what it should be."""
    return BlobDamagedError("damaged" if os.path.lexists(blob) else "missing")


def can_clone(path: Path, probe: Path) -> bool:
    """Whether copies of this file beside `probe`, which is not there, would take no room. Tries it, leaves nothing."""
    try:
        with path.open("rb", buffering=0) as file, probe.open("xb", buffering=0) as out:
            return _cloned(file, out)
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def _cloned(file: io.FileIO, out: io.FileIO) -> bool:
    """False, and nothing written, where the file system can't do it, or not between these two files."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(out.fileno(), FICLONE, file.fileno())
    except OSError:
        return False
    return True


def _hashed(pieces: Iterator[bytes], on_bytes: OnBytes) -> Blob:
    sha256, size = hashlib.sha256(), 0
    for piece in pieces:
        sha256.update(piece)
        size += len(piece)
        on_bytes(len(piece))
    return Blob(sha256.hexdigest(), size)


def _copied(file: io.FileIO, out: io.FileIO) -> Iterator[bytes]:
    """The chunks of a file, each written to the other before it is given."""
    for chunk in chunks(file):
        view = memoryview(chunk)
        while view:
            view = view[out.write(view) or 0 :]
        yield chunk


def _date(out: io.FileIO, created_at: str) -> None:
    """The file was last changed when it was attached, as far as the file system can say so."""
    with suppress(ValueError, OverflowError, OSError):
        date = datetime.fromisoformat(created_at)
        at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        os.utime(out.fileno(), (at, at))


def _opened(blob: Path) -> io.FileIO:
    """The blob itself: never what a link in its place points to."""
    with own_limits(str(blob)):
        return io.FileIO(os.open(blob, os.O_RDONLY | os.O_NOFOLLOW))
