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
from migrator.trackers.targetprocess.api import CREATED, FILE
from migrator.trackers.targetprocess.client import Options, Targetprocess
from migrator.trackers.targetprocess.parse import (
    attachment,
    id_of,
    kind_of,
    parsed,
    tells_of_a_file,
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
        """What a header line can't carry, and what IIS takes for the end of a folder or of the name."""
        bad = {"/", "\\", '"'}
        return (
            "".join("_" if char in bad or unicodedata.category(char) in {"Cc", "Cs"} else char for char in name) or "_"
        )

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """A description that could not be set is missing in what is returned; the file is there."""
        parts = MultipartBody({"generalId": owner.id}, "file", draft.name, draft.media_type, body)
        call = Request("POST", "UploadFile.ashx", {}, {"Accept": "application/json"}, parts, framed=tells_of_a_file)
        try:
            answer = await self._http.write(call)
        except errors.OutcomeUnknownError as error:
            raise await self._fate(owner, error) from error
        made = uploaded(answer.body, owner)
        if made is not None and not made.name:
            made = await self._named(made, draft.name)
        return made and await described(self, made, draft.description)

    async def _named(self, made: Attachment, name: str) -> Attachment:
        """A file of which the upload page gave only the id, completed from its record.

        As it was sent, if that fails.
        """
        try:
            item = await self._api.ask(f"Attachments/{quote(made.id, safe='')}", {"include": f"[{FILE}]"})
            return attachment(item, made.owner)
        except errors.ItemFailedError:
            return replace(made, name=name)

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
        kind = self._options.create_kind or (draft.kind if draft.kind in CREATED else CREATED[0])
        project = await self._project.number()
        return EntityRef(kind, str(await self._api.create(kind, draft.title, as_html(draft.marked), project)))

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        item = await self._api.described_with(draft.mark)
        return EntityRef(kind_of(item) or "General", str(id_of(item, "Generals"))) if item else None

    async def _fate(self, owner: EntityRef, error: errors.OutcomeUnknownError) -> errors.MigratorError:
        """The upload page answers most failures with 500: a definite no where the file can't have arrived."""
        if says_too_large(error):
            return errors.RejectedError(f"the server takes no file of this size ({error})")
        try:
            await self._api.ask(f"Generals/{quote(owner.id, safe='')}")
        except errors.GoneError as gone:
            return gone
        except errors.MigratorError:
            return error
        return error
