"""Trac, as source and as target: the files of its tickets, by the plugin XmlRpcPlugin (Trac 1.0 or newer, JSON-RPC).

The plugin must be installed, and the account needs the permission XML_RPC. It lists no files of milestones, and those
of wiki pages are not read here. An attachment has no number: it is named by its ticket and its name, `5/a.txt`.

Beware: Trac is wrong without a word in four places. A query shows open tickets only, and at most 100 of them, unless it
names a status and `max=0`; so its end is compared with the highest number of all. The list of a ticket that doesn't
exist is empty, so the ticket itself is always asked for with its list. An upload deletes an older file of the same name
unless its last parameter is false; then the new file is called `a.2.txt`. And the address that people use knows no
password, only a cookie, and doesn't find names with slashes, so files are fetched by the API, as base64 inside JSON.
Sources: trac-hacks.org, "XmlRpcPlugin"; its source, 1.1.9 (ticket.py, json_rpc.py); trac.edgewall.org, "TracQuery";
recordings of a running Trac 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from migrator.model import Attachment
from migrator.trackers import Adapter, Guide
from migrator.trackers.trac.client import CAPABILITIES, Options
from migrator.trackers.trac.source import TracSource
from migrator.trackers.trac.target import TracTarget
from migrator.wire import Signer, basic

__all__ = ["ADAPTER", "Options", "TracSource", "TracTarget"]


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people see a file, as Trac's own pages link to it."""
    return f"{base}/attachment/ticket/{quote(attachment.owner.id, safe='')}/{quote(attachment.name, safe='')}"


def signer(auth: Mapping[str, str]) -> Signer:
    """The name and password of an account; Trac has no keys."""
    return basic(auth["username"], auth["password"])


ADAPTER = Adapter(
    source=TracSource,
    target=TracTarget,
    options=Options,
    auth=(("username", "password"),),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
    guide=Guide(
        name="Trac",
        url="https://trac.example.org/project",
        url_note="what comes before /login/rpc",
        username="backup",
        source_notes=("It needs XmlRpcPlugin (TracXMLRPC), and the account the permissions XML_RPC and TICKET_VIEW.",),
        target_notes=("It needs XmlRpcPlugin (TracXMLRPC), and the account the permission TICKET_APPEND.",),
        examples={"create_type": "task"},
    ),
)
