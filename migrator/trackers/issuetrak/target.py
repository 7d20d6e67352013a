"""Issuetrak as a target: files are added to issues that exist, and can't be deleted."""

from __future__ import annotations

import asyncio
import contextlib
import re

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, Draft, EntityRef
from migrator.ports import Body, CreatesNothing, Target
from migrator.trackers.issuetrak.authors import Authors
from migrator.trackers.issuetrak.client import Issuetrak, Options
from migrator.trackers.issuetrak.parse import api_date, attachment_in, created_in, zone_in
from migrator.trackers.strict import digits
from migrator.wire import Base64JsonBody, HttpClient, Request

UNPROVEN = (
    "none of the issues that were tried has a list of files yet: the first upload of a load shows whether the route "
    "is right, and if it isn't, the load ends; see options.list_route"
)

LIKELY_LIMIT_BYTES = 20_000_000
"""By default, IIS accepts 30 MB of base64, which is a file of 22 MB, and answers 404 to more."""

_ILLEGAL = re.compile(r"[<>:\"/\\|?*\x00-\x1f\ud800-\udfff]")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³])\s*(?:\.|\Z)", re.IGNORECASE)


class IssuetrakTarget(CreatesNothing, Issuetrak, Target):
    """Issuetrak as a target. Files are added in the name of their authors, if those are active users there."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._zone = zone_in(options.time_zone)
        self._authors = Authors(self._user, options.created_by, keep=options.keep_author)
        self._first_upload = asyncio.Lock()
        self._unlisted: EntityRef | None = None  # an issue that was given a file and still has no list

    @override
    async def check(self) -> str:
        await self._log_in()
        user = self._options.created_by
        if not user:
            return "Issuetrak accepts the API key; options.created_by is not set: files of unknown authors will fail"
        if not await self._authors.is_active(user):
            raise errors.ConfigError(f"target.options.created_by: Issuetrak has no active user {user!r}")
        return f"Issuetrak accepts the API key; files of unknown authors go to {user}"

    @override
    async def oddities(self) -> tuple[str, ...]:
        await self._lists.find_route()
        unset = (
            "target.options.created_by is not set: files whose author is not an active user of Issuetrak are refused"
        )
        return (
            *(() if self._lists.route else (UNPROVEN,)),
            *(() if self._options.created_by else (unset,)),
        )

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """`TrackerUnreachableError` if lists can't be read, because each load would then send everything again."""
        self._require_lists(owner)
        files = await self._lists.of(digits(owner.id), trusting=True)
        return tuple(attachment_in(record, owner) for record in files)

    @override
    def legal_name(self, name: str) -> str:
        """The nearest name that Windows accepts."""
        legal = _ILLEGAL.sub("_", name).rstrip(" .") or "_"
        return f"_{legal}" if _DEVICE.match(legal) else legal

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        """Also if its author is no active user and there is no fallback user."""
        try:
            await self._authors.user_for(draft.created_by)
        except errors.RejectedError as error:
            return str(error)
        return await super().refuses(owner, draft)

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """A 400 stored nothing and may be due to the author, so the file is sent again in the fallback user's name."""
        limit = self._options.max_bytes
        if limit and draft.size > limit:
            raise errors.RejectedError(f"{draft.size} bytes; options.max_bytes is {limit}")
        author = await self._authors.user_for(draft.created_by)
        if self._lists.route is not None:
            return await self._send_as(author, owner, draft, body)
        async with self._first_upload:
            try:
                await self.find_attachments(owner)
            except errors.UnexpectedBodyError as error:  # during an upload, this error would mean that it was sent
                raise errors.RetriableError(f"{owner}: {error}") from None
            file = await self._send_as(author, owner, draft, body)
            with contextlib.suppress(errors.RetriableError):
                if not isinstance(await self._lists.ask(digits(owner.id)), list):
                    self._unlisted = owner
            return file

    def _require_lists(self, owner: EntityRef) -> None:
        """Raise an error after an upload that no route lists: for its issue, one that ends the load."""
        if self._unlisted is not None:
            reason = f"{self._unlisted} was given a file, but still no route lists any; see options.list_route"
            raise errors.TrackerUnreachableError(reason) if owner == self._unlisted else errors.RejectedError(reason)

    async def _send_as(self, author: str, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        try:
            return await self._send(owner, draft, body, author)
        except errors.RejectedError as error:
            fallback = self._authors.fallback_for(author)
            if error.status != 400 or not fallback:
                raise
        file = await self._send(owner, draft, body, fallback)
        self._authors.mark_inactive(author)
        return file

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Does nothing: files of an Issuetrak have no description."""

    @override
    async def delete(self, remote: Attachment) -> None:
        """Always `RejectedError`."""
        raise errors.RejectedError(f"{remote.owner}: Issuetrak's API can't delete files")

    async def _send(self, owner: EntityRef, draft: Draft, body: Body, author: str) -> Attachment | None:
        values = {
            "IssueNumber": int(digits(owner.id)),
            "FileName": draft.name,
            "CreatedBy": author,
            "CreatedDate": api_date(draft.created_at, self._zone),
            "FileSizeInBytes": draft.size,
        }
        try:
            request = Request("POST", "api/v1/attachments", body=Base64JsonBody(values, "FileContent", body))
            number = created_in((await self._http.write(request)).json())
        except errors.RejectedError as error:
            if error.status in {404, 413} and draft.size > LIKELY_LIMIT_BYTES:
                raise errors.RejectedError(
                    f"{error}; {draft.size} bytes are probably too many for this server"
                ) from None
            raise
        date = str(values["CreatedDate"])
        file = Attachment(number or "", owner, draft.name, draft.size, created_at=date, created_by=author)
        return file if number else None
