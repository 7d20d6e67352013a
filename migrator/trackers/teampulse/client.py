"""What a TeamPulse source and target share: options, capabilities, the API's path, requests.

The API exists if any part of it answers, with a version in its path or without.

Beware: `totalResults` counts all matches on some servers and the items of the page on others. A listing therefore goes
on until nothing new arrives, and is incomplete only if it has fewer items than that number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, Entity, EntityRef
from migrator.ports import Capabilities, Sink
from migrator.trackers.base import HttpTracker
from migrator.trackers.file_records import FileRecords
from migrator.trackers.lenient import as_object, text
from migrator.trackers.listing import Items, Listing, PageItems, PageRequest, is_refusal
from migrator.trackers.strict import digits, list_in, number_in, numbered, objects_in, split
from migrator.trackers.teampulse.parse import UNTYPED, attachment_in, entity_in, paths_in, total_in
from migrator.wire import HttpClient

PREFIXES = ("api/v1", "api")
PROBES = ("users/me", "workitems", "attachments")
"""Requests that show that there is an API; the account first, because `check` shows its name."""
CAPABILITIES = Capabilities(
    streams=("workitems", "attachments"),
    kinds=("Story", "Bug", "Task", "Feature", "Issue", "Risk", "Feedback", UNTYPED),
    entity_streams=("workitems",),
    creates=True,
    max_connections=8,
    max_writes=2,
    reports_size=False,
    deletes=True,
)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    page_size       source: work items or attachments on a page, at least 2; the server may return fewer
    upload_type     target: the type of uploads: "TeamPulse", or "Feedback" for the feedback portal
    max_bytes       target: the largest file that the server accepts (the API doesn't state it); 0 if unknown
    create_project  target: number or name of the project in which work items are created, see [mapping] create_missing
    create_kind     target: their type, such as "Story"; left out: the original's if there is such a type, else "Story"
    """

    page_size: int = 100
    upload_type: str = "TeamPulse"
    max_bytes: int = 0
    create_project: str = ""
    create_kind: str = ""


