"""What an Issuetrak source and target share: options, capabilities, login, lists of files, downloads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, EntityRef
from migrator.ports import Capabilities, Sink
from migrator.trackers.base import HttpTracker
from migrator.trackers.issuetrak.lists import Lists
from migrator.trackers.issuetrak.parse import as_gone, attachment_in
from migrator.trackers.issuetrak.search import Search
from migrator.trackers.lenient import integer
from migrator.trackers.strict import digits, object_in
from migrator.wire import Base64Sink, HttpClient

KIND = "Issue"
MIN_PAGE_SIZE = 20

NO_LIST = (
    "none of the issues that were tried has a list of files, by either spelling of the route: until one has, "
    "a backup can't tell issues without files from a misspelled route; see options.list_route"
)


CAPABILITIES = Capabilities(
    streams=("issues",),
    kinds=(KIND,),
    max_connections=8,
    sets_description=False,
    keeps_author_and_date=True,
    max_name_bytes=300,
    name_encoding="utf-16-le",
)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    issue_numbers   source: "1-5000" reads these numbers one by one, for servers that refuse `issues/search`
    page_size       source: issues on a page of `issues/search`, 20 at least
    list_route      the spelling of the route of an issue's files, "issuenumber" or "issue"; left out: both are tried
    change_date     source: the field of an issue with the date of its last change, if this server's issues have one
                    that a new or deleted file changes, too; `[nightly] full_every` needs it
    zip             source: true fetches issues with many small files as one ZIP each
    created_by      target: the user for files whose author is unknown or inactive there
    keep_author     target: false gives every file to `created_by`
    time_zone       target: the zone of the server's dates, which carry none, e.g. "America/New_York"
    max_bytes       target: larger files are not sent; 0 sends all
    """

    issue_numbers: str = ""
    page_size: int = 100
    list_route: str = ""
    change_date: str = ""
    zip: bool = False
    created_by: str = ""
    keep_author: bool = True
    time_zone: str = "UTC"
    max_bytes: int = 0


class Issuetrak(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, replace(CAPABILITIES, max_attachment_bytes=options.max_bytes or None))
        if options.page_size < MIN_PAGE_SIZE:
            raise errors.ConfigError(f"options.page_size: {options.page_size} is less than {MIN_PAGE_SIZE}")
        self._search = Search(http, options.page_size)
        self._lists = Lists(self._get, options.list_route, self._issue, self._others)

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        return tuple(attachment_in(record, owner) for record in await self._lists.of(digits(owner.id)))

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        return await self._lists.still_lists(digits(attachment.owner.id), attachment.id)

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """The size comes before or after the content; if it is missing, the number of bytes counts."""
        path, decoded = f"api/v1/attachments/{digits(attachment.id)}/true", Base64Sink(sink, "FileContent")
        try:
            await self._http.download(path, decoded, accept="application/json")
        except errors.RejectedError as error:
            raise as_gone(error, f"attachment {attachment.id}") from None
        rest = decoded.finish()
        stated, received = integer(rest.get("FileSizeInBytes")), decoded.size
        if not isinstance(rest.get("FileContent"), str) and stated != 0:
            raise errors.UnexpectedBodyError(f"attachment {attachment.id}: the answer holds no FileContent")
        if received != stated:
            if not received or (stated or 0) > 0:
                raise errors.UnexpectedBodyError(
                    f"attachment {attachment.id}: {received} bytes came, its FileSizeInBytes is {stated}"
                )
            sink.warn(f"its FileSizeInBytes is {'null' if stated is None else stated}; {received} bytes came")

    async def _log_in(self) -> None:
        """Raise an error if no route answers. A 404 proves nothing: any web server says that an issue doesn't exist."""
        refused: list[errors.RejectedError] = []
        for probe in (partial(self._issue, "1"), self._search.count, partial(self._http.get_json, "api/v1/priorities")):
            try:
                await probe()
            except errors.RejectedError as error:
                refused.append(error)
            else:
                return
        first, *_ = [error for error in refused if isinstance(error, errors.ForbiddenError)] or refused
        if isinstance(first, errors.ForbiddenError):
            raise errors.AuthError(f"{first}; is the API key right, and this machine's clock?")
        raise errors.TrackerUnreachableError(f"no Issuetrak API answers at this address ({first}); is `url` right?")

    async def _others(self, whole: bool) -> AsyncIterator[str]:
        """The numbers of a sample of issues all over the tracker, or of all, as far as they can be found."""
        try:
            async for number in self._search.sample(whole=whole):
                yield number
        except errors.RejectedError:
            return

    async def _issue(self, number: str) -> dict[str, Any]:
        try:
            return await self._get(f"issues/false/{number}")
        except errors.RejectedError as error:
            raise as_gone(error, f"{KIND} {number}", 400) from None

    async def _user(self, path: str, subject: str) -> dict[str, Any]:
        try:
            return await self._get(path)
        except errors.RejectedError as error:
            raise as_gone(error, subject, 400, 405, 422) from None

    async def _get(self, path: str) -> dict[str, Any]:
        return object_in(await self._http.get_json(f"api/v1/{path}"))
