"""Files inside of JSON, as base64: received in chunks, whatever their size; and files in a ZIP.

Only the text of `FileContent` is large. It is decoded while it arrives; the rest is parsed as JSON with an empty text
in its place.

Beware: this must share no code with the adapter, or a mistake of both would go unnoticed.
"""

import binascii
import hashlib
import io
import json
import re
import secrets
import zipfile
from typing import Any

from migrator.sandbox.base64_json import in_one_line
from migrator.sandbox.errors import RefusedError
from migrator.sandbox.uploads import ReceivedFile, StoredContent

_OPENING = re.compile(rb'(?<!\\)"FileContent"\s*:\s*"')
_MAX_HEAD_BYTES = 64 * 1024
_BOMB_BYTES = 50_000_000
_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10)}
MAX_NAME_LENGTH = 150


class UploadBody:
    """The body of an upload, fed piece by piece; `content` is the file."""

    def __init__(self) -> None:
        self.content = StoredContent()
        self._digest = hashlib.sha256()
        self._rest = b""
        self._group = b""
        self._state = "before"

    def feed(self, piece: bytes) -> None:
        """Take the next bytes; `RefusedError` if they are malformed."""
        if self._state == "before":
            self._rest += piece
            opening = _OPENING.search(self._rest)
            if opening is None:
                if len(self._rest) > _MAX_HEAD_BYTES:
                    raise RefusedError(400, "The request is invalid.")
                return
            piece, self._rest = self._rest[opening.end() :], self._rest[: opening.end()]
            self._state = "inside"
        if self._state == "inside":
            text, quote, rest = piece.partition(b'"')
            self._decode(text, last=bool(quote))
            if not quote:
                return
            self._state, piece = "after", quote + rest
        self._rest += piece

    def _decode(self, text: bytes, *, last: bool) -> None:
        text = self._group + text
        cut = len(text) if last else len(text) - len(text) % 4
        self._group = text[cut:]
        try:
            content = binascii.a2b_base64(text[:cut], strict_mode=True) if cut else b""
        except ValueError:
            raise RefusedError(400, "FileContent is not base64.") from None
        self._digest.update(content)
        self.content.write(content)

    def values(self) -> dict[str, Any]:
        """The values except the file; `RefusedError` unless the body was an object with a FileContent."""
        try:
            values = json.loads(self._rest)
        except ValueError:
            values = None
        if not isinstance(values, dict) or self._state != "after":
            raise RefusedError(400, "The request is invalid.")
        return values

    def file(self, name: str) -> ReceivedFile:
        """The file, as the state takes it."""
        media_type = "application/octet-stream"
        return ReceivedFile("FileContent", name, media_type, self.content.size, self._digest.hexdigest(), self.content)


def complaint_about(name: object) -> str:
    """What is wrong with a file name on Windows; empty if it is fine."""
    if not isinstance(name, str) or not name:
        return "FileName is required."
    if len(name.encode("utf-16-le", "surrogatepass")) // 2 > MAX_NAME_LENGTH:
        return f"FileName is longer than {MAX_NAME_LENGTH} characters."
    if any(c in '<>:"/\\|?*' or c < " " for c in name) or name[-1] in " .":
        return "FileName holds characters that a file name can't have."
    if name.split(".")[0].rstrip().upper() in _RESERVED:
        return "FileName is the name of a device."
    return ""


def escaped_base64(content: bytes) -> bytes:
    """The content as base64, with the escapes that some servers write."""
    return in_one_line(content).replace(b"+", b"\\u002B").replace(b"/", b"\\/")


def zipped(contents: list[bytes], *, bomb: bool) -> tuple[list[str], bytes]:
    """Random names, and a ZIP of these contents under them; a `bomb` unpacks to far more."""
    names = [f"{secrets.token_hex(4)}.{secrets.token_hex(2)[:3]}" for _ in contents]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(names, contents, strict=True):
            archive.writestr(name, b"\0" * _BOMB_BYTES if bomb else content)
    return names, packed.getvalue()