class TeamPulse(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, replace(CAPABILITIES, max_attachment_bytes=options.max_bytes or None))
        self._prefix = ""
        self._records = FileRecords(self._record, self._sample)

    @override
    async def check(self) -> str:
        """A server that doesn't say who is logged in is recognised by its lists."""
        probe, answer, refusal = await self._probe()
        if probe != PROBES[0]:
            return f"TeamPulse; its {probe} answer, but it doesn't say who is logged in ({refusal})"
        user = as_object(answer)
        return f"TeamPulse as {text(user.get('displayName')) or text(user.get('name')) or 'somebody without a name'}"

    @override
    async def oddities(self) -> tuple[str, ...]:
        probe, _, refusal = await self._probe()
        if probe == PROBES[0]:
            return ()
        return (f"it doesn't show the account ({refusal}); what this account may see is unknown",)

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        """By the file's own record or the list of its work item."""
        return await self._records.still_lists(attachment, self.find_attachments)

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """Whether the files of its comments are among them depends on the server."""
        listing = self._listing(f"workitems/{digits(owner.id)}/attachments")
        files = [attachment_in(item, owner, self._http) async for item in listing.all()]
        return tuple({file.id: file for file in files}.values())

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """From the addresses that were listed; if they are gone, from those in the file's record now.

        The name of a file is part of its address, so a file that was renamed has another.
        """
        record, listed = f"attachments/{digits(attachment.id)}", attachment.locator.split("\n")
        if not attachment.locator:
            return await self._fetch(attachment, paths_in(await self._get(record), self._http), sink)
        try:
            return await self._fetch(attachment, listed, sink)
        except errors.GoneError:
            if (current := paths_in(await self._get(record), self._http)) == listed:
                raise
        return await self._fetch(attachment, current, sink)

    async def _fetch(self, attachment: Attachment, paths: Sequence[str], sink: Sink) -> None:
        """From the first of these addresses that returns the file; each may be meant for another kind of login."""
        refusal: errors.MigratorError = errors.NotExposedError(
            f"attachment {attachment.id}: the tracker gives no download address"
        )
        for number, address in enumerate(paths):
            try:
                return await self._stream(attachment, address, sink)
            except (errors.RejectedError, errors.LoginPageError) as error:
                refusal = refusal if number else error
        raise refusal

    async def _probe(self) -> tuple[str, Any, errors.MigratorError | None]:
        """The first of `PROBES` that answers, its answer, and the refusal of the first one that was sent, if any.

        Also finds out the path of the API.
        """
        refusals: list[errors.MigratorError] = []
        for prefix in (self._prefix,) if self._prefix else PREFIXES:
            for probe in PROBES:
                try:
                    answer = await self._answer(f"{prefix}/{probe}")
                except (errors.ConnectError, errors.ThrottledError):
                    raise
                except errors.ItemFailedError as error:
                    refusals.append(error)
                    continue
                self._prefix = prefix
                return probe, answer, next(iter(refusals), None)
        if others := [refusal for refusal in refusals if not isinstance(refusal, errors.GoneError)]:
            raise others[0]
        raise errors.TrackerUnreachableError("no API of TeamPulse at this address; is `url` right?")

    async def _answer(self, path: str) -> Any:
        """The answer to a probe; `UnexpectedBodyError` if it is not what an API returns."""
        if path.endswith(PROBES[0]):
            return await self._http.get_json(path)
        return objects_in(await self._http.get_json(path, {"$top": "2"}), "results")

    async def _path(self, path: str) -> str:
        if not self._prefix:
            await self._probe()
        return f"{self._prefix}/{path}"

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return await self._http.get_json(await self._path(path), query)

    async def _list(self, path: str, query: Mapping[str, str]) -> Items:
        return objects_in(await self._get(path, query), "results")

    def _listing(self, path: str, *, first: bool = True) -> Listing:
        """A collection, compared with the total that the server states; `first`: its first page is requested."""

        async def fetch(request: PageRequest) -> PageItems:
            query = {"$top": str(request.take), **({"$orderby": "id asc"} if request.sorts else {})}
            where = {"$skip": str(request.skip)} if request.after is None else {"$filter": f"id gt {request.after}"}
            return await self._items_in(path, request, await self._get(path, query | where))

        return Listing(
            fetch, number_in, max(2, self._options.page_size), is_unsupported=partial(is_refusal, first=first)
        )

    async def _items_in(self, path: str, request: PageRequest, answer: object) -> PageItems:
        if path not in self.capabilities.streams:
            return PageItems(objects_in(answer, "results"), total=total_in(answer))
        place = f"GET {await self._path(path)}, {request.position}"
        items, unread = split(list_in(answer, "results"), numbered, place, path)
        return PageItems(items, total=total_in(answer), unread=unread)

    async def _record(self, number: str) -> object:
        return await self._get(f"attachments/{digits(number)}")

    async def _sample(self) -> list[str]:
        return [str(number_in(item)) for item in await self._list("attachments", {"$top": "3"})]

    async def _filtered(self, condition: str, count: int) -> Items | None:
        """The work items that meet a condition; None if the server refuses the filter.

        A web page instead of an answer counts as a refusal, because a proxy may dislike the query.
        """
        try:
            return await self._list("workitems", {"$filter": condition, "$top": str(count)})
        except (errors.RejectedError, errors.UnexpectedBodyError):
            return None
        except errors.RetriableError as error:
            if not is_refusal(error, first=True):
                raise
            return None

    async def _owner(self, number: int) -> Entity | None:
        try:
            return self._entity(as_object(await self._get(f"workitems/{number}")))
        except (errors.GoneError, errors.ForbiddenError):
            return None

    def _entity(self, item: Mapping[str, Any]) -> Entity:
        return entity_in(item, f"{self._http.base}/view#item/")
