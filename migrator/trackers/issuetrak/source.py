"""Issuetrak, as source and as target: the files of its issues (API version 1).

The one idea: an issue's files are listed without their content, then fetched one by one; content travels as base64
inside JSON, both ways, and is decoded and encoded while it streams. Every attempt is signed anew, body included, so a
file is read twice for an upload. Issues come from `issues/search`, or from a range of numbers where that is refused.

The one trap: a 404 says little. It may mean no such route (the list of files is spelled in two ways, and servers have
one or both), no such issue, or an issue without files: see `issuetrak_lists.py`. Of an issue, 400 means the same.
There is no delete, and no description of a file. A size of 0 in a list may also mean that the server doesn't know it.

Sources: vendor's page "API Operations for Attachments"; its help centre, articles 2296, 2297, 2303 and 2322; the
vendor's .NET sample. All paths are in lower case, as sources differ in whether the signature covers them so.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from migrator import errors
from migrator.model import Attachment, Cursor, Draft, Entity, EntityRef, Page
from migrator.ports import Body, Capabilities, CreatesNothing, Sink
from migrator.trackers import Adapter
from migrator.trackers.base import HttpTracker
from migrator.trackers.issuetrak.authors import Authors
from migrator.trackers.issuetrak.lists import Lists
from migrator.trackers.issuetrak.numbers import Numbered
from migrator.trackers.issuetrak.parse import attachment_in, gone, made_in, range_in, timeless, written, zone_in
from migrator.trackers.issuetrak.search import Search
from migrator.trackers.issuetrak.zip_batches import Archives
from migrator.trackers.lenient import text, whole
from migrator.trackers.strict import digits, number_in, object_in
from migrator.wire.auth import Hmac, Signer
from migrator.wire.base64_field import Base64Sink
from migrator.wire.client import Call, HttpClient
from migrator.wire.request_body import InJson

KIND = "Issue"
SMALLEST_PAGE = 20
NO_LIST = (
    "no issue that was asked has a list of files, by neither spelling of its route: as long as none has, "
    "a backup can't tell issues without files from a route that is spelled otherwise; see options.list_route"
)
UNPROVEN = (
    "no issue that was asked has a list of files yet: the first upload of a load shows whether the route is right, "
    "and if it isn't, the load ends; see options.list_route"
)
LIKELY_LIMIT = 20_000_000  # IIS takes 30 MB by default, of base64; it answers 404 to more
CAPABILITIES = Capabilities(
    streams=("issues",),
    kinds=(KIND,),
    max_connections=8,
    sets_description=False,
    keeps_author_and_date=True,
    max_name_bytes=300,
    name_encoding="utf-16-le",
)

_ILLEGAL = re.compile(r"[<>:\"/\\|?*\x00-\x1f\ud800-\udfff]")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³])\s*(?:\.|\Z)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    issue_numbers   source: "1-5000" reads these numbers one by one, for servers that refuse `issues/search`
    page_size       source: issues on a page of `issues/search`, 20 at least
    list_route      how the list of an issue's files is spelled, "issuenumber" or "issue"; both are tried if left out
    zip             source: true fetches issues with many small files as one ZIP each
    created_by      target: the user that files get whose author is unknown there, or inactive
    keep_author     target: false gives every file to `created_by`
    time_zone       target: the zone of the server's dates, which carry none, e.g. "America/New_York"
    max_bytes       target: larger files are not sent; 0 sends all
    """

    issue_numbers: str = ""
    page_size: int = 100
    list_route: str = ""
    zip: bool = False
    created_by: str = ""
    keep_author: bool = True
    time_zone: str = "UTC"
    max_bytes: int = 0


