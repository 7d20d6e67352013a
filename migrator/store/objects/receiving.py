"""Files on their way into a bucket: received, put under a name of their own if they are large, and given their names.

A file of at most one part stays in memory and is put under its name at once. A larger one goes to `incoming/` while it
arrives, because its hash, and so its name, is known only at its end; then the store copies it.

Beware: what a killed program leaves in `incoming/` is deleted by the next run. Parts of an object that was never
finished are not listed there; a rule of the bucket has to clear them (`AbortIncompleteMultipartUpload`).
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from typing_extensions import override

from migrator.errors import StorageError
from migrator.model import Blob
from migrator.store.layout import INCOMING, new_incoming_name
from migrator.store.objects.bucket import PART_BYTES, Bucket
from migrator.store.objects.encoding import PLAIN, Encoding
from migrator.store.port import IncomingBlob, Receiving, Storing

if TYPE_CHECKING:
    from migrator.store.objects.blobs import ObjectBlobs

WAITING_CHUNKS = 16
"""Chunks that may wait to be sent."""
FULL_SECONDS = 0.005
"""How long to wait before looking again whether there is room for another chunk."""


class _DiscardedError(Exception):
    """The file is not wanted any more."""


class _Upload(threading.Thread):
    """Sends one large file while it arrives."""

    def __init__(self, bucket: Bucket, name: str, encoding: Encoding) -> None:
        super().__init__(name="upload")
        self._bucket, self._path, self._encoding = bucket, f"{INCOMING}/{name}", encoding
        self.name_there = name
        self.waiting: queue.Queue[bytes | None] = queue.Queue(WAITING_CHUNKS)
        self.discarded = False
        self.error: BaseException | None = None
        self.sha256, self.size = hashlib.sha256(), 0

    @override
    def run(self) -> None:
        try:
            self._bucket.put_stream(self._path, self._encoding.encoded(self._chunks()))
        except BaseException as error:  # noqa: BLE001 - whoever waits for the file raises it
            self.error = error

    def _chunks(self) -> Iterator[bytes]:
        while True:
            try:
                chunk = self.waiting.get(timeout=1)
            except queue.Empty:
                chunk = b""
            if self.discarded:
                raise _DiscardedError
            if chunk is None:
                return
            if chunk:
                self.sha256.update(chunk)
                self.size += len(chunk)
                yield chunk

    async def send(self, chunk: bytes) -> None:
        """Send a chunk, once there is room for it."""
        while True:
            if self.error is not None:
                raise self.error
            try:
                self.waiting.put_nowait(chunk)
            except queue.Full:
                await asyncio.sleep(FULL_SECONDS)
            else:
                return

    def finish(self) -> IncomingBlob:
        """Wait until everything is there."""
        while self.is_alive():
            try:
                self.waiting.put(None, timeout=1)
                break
            except queue.Full:
                continue
        self.join()
        if self.error is not None:
            raise self.error
        return IncomingBlob(Blob(self.sha256.hexdigest(), self.size), self.name_there)


class LargeObject(Receiving):
    """One large file that is being received, in memory until it is larger than a part."""

    def __init__(self, bucket: Bucket, encoding: Encoding = PLAIN) -> None:
        self._bucket, self._encoding = bucket, encoding
        self._parts: list[bytes] = []
        self._size = 0
        self._upload: _Upload | None = None

    @override
    async def write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._upload is None:
            self._parts.append(chunk)
            if self._size <= PART_BYTES:
                return
            self._upload = _Upload(self._bucket, new_incoming_name(), self._encoding)
            self._upload.start()
            parts, self._parts = self._parts, []
            for part in parts:
                await self._upload.send(part)
        else:
            await self._upload.send(chunk)

    @override
    def finish(self) -> IncomingBlob:
        if self._upload is not None:
            return self._upload.finish()
        body = b"".join(self._parts)
        return IncomingBlob(Blob(hashlib.sha256(body).hexdigest(), len(body)), body)

    @override
    def discard(self) -> None:
        """Give up; the thread that sends sees it within a second, and gives up the parts."""
        if self._upload is not None:
            self._upload.discarded = True


class StoringObjects(Storing):
    """Some received files on their way to be blobs in a bucket. All of it is done in `sync_contents`: what a store has
    accepted is safe, and an object has its name or is not there.
    """

    def __init__(self, blobs: ObjectBlobs, received: Sequence[IncomingBlob], untrusted: AbstractSet[str]) -> None:
        self._blobs = blobs
        self._untrusted = {
            sha256 for each in received if not untrusted.isdisjoint(_names_of(sha256 := each.blob.sha256, blobs))
        }
        self._contents: dict[str, bytes] = {}
        self._names: dict[str, IncomingBlob] = {}
        self._needless: list[str] = []
        for each in received:
            sha256, content = each.blob.sha256, each.content
            if sha256 in self._contents or sha256 in self._names:
                if isinstance(content, str):
                    self._needless.append(f"{INCOMING}/{content}")
            elif isinstance(content, bytes):
                self._contents[sha256] = content
            else:
                self._names[sha256] = each

    @override
    def write_contents(self) -> None:
        pass

    @override
    def sync_contents(self) -> None:
        blobs = self._blobs
        blobs.guard()
        waiting = [blobs.pool.submit(self._put, *each) for each in self._contents.items()]
        waiting += [blobs.pool.submit(self._move, each) for each in self._names.values()]
        for each in waiting:
            each.result()
        blobs.bucket.remove(self._needless)

    def _put(self, sha256: str, content: bytes) -> None:
        if sha256 in self._untrusted:
            self._blobs.bucket.put(self._blobs.path_of(sha256), self._blobs.encoding.encode(content))
        else:
            self._blobs.bucket.create(self._blobs.path_of(sha256), self._blobs.encoding.encode(content))

    def _move(self, received: IncomingBlob) -> None:
        bucket, blob, holds = self._blobs.bucket, received.blob, self._blobs.holds
        path, to = f"{INCOMING}/{received.content!s}", self._blobs.path_of(blob.sha256)
        if blob.sha256 not in self._untrusted and holds(to, blob.size):
            bucket.remove([path])
        elif holds(path, blob.size):
            bucket.move(path, to, blob.size)
        elif not holds(to, blob.size):  # else it has got its name before, if this is repeated
            raise StorageError(f"{bucket.name}: {path} was sent, but is not there as it should be")

    @override
    def rename(self) -> None:
        pass

    @override
    def sync_names(self) -> None:
        pass


def _names_of(sha256: str, blobs: ObjectBlobs) -> tuple[str, str]:
    """A blob's hash, and the name of its file where nobody knew the hash."""
    return sha256, blobs.encoding.there(sha256[:2], sha256)
