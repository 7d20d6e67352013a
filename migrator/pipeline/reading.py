"""Files at a target, read back: what is in them, and whether it is what was sent.

A file is the same if its bytes are. A text is also the same if the target kept its characters but changed the encoding,
the line ends or the byte order mark.

Beware: that a file can't be read now proves nothing; only a definite no does. Nor does one reading of a file whose
length nothing states prove that it is another one: it may have been cut. It is read once more.
"""

from __future__ import annotations

import codecs
import hashlib
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, Blob, Upload
from migrator.ports import Body, BodyFacts, Sink, Target
from migrator.progress import Progress, Silent

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Texts of at most this many bytes are compared as text."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class HashSink(Sink):
    """Hashes a file; keeps its bytes if there are at most `keep` of them."""

    def __init__(self, keep: int = 0, progress: Progress | None = None) -> None:
        self._keep, self._progress = keep, progress or Silent()
        self.rewind()

    @override
    async def start(self, facts: BodyFacts) -> None:
        pass

    @override
    async def write(self, chunk: bytes) -> None:
        self._progress.transferred(len(chunk))
        self.sha256.update(chunk)
        self.size += len(chunk)
        if self.size <= self._keep:
            self._kept += chunk

    @override
    def rewind(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size, self._kept = 0, bytearray()

    @override
    def warn(self, text: str) -> None:
        pass

    @property
    def content(self) -> bytes | None:
        """The bytes; None if there were more than `keep`."""
        return bytes(self._kept) if self.size <= self._keep else None


class Blobs(Protocol):
    """Where the bytes that were sent come from: an archive."""

    def body(self, blob: Blob) -> Body | None:
        """The bytes of a blob; None if it is damaged or missing."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The hash of one file, or the reason why there is none. `for_good`: asking again is no use."""

    sha256: str | None = None
    reason: str = ""
    gone: bool = False
    for_good: bool = True


class Reader:
    """Reads files of a target back and remembers what was in them."""

    def __init__(self, target: Target, blobs: Blobs) -> None:
        self._target, self._blobs = target, blobs
        self._known: dict[str, Contents] = {}

    async def contents_of(self, remote: Attachment, expected: Collection[str] = ()) -> Contents:
        """What is in a file; it is read only once, or twice as `hash_of` does. Raises only `ConnectError` and what is
        fatal.

        Its length is compared with the listed one, or a truncated download would pass for another file.
        """
        if remote.id not in self._known:
            self._known[remote.id] = await self._read(remote, expected)
        return self._known[remote.id]

    async def _read(self, remote: Attachment, expected: Collection[str]) -> Contents:
        try:
            return Contents(await self.sha256_of(remote, expected))
        except errors.GoneError as error:
            return Contents(reason=str(error), gone=True)
        except (errors.RejectedError, errors.UnexpectedBodyError) as error:
            return Contents(reason=str(error))
        except errors.ConnectError:
            raise
        except errors.RetriableError as error:
            return Contents(reason=str(error), for_good=False)

    async def sha256_of(self, remote: Attachment, expected: Collection[str]) -> str:
        """See `hash_of`."""
        return await hash_of(self._target, remote, expected)

    async def sha256(self, remote: Attachment) -> str:
        """The hash of a file, read now; raises what reading raises."""
        return await hash_of(self._target, remote)

    async def as_text(self, remote: Attachment, blob: Blob) -> str | None:
        """The hash of a file if it holds the blob's text in another encoding, else None."""
        if not may_be_re_encoded(remote, blob):
            return None
        sink = HashSink(keep=4 * MAX_TEXT_BYTES)
        await self._target.read_back(remote, sink)
        body = self._blobs.body(blob)
        if body is None or sink.content is None:
            return None
        sent = b"".join([chunk async for chunk in body])
        return sink.sha256.hexdigest() if same_text(sent, sink.content) else None


async def hash_of(target: Target, remote: Attachment, expected: Collection[str] = ()) -> str:
    """The hash of a file at a target, read now; raises what reading raises.

    If one of several hashes is expected, no length is listed, and another hash is found, it is read once more;
    `RetriableError` if two readings differ.
    """
    found = await _hash_of(target, remote)
    if remote.size is not None or not expected or found in expected:
        return found
    again = await _hash_of(target, remote)
    if again != found and again not in expected:
        raise errors.RetriableError("two readings of it differ")
    return again


async def _hash_of(target: Target, remote: Attachment) -> str:
    sink = HashSink()
    await target.read_back(remote, sink)
    return sink.sha256.hexdigest()


def remote_of(upload: Upload) -> Attachment:
    """The file at the target that an upload became, as the catalog knows it."""
    name = upload.name or upload.sent_name or ""
    return Attachment(upload.remote_id or "", upload.to, name, upload.size_there, locator=upload.locator)


def may_be_re_encoded(remote: Attachment, blob: Blob) -> bool:
    """Whether a file may be the blob's text in another encoding, by its size: none takes over four times as much."""
    small, largest = 0 < blob.size <= MAX_TEXT_BYTES, 4 * blob.size + 4
    return small and (remote.size is None or 0 < remote.size <= largest)


def same_text(sent: bytes, received: bytes) -> bool:
    """Whether both are the same text, apart from encoding, line ends, byte order mark and composition."""
    text, other = _text(sent), _text(received)
    return text is not None and text == other


def _text(content: bytes) -> str | None:
    """The characters of a text in a normal form; None if it is no text."""
    mark, encoding = next((pair for pair in _BYTE_ORDER_MARKS if content.startswith(pair[0])), (b"", "utf-8"))
    plain = content[len(mark) :]
    for name in (encoding,) if mark else (encoding, "cp1252"):
        try:
            text = plain.decode(name)
        except UnicodeDecodeError:
            continue
        if not any(unicodedata.category(char) == "Cc" and char not in "\t\n\r\f" for char in set(text)):
            return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip("\n")
    return None
