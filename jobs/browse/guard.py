"""Stands in front of every request: which are answered at all, and the headers of each answer.

Listening on the loopback interface is not enough: a web page from elsewhere can let its own name point to this machine
(DNS rebinding), and then read what it likes. So a request has to name this machine as its host.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_OWN_HOST = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_FROM_DATASETTE = re.compile(r"/catalog(?:[/.?-]|\Z)")
"""The paths of pages that are Datasette's own; all else is ours."""
_HIDDEN = re.compile(r"/-/(?!static/)|/_")
"""Datasette's pages about itself, which nobody needs here."""
_BASE = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_POLICY = f"default-src 'none'; style-src 'self'; img-src 'self'; {_BASE}"
_NO_FACETS = base64.b64encode(hashlib.sha256(b"DATASETTE_ALLOW_FACET = false;").digest()).decode()
"""The only inline script that is left in Datasette's pages; see the templates beside this module."""
_POLICY_OF_DATASETTE = (
    f"default-src 'none'; script-src 'self' 'sha256-{_NO_FACETS}'; style-src 'self' 'unsafe-inline'; "
    f"img-src 'self' data:; connect-src 'self'; {_BASE}"
)
_HEADERS = {
    b"cache-control": b"no-store",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
HEAD_ONLY = "migrator.head_only"
"""In the scope of a request: its body isn't sent."""


def guarded(app: App) -> App:
    """The same application, behind the checks."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        protected = _protected(send, scope["path"])
        if refusal := _refusal(scope):
            await _refuse(protected, *refusal)
        else:
            head_only = scope["method"] == "HEAD"  # Datasette knows only GET; the server leaves the body out
            await app({**scope, "method": "GET", HEAD_ONLY: head_only}, receive, protected)

    return answer


def _refusal(scope: Message) -> tuple[int, str] | None:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not _OWN_HOST.fullmatch(hosts[0]):
        return 403, "this server answers only as localhost"
    if _is_from_another_site(dict(scope["headers"])):
        return 403, "this server answers only its own pages"
    if scope["method"] not in {"GET", "HEAD"}:
        return 405, "this server only reads"
    return (404, "there is no such page") if _HIDDEN.match(scope["path"]) else None


def _is_from_another_site(headers: dict[bytes, bytes]) -> bool:
    """Whether a page from elsewhere wants to use something of ours. A link to a page of ours is fine."""
    return headers.get(b"sec-fetch-site") in {b"cross-site", b"same-site"} and (
        headers.get(b"sec-fetch-mode") != b"navigate" or headers.get(b"sec-fetch-dest") != b"document"
    )


async def _refuse(send: Send, status: int, message: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *([(b"allow", b"GET, HEAD")] if status == 405 else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": message.encode()})


def _protected(send: Send, path: str) -> Send:
    """Adds the headers. A policy that an answer brings along is kept: it is that of a file, and stricter."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            policy = _POLICY_OF_DATASETTE if _FROM_DATASETTE.match(path) else _POLICY
            ours = {b"content-security-policy": policy.encode(), **_HEADERS}
            given = {name.lower(): value for name, value in message.get("headers", ())}
            if policy_of_file := given.get(b"content-security-policy"):
                ours[b"content-security-policy"] = policy_of_file
            others = [pair for pair in message.get("headers", ()) if pair[0].lower() not in ours]
            message = {**message, "headers": [*others, *ours.items()]}
        await send(message)

    return with_headers
