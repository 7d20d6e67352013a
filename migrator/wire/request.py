"""A request as an adapter means it, before it is signed and sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from yarl import URL

from migrator.wire.auth import Signer
from migrator.wire.request_body import StreamedBody


def _is_no_frame(_: bytes) -> bool:
    """Takes no page for an answer."""
    return False


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a tracker. `path` is below the base address, `query` in plain text.

    `file`: the response is a file, to be streamed; redirects are followed.
    `framed` recognises a page that is the answer to a write: some trackers wrap answers for a browser's hidden frame.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | StreamedBody | None = None
    signer: Signer | None = None
    file: bool = False
    framed: Callable[[bytes], bool] = _is_no_frame

    @property
    def subject(self) -> str:
        """The method and path, for messages; the query and the headers may hold secrets."""
        path = URL(self.path).path if "://" in self.path else self.path.partition("?")[0]
        return f"{self.method} {path}"


def json_request(method: str, path: str, value: object, query: Mapping[str, str] | None) -> Request:
    """A request that sends a value as JSON and wants JSON."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Request(method, path, query or {}, headers, json.dumps(value).encode())
