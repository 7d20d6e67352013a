"""Telerik TeamPulse, as source and as target: the files of its work items (API version 1, or without a version).

The one idea: `/attachments` lists every file of the tracker with the number of its work item, so two walks in the
order of ids are enough. The kind of an owner is not told there; it is looked up for each page anew.

The one trap: a file's address (`downloadUrl`, `url`) holds another number than its id and the server's own idea of
its host. It is never built, only taken as told, without the host.

Accounts of a Windows domain: NTLM is not spoken here. Log in with a browser and give its cookie (`.ASPXAUTH=...`).
Author and date of an upload are always the account's and now. The API tells dates without a zone; they stay so.
Sources: vendor page "Attachments" (paths, fields, the part named `files`); vendor pages "Authentication" and
"Filtering"; the vendor's time tracking SDK (the fields that may be null, the description set by PUT).
"""

from __future__ import annotations

from collections.abc import Mapping

from migrator.model import Attachment
from migrator.trackers import Adapter
from migrator.trackers.teampulse.client import CAPABILITIES, Options
from migrator.trackers.teampulse.source import TeamPulseSource
from migrator.trackers.teampulse.target import TeamPulseTarget
from migrator.wire import HeaderAuth, Signer, WrapAuth

__all__ = ["ADAPTER", "Options", "TeamPulseSource", "TeamPulseTarget"]


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file: as the server told it; never built from the id, which is another number."""
    path = attachment.locator.partition("\n")[0]
    return f"{base}/{path}" if path else ""


def signer(auth: Mapping[str, str]) -> Signer:
    """An account of TeamPulse's own by password, or whatever account a browser's cookie belongs to."""
    return HeaderAuth("Cookie", auth["cookie"]) if "cookie" in auth else WrapAuth(auth["username"], auth["password"])


ADAPTER = Adapter(
    source=TeamPulseSource,
    target=TeamPulseTarget,
    options=Options,
    auth=(("username", "password"), ("cookie",)),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
)
