"""How a Targetprocess is asked: single things, and lists page by page on servers of every age.

The one idea: a page is asked for in the best way first, and believed only if it came as it was asked for: old servers
refuse sorting, filters or fields, and some ignore them without a word.
The one trap: `Next` is never followed. It names the server's own idea of its host and drops parameters; it only tells
that there is more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from migrator import errors
from migrator.adapters.targetprocess_answers import attachment, id_of, listed, parsed
from migrator.fields import text, whole
from migrator.http import Call, HttpClient
from migrator.model import Attachment, Cursor, EntityRef
from migrator.paging import Keyset, Offset, mode_of

_FACTS = "Id,Name,Description,Date,MimeType,Size"
_FILE = f"{_FACTS},Uri,Owner[Id,FirstName,LastName,Login]"
_KIND = "General[Id,Name,EntityType[Name]]"
_MESSAGE = "[Id,Generals[Id,Name,EntityType[Name]],Attachments[Id]]"

CREATED = ("UserStory", "Bug", "Feature", "Epic", "Request", "Build", "Impediment")
"""Kinds of entities that need a name and a project, and no more."""

Items = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Listing:
    """A collection, and what to ask of its items: the fullest first, less for servers that don't know all of it."""

    name: str
    asks: tuple[Mapping[str, str], ...]
    sorts: bool = True
    most: int = 1000


