"""Request Tracker 5, as source and as target: the files of its tickets (REST 2.0).

Tickets are walked by id, and each is asked for its attachments, of which those with a file name are files: the others
are messages, containers of messages, and mails that RT sent. A download is base64 inside JSON and is decoded while it
streams. An upload is a comment on the ticket: RT may mail its watchers, as for any comment, and the description of the
file is the comment's text. RT can't delete attachments by this API.

Beware: RT says yes too easily. A list of a ticket that does not exist, or that the account may not see, is a 200 and
empty, so an empty list is believed only once the ticket itself was shown. To an account that is no superuser, lists of
files state no total, and their pages have gaps where the account may not see a comment. An upload is answered with 201
even if RT cut or dropped the file (`$TruncateLongAttachments`, `$DropLongAttachments`), and its lists state the size
that the file had before, so each upload is read back.

Sources: docs.bestpractical.com, "REST2"; the source of RT 5.0.3 (`RT::REST2`, `RT::I18N`, `RT::Attachment`,
`RT::Record::_EncodeLOB`); recordings of a running one.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from migrator.model import Attachment
from migrator.trackers import Adapter, Guide
from migrator.trackers.rt.client import CAPABILITIES, Options
from migrator.trackers.rt.source import RtSource
from migrator.trackers.rt.target import RtTarget
from migrator.wire import HeaderAuth, Signer, basic

__all__ = ["ADAPTER", "Options", "RtSource", "RtTarget"]


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file, as RT's own pages link to it."""
    parts = (attachment.comment_id or "0", attachment.id, attachment.name)
    return f"{base}/Ticket/Attachment/{'/'.join(quote(part, safe='') for part in parts)}"


def signer(auth: Mapping[str, str]) -> Signer:
    """An authentication token, or the name and password of an account."""
    if "token" in auth:
        return HeaderAuth("Authorization", f"token {auth['token']}")
    return basic(auth["username"], auth["password"])


ADAPTER = Adapter(
    source=RtSource,
    target=RtTarget,
    options=Options,
    auth=(("token",), ("username", "password")),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
    guide=Guide(
        name="Request Tracker",
        url="https://rt.example.org",
        username="backup",
        auth_notes={"token": "Logged in as, Settings, Auth tokens; best of a superuser"},
        source_notes=("`migrator check` says whether the account sees all files.",),
        target_notes=("RT's API can't delete files, so a load can't be rolled back.",),
        examples={"query": "Queue = 'Support' AND Created > '2020-01-01'", "create_queue": "Support"},
    ),
)