class _Issuetrak(HttpTracker[Options]):
    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, replace(CAPABILITIES, max_attachment_bytes=options.max_bytes or None))
        if options.page_size < SMALLEST_PAGE:
            raise errors.ConfigError(f"options.page_size: {options.page_size} is less than {SMALLEST_PAGE}")
        self._search = Search(http, options.page_size)
        self._lists = Lists(self._get, options.list_route, self._issue, self._others)

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`."""
        return tuple(attachment_in(found, owner) for found in await self._lists.of(digits(owner.id)))

    async def still_lists(self, attachment: Attachment) -> bool:
        """See `Source`."""
        return await self._lists.still_lists(digits(attachment.owner.id), attachment.id)

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`. The size is told behind the content, or before it; where it is none, the content tells it."""
        path, decoded = f"api/v1/attachments/{digits(attachment.id)}/true", Base64Sink(sink, "FileContent")
        try:
            await self._http.download(path, decoded, accept="application/json")
        except errors.Rejected as error:
            raise gone(error, f"attachment {attachment.id}") from None
        rest = decoded.finish()
        told, came = whole(rest.get("FileSizeInBytes")), decoded.size
        if not isinstance(rest.get("FileContent"), str) and told != 0:
            raise errors.WrongBody(f"attachment {attachment.id}: the answer holds no FileContent")
        if came != told:
            if not came or (told or 0) > 0:
                raise errors.WrongBody(f"attachment {attachment.id}: {came} bytes came, its FileSizeInBytes is {told}")
            sink.warn(f"its FileSizeInBytes is {'null' if told is None else told}; {came} bytes came")

    async def _log_in(self) -> None:
        """Anything must answer, but that an issue isn't there is said by any web server."""
        refused: list[errors.Rejected] = []
        for probe in (partial(self._issue, "1"), self._search.count, partial(self._http.get_json, "api/v1/priorities")):
            try:
                await probe()
            except errors.Rejected as error:
                refused.append(error)
            else:
                return
        first, *_ = [error for error in refused if isinstance(error, errors.Forbidden)] or refused
        if isinstance(first, errors.Forbidden):
            raise errors.AuthRefused(f"{first}; is the API key right, and this machine's clock?")
        raise errors.TrackerUnreachable(f"no Issuetrak API answers at this address ({first}); is `url` right?")

    async def _others(self, whole: bool) -> AsyncIterator[str]:
        """Numbers of issues all over the tracker, as far as they can be found."""
        try:
            async for number in self._search.sample(whole=whole):
                yield number
        except errors.Rejected:
            return

    async def _issue(self, number: str) -> dict[str, Any]:
        try:
            return await self._get(f"issues/false/{number}")
        except errors.Rejected as error:
            raise gone(error, f"{KIND} {number}", 400) from None

    async def _user(self, path: str, what: str) -> dict[str, Any]:
        try:
            return await self._get(path)
        except errors.Rejected as error:
            raise gone(error, what, 400, 405, 422) from None

    async def _get(self, path: str) -> dict[str, Any]:
        return object_in(await self._http.get_json(f"api/v1/{path}"))


class IssuetrakSource(_Issuetrak):
    """Issues in the order of their numbers; the files of each must be asked for."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self.capabilities = replace(self.capabilities, reports_size=False)
        self._archives = Archives(self._archive)
        self._numbered = Numbered(KIND, options.issue_numbers, self._issue, self._entity)

    async def check(self) -> str:
        """See `Tracker`."""
        if self._options.issue_numbers:
            first, last = range_in(self._options.issue_numbers)
            await self._log_in()
            return f"Issuetrak accepts the API key; issues {first} to {last} will be asked for"
        try:
            found = await self._search.count()
        except errors.Rejected as error:
            raise await self._without_search(error) from None
        return f"Issuetrak accepts the API key and finds {'some' if found is None else found} issues"

    async def oddities(self) -> tuple[str, ...]:
        """See `Tracker`."""
        told, numbers = [], self._options.issue_numbers
        page = await self.read("issues", None)
        if numbers:
            told.append(f"issues are asked for one by one; those outside of {numbers} are not backed up")
        elif not page.entities:
            told.append("no issue is found, so nothing is backed up")
        if self._search.fixed:
            told.append(f"a search gives {self._search.fixed} issues at once, not {self._options.page_size}")
        await self._lists.prove()
        if self._lists.route is None:
            told.append(NO_LIST)
        return tuple(told)

    async def read(self, stream: str, cursor: Cursor | None) -> Page:  # noqa: ARG002 - there is one stream
        """See `Source`."""
        page = await (self._numbered.page(cursor) if self._options.issue_numbers else self._found(cursor))
        self._lists.note(entity.ref.id for entity in page.ask)
        return page

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """See `Source`."""
        files = tuple(replace(file, size=file.size or None) for file in await self.find_attachments(entity.ref))
        if self._options.zip:
            self._archives.plan(entity.ref, files)
        return files

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`."""
        if not await self._archives.give(attachment, sink):
            await super().download(attachment, sink)

    async def _archive(self, owner: EntityRef) -> dict[str, Any]:
        return await self._get(f"attachments/compressed/issuenumber/{digits(owner.id)}")

    async def _found(self, cursor: Cursor | None) -> Page:
        """The issues on a page of a search. That it is refused is definite only before it ever answered."""
        try:
            issues, following = await self._search.listing().page(cursor)
        except errors.Rejected as error:
            if self._search.worked:
                raise
            raise await self._without_search(error) from None
        entities = tuple(self._entity(issue) for issue in issues)
        return Page(entities=entities, ask=entities, next=following)

    async def _without_search(self, error: errors.Rejected) -> errors.ConfigError:
        await self._log_in()
        hint = 'If it is, set options.issue_numbers = "1-5000" to read issues by their numbers'
        return errors.ConfigError(f"the server refuses issues/search ({error}); is `url` right? {hint}")

    async def _others(self, whole: bool) -> AsyncIterator[str]:
        numbered = self._options.issue_numbers
        async for number in self._numbered.sample(whole=whole) if numbered else super()._others(whole):
            yield number

    def _entity(self, issue: Mapping[str, Any]) -> Entity:
        ref = EntityRef(KIND, str(number_in(issue, "IssueNumber")))
        return Entity(ref, text(issue.get("Subject")), str(self._http.base), timeless(issue))


