"""TeamPulse as a target: files are added to work items, whole, under their name."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Body, Target
from migrator.trackers.base import described
from migrator.trackers.lenient import as_html, text
from migrator.trackers.markers import MarkerIndex
from migrator.trackers.name_lookup import NameLookup
from migrator.trackers.strict import digits, number_in
from migrator.trackers.teampulse.client import Options, TeamPulse
from migrator.trackers.teampulse.parse import attachment_in, description_in, made_in
from migrator.wire import HttpClient, MultipartBody, Request, says_too_large

CREATED = ("Story", "Bug", "Issue", "Risk", "Feedback", "Feature")  # a Task needs a Story, too


_NOT_IN_WINDOWS_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]|[. ](?=[. ]*$)')


class TeamPulseTarget(TeamPulse, Target):
    """Files are added to work items that exist; the API takes none for a comment."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._marks = MarkerIndex(self._described_items)
        self._project = NameLookup("target.options.create_project", options.create_project, self._projects)

    @override
    def legal_name(self, name: str) -> str:
        """What Windows file names can't have, .NET cuts off, or IIS refuses in the file's address."""
        return _NOT_IN_WINDOWS_NAMES.sub("_", name) or "_"

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """The description goes after the file; where it fails, what is returned has none."""
        path = f"workitems/{digits(owner.id)}/attachments"
        parts = MultipartBody({}, "files", draft.name, draft.media_type, body)
        query = {"type": self._options.upload_type}
        call = Request("POST", await self._path(path), query, {"Accept": "application/json"}, parts)
        try:
            made = made_in((await self._http.write(call)).body)
        except (errors.GoneError, errors.OutcomeUnknownError) as error:
            raise await self._refusal(owner, error) from None
        if not made:
            return None
        named = made if text(made.get("name")) else {**made, "name": draft.name}
        sent = attachment_in(named, owner, self._http)
        return await described(self, sent, draft.description)

    async def _refusal(self, owner: EntityRef, error: errors.RejectedError) -> errors.RejectedError:
        """What is too large, ASP.NET calls an error of its own (500), and IIS not found (404.13, seldom said so)."""
        too_large = says_too_large(error)
        if isinstance(error, errors.GoneError) and not too_large:
            too_large = await self._owner(int(owner.id)) is not None
        return errors.RejectedError(f"{owner}: the file is too large for the server") if too_large else error

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        path = await self._path(f"attachments/{digits(remote.id)}")
        await self._http.send_json("PUT", path, {"description": description})

    @override
    async def delete(self, remote: Attachment) -> None:
        await self._http.send(Request("DELETE", await self._path(f"attachments/{digits(remote.id)}")))

    @override
    async def require_creating(self) -> None:
        await self._project.number()

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        kind = self._options.create_kind or (draft.kind if draft.kind in CREATED else CREATED[0])
        fields = {"Name": draft.title or "untitled", "Description": as_html(draft.marked)}
        shape = {"type": kind, "projectId": await self._project.number(), "fields": fields}
        return await self._marks.created(draft.mark, self._create(kind, shape))

    async def _create(self, kind: str, shape: Mapping[str, Any]) -> EntityRef:
        answer = await self._http.write_json("POST", await self._path("workitems"), shape)
        return EntityRef(kind, str(number_in(answer.json())))

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """A server that doesn't filter is walked once."""
        found = await self._filtered(f"substringof('{draft.mark}',Description)", self._options.page_size)
        if found is None or any(draft.mark not in description_in(item) for item in found):
            return await self._marks.find(draft.mark)
        return self._entity(found[0]).ref if found else None

    async def _described_items(self) -> AsyncIterator[tuple[EntityRef, str]]:
        async for item in self._listing("workitems").all():
            yield self._entity(item).ref, description_in(item)

    async def _projects(self) -> Iterable[tuple[int, str]]:
        found = await self._list("projects", {"$top": str(self._options.page_size)})
        return [(number_in(item), text(item.get("name"))) for item in found]
