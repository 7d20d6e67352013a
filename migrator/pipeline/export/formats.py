"""The formats of an export: a tree, a bag (BagIt, RFC 8493) and a ZIP file. All of them block; they run in a thread.

All three contain the same tree with the same `index.csv`; a bag has it under `data/`. Files have the dates of their
attachments in all of them, hard links aside.

Beware: a blob is trusted only after it was hashed. For a link or a ZIP entry it is hashed beforehand; a copy is hashed
while it is written, and deleted if it is wrong.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import struct
import zipfile
import zlib
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, Protocol, TextIO, TypeVar

from typing_extensions import override

from migrator.filenames import on_disk
from migrator.model import Blob
from migrator.pipeline.export.copies import (
    HashedBlobs,
    OnBytes,
    chunks,
    copy_blob,
    damaged,
    moment_of,
    plain_date,
)
from migrator.printable import BYTE_ORDER_MARK, spreadsheet_cell
from migrator.store import OWNER_ONLY

INDEX = "index.csv"
COLUMNS = ("path", "kind", "entity_id", "attachment_id", "name", "size", "sha256")
"""The columns of the index on which programs rely, in this order."""
FOR_PEOPLE = ("title", "author", "date", "description", "address")
"""The columns behind them."""
SAMPLE_BYTES = 64 * 1024
"""Bytes of a file that decide whether deflating it is worth the time."""


@dataclass(frozen=True, slots=True)
class ExportItem:
    """One file of an export, with its path in the tree; `name` is the tracker's own."""

    path: str
    kind: str
    entity_id: str
    attachment_id: str
    name: str
    blob: Blob
    created_at: str = ""
    title: str = ""
    author: str = ""
    description: str = ""
    address: str = ""


class ExportFormat(Protocol):
    """Writes the files of an export."""

    @abstractmethod
    def begin(self) -> None:
        """Make what must exist before the first file."""

    @abstractmethod
    def add(self, item: ExportItem, blob: Path) -> None:
        """Place one file; `BlobDamagedError` if its blob is damaged or missing."""

    @abstractmethod
    def end(self, source: str) -> None:
        """All files are placed: write what comes last, and close everything."""

    @abstractmethod
    def discard(self) -> None:
        """Close everything; what was written is deleted by the caller."""


F = TypeVar("F", bound=TextIO)


class _Index(Generic[F]):
    """`index.csv`, written row by row. A spreadsheet runs nothing in it; paths are safe as they are."""

    def __init__(self, file: F) -> None:
        self.file, self._rows = file, csv.writer(file)
        file.write(BYTE_ORDER_MARK)
        self._rows.writerow([*COLUMNS, *FOR_PEOPLE])

    def add(self, item: ExportItem) -> None:
        blob, date = item.blob, plain_date(item.created_at)
        names = [item.kind, item.entity_id, item.attachment_id, item.name]
        others = [item.title, item.author, date, item.description, item.address]
        cells = [*map(spreadsheet_cell, names), blob.size, blob.sha256, *map(spreadsheet_cell, others)]
        self._rows.writerow([item.path, *cells])


class Tree(ExportFormat):
    """A folder of files: copies, or with `links` hard links into the archive where possible."""

    def __init__(self, root: Path, on_bytes: OnBytes, *, links: bool) -> None:
        self._root, self._on_bytes, self._links = root, on_bytes, links
        self._hashed = HashedBlobs(on_bytes)
        self._index: _Index[io.TextIOWrapper] | None = None
        self._folder: Path | None = None

    @property
    def top(self) -> Path:
        """The top folder of the tree."""
        return self._root

    @override
    def begin(self) -> None:
        self._root.mkdir(mode=0o700)
        self.top.mkdir(mode=0o700, exist_ok=True)
        self._index = _Index(_text_file(self.top / INDEX))

    @override
    def add(self, item: ExportItem, blob: Path) -> None:
        path = self.top / on_disk(item.path)
        if path.parent != self._folder:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = path.parent
        if not (self._links and self._linked(item.blob, blob, path)):
            copy_blob(item.blob, blob, path, self._on_bytes, item.created_at)
        if self._index:
            self._index.add(item)

    def _linked(self, wanted: Blob, blob: Path, path: Path) -> bool:
        """Make a hard link; False if that is impossible: another file system, or too many links to one file."""
        self._hashed.require_sound(wanted, blob)
        try:
            os.link(blob, path, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            return False
        return True

    @override
    def end(self, source: str) -> None:
        self.discard()

    @override
    def discard(self) -> None:
        if self._index:
            self._index.file.close()


class Bag(Tree):
    """A bag: the tree under `data/`, with manifests."""

    def __init__(self, root: Path, on_bytes: OnBytes, *, links: bool) -> None:
        super().__init__(root, on_bytes, links=links)
        self._manifest: io.TextIOWrapper | None = None
        self._count = self._size = 0

    @property
    @override
    def top(self) -> Path:
        return self._root / "data"

    @override
    def begin(self) -> None:
        super().begin()
        self._manifest = _text_file(self._root / "manifest-sha256.txt")

    @override
    def add(self, item: ExportItem, blob: Path) -> None:
        super().add(item, blob)
        self._list(item.path, item.blob)

    def _list(self, path: str, blob: Blob) -> None:
        self._count, self._size = self._count + 1, self._size + blob.size
        if self._manifest:
            self._manifest.write(f"{blob.sha256}  data/{path}\n")

    @override
    def end(self, source: str) -> None:
        if self._index:
            self._index.file.close()
        index = (self.top / INDEX).read_bytes()
        self._list(INDEX, Blob(hashlib.sha256(index).hexdigest(), len(index)))
        self.discard()
        (self._root / "bagit.txt").write_bytes(b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
        tags = {
            "Source-Organization": source,
            "Bagging-Date": datetime.now(UTC).date().isoformat(),
            "Payload-Oxum": f"{self._size}.{self._count}",
            "Bag-Software-Agent": "migrator",
        }
        lines = "".join(f"{label}: {' '.join(value.split())}\n" for label, value in tags.items() if value)
        (self._root / "bag-info.txt").write_bytes(lines.encode())
        tag_files = ("bag-info.txt", "bagit.txt", "manifest-sha256.txt")
        sums = [f"{_sha256(self._root / name)}  {name}\n" for name in tag_files]
        (self._root / "tagmanifest-sha256.txt").write_bytes("".join(sums).encode())

    @override
    def discard(self) -> None:
        super().discard()
        if self._manifest:
            self._manifest.close()


class Zip(ExportFormat):
    """A ZIP64 file; files that deflating makes smaller are deflated, the others stored."""

    def __init__(self, root: Path, on_bytes: OnBytes, *, links: bool) -> None:  # noqa: ARG002 - no links in a ZIP file
        self._path, self._on_bytes = root, on_bytes
        self._hashed = HashedBlobs(on_bytes)
        self._index = _Index(io.StringIO())
        self._zip: zipfile.ZipFile | None = None

    @override
    def begin(self) -> None:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        self._file = os.fdopen(handle, "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", allowZip64=True)

    @override
    def add(self, item: ExportItem, blob: Path) -> None:
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


FORMATS: dict[str, type[Tree | Bag | Zip]] = {"tree": Tree, "bagit": Bag, "zip": Zip}


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


def _text_file(path: Path) -> io.TextIOWrapper:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    return io.TextIOWrapper(io.FileIO(handle, "wb"), "utf-8", "backslashreplace", newline="")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
