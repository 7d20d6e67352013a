"""Issuetrak, as source and as target: the files of its issues (API version 1).

The one idea: an issue's files are listed without their content, then fetched one by one; content travels as base64
inside JSON, both ways, and is decoded and encoded while it streams. Every attempt is signed anew, body included, so a
file is read twice for an upload. Issues come from `issues/search`, or from a range of numbers where that is refused.

The one trap: a 404 says little. It may mean no such route (the list of files is spelled in two ways, and servers have
one or both), no such issue, or an issue without files; and 400 means the same. So a list that isn't there is believed
only after the issue itself has answered. There is no delete, and no description of a file.

Sources: vendor's page "API Operations for Attachments"; its help centre, articles 2296, 2297, 2303 and 2322; the
vendor's .NET sample. All paths are in lower case, as sources differ in whether the signature covers them so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from migrator import errors
from migrator.adapters import Adapter
from migrator.adapters.issuetrak_answers import (
    attachment_in,
    collection_in,
    gone,
    made_in,
    query,
    range_in,
    timeless,
    window,
    written,
    zone_in,
)
from migrator.adapters.issuetrak_authors import Authors
from migrator.adapters.issuetrak_zip import Archives
from migrator.auth import Hmac, Signer
from migrator.base64json import Base64Sink
from migrator.fields import record, text, whole
from migrator.http import Call, HttpClient
from migrator.listing import Found, Items, Listing, Order, Way
from migrator.model import Attachment, Cursor, Draft, Entity, EntityRef, Page
from migrator.multipart import InJson
from migrator.paging import Keyset
from migrator.ports import Body, Capabilities, CreatesNothing, Sink
from migrator.required import digits, number_in, object_in
from migrator.tracker import HttpTracker

KIND = "Issue"
SMALLEST_PAGE = 20
STEP = 20  # numbers of a range asked for with one page
LIKELY_LIMIT = 20_000_000  # IIS takes 30 MB by default, of base64; it answers 404 to more
CAPABILITIES = Capabilities(
    streams=("issues",),
    max_connections=8,
    sets_description=False,
    keeps_author_and_date=True,
    max_name_bytes=300,
    name_encoding="utf-16-le",
)

_ILLEGAL = re.compile(r"[<>:\"/\\|?*\x00-\x1f\ud800-\udfff]")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³])\s*(?:\.|\Z)", re.IGNORECASE)
_NO_ROUTE = "No HTTP resource was found"


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
        self._routes = (options.list_route.lower(),) if options.list_route else ("issuenumber", "issue")
        if options.page_size < SMALLEST_PAGE:
            raise errors.ConfigError(f"options.page_size: {options.page_size} is less than {SMALLEST_PAGE}")

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`."""
        number, unknown = digits(owner.id), 0
        for route in self._routes:
            try:
                answer = await self._get(f"attachments/{route}/{number}/false", str(owner))
            except errors.Gone as error:
                unknown += _NO_ROUTE in str(error)
                continue
            self._routes = (route,)
            return tuple(attachment_in(found, owner) for found in collection_in(answer))
        if unknown == len(self._routes):
            raise errors.TrackerUnreachable(f"the server has no route attachments/{' or '.join(self._routes)}")
        await self._issue(number)
        return ()

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`. The size is told behind the content, or before it."""
        path, decoded = f"api/v1/attachments/{digits(attachment.id)}/true", Base64Sink(sink, "FileContent")
        try:
            await self._http.download(path, decoded, accept="application/json")
        except errors.Rejected as error:
            raise gone(error, f"attachment {attachment.id}") from None
        rest = decoded.finish()
        size = whole(rest.get("FileSizeInBytes"))
        if not isinstance(rest.get("FileContent"), str) and size != 0:
            raise errors.WrongBody(f"attachment {attachment.id}: the answer holds no FileContent")
        if decoded.size != size:
            raise errors.WrongBody(
                f"attachment {attachment.id}: {decoded.size} bytes came, its FileSizeInBytes is {size}"
            )

    async def _log_in(self, number: str = "1") -> None:
        """Something must answer that can't be missing: that an issue isn't there is said by any web server."""
        try:
            await self._issue(number)
        except errors.Forbidden as error:
            raise errors.AuthRefused(f"{error}; is the API key right, and this machine's clock?") from None
        except errors.Gone:
            await self._look_up()

    async def _look_up(self) -> None:
        try:
            await self._http.get("api/v1/priorities", Accept="application/json")
        except errors.Rejected as error:
            reason = f"no Issuetrak API answers at this address ({error}); is `url` right?"
            raise errors.TrackerUnreachable(reason) from None

    async def _issue(self, number: str) -> dict[str, Any]:
        return await self._get(f"issues/false/{number}", f"{KIND} {number}")

    async def _get(self, path: str, what: str) -> dict[str, Any]:
        """An object; `Gone` where the server says in one of its ways that there is no such thing."""
        try:
            return object_in(await self._http.get_json(f"api/v1/{path}"))
        except errors.Rejected as error:
            raise gone(error, what) from None


class IssuetrakSource(_Issuetrak):
    """Issues in the order of their numbers; the files of each must be asked for."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._archives = Archives(self._archive)

    async def check(self) -> str:
        """See `Tracker`."""
        if self._options.issue_numbers:
            first, last = range_in(self._options.issue_numbers)
            await self._log_in(str(first))
            return f"Issuetrak accepts the API key; issues {first} to {last} will be asked for"
        await self._log_in()
        found = await self._search(0, 1)
        return f"Issuetrak accepts the API key and finds {whole(found.get('TotalCount')) or 0} issues"

    async def read(self, stream: str, cursor: Cursor | None) -> Page:  # noqa: ARG002 - there is one stream
        """See `Source`."""
        numbers = self._options.issue_numbers
        issues, following = await (self._numbers(Keyset.parse(cursor)) if numbers else self._issues().page(cursor))
        entities = tuple(self._entity(issue) for issue in issues)
        return Page(entities=entities, ask=entities, next=following)

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """See `Source`."""
        files = await self.find_attachments(entity.ref)
        if self._options.zip:
            self._archives.plan(entity.ref, files)
        return files

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`."""
        if not await self._archives.give(attachment, sink):
            await super().download(attachment, sink)

    async def _archive(self, owner: EntityRef) -> dict[str, Any]:
        return await self._get(f"attachments/compressed/issuenumber/{digits(owner.id)}", str(owner))

    async def _numbers(self, state: Keyset) -> tuple[Items, Cursor | None]:
        """The issues with the next few numbers of the range."""
        first, last = range_in(self._options.issue_numbers)
        first = first if state.after is None else max(first, state.after + 1)
        numbers = range(first, min(first + STEP, last + 1))
        if state.after is None:
            await self._log_in(str(first))
        tried = await asyncio.gather(*(self._issue(str(number)) for number in numbers), return_exceptions=True)
        issues = []
        for one in tried:
            if isinstance(one, dict):
                issues.append(one)
            elif not isinstance(one, errors.Gone):
                raise one
        return issues, state.following(numbers) if numbers and numbers[-1] < last else None

    def _issues(self) -> Listing:
        """All issues, as far as `issues/search` finds them."""

        async def ask(way: Way) -> Found:
            index, size = window(way.skip, way.take)
            issues = collection_in(await self._search(index, size))
            return Found(issues[way.skip - index * size :])

        orders = (Order.BY_ID, Order.AS_IT_COMES)
        return Listing(ask, lambda issue: number_in(issue, "IssueNumber"), self._options.page_size, orders)

    async def _search(self, index: int, size: int) -> dict[str, Any]:
        try:
            answer = record((await self._http.send_json("POST", "api/v1/issues/search", query(index, size))).json())
        except errors.Rejected as error:
            await self._log_in()
            hint = 'If it is, set options.issue_numbers = "1-5000" to read issues by their numbers'
            raise errors.ConfigError(f"the server refuses issues/search ({error}); is `url` right? {hint}") from None
        told = whole(answer.get("PageSize"))
        if told is not None and told != size:
            cut = f"the server cuts pages of {size} issues to {told}; set options.page_size = {told}"
            raise errors.ConfigError(cut)
        return answer

    def _entity(self, issue: Mapping[str, Any]) -> Entity:
        ref = EntityRef(KIND, str(number_in(issue, "IssueNumber")))
        return Entity(ref, text(issue.get("Subject")), str(self._http.base), timeless(issue))


class IssuetrakTarget(CreatesNothing, _Issuetrak):
    """Files are added to issues that exist, in the name of their authors where those exist and are active."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._zone = zone_in(options.time_zone)
        self._authors = Authors(self._get, options.created_by, keep=options.keep_author)

    async def check(self) -> str:
        """See `Tracker`."""
        await self._log_in()
        user = self._options.created_by
        if not user:
            return "Issuetrak accepts the API key; options.created_by is not set: files of unknown authors will fail"
        if not await self._authors.is_active(user):
            raise errors.ConfigError(f"target.options.created_by: {user!r} is no active user of this Issuetrak")
        return f"Issuetrak accepts the API key; files of unknown authors go to {user}"

    def legal_name(self, name: str) -> str:
        """See `Target`: what Windows takes as a file name."""
        legal = _ILLEGAL.sub("_", name).rstrip(" .") or "_"
        return f"_{legal}" if _DEVICE.match(legal) else legal

    async def oddities(self) -> tuple[str, ...]:
        """See `Tracker`."""
        if self._options.created_by:
            return await super().oddities()
        unset = (
            "target.options.created_by is not set: files whose author is no active user of this Issuetrak are refused"
        )
        return (*await super().oddities(), unset)

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
