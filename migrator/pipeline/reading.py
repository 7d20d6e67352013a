"""Files at a target, read back: what is in them, and whether it is what was sent.

A file is the same if its bytes are. A text is also the same if the target kept its characters and wrote them with
another encoding, other line ends or without a byte order mark.

Beware: a file that can't be read just now is not a file that can't be read. Only the second proves anything.
"""

from __future__ import annotations

import codecs
import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, Blob
from migrator.ports import Body, BodyFacts, Sink, Target
from migrator.progress import Progress, Silent

TEXT_LIMIT = 4 * 1024 * 1024
"""Texts up to this many bytes are compared as text."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class HashSink(Sink):
    """Hashes a file; `content` has its bytes if no more than `keep` came, else None."""

    def __init__(self, keep: int = 0, progress: Progress | None = None) -> None:
        self._keep, self._progress = keep, progress or Silent()
        self.rewind()

    @override
    async def start(self, facts: BodyFacts) -> None:
        pass

    @override
    async def write(self, chunk: bytes) -> None:
        self._progress.moved(len(chunk))
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
        """The bytes, if there were no more than `keep`."""
        return bytes(self._kept) if self.size <= self._keep else None


class Blobs(Protocol):
    """Where the bytes are that were sent; an archive."""

    def body(self, blob: Blob) -> Body | None:
        """The bytes of a blob, None where it is damaged or missing."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read of one file: its hash, or why there is none. `for_good`: it is no use to ask again."""

    sha256: str | None = None
    why: str = ""
    gone: bool = False
    for_good: bool = True


class Reader:
    """Reads files of a target back, each once as long as this lives; raises only `ConnectError` and what is fatal."""

    def __init__(self, target: Target, blobs: Blobs) -> None:
        self._target, self._blobs = target, blobs
        self._known: dict[str, Contents] = {}

    async def of(self, remote: Attachment) -> Contents:
        """What is in a file. Its length is compared with the listed one, or a truncated file would pass for another."""
        if remote.id not in self._known:
            self._known[remote.id] = await self._read(remote)
        return self._known[remote.id]

    async def _read(self, remote: Attachment) -> Contents:
        try:
            return Contents(await self.sha256(remote))
        except errors.GoneError as error:
            return Contents(why=str(error), gone=True)
        except (errors.RejectedError, errors.UnexpectedBodyError) as error:
            return Contents(why=str(error))
        except errors.ConnectError:
            raise
        except errors.RetriableError as error:
            return Contents(why=str(error), for_good=False)

    async def sha256(self, remote: Attachment) -> str:
        """The hash of a file as it is now; raises what reading it raises."""
        sink = HashSink()
        await self._target.read_back(remote, sink)
        return sink.sha256.hexdigest()

    async def as_text(self, remote: Attachment, blob: Blob) -> str | None:
        """The hash of what is there, if that is the blob's text in another encoding; None if it isn't."""
        if not may_be_re_encoded(remote, blob):
            return None
        sink = HashSink(keep=4 * TEXT_LIMIT)
        await self._target.read_back(remote, sink)
        body = self._blobs.body(blob)
        if body is None or sink.content is None:
            return None
        sent = b"".join([chunk async for chunk in body])
        return sink.sha256.hexdigest() if same_text(sent, sink.content) else None


def may_be_re_encoded(remote: Attachment, blob: Blob) -> bool:
    """Whether a file may be the blob's text in another encoding, going by sizes; no encoding takes four times more."""
    small, most = 0 < blob.size <= TEXT_LIMIT, 4 * blob.size + 4
    return small and (remote.size is None or 0 < remote.size <= most)


def same_text(sent: bytes, found: bytes) -> bool:
    """Whether both are text, and the same but for encoding, line ends, byte order mark and composed characters."""
    one, other = _text(sent), _text(found)
    return one is not None and one == other


def _text(content: bytes) -> str | None:
    """The characters of a text in one form; None if it is no text."""
    mark, encoding = next(((m, e) for m, e in _MARKS if content.startswith(m)), (b"", "utf-8"))
    plain = content[len(mark) :]
    for name in (encoding,) if mark else (encoding, "cp1252"):
        try:
            text = plain.decode(name)
        except UnicodeDecodeError:
            continue
        if not any(unicodedata.category(char) == "Cc" and char not in "\t\n\r\f" for char in set(text)):
            return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip("\n")
    return None
