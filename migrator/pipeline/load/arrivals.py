"""Which file on an entity is which upload: what was sent and not seen to arrive, found among what is new there.

A target may call a file what it likes. What was sent is recognised by being new on the entity, by its size and by its
bytes; its name only decides between several candidates.

Beware: where a file can't be read back, its size alone proves little. It counts only while nothing else could be
meant: no other file, and no other upload with other bytes. Otherwise the upload stays in doubt and is not sent again.
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
"""From this likeness on (0 to 1) one name may be what a target made of another."""

_PASSING = re.compile(r"migrator-[0-9a-f]{32}\.")

Pair = tuple[Upload, Attachment]


@dataclass(slots=True)
class Recognised:
    """By attachment id: the file that it is, or why that isn't known yet."""

    found: dict[str, Attachment] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)


async def recognise(sent: Sequence[Upload], files: Iterable[Attachment], reader: Reader) -> Recognised:
    """Find what was sent to one entity, and not seen to arrive, among files there that no upload accounts for.

    Files that were there before an upload (`seen`) are not it. Raises only `ConnectError` and what is fatal.
    """
    fresh = [file for file in files if not is_passing(file.name)]
    made = Recognised()
    pairs = [(upload, file) for upload in sent for file in fresh if file.id not in upload.seen and fits(upload, file)]
    contents = {file.id: await reader.of(file) for _, file in pairs}
    _by_content(made, pairs, contents)
    rest = [pair for pair in pairs if _may_be(made, pair, contents)]
    _by_count(made, [pair for pair in rest if pair[1].name == pair[0].sent_name], contents)
    _by_count(made, [pair for pair in rest if pair[1].size is not None], contents)
    for upload, file in rest:
        if upload.attachment.id not in made.found and file.id not in _taken(made):
            why = f"file {file.id} ({file.name!r}) may be it, and can't be read back to tell: {contents[file.id].why}"
            made.unsure[upload.attachment.id] = why
    await _by_text(made, sent, fresh, reader)
    return made


def fits(upload: Upload, file: Attachment) -> bool:
    """Whether a file may be this upload, going by its size."""
    return file.size in {None, upload.blob.size}


def is_passing(name: str) -> bool:
    """Whether an adapter sent a file under this name and is not done with it: repeating the upload finishes it."""
    return _PASSING.match(name) is not None


def _taken(made: Recognised) -> set[str]:
    return {file.id for file in made.found.values()}


def _take(made: Recognised, upload: Upload, file: Attachment) -> None:
    if upload.attachment.id not in made.found and file.id not in _taken(made):
        made.found[upload.attachment.id] = file


def _by_content(made: Recognised, pairs: Sequence[Pair], contents: dict[str, Contents]) -> None:
    """Equal bytes; among several of those the names that are most alike."""
    same = [(upload, file) for upload, file in pairs if contents[file.id].sha256 == upload.blob.sha256]
    for upload, file in sorted(same, key=lambda pair: -likeness(pair[0].sent_name or "", pair[1].name)):
        _take(made, upload, file)


def _may_be(made: Recognised, pair: Pair, contents: dict[str, Contents]) -> bool:
    """Whether it is still open what this upload is, and what is in this file."""
    upload, file = pair
    told = contents[file.id]
    return (
        told.sha256 is None and not told.gone and upload.attachment.id not in made.found and file.id not in _taken(made)
    )


def _by_count(made: Recognised, pairs: Sequence[Pair], contents: dict[str, Contents]) -> None:
    """Files that can't be read, where all that could be meant are uploads of the same bytes, as many at least."""
    for sha256 in dict.fromkeys(upload.blob.sha256 for upload, _ in pairs):
        uploads = {upload.attachment.id: upload for upload, _ in pairs if upload.blob.sha256 == sha256}
        files = {file.id: file for upload, file in pairs if upload.blob.sha256 == sha256 and contents[file.id].for_good}
        others = {file.id for upload, file in pairs if upload.blob.sha256 != sha256}
        open_ones = [upload for id_, upload in uploads.items() if id_ not in made.found]
        left = [file for id_, file in files.items() if id_ not in _taken(made)]
        if len(left) <= len(open_ones) and others.isdisjoint(file.id for file in left):
            for upload, file in zip(open_ones, left, strict=False):
                _take(made, upload, file)


async def _by_text(made: Recognised, sent: Sequence[Upload], files: Sequence[Attachment], reader: Reader) -> None:
    """A text that was re-encoded, or a size that is listed wrongly; the name has to be like the one that was sent."""
    for upload in sent:
        for file in files:
            if upload.attachment.id in made.found or file.id in upload.seen or file.id in _taken(made):
                continue
            if resembles(upload.sent_name or "", file.name) and await _holds_it(upload, file, reader):
                _take(made, upload, file)


async def _holds_it(upload: Upload, file: Attachment, reader: Reader) -> bool:
    try:
        listed_wrongly = await _is_listed_wrongly(upload.blob, file, reader)
        return listed_wrongly or await reader.as_text(file, upload.blob) is not None
    except errors.ConnectError:
        raise
    except errors.ItemFailedError:
        return False


def resembles(sent: str, found: str) -> bool:
    """Whether a target may have made one name of the other: it cut, composed, replaced, escaped or appended."""
    return likeness(sent, found) >= MIN_LIKENESS


def likeness(sent: str, found: str) -> float:
    """From 0 to 1; 1 where only case, composition, escapes and signs differ, and near it where one holds the other."""
    one, other = _core(sent), _core(found)
    if sent == found:
        return 2.0  # before all that merely come to the same
    if not one or not other:
        return 0.0
    alike = SequenceMatcher(None, one, other, autojunk=False).ratio()
    shorter = min(one, other, key=len)
    held = len(shorter) >= 3 and (shorter in one and shorter in other)
    return max(alike, 0.9 if held else 0.0)


def _core(name: str) -> str:
    """The letters and digits of a name, in one form."""
    plain = unicodedata.normalize("NFKC", unquote(name)).casefold()
    return "".join(char for char in plain if char.isalnum())


def same_name(one: str, other: str) -> bool:
    """Whether two names are the same text, composed or not."""
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


async def altered_of(name: str, blob: Blob, remote: Attachment, reader: Reader) -> Altered:
    """What the target altered of a file that was sent under this name. `RejectedError` where that is more than it may
    be.

    What another size means is told by the content; raises what reading it raises.
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
    """Whether the bytes are all there, and only the size in the list is another."""
    try:
        return await reader.sha256(replace(remote, size=blob.size)) == blob.sha256
    except errors.UnexpectedBodyError:
        return False


async def _text_there(blob: Blob, remote: Attachment, reader: Reader) -> str:
    found = await reader.as_text(remote, blob)
    if found is None:
        raise errors.RejectedError(f"arrived as {remote.name!r}, {remote.size} bytes; sent were {blob.size} bytes")
    return found
