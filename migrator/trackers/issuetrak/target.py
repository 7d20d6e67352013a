"""Issuetrak as a target: files are added to issues that exist; none can be deleted."""

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
    "no issue that was asked has a list of files yet: the first upload of a load shows whether the route is right, "
    "and if it isn't, the load ends; see options.list_route"
)


LIKELY_LIMIT_BYTES = 20_000_000  # IIS takes 30 MB by default, of base64; it answers 404 to more


_ILLEGAL = re.compile(r"[<>:\"/\\|?*\x00-\x1f\ud800-\udfff]")


_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³])\s*(?:\.|\Z)", re.IGNORECASE)


class IssuetrakTarget(CreatesNothing, Issuetrak, Target):
    """Files are added to issues that exist, in the name of their authors where those exist and are active."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._zone = zone_in(options.time_zone)
        self._authors = Authors(self._user, options.created_by, keep=options.keep_author)
        self._first = asyncio.Lock()
        self._unlisted: EntityRef | None = None

    @override
    async def check(self) -> str:
        await self._log_in()
        user = self._options.created_by
        if not user:
            return "Issuetrak accepts the API key; options.created_by is not set: files of unknown authors will fail"
        if not await self._authors.is_active(user):
            raise errors.ConfigError(f"target.options.created_by: {user!r} is no active user of this Issuetrak")
        return f"Issuetrak accepts the API key; files of unknown authors go to {user}"

    @override
    async def oddities(self) -> tuple[str, ...]:
        await self._lists.prove()
        unset = (
            "target.options.created_by is not set: files whose author is no active user of this Issuetrak are refused"
        )
        return (
            *(() if self._lists.route else (UNPROVEN,)),
            *(() if self._options.created_by else (unset,)),
        )

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """`TrackerUnreachableError` where lists can't be read: each load would send everything again."""
        self._require_lists(owner)
        files = await self._lists.of(digits(owner.id), trusting=True)
        return tuple(attachment_in(found, owner) for found in files)

    @override
    def legal_name(self, name: str) -> str:
        """What Windows takes as a file name."""
        legal = _ILLEGAL.sub("_", name).rstrip(" .") or "_"
        return f"_{legal}" if _DEVICE.match(legal) else legal

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        """Each author is asked for once."""
        try:
            await self._authors.of(draft.created_by)
        except errors.RejectedError as error:
            return str(error)
        return await super().refuses(owner, draft)

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """A 400 took nothing, so it is sent once more in another's name where that may be the cause."""
        limit = self._options.max_bytes
        if limit and draft.size > limit:
            raise errors.RejectedError(f"{draft.size} bytes; options.max_bytes is {limit}")
        author = await self._authors.of(draft.created_by)
        if self._lists.route is not None:
            return await self._send_as(author, owner, draft, body)
        async with self._first:
            try:
                await self.find_attachments(owner)
            except errors.UnexpectedBodyError as error:  # of an upload it would mean that it was sent
                raise errors.RetriableError(f"{owner}: {error}") from None
            made = await self._send_as(author, owner, draft, body)
            with contextlib.suppress(errors.RetriableError):
                if not isinstance(await self._lists.asked(digits(owner.id)), list):
                    self._unlisted = owner
            return made

    def _require_lists(self, owner: EntityRef) -> None:
        """An issue that was given a file and lists none ends the load, once its upload is recorded; the others wait."""
        if self._unlisted is not None:
            reason = f"{self._unlisted} was given a file, and still no route lists any; see options.list_route"
            raise errors.TrackerUnreachableError(reason) if owner == self._unlisted else errors.RejectedError(reason)

    async def _send_as(self, author: str, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        try:
            return await self._send(owner, draft, body, author)
        except errors.RejectedError as error:
            fallback = self._authors.instead_of(author)
            if error.status != 400 or not fallback:
                raise
        sent = await self._send(owner, draft, body, fallback)
        self._authors.strike(author)
        return sent

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Files of an Issuetrak have no description."""

    @override
    async def delete(self, remote: Attachment) -> None:
        """There is no way."""
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
            call = Request("POST", "api/v1/attachments", body=Base64JsonBody(values, "FileContent", body))
            made = created_in((await self._http.write(call)).json())
        except errors.RejectedError as error:
            if error.status in {404, 413} and draft.size > LIKELY_LIMIT_BYTES:
                raise errors.RejectedError(
                    f"{error}; {draft.size} bytes are probably too many for this server"
                ) from None
            raise
        date = str(values["CreatedDate"])
        found = Attachment(made or "", owner, draft.name, draft.size, created_at=date, created_by=author)
        return found if made else None
