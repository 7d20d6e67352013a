"""The formats of an export: a tree, a bag (BagIt, RFC 8493), and in `zipped` a ZIP file. All block.

All three contain the same tree with the same `index.csv`; a bag has it under `data/`. On a disk and in a ZIP file,
files have the dates of their attachments, hard links aside.

Beware: a blob is trusted only after it was hashed. For a link or a ZIP entry it is hashed beforehand; a copy is hashed
while it is written, and deleted if it is wrong.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, Protocol, TextIO, TypeVar

from typing_extensions import override

from migrator.model import Blob
from migrator.pipeline.export.copies import plain_date
from migrator.pipeline.export.placing import ExportItem, PathOf, PlacedFiles
from migrator.printable import BYTE_ORDER_MARK, spreadsheet_cell
from migrator.store import OWNER_ONLY

INDEX = "index.csv"
COLUMNS = ("path", "kind", "entity_id", "attachment_id", "name", "size", "sha256")
"""The columns of the index on which programs rely, in this order."""
FOR_PEOPLE = ("title", "author", "date", "description", "address")
"""The columns behind them."""


class ExportFormat(Protocol):
    """Writes the files of an export."""

    @abstractmethod
    def begin(self) -> None:
        """Make what must exist before the first file."""

    @abstractmethod
    def add_all(self, items: Sequence[ExportItem], path_of: PathOf) -> Iterator[str]:
        """Place files, whose blobs `path_of` names; yields for each what is wrong with its blob: `damaged`, `missing`,
        or nothing. It stops where the caller does.
        """

    @abstractmethod
    def end(self, source: str) -> None:
        """All files are placed: write what comes last, and close everything."""

    @abstractmethod
    def discard(self) -> None:
        """Close everything; what was written is deleted by the caller."""


F = TypeVar("F", bound=TextIO)


class Index(Generic[F]):
    """`index.csv`, written row by row. A spreadsheet runs nothing in it; paths are safe as they are."""

    def __init__(self, file: F) -> None:
        self.file, self._rows = file, csv.writer(file)
        file.write(BYTE_ORDER_MARK)
        self._rows.writerow([*COLUMNS, *FOR_PEOPLE])

    def add(self, item: ExportItem) -> None:
        """Append the row of a file."""
        blob, date = item.blob, plain_date(item.created_at)
        names = [item.kind, item.entity_id, item.attachment_id, item.name]
        others = [item.title, item.author, date, item.description, item.address]
        cells = [*map(spreadsheet_cell, names), blob.size, blob.sha256, *map(spreadsheet_cell, others)]
        self._rows.writerow([item.path, *cells])


class Tree(ExportFormat):
    """A folder of files with its index. `files` says where the files go; the index and the like go below `root`."""

    def __init__(self, root: Path, files: PlacedFiles) -> None:
        self._root, self._files = root, files
        self._index: Index[io.TextIOWrapper] | None = None

    @property
    def top(self) -> Path:
        """The top folder of the tree."""
        return self._root

    @override
    def begin(self) -> None:
        self._root.mkdir(mode=0o700)
        self.top.mkdir(mode=0o700, exist_ok=True)
        self._index = Index(_text_file(self.top / INDEX))

    @override
    def add_all(self, items: Sequence[ExportItem], path_of: PathOf) -> Iterator[str]:
        top = self.top.relative_to(self._root)
        for item, problem in zip(items, self._files.add_all(top, items, path_of), strict=True):
            if not problem:
                self._note(item)
            yield problem

    def _note(self, item: ExportItem) -> None:
        """Put a file that is placed into the lists."""
        if self._index:
            self._index.add(item)

    @override
    def end(self, source: str) -> None:
        self.discard()

    @override
    def discard(self) -> None:
        if self._index:
            self._index.file.close()


class Bag(Tree):
    """A bag: the tree under `data/`, with manifests."""

    def __init__(self, root: Path, files: PlacedFiles) -> None:
        super().__init__(root, files)
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
    def _note(self, item: ExportItem) -> None:
        super()._note(item)
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


TREES: dict[str, type[Tree]] = {"tree": Tree, "bagit": Bag}


def _text_file(path: Path) -> io.TextIOWrapper:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    return os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
