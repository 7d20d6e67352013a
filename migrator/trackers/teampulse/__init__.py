"""Telerik TeamPulse, as source and as target: the files of its work items (API version 1, or without a version).

`/attachments` lists every file of the tracker with the id of its work item, so two walks in the order of ids are
enough. It does not give the owner's kind, which is looked up for each page.

Beware: a file's address (`downloadUrl`, `url`) contains a number that is not its id, and the server's own idea of its
host. It is never built, only taken from the answer, without the host.

NTLM, for accounts of a Windows domain, is not supported. Log in with a browser and give its cookie (`.ASPXAUTH=...`).
Author and date of an upload are always the account and the current time. The API gives dates without a time zone, and
they are stored without one.

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
    """Where people fetch a file: the address that the server gave, as it can't be built from the id."""
    path = attachment.locator.partition("\n")[0]
    return f"{base}/{path}" if path else ""


def signer(auth: Mapping[str, str]) -> Signer:
    """An account of TeamPulse itself by its password, or any account by a browser's cookie."""
    return HeaderAuth("Cookie", auth["cookie"]) if "cookie" in auth else WrapAuth(auth["username"], auth["password"])


ADAPTER = Adapter(
    source=TeamPulseSource,
    target=TeamPulseTarget,
    options=Options,
    auth=(("username", "password"), ("cookie",)),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
    title="TeamPulse",
)
