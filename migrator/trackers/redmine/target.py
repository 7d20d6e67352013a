"""Redmine as a target: files are added to issues that exist, or that a load creates."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import override

from migrator.errors import ConfigError, ItemFailedError, OutcomeUnknownError
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Body, Target
from migrator.trackers.keyed_lock import KeyedLock
from migrator.trackers.lenient import text
from migrator.trackers.markers import MarkerIndex
from migrator.trackers.name_lookup import NameLookup
from migrator.trackers.redmine.client import CAPABILITIES, Options, RedmineTracker, issue_number
from migrator.trackers.redmine.parse import ISSUE, ref_in
from migrator.trackers.strict import digits, number_in, object_in, objects_in
from migrator.wire import HttpClient, RawBody, Request

MAX_DESCRIPTION_CHARACTERS = 255
"""With a longer description Redmine silently drops the whole file."""

_ILLEGAL = re.compile(r"[\\/?%*:|\"'<>\n\r\0\ud800-\udfff]")


class RedmineTarget(RedmineTracker, Target):
    """Redmine as a target. Files are added to issues."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, replace(CAPABILITIES, kinds=(ISSUE,)))
        self._locks = KeyedLock()
        self._markers = MarkerIndex(self._described_issues)
        self._kind = NameLookup("target.options.create_kind", options.create_kind, self._kinds)

    @override
    def legal_name(self, name: str) -> str:
        """Redmine removes everything before a slash, turns some characters into `_`, and takes no blank name."""
        legal = _ILLEGAL.sub("_", name)
        return legal if legal.strip() else "_"

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """Only the last step changes the issue, so all before it may be repeated."""
        number = issue_number(owner)
        answer = await self._http.send(Request("POST", "uploads.json", {"filename": draft.name}, body=RawBody(body)))
        uploaded = object_in(answer.json(), "upload")
        token = text(uploaded.get("token"))
        # Before 4.0 the answer holds only the token, which begins with the number.
        remote_id = str(number_in({"id": uploaded.get("id") or token.partition(".")[0]}))
        # Redmine refuses two concurrent changes of one issue.
        async with self._locks.hold(number):
            await self._attach(number, token, draft)
        return await self._look_up(owner, remote_id)

    async def _attach(self, number: str, token: str, draft: Draft) -> None:
        upload = {"token": token, "filename": draft.name, "description": _shortened(draft.description)}
        if draft.media_type:
            upload["content_type"] = draft.media_type[:255]
        await self._http.write_json("PUT", f"issues/{number}.json", {"issue": {"uploads": [upload]}})

    async def _look_up(self, owner: EntityRef, remote_id: str) -> Attachment:
        try:
            files = {file.id: file for file in await self.find_attachments(owner)}
        except ItemFailedError as error:
            raise OutcomeUnknownError(f"sent, but it could not be looked up ({error})") from None
        if remote_id not in files:
            reason = "Redmine accepted the file, but doesn't list it; may this account edit the issue?"
            raise OutcomeUnknownError(f"{owner}: {reason}", accepted=True)
        return files[remote_id]

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        change = {"attachment": {"description": _shortened(description)}}
        await self._http.send_json("PATCH", f"attachments/{digits(remote.id)}.json", change)

    @override
    async def delete(self, remote: Attachment) -> None:
        """The deletion is a change of the issue, and appears in its history."""
        await self._http.send(Request("DELETE", f"attachments/{digits(remote.id)}.json"))

    @override
    async def require_creating(self) -> None:
        self._target_project()
        if self._options.create_kind:
            await self._kind.number()

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        issue: dict[str, Any] = {
            "project_id": self._target_project(),
            "subject": draft.title[:255].strip() or "untitled",
            "description": draft.marked,
        }
        if self._options.create_kind:
            issue["tracker_id"] = await self._kind.number()
        return await self._markers.created(draft.mark, self._create(issue))

    async def _create(self, issue: Mapping[str, Any]) -> EntityRef:
        return ref_in(object_in((await self._http.write_json("POST", "issues.json", {"issue": issue})).json(), "issue"))

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """Not every Redmine can search descriptions, so the project's issues are walked once."""
        return await self._markers.find(draft.mark)

    async def _described_issues(self) -> AsyncIterator[tuple[EntityRef, str]]:
        async for issue in self.issues(self._target_project()).all():
            yield ref_in(issue), text(issue.get("description"))

    def _target_project(self) -> str:
        project = self._options.create_project or self._options.project
        if not project:
            raise ConfigError("target.options.create_project is needed to create issues: a project's identifier")
        return project

    async def _kinds(self) -> Iterable[tuple[int, str]]:
        kinds = objects_in(await self._http.get_json("trackers.json"), "trackers")
        return [(number_in(kind), text(kind.get("name"))) for kind in kinds]


def _shortened(description: str) -> str:
    fits = len(description) <= MAX_DESCRIPTION_CHARACTERS
    return description if fits else description[: MAX_DESCRIPTION_CHARACTERS - 1] + "…"
