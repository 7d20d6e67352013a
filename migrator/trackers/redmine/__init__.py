"""Redmine, as source and as target: its files, wherever its API lists them (REST API, Redmine 3.4 or newer).

The list of issues includes their attachments (`include=attachments`); `containers` reads whatever else has files. An
upload takes two steps: the bytes go to `/uploads.json`, which answers with a token, and a change of the issue that
names the token attaches the file. A crash between the two leaves a file that nobody sees and that Redmine deletes
after a day.

Beware: Redmine reports success too easily. With a wrong key `/issues.json` answers 200 with what an anonymous visitor
may see, so the account is checked when a listing starts and again before its end is believed. A change of an issue
answers 204 even if the file was dropped (a description over 255 characters, no right to edit), so every upload is
looked up afterwards.

Each upload is a change of the issue: it appears in the issue's history, and Redmine may mail its watchers. Not read,
because the API does not list them: files of documents and of forum messages, and everything in archived projects.
Sources: redmine.org, "Rest api", "Rest Issues", "Rest WikiPages", "Rest News", "Rest Files", "Attachments"; the source
of Redmine 5.0 (the `*.api.rsb` views, their controllers, attachment.rb); recordings of a running one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from migrator.model import Attachment
from migrator.trackers import Adapter, Guide
from migrator.trackers.redmine.client import CAPABILITIES, Options
from migrator.trackers.redmine.source import RedmineSource
from migrator.trackers.redmine.target import RedmineTarget
from migrator.wire import HeaderAuth, HttpClient, Signer, basic

__all__ = ["ADAPTER", "Options", "RedmineSource", "RedmineTarget"]


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file, as Redmine's own pages link to it."""
    return f"{base}/attachments/download/{quote(attachment.id, safe='')}/{quote(attachment.name, safe='')}"


def signer(auth: Mapping[str, str]) -> Signer:
    """An API key, or the name and password of an account."""
    if "api_key" in auth:
        return HeaderAuth("X-Redmine-API-Key", auth["api_key"])
    return basic(auth["username"], auth["password"])


def issues_only(http: HttpClient, options: Options) -> RedmineSource:
    """A source that reads only the issues, the one kind to which files can be added."""
    return RedmineSource(http, replace(options, also=()))


ADAPTER = Adapter(
    source=RedmineSource,
    target=RedmineTarget,
    options=Options,
    auth=(("api_key",), ("username", "password")),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
    listing=issues_only,
    guide=Guide(
        name="Redmine",
        url="https://redmine.example.org",
        auth_notes={"api_key": "My account, API access key"},
        kinds=("Issue", "WikiPage"),
        source_notes=("The REST API must be switched on: Administration, Settings, API.",),
        target_notes=("The REST API must be switched on: Administration, Settings, API.",),
        examples={
            "project": "demo",
            "file_fields": ["Signed contract"],
            "create_project": "demo",
            "create_kind": "Bug",
        },
    ),
)
