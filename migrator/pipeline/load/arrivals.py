"""Finds uploads that were sent and not seen to arrive, among the files that are new on their entity.

A target may rename a file. An upload is recognised because the file is new on the entity and has its size and bytes;
the name only decides between several candidates.

Beware: if a file can't be read back, its size alone proves little. It counts only if nothing else is possible: no other
file, and no other upload with other bytes. Otherwise the upload stays in doubt and is not sent again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from urllib.parse import unquote

from migrator import errors
from migrator.model import Altered, Attachment, Blob, Upload
from migrator.pipeline.reading import Contents, Reader

MIN_LIKENESS = 0.6
"""The likeness (0 to 1) from which on one name may be what a target made of another."""

MIN_CONTAINED_CHARACTERS = 3
"""A shorter name may be contained in another by chance."""

_PASSING = re.compile(r"migrator-[0-9a-f]{32}\.")

Pair = tuple[Upload, Attachment]


@dataclass(slots=True)
class Recognised:
    """By attachment id: the file that an upload became, or why that is not certain."""

    files: dict[str, Attachment] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)

    def has(self, upload: Upload) -> bool:
        """Whether the upload is recognised."""
        return upload.attachment.id in self.files

    def is_taken(self, file: Attachment) -> bool:
        """Whether the file is an upload that is recognised."""
        return any(file.id == taken.id for taken in self.files.values())

    def take(self, upload: Upload, file: Attachment) -> None:
        """The upload became this file, unless either of them is matched already."""
        if not self.has(upload) and not self.is_taken(file):
            self.files[upload.attachment.id] = file


async def recognise(sent: Sequence[Upload], files: Iterable[Attachment], reader: Reader) -> Recognised:
    """Find what was sent to one entity and not seen to arrive, among the files there that no upload accounts for.

    A file that was there before an upload (in `seen`) is not that upload. Raises only `ConnectError` and what is fatal.
    """
    complete = [file for file in files if not is_passing(file.name)]
    recognised = Recognised()
    pairs = [(up, file) for up in sent for file in complete if file.id not in up.seen and fits(up, file)]
    hashes = {upload.blob.sha256 for upload in sent}
    contents = {file.id: await reader.contents_of(file, hashes) for _, file in pairs}
    _by_content(recognised, pairs, contents)
    unreadable = [pair for pair in pairs if _is_open(recognised, pair, contents)]
    _by_count(recognised, [pair for pair in unreadable if pair[1].name == pair[0].sent_name], contents)
    _by_count(recognised, [pair for pair in unreadable if pair[1].size is not None], contents)
    for upload, file in unreadable:
        if not recognised.has(upload) and not recognised.is_taken(file):
            reason = contents[file.id].reason
            recognised.unsure[upload.attachment.id] = (
                f"file {file.id} ({file.name!r}) may be this one, but it can't be read back to tell: {reason}"
            )
    await _by_text(recognised, sent, complete, reader)
    return recognised


def fits(upload: Upload, file: Attachment) -> bool:
    """Whether a file may be this upload, by its size."""
    return file.size in {None, upload.blob.size}


def is_passing(name: str) -> bool:
    """Whether this is the name of a file that an adapter is still sending: repeating the upload finishes it."""
    return _PASSING.match(name) is not None


def _by_content(recognised: Recognised, pairs: Sequence[Pair], contents: dict[str, Contents]) -> None:
    """Match files that have the bytes sent; of several, the one with the most similar name."""
    same = [(upload, file) for upload, file in pairs if contents[file.id].sha256 == upload.blob.sha256]
    for upload, file in sorted(same, key=lambda pair: -likeness(pair[0].sent_name or "", pair[1].name)):
        recognised.take(upload, file)


def _is_open(recognised: Recognised, pair: Pair, contents: dict[str, Contents]) -> bool:
    """Whether neither the upload is recognised, nor the content of the file known."""
    upload, file = pair
    unreadable = contents[file.id].sha256 is None and not contents[file.id].gone
    return unreadable and not recognised.has(upload) and not recognised.is_taken(file)


def _by_count(recognised: Recognised, pairs: Sequence[Pair], contents: dict[str, Contents]) -> None:
    """Match files that can't be read, if all uploads that fit them have the same bytes and no file would be left."""
    for sha256 in dict.fromkeys(upload.blob.sha256 for upload, _ in pairs):
        uploads = {upload.attachment.id: upload for upload, _ in pairs if upload.blob.sha256 == sha256}
        files = {file.id: file for upload, file in pairs if upload.blob.sha256 == sha256 and contents[file.id].for_good}
        others = {file.id for upload, file in pairs if upload.blob.sha256 != sha256}
        open_uploads = [upload for upload in uploads.values() if not recognised.has(upload)]
        left = [file for file in files.values() if not recognised.is_taken(file)]
        if len(left) <= len(open_uploads) and others.isdisjoint(file.id for file in left):
            for upload, file in zip(open_uploads, left, strict=False):
                recognised.take(upload, file)