class IssuetrakTarget(CreatesNothing, _Issuetrak):
    """Files are added to issues that exist, in the name of their authors where those exist and are active."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._zone = zone_in(options.time_zone)
        self._authors = Authors(self._user, options.created_by, keep=options.keep_author)
        self._first = asyncio.Lock()
        self._blind: EntityRef | None = None

    async def check(self) -> str:
        """See `Tracker`."""
        await self._log_in()
        user = self._options.created_by
        if not user:
            return "Issuetrak accepts the API key; options.created_by is not set: files of unknown authors will fail"
        if not await self._authors.is_active(user):
            raise errors.ConfigError(f"target.options.created_by: {user!r} is no active user of this Issuetrak")
        return f"Issuetrak accepts the API key; files of unknown authors go to {user}"

    async def oddities(self) -> tuple[str, ...]:
        """See `Tracker`."""
        await self._lists.prove()
        unset = (
            "target.options.created_by is not set: files whose author is no active user of this Issuetrak are refused"
        )
        return (
            *(() if self._lists.route else (UNPROVEN,)),
            *(() if self._options.created_by else (unset,)),
        )

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`. `TrackerUnreachable` where lists can't be read: each load would send everything again."""
        self._expect_lists(owner)
        files = await self._lists.of(digits(owner.id), trusting=True)
        return tuple(attachment_in(found, owner) for found in files)

    def legal_name(self, name: str) -> str:
        """See `Target`: what Windows takes as a file name."""
        legal = _ILLEGAL.sub("_", name).rstrip(" .") or "_"
        return f"_{legal}" if _DEVICE.match(legal) else legal

    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        """See `Target`. Each author is asked for once."""
        try:
            await self._authors.of(draft.created_by)
        except errors.Rejected as error:
            return str(error)
        return await super().refuses(owner, draft)

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """See `Target`. A 400 took nothing, so it is sent once more in another's name where that may be the cause."""
        limit = self._options.max_bytes
        if limit and draft.size > limit:
            raise errors.Rejected(f"{draft.size} bytes; options.max_bytes is {limit}")
        author = await self._authors.of(draft.created_by)
        if self._lists.route is not None:
            return await self._send_as(author, owner, draft, body)
        async with self._first:
            try:
                await self.find_attachments(owner)
            except errors.WrongBody as error:  # of an upload it would mean that it was sent
                raise errors.Retriable(f"{owner}: {error}") from None
            made = await self._send_as(author, owner, draft, body)
            with contextlib.suppress(errors.Retriable):
                if not isinstance(await self._lists.asked(digits(owner.id)), list):
                    self._blind = owner
            return made

    def _expect_lists(self, owner: EntityRef) -> None:
        """An issue that was given a file and lists none ends the load, once its upload is recorded; the others wait."""
        if self._blind is not None:
            reason = f"{self._blind} was given a file, and still no route lists any; see options.list_route"
            raise errors.TrackerUnreachable(reason) if owner == self._blind else errors.Rejected(reason)

    async def _send_as(self, author: str, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        try:
            return await self._send(owner, draft, body, author)
        except errors.Rejected as error:
            spare = self._authors.instead_of(author)
            if error.status != 400 or not spare:
                raise
        sent = await self._send(owner, draft, body, spare)
        self._authors.strike(author)
        return sent

    async def describe(self, remote: Attachment, description: str) -> None:
        """Files of an Issuetrak have no description."""

    async def delete(self, remote: Attachment) -> None:
        """See `Target`. There is no way."""
        raise errors.Rejected(f"{remote.owner}: Issuetrak's API can't delete files")

    async def _send(self, owner: EntityRef, draft: Draft, body: Body, author: str) -> Attachment | None:
        values = {
            "IssueNumber": int(digits(owner.id)),
            "FileName": draft.name,
            "CreatedBy": author,
            "CreatedDate": written(draft.created_at, self._zone),
            "FileSizeInBytes": draft.size,
        }
        try:
            call = Call("POST", "api/v1/attachments", body=InJson(values, "FileContent", body))
            made = made_in((await self._http.write(call)).json())
        except errors.Rejected as error:
            if error.status in {404, 413} and draft.size > LIKELY_LIMIT:
                raise errors.Rejected(f"{error}; {draft.size} bytes are probably too many for this server") from None
            raise
        date = str(values["CreatedDate"])
        found = Attachment(made or "", owner, draft.name, draft.size, created_at=date, created_by=author)
        return found if made else None


def signer(auth: Mapping[str, str]) -> Signer:
    """The API key of the deployment."""
    return Hmac(auth["api_key"])


ADAPTER = Adapter(
    source=IssuetrakSource,
    target=IssuetrakTarget,
    options=Options,
    auth=(("api_key",),),
    signer=signer,
    capabilities=CAPABILITIES,
)
