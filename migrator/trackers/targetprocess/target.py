"""Targetprocess as a target: files are added to entities that exist, or that a load creates."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from urllib.parse import quote

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Body, Target
from migrator.trackers.base import described
from migrator.trackers.lenient import as_html
from migrator.trackers.name_lookup import NameLookup
from migrator.trackers.targetprocess.api import CREATABLE, FILE_FIELDS
from migrator.trackers.targetprocess.client import Options, Targetprocess
from migrator.trackers.targetprocess.parse import (
    attachment,
    id_of,
    kind_of,
    names_a_file,
    parsed,
    uploaded,
)
from migrator.wire import HttpClient, MultipartBody, Request, says_too_large


class TargetprocessTarget(Targetprocess, Target):
    """Targetprocess as a target. All entities share one id space, so their kind isn't needed."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._project = NameLookup("target.options.create_project", options.create_project, self._api.projects)

    @override
    def legal_name(self, name: str) -> str:
        """Replaces what a header line can't carry, and what IIS takes for the end of a folder or of the name."""
        bad = {"/", "\\", '"'}
        return (
            "".join("_" if char in bad or unicodedata.category(char) in {"Cc", "Cs"} else char for char in name) or "_"
        )

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """If the description can't be set, the result has none."""
        parts = MultipartBody({"generalId": owner.id}, "file", draft.name, draft.media_type, body)
        request = Request("POST", "UploadFile.ashx", {}, {"Accept": "application/json"}, parts, framed=names_a_file)
        try:
            answer = await self._http.write(request)
        except errors.OutcomeUnknownError as error:
            raise await self._outcome(owner, error) from error
        file = uploaded(answer.body, owner)
        if file is not None and not file.name:
            file = await self._with_name(file, draft.name)
        return file and await described(self, file, draft.description)

    async def _with_name(self, file: Attachment, sent_name: str) -> Attachment:
        """A file of which the answer gave only the id, completed from its record, or if that fails, as it was sent."""
        try:
            item = await self._api.ask(f"Attachments/{quote(file.id, safe='')}", {"include": f"[{FILE_FIELDS}]"})
            return attachment(item, file.owner)
        except errors.ItemFailedError:
            return replace(file, name=sent_name)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        path = f"api/v1/Attachments/{quote(remote.id, safe='')}"
        answer = await self._http.send_json("POST", path, {"Description": description}, {"format": "json"})
        parsed(answer, f"POST {path}")

    @override
    async def delete(self, remote: Attachment) -> None:
        await self._http.send(Request("DELETE", f"api/v1/Attachments/{quote(remote.id, safe='')}"))

    @override
    async def require_creating(self) -> None:
        await self._project.number()

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        kind = self._options.create_kind or (draft.kind if draft.kind in CREATABLE else CREATABLE[0])
        project = await self._project.number()
        return EntityRef(kind, str(await self._api.create(kind, draft.title, as_html(draft.marked), project)))

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        item = await self._api.described_with(draft.mark)
        return EntityRef(kind_of(item) or "General", str(id_of(item, "Generals"))) if item else None

    async def _outcome(self, owner: EntityRef, error: errors.OutcomeUnknownError) -> errors.MigratorError:
        """The error for an upload with status 500, the answer to most failures: definite if the file can't be there."""
        if says_too_large(error):
            return errors.RejectedError(f"the server takes no file of this size ({error})")
        try:
            await self._api.ask(f"Generals/{quote(owner.id, safe='')}")
        except errors.GoneError as gone:
            return gone
        except errors.MigratorError:
            return error
        return error
