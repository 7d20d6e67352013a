"""An export into a bucket: the same tree, bag or ZIP file, each file sent while it is read.

A tree can't be renamed there. So an object marks it while it is under way, made first and deleted last: by that, the
next export of the same archive to the same place knows what a kill left there, deletes it and begins again. Index and
manifests are written here, and sent at the end. A ZIP file appears when it is complete.

Beware: a damaged file must not arrive. A small one is hashed before it is sent; the parts of a larger one are given up.
"""

from __future__ import annotations

import hashlib
import queue
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from typing_extensions import override

from migrator.errors import ConfigError
from migrator.pipeline.export.copies import BlobDamagedError, OnBytes, sound_chunks
from migrator.pipeline.export.formats import INDEX, TREES, ExportFormat
from migrator.pipeline.export.placing import ExportItem, PathOf, PlacedFiles
from migrator.pipeline.export.zipped import Zip
from migrator.store import Archive, Bucket, BucketAddress

REQUESTS_AT_ONCE = 16
SMALL_BYTES = 8 * 1024 * 1024
"""A file of this size is sent by one request."""
PIECE_BYTES = 1024 * 1024
WAITING_PIECES = 4
"""Pieces of a ZIP file that may wait to be sent."""
REMOVED_AT_ONCE = 1000
_UNFINISHED = b"An export to here is under way, or was killed. The next one deletes all that is here first.\n"


@dataclass(frozen=True, slots=True)
class InBucket:
    """A place in a bucket: all of it, which is a folder in a real one, or with `file` an object in that."""

    bucket: Bucket
    file: str = ""

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.bucket.name}/{self.file}".rstrip("/")


class BucketDestination:
    """Where an export goes, and how it becomes complete. `ConfigError` if that is in use. All of it blocks."""

    def __init__(self, archive: Archive, to: InBucket) -> None:
        self._to, self._bucket = to, to.bucket
        self.path = self.shown = to.url
        of_archive = archive.address or BucketAddress(f"file://{archive.root.resolve()}")
        if BucketAddress(to.url).is_within(of_archive):
            raise ConfigError(f"{to.url} is inside the archive")
        key = hashlib.sha256(f"{of_archive.url}\0{to.url}".encode()).hexdigest()[:12]
        self._marker = f".export-{key}.partial"
        self._local: tempfile.TemporaryDirectory[str] | None = None
        self._zip: FileInBucket | None = None
        self._size = 0
        self._files = FilesInBucket(to.bucket)
        self._is_ours = False
        if to.file:
            if to.bucket.size(to.file) is not None:
                raise ConfigError(f"{to.url} already exists")
        elif not self._is_unfinished() and any(to.bucket.look()):
            raise ConfigError(f"{to.url} already exists and is not empty")

    def format(self, shape: str, on_bytes: OnBytes, *, links: bool) -> ExportFormat:  # noqa: ARG002 - no links there
        """What writes the files of the export."""
        lock = threading.Lock()

        def counted(size: int) -> None:
            with lock:
                on_bytes(size)

        if shape == "zip":
            return Zip(self._open, counted)
        self._files.on_bytes = counted
        self._local = tempfile.TemporaryDirectory(prefix="migrator-")
        return TREES[shape](self._lists_in(self._local), self._files)

    def prepare(self, size: int) -> None:
        """Remove what an earlier export left unfinished, and begin; about so many bytes are to come."""
        self._size = size
        if not self._to.file:
            if self._is_unfinished():
                self._remove_all()
            self._bucket.put(self._marker, _UNFINISHED)
            self._is_ours = True

    def sweep(self) -> None:
        """Remove everything that was sent."""
        self._files.close()
        if self._zip is not None:
            self._zip.abandon()
        self._clean_up()
        if self._is_ours:
            self._remove_all()
            self._bucket.remove([self._marker])

    def finish(self) -> None:
        """Send what comes last; then the export is complete."""
        self._files.close()
        if self._zip is not None:
            self._zip.complete()
            return
        if self._local is not None:
            root = self._lists_in(self._local)
            lists = [path for path in root.rglob("*") if path.is_file()]
            for path in sorted(lists, key=lambda path: path.name in {INDEX, "bagit.txt"}):
                self._bucket.put_file(path.relative_to(root).as_posix(), path)
        self._bucket.remove([self._marker])
        self._clean_up()

    def _open(self) -> IO[bytes]:
        self._zip = FileInBucket(self._bucket, self._to.file, self._size)
        return cast("IO[bytes]", self._zip)

    def _is_unfinished(self) -> bool:
        return self._bucket.size(self._marker) is not None

    def _remove_all(self) -> None:
        """All but the marker."""
        paths = [path for path, _ in self._bucket.objects() if path != self._marker]
        for start in range(0, len(paths), REMOVED_AT_ONCE):
            self._bucket.remove(paths[start : start + REMOVED_AT_ONCE])

    def _lists_in(self, local: tempfile.TemporaryDirectory[str]) -> Path:
        """Where index and manifests are until they are sent."""
        return Path(local.name, "export")

    def _clean_up(self) -> None:
        if self._local is not None:
            self._local.cleanup()


