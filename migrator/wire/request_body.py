"""Bodies of uploads: multipart/form-data with one streamed file, the file alone, or base64 inside JSON.

Each has a `Content-Length`, because servers as old as our trackers refuse chunked uploads.

Beware: file names are sent as raw UTF-8 with the escapes of browsers. Where that could be misread, they are sent once
more as `filename*` (RFC 5987), which newer servers prefer and older ones ignore.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import quote

from migrator.ports import Body

_CONTROLS = [chr(code) for code in (*range(32), 127) if chr(code) != "\t"]
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_MEDIA_TYPE = re.compile(
    rf'(?P<kind>{_WORD}/{_WORD})(?=[ \t]*;|\Z)(?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|"[\t !#-\[\]-~]*"))*'
)
_BOUNDARY = f"migrator-{secrets.token_hex(16)}"
"""The beginning of all boundaries: no file can contain what is drawn after it was written."""
_NUMBERS = itertools.count()
_ESCAPES = str.maketrans({char: f"%{ord(char):02X}" for char in ('"', *_CONTROLS)})


class MultipartBody:
    """A multipart body with one file; iterating it again starts again."""

    def __init__(self, fields: Mapping[str, str], part: str, name: str, media_type: str, body: Body) -> None:
        boundary = f"{_BOUNDARY}-{next(_NUMBERS)}"
        texts = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        )
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{part}"; {content_disposition(name)}\r\n'
        self._head = f"{texts}{head}Content-Type: {sendable(media_type)}\r\n\r\n".encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._body = body
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + body.size + len(self._tail)),
        }

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        async for chunk in self._body:
            yield chunk
        yield self._tail


class RawBody:
    """The file alone as the body of an upload; iterating it again starts again."""

    def __init__(self, body: Body, media_type: str = "application/octet-stream") -> None:
        self._body = body
        self.headers = {"Content-Type": sendable(media_type), "Content-Length": str(body.size)}

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)


class Base64JsonBody:
    """A JSON object with the file as base64 in its last field; iterating it again starts again.

    `frame`, if given, are the values of another object, and the name of its last field: a list with the first object as
    its only item. The base64 text then ends with a line end, because some servers take an empty text for a missing one.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        field: str,
        body: Body,
        frame: tuple[Mapping[str, object], str] | None = None,
    ) -> None:
        self._head = f'{_opened(values, field)}"'.encode()
        self._tail = b'"}'
        if frame is not None:
            self._head, self._tail = f"{_opened(*frame)}[".encode() + self._head, b'\\n"}]}'
        self._body = body
        length = len(self._head) + (body.size + 2) // 3 * 4 + len(self._tail)
        self.headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Accept": "application/json",
            "Content-Length": str(length),
        }

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        rest = b""
        async for chunk in self._body:
            whole = rest + chunk
            cut = len(whole) - len(whole) % 3
            rest = whole[cut:]
            if cut:
                yield base64.b64encode(memoryview(whole)[:cut])
        if rest:
            yield base64.b64encode(rest)
        yield self._tail


def _opened(values: Mapping[str, object], field: str) -> str:
    """A JSON object up to the value of its last field."""
    fields = "".join(f"{json.dumps(name)}: {json.dumps(value)}, " for name, value in values.items())
    return f"{{{fields}{json.dumps(field)}: "


class Base64CallBody(Base64JsonBody):
    """A call by JSON-RPC with the file as a binary value among its parameters, as Trac's plugin spells both."""

    def __init__(self, method: str, before: Sequence[object], body: Body, after: Sequence[object]) -> None:
        super().__init__({}, "", body)
        params = "".join(f"{json.dumps(value)}, " for value in before)
        rest = "".join(f", {json.dumps(value)}" for value in after)
        self._head = f'{{"id": 1, "method": {json.dumps(method)}, "params": [{params}'.encode()
        self._head += b'{"__jsonclass__": ["binary", "'
        self._tail = f'"]}}{rest}]}}'.encode()
        length = len(self._head) + (body.size + 2) // 3 * 4 + len(self._tail)
        self.headers = {**self.headers, "Content-Length": str(length)}


StreamedBody = MultipartBody | RawBody | Base64JsonBody
"""A body that is sent in chunks."""


def sendable(media_type: str) -> str:
    """The media type to send for a file: its own, without malformed parameters, or that of plain bytes.

    `multipart/...` and `message/...` are not sent: many servers then look for parts inside the file, and refuse it or
    take it apart. The syntax is that of RFC 9110, 8.3.1.
    """
    match = _MEDIA_TYPE.match(media_type.strip(" "))
    if match is None or match["kind"].lower().startswith(("multipart/", "message/")):
        return "application/octet-stream"
    return match[0] if match.end() == len(media_type.strip(" ")) else match["kind"]


def content_disposition(name: str) -> str:
    """`filename="..."`, with `filename*` as well where the plain form may be misread."""
    plain = f'filename="{name.translate(_ESCAPES)}"'
    if name.isascii() and name.isprintable() and not set(name) & set('"\\%'):
        return plain
    return f"{plain}; filename*=UTF-8''{quote(name, safe='')}"
