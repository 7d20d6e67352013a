"""Requests to a Targetprocess: single records, and lists page by page on servers of every age.

The most efficient query is tried first, and a page is trusted only if it matches what was requested: old servers
refuse sorting, filters or fields, and some silently ignore them.

Beware: `Next` is never followed. It contains the server's own idea of its host and drops parameters; it only shows
that there are more pages. Its absence is believed only from a server that has been seen to write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from migrator import errors
from migrator.model import Cursor
from migrator.trackers.lenient import text
from migrator.trackers.listing import Listing, ListingPage, PageItems, PageOrder, PageRequest, is_refusal
from migrator.trackers.prefetch import Prefetcher
from migrator.trackers.strict import list_in, numbered, split
from migrator.trackers.targetprocess.parse import id_of, listed, parsed
from migrator.wire import HttpClient

BASIC_FILE_FIELDS = "Id,Name,Description,Date,MimeType,Size"
FILE_FIELDS = f"{BASIC_FILE_FIELDS},Uri,Owner[Id,FirstName,LastName,Login]"
_ENTITY_FIELDS = "General[Id,Name,EntityType[Name]]"
_DEFAULT_PAGE_SIZE = 25  # items per page unless the request asks for another number; vendor page "Paging"
_MESSAGE_FIELDS = "[Id,Generals[Id,Name,EntityType[Name]],Attachments[Id]]"

CREATABLE = ("UserStory", "Bug", "Feature", "Epic", "Request", "Build", "Impediment")
"""Kinds of entities that need only a name and a project."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection, and the queries for its items: the one for most fields first, others for servers that refuse it."""

    name: str
    queries: tuple[Mapping[str, str], ...]
    orders: tuple[PageOrder, ...] = tuple(PageOrder)
    max_page_size: int = 1000

    @property
    def streams(self) -> bool:
        """Whether it is a listing of the whole tracker, not of a single entity."""
        return "{}" not in self.name


ATTACHMENTS = Collection(
    "Attachments",
    ({"include": f"[{FILE_FIELDS},{_ENTITY_FIELDS},Message[Id]]"}, {"include": f"[{BASIC_FILE_FIELDS},Owner,General]"}),
)
GENERALS = Collection(
    "Generals",
    (
        {"include": "[Id,Name,Description,EntityType[Name],Project[Id,Name]]", "append": "[Attachments-Count]"},
        {"include": "[Id,Name,Description,EntityType[Name],Project[Id,Name]]"},
        {"include": "[Id,Name,Description,EntityType]"},
    ),
)
COMMENTS = Collection(
    "Comments", ({"include": f"[Id,Description,{_ENTITY_FIELDS}]"}, {"include": "[Id,Description,General]"})
)
# Inner collections share one limit for the whole page, so only few messages are requested at once.
MESSAGES = Collection("Messages", ({"include": _MESSAGE_FIELDS, "innerTake": "1000"},), max_page_size=20)
OF_ENTITY = Collection(
    "Generals/{}/Attachments",
    ({"include": f"[{FILE_FIELDS}]"}, {"include": f"[{BASIC_FILE_FIELDS},Owner]"}),
    orders=(PageOrder.OFFSET_UNSORTED,),
)
# All attachments, filtered by entity; old servers refuse it (vendor page "Work with Attachments", Filtering).
OF_ENTITY_AMONG_ALL = Collection(
    "Attachments?{}",
    ({"include": f"[{FILE_FIELDS},General]", "where": "General.Id eq {}"},),
    orders=(PageOrder.OFFSET_UNSORTED,),
)


