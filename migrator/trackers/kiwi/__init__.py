"""Kiwi TCMS, as source and as target: the files of its test cases and test plans (JSON-RPC, Kiwi TCMS 12).

Test cases and test plans are the only kinds whose files the API both lists and adds. Files of test runs can be added
but not listed, and those of Kiwi's own bugs can be neither, so both stay where they are.

A file is listed with its address, author and date. Its name is the last part of the address; its size is not stated,
and isn't requested either, which would be one more request for each file: a download is compared with the length that
it announces, and everybody may download.

Beware: nearly every failure has status 200 and an error inside. The answer to an upload is `null`, so the new file is
the one on the list that was not there before and has the content that was sent. Kiwi renames a second file of the same
name, and refuses some files for their content (see `target`). A deletion that the account has no right to is answered
like a success, so the list is requested afterwards. Strings in answers are escaped as for HTML.
Sources: kiwitcms.readthedocs.io, "RPC API"; the source of Kiwi TCMS 12.4 (tcms/rpc, tcms/kiwi_attachments) and of its
package `attachments`; recordings of a running one.
"""

from __future__ import annotations

from collections.abc import Mapping

from migrator.model import Attachment
from migrator.trackers import Adapter, Guide
from migrator.trackers.kiwi.api import PATH
from migrator.trackers.kiwi.client import CAPABILITIES, Options
from migrator.trackers.kiwi.source import KiwiSource
from migrator.trackers.kiwi.target import KiwiTarget
from migrator.wire import JsonRpcAuth, Signer

__all__ = ["ADAPTER", "KiwiSource", "KiwiTarget", "Options"]


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file; empty if it is not known."""
    return f"{base}/{attachment.locator}" if attachment.locator else ""


def signer(auth: Mapping[str, str]) -> Signer:
    """The name and password of an account, which open a session; Kiwi has no keys."""
    return JsonRpcAuth(PATH, "Auth.login", "sessionid", auth["username"], auth["password"])


ADAPTER = Adapter(
    source=KiwiSource,
    target=KiwiTarget,
    options=Options,
    auth=(("username", "password"),),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
    guide=Guide(
        name="Kiwi TCMS",
        url="https://tcms.example.org",
        username="backup",
        kinds=("TestCase", "TestPlan"),
        source_notes=("The account must be allowed to see attachments; Kiwi has no API keys.",),
        target_notes=("The account must be allowed to add attachments.",),
        examples={"product": "Web shop"},
    ),
)
