"""Roundup, as source and as target, by its REST API (Roundup 2.0 or newer; recorded from a running 2.6).

A file is a record of its own, and an item such as an issue links any number of them. The same file may be on two
items, so an attachment is named by both: `issue12/file34`. A file that no item links is `Unlinked`.

An upload takes two steps: the file becomes a record, and a change of the issue links it. A load that was killed between
the two leaves a record that nobody links. The next one links that instead of sending the file again, if name, type and
content are the same.

Beware: Roundup is wrong without a word in four places. A page past the last one states a total that grows with its
number, and each page is read with all that follow it, so items are asked for by their numbers instead. The address
that people use, `/file34/NAME`, answers 200 with an error message where the content is lost, and needs no login, so
files are fetched from `binary_content`, as plain bytes: for any other type Roundup may answer with JSON. An empty file
is refused with a 405 that leaves a broken record behind, so none is sent. And a file that was deleted or taken off its
issue can still be downloaded, so only the list of the issue says that it is there.
Sources: roundup-tracker.org, "Rest Interface for Roundup"; `roundup/rest.py` of 2.6.0; recordings of a running one.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from migrator.errors import GoneError
from migrator.model import Attachment
from migrator.trackers import Adapter
from migrator.trackers.roundup.client import CAPABILITIES, Options
from migrator.trackers.roundup.parse import file_number
from migrator.trackers.roundup.source import RoundupSource
from migrator.trackers.roundup.target import RoundupTarget
from migrator.wire import Signer, basic

__all__ = ["ADAPTER", "Options", "RoundupSource", "RoundupTarget"]


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file, as Roundup's own pages link to it."""
    try:
        number = file_number(attachment.id)
    except GoneError:
        return ""
    return f"{base}/file{number}/{quote(attachment.name, safe='')}"


def signer(auth: Mapping[str, str]) -> Signer:
    """The name and password of an account; Roundup has no keys."""
    return basic(auth["username"], auth["password"])


ADAPTER = Adapter(
    source=RoundupSource,
    target=RoundupTarget,
    options=Options,
    auth=(("username", "password"),),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
)
