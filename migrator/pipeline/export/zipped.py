"""An export as a ZIP file."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from typing_extensions import override

from migrator.pipeline.export.copies import BlobDamagedError, HashedBlobs, OnBytes, chunks, damaged, moment_of
from migrator.pipeline.export.formats import INDEX, ExportFormat, Index
from migrator.pipeline.export.placing import ExportItem, PathOf
from migrator.store import OWNER_ONLY

SAMPLE_BYTES = 64 * 1024
"""Bytes of a file that decide whether deflating it is worth the time."""


class Zip(ExportFormat):
    """A ZIP64 file; files that deflating makes smaller are deflated, the others stored.

    `opened` opens the file to write to, which need not be able to seek.
    """

    def __init__(self, opened: Callable[[], IO[bytes]], on_bytes: OnBytes) -> None:
        self._opened, self._on_bytes = opened, on_bytes
        self._hashed = HashedBlobs(on_bytes)
        self._index = Index(io.StringIO())
        self._zip: zipfile.ZipFile | None = None

    @override
    def begin(self) -> None:
        self._file = self._opened()
        self._zip = zipfile.ZipFile(self._file, "w", allowZip64=True)

    @override
    def add_all(self, items: Sequence[ExportItem], path_of: PathOf) -> Iterator[str]:
        for item in items:
            try:
                self.add(item, path_of(item.blob.sha256))
            except BlobDamagedError as error:
                yield str(error)
            else:
                yield ""

    def add(self, item: ExportItem, blob: Path) -> None:
        """Place one file; `BlobDamagedError` if its blob is damaged or missing."""
        wanted = item.blob
        self._hashed.require_sound(wanted, blob)
        if self._zip is None:
            raise damaged(blob)
        with blob.open("rb", buffering=0) as file:
            entry = _entry(item.path, item.created_at, file.read(SAMPLE_BYTES), wanted.size)
            file.seek(0)
            with self._zip.open(entry, "w", force_zip64=wanted.size >= 2**31) as out:
                for chunk in chunks(file):
                    out.write(chunk)
                    self._on_bytes(0)
        self._index.add(item)

    @override
    def end(self, source: str) -> None:
        if self._zip is not None:
            body = self._index.file.getvalue().encode("utf-8", "backslashreplace")
            self._zip.writestr(_entry(INDEX, "", body[:SAMPLE_BYTES], len(body)), body)
            self._zip.comment = " ".join(f"files of {source}".split()).encode()[:1000]
            self._zip.close()
            self._file.close()

    @override
    def discard(self) -> None:
        """The file is deleted, so its central directory is not written."""
        if self._zip is not None:
            self._zip.fp = None
            self._file.close()


def _entry(path: str, created_at: str, sample: bytes, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, _date(created_at))
    entry.extra = _unix_time(created_at)
    entry.external_attr = 0o100600 << 16
    entry.file_size = size
    shrinks = len(zlib.compress(sample, 1)) < 0.9 * len(sample)
    entry.compress_type = zipfile.ZIP_DEFLATED if shrinks else zipfile.ZIP_STORED
    return entry


def _date(created_at: str) -> tuple[int, int, int, int, int, int]:
    """The date of the attachment, as far as ZIP can express it."""
    with suppress(ValueError):
        date = datetime.fromisoformat(created_at)
        if 1980 <= date.year <= 2107:
            return date.year, date.month, date.day, date.hour, date.minute, date.second
    return 1980, 1, 1, 0, 0, 0


def _unix_time(created_at: str) -> bytes:
    """The exact moment, as an extended timestamp: the date of an entry has no time zone. Empty if there is no date."""
    with suppress(ValueError, OverflowError, struct.error):
        return struct.pack("<HHBl", 0x5455, 5, 1, int(moment_of(created_at)))
    return b""


def new_file(path: Path) -> IO[bytes]:
    """A new file, for its owner only."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "w+b")
