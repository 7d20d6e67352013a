"""How a Targetprocess is asked: single things, and lists page by page on servers of every age.

The one idea: a page is asked for in the best way first, and believed only if it came as it was asked for: old servers
refuse sorting, filters or fields, and some ignore them without a word.
The one trap: `Next` is never followed. It names the server's own idea of its host and drops parameters; it only tells
that there is more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from migrator import errors
from migrator.adapters.targetprocess_answers import attachment, id_of, listed, parsed
from migrator.ahead import Ahead
from migrator.fields import text
from migrator.http import HttpClient
from migrator.listing import Found, Items, Listing, Order, Way, is_plain_refusal, walked
from migrator.model import Attachment, Cursor, EntityRef

_FACTS = "Id,Name,Description,Date,MimeType,Size"
_FILE = f"{_FACTS},Uri,Owner[Id,FirstName,LastName,Login]"
_KIND = "General[Id,Name,EntityType[Name]]"
_MESSAGE = "[Id,Generals[Id,Name,EntityType[Name]],Attachments[Id]]"

CREATED = ("UserStory", "Bug", "Feature", "Epic", "Request", "Build", "Impediment")
"""Kinds of entities that need a name and a project, and no more."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection, and what to ask of its items: the fullest first, less for servers that don't know all of it."""

    name: str
    asks: tuple[Mapping[str, str], ...]
    orders: tuple[Order, ...] = tuple(Order)
    most: int = 1000


ATTACHMENTS = Collection(
    "Attachments", ({"include": f"[{_FILE},{_KIND},Message[Id]]"}, {"include": f"[{_FACTS},Owner,General]"})
)
GENERALS = Collection(
    "Generals",
    (
        {"include": "[Id,Name,Description,EntityType[Name],Project[Id,Name]]", "append": "[Attachments-Count]"},
        {"include": "[Id,Name,Description,EntityType[Name],Project[Id,Name]]"},
        {"include": "[Id,Name,Description,EntityType]"},
    ),
)
COMMENTS = Collection("Comments", ({"include": f"[Id,Description,{_KIND}]"}, {"include": "[Id,Description,General]"}))
# Inner collections share one limit over the whole page: few messages at a time.
MESSAGES = Collection("Messages", ({"include": _MESSAGE, "innerTake": "1000"},), most=20)
OF_ENTITY = Collection(
    "Generals/{}/Attachments",
    ({"include": f"[{_FILE}]"}, {"include": f"[{_FACTS},Owner]"}),
    orders=(Order.AS_IT_COMES,),
)


class Api:
    """Questions to one server. It learns which of them are too much for it."""

    def __init__(self, http: HttpClient, form: str, page_size: int) -> None:
        self._http, self._form, self._page_size = http, form, page_size
        self._known: dict[str, int] = {}  # listing -> the first of its `asks` that this server didn't refuse
        self._ahead: dict[tuple[str, int], Ahead] = {}

    async def ask(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """One answer, in the shape of JSON; `path` is below api/v1. A login page means `AuthRefused`."""
        form, path = self._form, f"api/v1/{path}"
        try:
            answer = await self._http.get(path, {"format": form, **(query or {})}, Accept=f"application/{form}")
        except errors.LoginPage as error:
            raise errors.AuthRefused(str(error)) from error
        return parsed(answer, f"GET {path}")

    async def page(self, collection: Collection, cursor: Cursor | None, *of: str) -> tuple[Items, Cursor | None]:
        """The items of one page and the cursor after it; asks for less where the server refuses the full."""
        refusal: errors.MigratorError | None = None
        for number in range(self._known.get(collection.name, 0), len(collection.asks)):
            try:
                found = await self._listing(collection, number, *of, first=cursor is None).page(cursor)
            except (errors.Rejected, errors.Retriable) as error:
                if not is_refusal(error, first=cursor is None):
                    raise
                refusal = error
                continue
            self._known[collection.name] = number
            return found
        raise refusal or errors.WrongBody(f"{collection.name}: there is no way to ask for it")

    def _listing(self, collection: Collection, number: int, *of: str, first: bool) -> Listing:
        path, take = collection.name.format(*of), max(2, min(self._page_size, collection.most))

        def number_of(item: Mapping[str, Any]) -> int:
            return id_of(item, path)

        async def ask(way: Way) -> Found:
            place = {"skip": str(way.skip)} if way.after is None else {"where": f"Id gt {way.after}"}
            query = {**collection.asks[number], **({"orderBy": "Id"} if way.sorts else {}), **place}
            answer = await self.ask(path, {**query, "take": str(way.take)})
            return Found(listed(answer, path), bool(answer.get("Next")))

        refused = partial(is_refusal, first=first)
        listing = Listing(ask, number_of, take, collection.orders, refused)
        return listing if of else self._ahead.setdefault((path, number), Ahead(number_of)).over(listing)

    async def close(self) -> None:
        """No page that was asked ahead is wanted any more."""
        for ahead in self._ahead.values():
            await ahead.close()

    async def files_of(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """The attachments that the entity itself lists; `Gone` if there is none."""

        async def step(cursor: Cursor | None) -> tuple[Items, Cursor | None]:
            return await self.page(OF_ENTITY, cursor, quote(owner.id, safe=""))

        files = [attachment(item, owner) async for item in walked(step, None)]
        return tuple({file.id: file for file in files}.values())

    async def projects(self) -> list[tuple[int, str]]:
        """Numbers and names."""
        items = listed(await self.ask("Projects", {"include": "[Id,Name]", "take": "1000"}), "Projects")
        return [(id_of(item, "Projects"), text(item.get("Name"))) for item in items]

    async def create(self, kind: str, title: str, description: str, project: int) -> int:
        """A new entity; gives its number."""
        shape = {"Name": title.strip()[:255] or "untitled", "Project": {"Id": project}, "Description": description}
        path = f"api/v1/{kind[:-1] + 'ies' if kind.endswith('y') else kind + 's'}"
        query = {"format": "json", "resultInclude": "[Id,Name]"}
        answer = await self._http.write_json("POST", path, shape, query)
        return id_of(parsed(answer, f"POST {path}"), f"POST {path}")

    async def described_with(self, word: str) -> dict[str, Any] | None:
        """The entity in whose description a word stands. `Rejected` by a server that doesn't search."""
        query = {"where": f"Description contains '{word}'", "include": "[Id,Description,EntityType[Name]]", "take": "2"}
        items = listed(await self.ask("Generals", query), "Generals")
        if any(word not in text(item.get("Description")) for item in items):
            raise errors.Rejected("GET api/v1/Generals: this server does not search descriptions, so none is created")
        return items[0] if items else None


def is_refusal(error: errors.MigratorError, *, first: bool) -> bool:
    """Whether the server doesn't take the question as it is. At the start of a listing, 500 may mean that, too."""
    return is_plain_refusal(error) or (first and isinstance(error, errors.Retriable) and error.status == 500)
