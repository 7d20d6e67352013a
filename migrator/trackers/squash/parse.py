"""The answers of a Squash TM, as pure functions: files, dates, and refusals of an upload.

Beware: the reason why a server refuses a file is only in the text of its answer, if anywhere, and some servers accept
an upload without creating a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from migrator.errors import RejectedError
from migrator.model import Attachment, Draft, EntityRef
from migrator.trackers.lenient import as_object, as_objects, non_negative, raw_json, text
from migrator.trackers.listing import Items
from migrator.trackers.squash.hal import number_of
from migrator.wire import parse_json_or_none

_LIMIT = re.compile(r"maxSize\W+(\d+)")
_MEDIA_TYPE = re.compile(
    r"(?:application|audio|chemical|font|image|message|model|multipart|text|video|x-[\w-]+)/[\w.+-]+", re.ASCII
)
_ABOUT_TYPES = re.compile(r"whitelist|extension|file[ _-]?type", re.IGNORECASE)


def created_in(body: bytes) -> Items | None:
    """The files in the answer to an upload; None if it can't be understood."""
    answer = parse_json_or_none(body)
    if not isinstance(answer, dict):
        return None
    files = as_object(answer.get("_embedded")).get("attachments", [])
    return files if isinstance(files, list) and len(as_objects(files)) == len(files) else None


def attachment_in(item: Mapping[str, Any], owner: EntityRef) -> Attachment:
    """A file. Servers state its name without the last extension, and that in `file_type`.

    One client's tests show a media type in `file_type`; then the name is complete.
    """
    ext = item.get("file_type", item.get("fileType"))
    media_type = text(ext) if _MEDIA_TYPE.fullmatch(text(ext)) else ""
    is_cut = isinstance(ext, str) and not media_type
    return Attachment(
        id=str(number_of(item)),
        owner=owner,
        name=text(item.get("name")) + (f".{text(ext)}" if is_cut else ""),
        size=non_negative(item.get("size")),
        media_type=media_type,
        created_at=date_in(item.get("added_on", item.get("addedOn"))),
        raw=raw_json(item),
    )


def date_in(value: object) -> str:
    """ISO 8601, whether the server writes the offset with a colon (since 2.x) or without."""
    try:
        return datetime.fromisoformat(text(value)).isoformat()
    except ValueError:
        return ""


def raise_explained(error: RejectedError, owner: EntityRef, draft: Draft) -> NoReturn:
    """Raise the refusal of an upload, with the reason where it can be known."""
    refusal = str(error)
    if type(error) is not RejectedError:
        raise error
    if "status 413" in refusal:
        limit = _LIMIT.search(refusal)
        size = f" of {limit[1]} bytes" if limit else ""
        raise RejectedError(
            f"{owner}: larger than the server's limit{size} (uploadfilter.upload.sizeLimitInBytes)"
        ) from None
    if _ABOUT_TYPES.search(refusal):
        raise RejectedError(f"{owner}: {whitelist_hint(draft)} ({refusal})") from None
    raise error


def whitelist_hint(draft: Draft) -> str:
    """The likely reason why the server did not create a file."""
    ext = draft.name.rpartition(".")[2]
    return f"the extension .{ext} is probably not on its whitelist (uploadfilter.fileExtensions.whitelist)"
