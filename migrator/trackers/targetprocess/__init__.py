"""Targetprocess, REST API version 1, as source and as target.

All entities share one id space, so files are sent to an id, whatever its kind. `client` has what source and target
share, `api` requests lists, `parse` reads answers, `files` finds the files of one entity.

Beware: Targetprocess puts the file's name into a description that nobody wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from migrator.model import Attachment
from migrator.trackers import Adapter, Guide
from migrator.trackers.targetprocess.client import CAPABILITIES, Options
from migrator.trackers.targetprocess.parse import INLINE
from migrator.trackers.targetprocess.source import TargetprocessSource
from migrator.trackers.targetprocess.target import TargetprocessTarget
from migrator.trackers.url_quoting import encoded_once
from migrator.wire import HeaderAuth, QueryTokenAuth, Signer, basic

__all__ = ["ADAPTER", "Options", "TargetprocessSource", "TargetprocessTarget"]


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file; an image inside a text is fetched by its path."""
    if attachment.id.startswith(INLINE):
        return f"{base}/{encoded_once(attachment.locator)}"
    return f"{base}/Attachment.aspx?AttachmentID={quote(attachment.id, safe='')}"


def signer(auth: Mapping[str, str]) -> Signer:
    """Credentials of [source.auth] or [target.auth]."""
    if "username" in auth:
        return basic(auth["username"], auth["password"])
    for name in ("access_token", "token"):
        if name in auth:
            return QueryTokenAuth(name, auth[name])
    return HeaderAuth("Cookie", auth["cookie"])


ADAPTER = Adapter(
    source=TargetprocessSource,
    target=TargetprocessTarget,
    options=Options,
    auth=(("username", "password"), ("access_token",), ("token",), ("cookie",)),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
    guide=Guide(
        name="Targetprocess",
        url="https://acme.tpondemand.com",
        url_note="on-site: with the virtual directory, https://host/targetprocess",
        prefix="TP",
        username="System",
        kinds=("UserStory", "Bug", "Feature"),
        files_note="if the API gets a token: on some accounts tokens can't download files",
        examples={"create_project": "Demo", "create_kind": "UserStory", "own_kinds": ["Risk"]},
    ),
)
