"""Squash TM, as source and as target: the files of all twelve kinds of owner (REST plugin, `api/rest/latest`).

Seven kinds have a list; five are found only below their parents. A cursor lists the pages that are still to be
requested, so that each page of a stream takes a few small requests. Files come from each owner's own record, never from
a list.

Beware: without `sort=id` some items come twice and others never; a page without items has no `_embedded`; after a
deletion everything moves up, so each page after the first must join the one before.

A name travels in a multipart header, where a quote or a slash arrives as something else: see `passing`. Not read:
files of sprints, of automated suites and of exploratory sessions (the plugin's page names no such owners). Sources:
vendor page "Attachments"; the manual's chapters on projects, test cases and steps; the source of Squash TM 2.0 (names,
sizes, whitelist); clients that say what live servers did (Basic refused by 15, wrapped tokens, paging).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import quote

from migrator.model import Attachment
from migrator.trackers import Adapter
from migrator.trackers.squash.client import API, CAPABILITIES, Options
from migrator.trackers.squash.source import SquashSource
from migrator.trackers.squash.target import SquashTarget
from migrator.wire import Signer, basic, bearer

__all__ = ["ADAPTER", "Options", "SquashSource", "SquashTarget"]


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file: the API's own link to its content, which needs a login."""
    return f"{base}/{API}/attachments/{quote(attachment.id, safe='')}/content"


def signer(auth: Mapping[str, str]) -> Signer:
    """A personal API token, or the name and password of an account, which the server reads as ISO 8859-1."""
    if "token" in auth:
        return bearer(unwrapped(auth["token"]))
    return basic(auth["username"], auth["password"], "latin-1")


def unwrapped(token: str) -> str:
    """The token: three parts with dots between them. Its web page may show it base64-encoded."""
    if token.count(".") == 2:
        return token
    try:
        inner = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_" if set(token) & set("-_") else None)
        plain = inner.decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return token
    return plain if plain.count(".") == 2 and plain.isprintable() else token


ADAPTER = Adapter(
    source=SquashSource,
    target=SquashTarget,
    options=Options,
    auth=(("token",), ("username", "password")),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
    title="Squash TM",
)
