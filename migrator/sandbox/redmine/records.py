"""The records of a sandbox Redmine as its API shows them: issues, files, projects, trackers, the account.

Shaped after recordings of a running Redmine 5.0. Redmine keeps its own spelling of names: nothing before a slash, and
`_` for what a path can't have.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from migrator.sandbox.state import TrackerState
from migrator.sandbox.world import World, WorldAttachment, WorldEntity

PROJECT = {"id": 1, "name": "Sandbox"}
IDENTIFIER = "sandbox"
TRACKERS = ("Bug", "Feature", "Support")
"""Redmine's word for the kinds of issues; their numbers begin with 1."""
_TRACKER_OF = {"bug": 1, "request": 3}
"""The number of the tracker for each kind of the world; the others are features."""
CLOSED_EACH = 5
"""Every issue whose number divides by this is closed."""
MAX_CHARACTERS = 255
"""Of names, descriptions of files, and subjects."""
_ILLEGAL = re.compile(r"[/?%*:|\"'<>\n\r]+")
_UP_TO_SLASH = re.compile(r"\A.*[\\/]", re.DOTALL)
_FOUNDED = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class RedmineQuirks:
    """How real servers differ. May be changed while the sandbox runs."""

    rest_enabled: bool = True  # False: credentials are not looked at, and the account is refused with an empty 403
    admin: bool = True  # False: custom fields can't be listed
    lists_files: bool = True  # False: the list of issues has no files, whatever it is asked for
    old_upload_answer: bool = False  # before 4.0: only the token, which begins with the file's number
    attaches: bool = True  # False: a change of an issue is accepted, and its files are dropped silently
    keeps_order: bool = True  # False: issues come newest first, whatever order is asked for


def sanitized(name: str) -> str:
    """A name as Redmine stores it."""
    return _ILLEGAL.sub("_", _UP_TO_SLASH.sub("", name))


def world_of(world: World) -> World:
    """The world as Redmine can hold it: files on issues or in the project, under sanitized names."""
    files = tuple(_held(file, world.owner_of(file)) for file in world.attachments)
    return replace(world, attachments=files, messages=())


def _held(file: WorldAttachment, owner: int | None) -> WorldAttachment:
    name = sanitized(file.name)[:MAX_CHARACTERS]
    name = name if name.strip() else "_"
    description = (file.description or "").strip()[:MAX_CHARACTERS]
    return replace(file, entity_id=owner, comment_id=None, message_id=None, name=name, description=description)


def is_closed(issue: WorldEntity) -> bool:
    """Whether an issue is closed."""
    return issue.id % CLOSED_EACH == 0


class Records:
    """Records as JSON objects. `place` gives the address at which the sandbox is reached."""

    def __init__(self, state: TrackerState, user: str, key: str, quirks: RedmineQuirks) -> None:
        self._state, self._user, self._key, self._quirks = state, user, key, quirks

    def account(self) -> dict[str, Any]:
        """The account that is logged in."""
        return {
            "id": 1,
            "login": self._user,
            "admin": self._quirks.admin,
            "firstname": "Redmine",
            "lastname": "Admin",
            "mail": "admin@example.net",
            "created_on": stamp(_FOUNDED),
            "updated_on": stamp(_FOUNDED),
            "last_login_on": None,
            "passwd_changed_on": stamp(_FOUNDED),
            "twofa_scheme": None,
            "api_key": self._key,
            "status": 1,
        }

    def project(self, *, modules: bool) -> dict[str, Any]:
        """The one project, which is private."""
        enabled = {"enabled_modules": [{"id": 1, "name": "issue_tracking"}, {"id": 2, "name": "files"}]}
        return {
            **PROJECT,
            "identifier": IDENTIFIER,
            "description": None,
            "status": 1,
            "is_public": False,
            "inherit_members": False,
            "created_on": stamp(_FOUNDED),
            "updated_on": stamp(_FOUNDED),
            **(enabled if modules else {}),
        }

    def tracker(self, number: int) -> dict[str, Any]:
        """A tracker by its number."""
        return {"id": number, "name": TRACKERS[number - 1]}

    def whole_tracker(self, number: int) -> dict[str, Any]:
        """A tracker as the list of them shows it."""
        fields: dict[str, Any] = {
            "default_status": {"id": 1, "name": "New"},
            "description": None,
            "enabled_standard_fields": [],
        }
        return {**self.tracker(number), **fields}

    def issue(self, issue: WorldEntity, place: str, *, files: bool) -> dict[str, Any]:
        """An issue, with its files if they are wanted."""
        changed = stamp(self._state.changed_at(issue.id) or _FOUNDED)
        status = {"id": 5, "name": "Closed"} if is_closed(issue) else {"id": 1, "name": "New"}
        record = {
            "id": issue.id,
            "project": PROJECT,
            "tracker": self.tracker(tracker_of(issue)),
            "status": {**status, "is_closed": is_closed(issue)},
            "priority": {"id": 2, "name": "Normal"},
            "author": {"id": 1, "name": "Redmine Admin"},
            "subject": issue.title,
            "description": issue.text or None,
            "start_date": "2014-01-01",
            "due_date": None,
            "done_ratio": 0,
            "is_private": False,
            "estimated_hours": None,
            "total_estimated_hours": None,
            "created_on": stamp(_FOUNDED),
            "updated_on": changed,
            "closed_on": changed if is_closed(issue) else None,
        }
        if files:
            record["attachments"] = [self.file(file, place) for file in self._state.attachments_of(issue.id)]
        return record

    def file(self, file: WorldAttachment, place: str) -> dict[str, Any]:
        """A file."""
        return {
            "id": file.id,
            "filename": file.name,
            "filesize": file.size,
            "content_type": file.media_type or None,
            "description": file.description or "",
            "content_url": f"{place}/attachments/download/{file.id}/{quote(file.name, safe='')}",
            "author": {"id": 1, "name": file.author},
            "created_on": stamp(file.created_at),
        }

    def file_of_project(self, file: WorldAttachment, place: str) -> dict[str, Any]:
        """A file of the files module, which has more to say."""
        return {**self.file(file, place), "digest": self._state.sha256_of(file), "downloads": 0}


def tracker_of(issue: WorldEntity) -> int:
    """The number of an issue's tracker. Issues that were created have the number itself as their kind."""
    return int(issue.kind) if issue.kind.isdecimal() else _TRACKER_OF.get(issue.kind, 2)


def stamp(moment: datetime) -> str:
    """A date as Redmine writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def etag_of(file: WorldAttachment) -> str:
    """The weak tag of a file: in form a hash, as a real one has."""
    return f'W/"{hashlib.md5(f"{file.id} {file.size}".encode(), usedforsecurity=False).hexdigest()}"'
