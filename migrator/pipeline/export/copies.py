"""Copies of blobs: hashed before they are trusted, and cloned if the file system can share blocks.

A copy is an ordinary file, writable and dated like the attachment; the archive doesn't depend on it. All functions
block.
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
"""ioctl_ficlone(2): a file shares the blocks of another until either is changed. btrfs, XFS, NFS 4.2, ..."""

OnBytes = Callable[[int], None]
"""Called with the size of each chunk; may raise to end the work."""


class BlobDamagedError(Exception):
    """A blob can't be exported; the message is `damaged` or `missing`."""


def chunks(file: BinaryIO | io.FileIO) -> Iterator[bytes]:
    """The rest of a file."""
    while chunk := file.read(READ_BYTES):
        yield chunk


def _chunks_of_blob(file: io.FileIO, blob: Path) -> Iterator[bytes]:
    """The rest of a blob's file, or of a clone of it. `BlobDamagedError` if the disk can't read it."""
    read = chunks(file)
    while True:
        try:
            with own_limits(str(blob)):
                chunk = next(read, b"")
        except OSError as error:
            raise damaged(blob) from error
        if not chunk:
            return
        yield chunk


class HashedBlobs:
    """Blobs that were hashed before they are used, each only once."""

    def __init__(self, on_bytes: OnBytes) -> None:
        self._on_bytes = on_bytes
        self._sound: dict[str, bool] = {}

    def require_sound(self, wanted: Blob, blob: Path) -> None:
        """`BlobDamagedError` if the file of the blob doesn't have the content that its name says."""
        if wanted.sha256 not in self._sound:
            self._sound[wanted.sha256] = self._is_sound(wanted, blob)
        if not self._sound[wanted.sha256]:
            raise damaged(blob)

    def _is_sound(self, wanted: Blob, blob: Path) -> bool:
        try:
            with _opened(blob) as file:
                return _hashed(chunks(file), self._on_bytes) == wanted
        except OSError:
            return False


def sound_chunks(wanted: Blob, blob: Path, on_bytes: OnBytes) -> Iterator[bytes]:
    """The content of a blob. `BlobDamagedError` at its end, at the latest, if it is not what its name says."""
    try:
        file = _opened(blob)
    except OSError as error:
        raise damaged(blob) from error
    sha256, size = hashlib.sha256(), 0
    with file:
        for chunk in _chunks_of_blob(file, blob):
            sha256.update(chunk)
            size += len(chunk)
            on_bytes(len(chunk))
            yield chunk
    if Blob(sha256.hexdigest(), size) != wanted:
        raise damaged(blob)


def copy_blob(wanted: Blob, blob: Path, path: Path, on_bytes: OnBytes, created_at: str = "") -> None:
    """Make a new file at `path` with the content of a blob. `BlobDamagedError`, and no file, if that is damaged."""
    try:
        file = _opened(blob)
    except OSError as error:
        raise damaged(blob) from error
    with file, io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "r+b") as out:
        try:
            read = _chunks_of_blob(out, blob) if _cloned(file, out) else _copied(_chunks_of_blob(file, blob), out)
            if _hashed(read, on_bytes) != wanted:
                raise damaged(blob)
        except BlobDamagedError:
            path.unlink()
            raise
        _date(out, created_at)


def name_new_file(partial: Path, path: Path) -> None:
    """Name a complete file by a hard link, which fails if the name is in use (`FileExistsError`).

    Where there are no links, only a look beforehand prevents that a file is replaced.
    """
    try:
        path.hardlink_to(partial)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise
        partial.rename(path)
    partial.unlink(missing_ok=True)


def damaged(blob: Path) -> BlobDamagedError:
    """The error for a blob that is not sound."""
    return BlobDamagedError("damaged" if os.path.lexists(blob) else "missing")


def can_clone(path: Path, probe: Path) -> bool:
    """Whether a copy of this file at `probe` would be a clone, which takes no space. Tries it, and removes it."""
    try:
        with path.open("rb", buffering=0) as file, probe.open("xb", buffering=0) as out:
            return _cloned(file, out)
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def _cloned(file: io.FileIO, out: io.FileIO) -> bool:
    """Clone a file; False, and nothing is written, if the file system can't, or not between these two."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(out.fileno(), FICLONE, file.fileno())
    except OSError:
        return False
    return True


def _hashed(content: Iterator[bytes], on_bytes: OnBytes) -> Blob:
    sha256, size = hashlib.sha256(), 0
    for chunk in content:
        sha256.update(chunk)
        size += len(chunk)
        on_bytes(len(chunk))
    return Blob(sha256.hexdigest(), size)


def _copied(content: Iterator[bytes], out: io.FileIO) -> Iterator[bytes]:
    """Write some content, and yield each chunk once it is written."""
    for chunk in content:
        view = memoryview(chunk)
        while view:
            view = view[out.write(view) or 0 :]
        yield chunk


def _date(out: io.FileIO, created_at: str) -> None:
    """Give the file the date of the attachment, if the file system can store it."""
    with suppress(ValueError, OverflowError, OSError):
        at = moment_of(created_at)
        os.utime(out.fileno(), (at, at))


def moment_of(created_at: str) -> float:
    """An attachment's date (ISO 8601, UTC if it has no offset) as Unix time; `ValueError` if it is none."""
    date = datetime.fromisoformat(created_at)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def plain_date(created_at: str) -> str:
    """The date and time of day that an attachment's date shows, as spreadsheets read them; any other text unchanged."""
    try:
        return datetime.fromisoformat(created_at).replace(tzinfo=None).isoformat(" ", "seconds")
    except ValueError:
        return created_at


def _opened(blob: Path) -> io.FileIO:
    """Open a blob. A symbolic link in its place is refused."""
    with own_limits(str(blob)):
        return io.FileIO(os.open(blob, os.O_RDONLY | os.O_NOFOLLOW))