ATTACHMENTS = Listing(
    "Attachments", ({"include": f"[{_FILE},{_KIND},Message[Id]]"}, {"include": f"[{_FACTS},Owner,General]"})
)
GENERALS = Listing(
    "Generals",
    (
        {"include": "[Id,Name,Description,EntityType[Name],Project[Id,Name]]", "append": "[Attachments-Count]"},
        {"include": "[Id,Name,Description,EntityType[Name],Project[Id,Name]]"},
        {"include": "[Id,Name,Description,EntityType]"},
    ),
)
COMMENTS = Listing("Comments", ({"include": f"[Id,Description,{_KIND}]"}, {"include": "[Id,Description,General]"}))
# Inner collections share one limit over the whole page: few messages at a time.
MESSAGES = Listing("Messages", ({"include": _MESSAGE, "innerTake": "1000"},), most=20)
OF_ENTITY = Listing(
    "Generals/{}/Attachments", ({"include": f"[{_FILE}]"}, {"include": f"[{_FACTS},Owner]"}), sorts=False
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask for a page: what to add to the query, and where the listing stands."""

    query: Mapping[str, str]
    state: Keyset | Offset


class Api:
    """Questions to one server. It learns which of them are too much for it."""

    def __init__(self, http: HttpClient, form: str, page_size: int) -> None:
        self._http, self._form, self._page_size = http, form, page_size
        self._projects: dict[str, int] = {}
        self._known: dict[str, int] = {}  # listing -> the first of its `asks` that this server didn't refuse

    async def ask(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """One answer, in the shape of JSON; `path` is below api/v1. A login page means `AuthRefused`."""
        form, path = self._form, f"api/v1/{path}"
        try:
            answer = await self._http.get(path, {"format": form, **(query or {})}, Accept=f"application/{form}")
        except errors.LoginPage as error:
            raise errors.AuthRefused(str(error)) from error
        return parsed(answer, f"GET {path}")

    async def page(self, listing: Listing, cursor: Cursor | None, *of: str) -> tuple[Items, Cursor | None]:
        """The items of one page and the cursor after it, in the first way that the server goes along with."""
        path = listing.name.format(*of)
        take = max(2, min(self._page_size, listing.most))
        refusal: errors.MigratorError = errors.WrongBody(f"{path}: sorted otherwise than it was asked for")
        for number in range(self._known.get(listing.name, 0), len(listing.asks)):
            for way in ways(cursor, sorts=listing.sorts):
                try:
                    answer = await self.ask(path, {**listing.asks[number], **way.query, "take": str(take)})
                except (errors.Rejected, errors.Retriable) as error:
                    if not is_refusal(error, first=cursor is None):
                        raise
                    refusal = error
                    continue
                items = listed(answer, path)
                ids = [id_of(item, path) for item in items]
                if kept_to(way, ids):
                    self._known[listing.name] = number
                    return items, following(way, ids, take, more=bool(answer.get("Next")))
        raise refusal

    async def files_of(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """The attachments that the entity itself lists; `Gone` if there is none."""
        found: dict[str, Attachment] = {}
        cursor: Cursor | None = None
        while True:
            items, cursor = await self.page(OF_ENTITY, cursor, quote(owner.id, safe=""))
            found |= {file.id: file for file in (attachment(item, owner) for item in items)}
            if cursor is None:
                return tuple(found.values())

    async def project(self, wanted: str) -> int:
        """The number of the project that an option names by number or name."""
        if wanted.isascii() and wanted.isdecimal():
            return int(wanted)
        if wanted in self._projects:
            return self._projects[wanted]
        items = listed(await self.ask("Projects", {"include": "[Id,Name]", "take": "1000"}), "Projects")
        found = [id_of(item, "Projects") for item in items if wanted and text(item.get("Name")) == wanted]
        if len(found) != 1:
            known = ", ".join(f"{text(item.get('Name'))} ({id_of(item, 'Projects')})" for item in items[:20])
            raise errors.ConfigError(f"target.options.create_project: {wanted!r} is no one project; there are {known}")
        self._projects[wanted] = found[0]
        return found[0]

    async def create(self, kind: str, title: str, description: str, project: str) -> int:
        """A new entity; gives its number."""
        name, home = title.strip()[:255] or "untitled", await self.project(project)
        shape = {"Name": name, "Project": {"Id": home}, "Description": description}
        path = f"api/v1/{kind[:-1] + 'ies' if kind.endswith('y') else kind + 's'}"
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        query = {"format": "json", "resultInclude": "[Id,Name]"}
        answer = await self._http.write(Call("POST", path, query, headers, json.dumps(shape).encode()))
        number = whole(parsed(answer, f"POST {path}").get("Id"))
        if number is None:
            raise errors.WrongBody(f"POST {path}: the answer names no new entity")
        return number

    async def described_with(self, word: str) -> dict[str, Any] | None:
        """The entity in whose description a word stands. `Rejected` by a server that doesn't search."""
        query = {"where": f"Description contains '{word}'", "include": "[Id,Description,EntityType[Name]]", "take": "2"}
        items = listed(await self.ask("Generals", query), "Generals")
        if any(word not in text(item.get("Description")) for item in items):
            raise errors.Rejected("GET api/v1/Generals: this server does not search descriptions, so none is created")
        return items[0] if items else None


def ways(cursor: Cursor | None, *, sorts: bool) -> list[Way]:
    """The ways to go on, best first: behind the last id, by offset in the order of ids, by offset as it comes.

    What was begun by offset goes on so; a keyset that is refused later begins again by offset.
    """
    by_offset = mode_of(cursor) is Offset
    offset = Offset.parse(cursor) if by_offset else Offset()
    skip = {"skip": str(offset.request)}
    found: list[Way] = []
    if sorts and not by_offset:
        keyset = Keyset.parse(cursor)
        found.append(Way({"orderBy": "Id", "where": f"Id gt {keyset.after or 0}"}, keyset))
    if sorts and offset.anchor >= 0:
        found.append(Way({"orderBy": "Id", **skip}, offset))
    return [*found, Way(skip, offset)]


def is_refusal(error: errors.MigratorError, *, first: bool) -> bool:
    """Whether the server doesn't take the question as it is. At the start of a listing, 500 may mean that, too."""
    if isinstance(error, errors.Gone | errors.Forbidden):
        return False
    return isinstance(error, errors.Rejected) or (first and "status 500" in str(error))


def kept_to(way: Way, ids: Sequence[int]) -> bool:
    """Whether a page is as it was asked for: some servers ignore what they don't know."""
    if "orderBy" not in way.query:
        return True
    after = (way.state.after or 0) if isinstance(way.state, Keyset) else 0
    return all(one < other for one, other in pairwise([after, *ids]))


def following(way: Way, ids: Sequence[int], take: int, *, more: bool) -> Cursor | None:
    """The cursor after a page. Unsorted lists begin with the newest, so their ids (and the anchor) are negated."""
    state = way.state
    if isinstance(state, Keyset):
        return state.following(ids) if more else None
    rising = state.anchor > 0 or (state.anchor == 0 and len(ids) > 1 and ids[0] < ids[-1])
    cursor = state.following([number if rising else -number for number in ids], take)
    looking_back = cursor is not None and Offset.parse(cursor).back
    return cursor if more or looking_back else None