async def _by_text(recognised: Recognised, sent: Sequence[Upload], files: Sequence[Attachment], reader: Reader) -> None:
    """Match texts that were re-encoded, and files whose size is listed wrongly, if the name is like the one sent."""
    for upload in sent:
        for file in files:
            if recognised.has(upload) or recognised.is_taken(file) or file.id in upload.seen:
                continue
            if resembles(upload.sent_name or "", file.name) and await _has_content(upload, file, reader):
                recognised.take(upload, file)


async def _has_content(upload: Upload, file: Attachment, reader: Reader) -> bool:
    try:
        listed_wrongly = file.size is not None and await _is_listed_wrongly(upload.blob, file, reader)
        return listed_wrongly or await reader.as_text(file, upload.blob) is not None
    except errors.ConnectError:
        raise
    except errors.ItemFailedError:
        return False


def resembles(sent: str, listed: str) -> bool:
    """Whether a target may have made one name of the other: cut it, composed, replaced, escaped or appended to it."""
    return likeness(sent, listed) >= MIN_LIKENESS


def likeness(sent: str, listed: str) -> float:
    """How similar two names are: 2 if equal, else from 0 to 1.

    1 means that only case, composition, escapes and punctuation differ; at least 0.9, that one contains the other.
    """
    if sent == listed:
        return 2.0
    sent, listed = _core(sent), _core(listed)
    if not sent or not listed:
        return 0.0
    ratio = SequenceMatcher(None, sent, listed, autojunk=False).ratio()
    shorter = min(sent, listed, key=len)
    contained = len(shorter) >= MIN_CONTAINED_CHARACTERS and shorter in sent and shorter in listed
    return max(ratio, 0.9 if contained else 0.0)


def _core(name: str) -> str:
    """The letters and digits of a name, in a normal form."""
    plain = unicodedata.normalize("NFKC", unquote(name)).casefold()
    return "".join(char for char in plain if char.isalnum())


def same_name(name: str, other: str) -> bool:
    """Whether two names are the same text, composed or not."""
    return unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other)


async def altered_of(name: str, blob: Blob, remote: Attachment, reader: Reader) -> Altered:
    """What the target altered of a file that was sent under this name. `RejectedError` if it is another file.

    If the listed size differs, the content decides; raises what reading it raises.
    """
    altered: Altered = {}
    if remote.name != name:
        altered["name"] = {"sent": name, "found": remote.name}
    if remote.size not in {None, blob.size}:
        altered["size"] = {"sent": blob.size, "found": remote.size or 0}
        if not await _is_listed_wrongly(blob, remote, reader) and await reader.sha256(remote) != blob.sha256:
            altered["content"] = {"sent": blob.sha256, "found": await _text_there(blob, remote, reader)}
    return altered


async def _is_listed_wrongly(blob: Blob, remote: Attachment, reader: Reader) -> bool:
    """Whether all bytes are there, and only the listed size is wrong."""
    try:
        return await reader.sha256(replace(remote, size=blob.size)) == blob.sha256
    except errors.UnexpectedBodyError:
        return False


async def _text_there(blob: Blob, remote: Attachment, reader: Reader) -> str:
    sha256 = await reader.as_text(remote, blob)
    if sha256 is None:
        raise errors.RejectedError(f"arrived as {remote.name!r} with {remote.size} bytes; {blob.size} bytes were sent")
    return sha256