class Api:
    """The API of one server. It learns which queries the server refuses."""

    def __init__(self, http: HttpClient, data_format: str, page_size: int) -> None:
        self._http, self._data_format, self._page_size = http, data_format, page_size
        self._known: dict[str, int] = {}  # collection -> the first of its `queries` that this server didn't refuse
        self._prefetchers: dict[tuple[str, int], Prefetcher] = {}
        self._writes_next = False  # whether the server was seen to write `Next`

    async def ask(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """An answer in the shape of JSON; `path` is below api/v1. `AuthError` for a login page."""
        path, query = f"api/v1/{path}", {"format": self._data_format, **(query or {})}
        try:
            answer = await self._http.get(path, query, Accept=f"application/{self._data_format}")
        except errors.LoginPageError as error:
            raise errors.AuthError(str(error)) from error
        return parsed(answer, f"GET {path}")

    async def page(self, collection: Collection, cursor: Cursor | None, *ids: str) -> ListingPage:
        """A page and the cursor after it, see `Listing.read`. If the server refuses a query, the next one is tried.

        `ids` fill the gaps in the collection's name and queries.
        """
        refusal: errors.MigratorError | None = None
        for number in range(self._known.get(collection.name, 0), len(collection.queries)):
            try:
                page = await self._listing(collection, number, *ids, first=cursor is None).read(cursor)
            except errors.ItemFailedError as error:
                if not is_refusal(error, first=cursor is None):
                    raise
                refusal = error
                continue
            self._known[collection.name] = number
            return page
        raise refusal or errors.UnexpectedBodyError(f"{collection.name}: it can't be requested")

    def _listing(self, collection: Collection, number: int, *ids: str, first: bool) -> Listing:
        path = collection.name.format(*ids).partition("?")[0]
        take = max(2, min(self._page_size, collection.max_page_size))
        fields = {name: value.format(*ids) for name, value in collection.queries[number].items()}

        def number_of(item: Mapping[str, Any]) -> int:
            return id_of(item, path)

        async def fetch(request: PageRequest) -> PageItems:
            place = {"skip": str(request.skip)} if request.after is None else {"where": f"Id gt {request.after}"}
            query = {**fields, **({"orderBy": "Id"} if request.sorts else {}), **place}
            return self._items_in(collection, path, await self.ask(path, {**query, "take": str(request.take)}), request)

        listing = Listing(fetch, number_of, take, collection.orders, partial(is_refusal, first=first))
        return listing if ids else self._prefetchers.setdefault((path, number), Prefetcher(number_of)).wrap(listing)

    def _items_in(
        self, collection: Collection, path: str, answer: Mapping[str, Any], request: PageRequest
    ) -> PageItems:
        """The items of a page, and whether others follow. A single entity must have only readable items."""
        more, received = bool(answer.get("Next")), list_in(answer, "Items")
        # An empty page after one without `Next` shows that `Next` was missing for a reason.
        self._writes_next = self._writes_next or more or (not received and bool(request.after or request.skip))
        if not collection.streams:
            is_stated = self._writes_next or len(received) < _DEFAULT_PAGE_SIZE
            return PageItems(listed(answer, path), more if more or is_stated else None)
        place = f"GET api/v1/{path}, {request.position}"
        items, unread = split(received, partial(numbered, key="Id"), place, collection.name)
        return PageItems(items, more if more or self._writes_next or not received else None, unread=unread)

    def asks_less_for(self, collection: Collection) -> bool:
        """Whether the server refused the fullest query for this collection."""
        return self._known.get(collection.name, 0) > 0

    async def close(self) -> None:
        """Cancel all prefetching."""
        for prefetcher in self._prefetchers.values():
            await prefetcher.close()

    async def projects(self) -> list[tuple[int, str]]:
        """The numbers and names of all projects."""
        items = listed(await self.ask("Projects", {"include": "[Id,Name]", "take": "1000"}), "Projects")
        return [(id_of(item, "Projects"), text(item.get("Name"))) for item in items]

    async def create(self, kind: str, title: str, description: str, project: int) -> int:
        """Create an entity; returns its number."""
        shape = {"Name": title.strip()[:255] or "untitled", "Project": {"Id": project}, "Description": description}
        path = f"api/v1/{kind[:-1] + 'ies' if kind.endswith('y') else kind + 's'}"
        query = {"format": "json", "resultInclude": "[Id,Name]"}
        answer = await self._http.write_json("POST", path, shape, query)
        return id_of(parsed(answer, f"POST {path}"), f"POST {path}")

    async def described_with(self, word: str) -> dict[str, Any] | None:
        """The entity whose description contains a word; `RejectedError` if the server can't search descriptions."""
        query = {"where": f"Description contains '{word}'", "include": "[Id,Description,EntityType[Name]]", "take": "2"}
        items = listed(await self.ask("Generals", query), "Generals")
        if any(word not in text(item.get("Description")) for item in items):
            raise errors.RejectedError(
                "GET api/v1/Generals: this server does not search descriptions, so none is created"
            )
        return items[0] if items else None
