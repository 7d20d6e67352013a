"""Squash TM as a target: files are added to owners that exist, and can be deleted again."""

from __future__ import annotations

import re
from dataclasses import replace

from typing_extensions import override

from migrator.errors import ConfigError, RejectedError
from migrator.model import Attachment, Draft, EntityRef
from migrator.ports import Body, CreatesNothing, Target
from migrator.trackers.squash.client import API, Options, SquashTM
from migrator.trackers.squash.parse import attachment_in, created_in, raise_explained, whitelist_hint
from migrator.trackers.squash.passing import Passing
from migrator.trackers.squash.tree import path_of
from migrator.trackers.strict import digits, object_in
from migrator.wire import HttpClient, MultipartBody, Request

MAX_NAME_CHARACTERS, MAX_EXTENSION_CHARACTERS = 255, 10
"""The widths of the columns in the server's database."""

_ILLEGAL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NOT_IN_HEADERS = re.compile(r'["/\\]')
_EXTENSION = re.compile(r"[A-Za-z0-9]{1,10}")


class SquashTarget(CreatesNothing, SquashTM, Target):
    """Squash TM as a target. Its files have no descriptions."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        if not _EXTENSION.fullmatch(options.extension):
            raise ConfigError("target.options.extension: must be one to ten letters or digits, without the dot")
        # Files of an owner that can't be listed must not be loaded: each load would send them again.
        super().__init__(http, replace(options, untold="report"))
        self._passing = Passing(self.find_attachments, self._send, self._renamed)

    @override
    def legal_name(self, name: str) -> str:
        """Names need a stem and an extension of one to ten characters; the server fails on any other."""
        legal = _ILLEGAL.sub("_", name)
        stem, dot, ext = legal.rpartition(".")
        if not dot or not ext.strip() or len(ext) > MAX_EXTENSION_CHARACTERS or _NOT_IN_HEADERS.search(ext):
            stem, ext = legal, self._options.extension
        return f"{stem}.{ext}" if stem.strip() else f"_{stem}.{ext}"

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """A file whose name no header can carry is sent under a passing name.

        The answer has no size; the next `find_attachments` says what it is.
        """
        if draft.name != self.legal_name(draft.name) or len(draft.name) > MAX_NAME_CHARACTERS:
            raise RejectedError(f"{owner}: {draft.name!r} is not a name that Squash TM can store")
        if not _NOT_IN_HEADERS.search(draft.name):
            return await self._send(owner, draft, body)
        return await self._passing.upload(owner, draft, body)

    async def _send(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        parts = MultipartBody({}, "files", draft.name, draft.media_type, body)
        path = f"{API}/{path_of(owner)}/attachments"
        request = Request("POST", path, headers={"Accept": "application/json"}, body=parts)
        try:
            created = created_in((await self._http.write(request)).body)
        except RejectedError as error:
            raise_explained(error, owner, draft)
        if created == []:
            raise RejectedError(f"{owner}: the server accepted the file but didn't create it; {whitelist_hint(draft)}")
        if created is None or len(created) != 1:
            return None
        return attachment_in(created[0], owner)

    async def _renamed(self, file: Attachment, name: str) -> Attachment:
        """Rename a file; may be repeated. The query has the name without its extension, which can't change."""
        self._partial.pop(file.owner, None)
        query = {"name": name.rpartition(".")[0]}
        request = Request("PATCH", f"{API}/attachments/{file.id}", query, {"Accept": "application/json"})
        return attachment_in(object_in((await self._http.send(request)).json()), file.owner)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Always `RejectedError`."""
        raise RejectedError(f"{remote.owner}: files have no description in Squash TM")

    @override
    async def delete(self, remote: Attachment) -> None:
        """Remove a file from its owner."""
        path, query = f"{API}/{path_of(remote.owner)}/attachments", {"attachmentIds": digits(remote.id)}
        await self._http.write(Request("DELETE", path, query))
