"""Issuetrak, as source and as target: the files of its issues (API version 1).

An issue's files are listed without their content, then fetched one by one. Content travels as base64 inside JSON in
both directions, and is decoded and encoded while it streams. Every attempt is signed anew, body included, so a file is
read twice for an upload. Issues come from `issues/search`, or if that is refused, from a range of numbers.

Beware: a 404 says little. It may mean that there is no such route (the route of the list of files has two spellings,
and servers know one or both), no such issue, or that the issue has no files: see `lists`. For an issue, 400 means the
same. The API can't delete, and files have no description. A size of 0 in a list may also mean an unknown size.

Sources: vendor's page "API Operations for Attachments"; its help centre, articles 2296, 2297, 2303 and 2322; the
vendor's .NET sample. All paths are in lower case, because the sources disagree on whether the signature covers them in
lower case.
"""

from __future__ import annotations

from collections.abc import Mapping

from migrator.trackers import Adapter, Guide
from migrator.trackers.issuetrak.client import CAPABILITIES, Options
from migrator.trackers.issuetrak.source import IssuetrakSource
from migrator.trackers.issuetrak.target import IssuetrakTarget
from migrator.wire import HmacAuth, Signer

__all__ = ["ADAPTER", "IssuetrakSource", "IssuetrakTarget", "Options"]


def signer(auth: Mapping[str, str]) -> Signer:
    """The API key of the deployment."""
    return HmacAuth(auth["api_key"])


ADAPTER = Adapter(
    source=IssuetrakSource,
    target=IssuetrakTarget,
    options=Options,
    auth=(("api_key",),),
    signer=signer,
    capabilities=CAPABILITIES,
    guide=Guide(
        name="Issuetrak",
        url="https://support.example.org/issuetrak",
        url_note="the site, without /api/v1",
        auth_notes={"api_key": "of the deployment, as the administration page shows it"},
        target_notes=(
            "Issuetrak's API can't delete files: what a load has sent stays. A file has no description there.",
            "A large file is decoded before an answer comes: give [limits] timeout a few minutes.",
        ),
        examples={"issue_numbers": "1-5000", "list_route": "issue", "change_date": "LastModifiedDate"},
        target_set={"created_by": "APIUser", "time_zone": "UTC", "max_bytes": 20_000_000},
    ),
)