class FilesInBucket(PlacedFiles):
    """The files of a tree, several on their way at once."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket, self._pool = bucket, ThreadPoolExecutor(REQUESTS_AT_ONCE, "export")
        self.on_bytes: OnBytes = lambda _: None

    @override
    def add_all(self, top: Path, items: Sequence[ExportItem], path_of: PathOf) -> Iterator[str]:
        sending = [self._pool.submit(self._send, top, item, path_of(item.blob.sha256)) for item in items]
        try:
            for each in sending:
                yield each.result()
        finally:
            for each in sending:
                each.cancel()
            wait(sending)

    def close(self) -> None:
        """Nothing more is sent."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, top: Path, item: ExportItem, blob: Path) -> str:
        path, content = (top / item.path).as_posix(), sound_chunks(item.blob, blob, self.on_bytes)
        try:
            if item.blob.size <= SMALL_BYTES:
                self._bucket.put(path, b"".join(content))
            else:
                self._bucket.put_stream(path, content, item.blob.size)
        except BlobDamagedError as error:
            return str(error)
        return ""


class FileInBucket:
    """A new large object to write to: it appears with `complete`, and never with `abandon`."""

    def __init__(self, bucket: Bucket, path: str, size: int) -> None:
        self._pieces: queue.Queue[bytes | None] = queue.Queue(WAITING_PIECES)
        self._waiting, self._abandoned = bytearray(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._send, args=(bucket, path, size), name="export", daemon=True)
        self._thread.start()

    def write(self, piece: bytes) -> int:
        """Append a piece. `StorageError` if an earlier one could not be sent."""
        self._waiting += piece
        if len(self._waiting) >= PIECE_BYTES:
            self._put(bytes(self._waiting))
            self._waiting.clear()
        return len(piece)

    def flush(self) -> None:
        """Nothing is written out before there is enough of it."""

    def close(self) -> None:
        """The last piece has been written; see `complete`."""

    def complete(self) -> None:
        """Wait until all of it is there."""
        self._put(bytes(self._waiting))
        self._put(None)
        self._thread.join()
        self._check()

    def abandon(self) -> None:
        """Give up what was sent."""
        self._abandoned.set()
        self._thread.join(timeout=5)

    def _put(self, piece: bytes | None) -> None:
        while True:
            self._check()
            try:
                self._pieces.put(piece, timeout=1)
            except queue.Full:
                continue
            return

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _send(self, bucket: Bucket, path: str, size: int) -> None:
        try:
            bucket.put_stream(path, self._sent(), size)
        except BaseException as error:  # noqa: BLE001 - whoever writes raises it
            self._error = error

    def _sent(self) -> Iterator[bytes]:
        while not self._abandoned.is_set():
            try:
                piece = self._pieces.get(timeout=1)
            except queue.Empty:
                continue
            if piece is None:
                return
            if piece:
                yield piece
        raise AbandonedError


class AbandonedError(Exception):
    """The export is not wanted any more."""
