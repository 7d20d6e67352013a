"""The files of one Targetprocess entity, by each route that a server may have, and the record of one file.

An entity's list counts as complete only if it has as many files as the entity itself reports.

Beware: inner collections share one limit for the whole answer (`innerTake`, or 25 where that is unknown), so a list
inside an entity may be cut silently.

Sources: vendor page "Work with Attachments" (`Generals/{id}?include=[Attachments]`, the warning that lists may be
short), vendor page "Partial Response" (`append`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote

from migrator import errors
from migrator.model import Attachment, Cursor, EntityRef
from migrator.trackers.file_records import FileRecords
from migrator.trackers.lenient import as_object, integer, text
from migrator.trackers.listing import Items, is_refusal, walked
from migrator.trackers.targetprocess.api import (
    BASIC_FILE_FIELDS,
    FILE_FIELDS,
    OF_ENTITY,
    OF_ENTITY_AMONG_ALL,
    Api,
    Collection,
)
from migrator.trackers.targetprocess.parse import attachment, id_of, inner, listed
from migrator.wire import HttpClient

_NO_ROUTE = {400, 404, 405, 410, 501}  # statuses with which servers refuse an unknown route
_SERVER_ERROR = 500  # the answer to a query that the server can't answer, whatever the reason
_COUNT = {"append": "[Attachments-Count]"}
_INCLUSIONS: tuple[Mapping[str, str], ...] = (
    {"include": f"[Id,Attachments[{BASIC_FILE_FIELDS},Uri,Owner]]", "innerTake": "1000", **_COUNT},
    {"include": f"[Id,Attachments[{BASIC_FILE_FIELDS}]]", "innerTake": "1000", **_COUNT},
    {"include": "[Attachments]", "innerTake": "1000", **_COUNT},
    {"include": "[Attachments]", "innerTake": "1000"},
    {"include": "[Attachments]"},
)
_CUT_LENGTHS = {25, 1000}  # the limits at which servers cut inner collections

Files = dict[str, Attachment]
T = TypeVar("T")


class EntityFiles:
    """The lists of files of entities. It learns which routes the server has."""

    def __init__(self, api: Api, http: HttpClient) -> None:
        self._api, self._http = api, http
        self._listed = False  # some entity's own list has answered
        self.stands_in = False  # some entity's list could not be read, and the files inside the entity could
        self.by_inclusion = False  # the server has no lists of entities: the files inside an entity are read

    async def of(self, owner: EntityRef) -> Files:
        """The files that the entity lists, by id; `GoneError` if there is no such entity."""
        if self.by_inclusion:
            return (await self._included(owner))[0]
        try:
            files = await self._walked(OF_ENTITY, owner)
        except errors.ItemFailedError as error:
            if not _may_be_the_route(error):
                raise
            return await self._included_instead(owner, error)
        self._listed = True
        return files

    async def all_of(self, owner: EntityRef, count: int | None) -> Files:
        """The same, completed by other routes if the entity states more files; `ShortListingError` if some are missing.

        `count` is the number of files that the entity states; None if it states none.
        """
        files = await self.of(owner)
        if count is not None and len(files) >= count:
            return files
        if count is not None:
            inside, now = await self._unless_refused(self._included(owner), ({}, None))
            files, count = {**inside, **files}, count if now is None else now
        if len(files) >= (count or 0) and not self._may_be_cut(files, count):
            return files
        among_all = await self._unless_refused(self._walked(OF_ENTITY_AMONG_ALL, owner), None)
        files = {**(among_all or {}), **files}
        if len(files) < (count or 0):
            raise errors.ShortListingError(f"{owner} has {count} files, and {len(files)} of them are listed")
        if among_all is None and self._may_be_cut(files, count):
            raise errors.ShortListingError(
                f"{owner} lists {len(files)} files, which may be the limit of the server's lists"
            )
        return files

    def _may_be_cut(self, files: Files, count: int | None) -> bool:
        return count is None and self.by_inclusion and len(files) in _CUT_LENGTHS

    async def _unless_refused(self, call: Awaitable[T], otherwise: T) -> T:
        """The result of a call, or `otherwise` if the server refuses it, as long as the entity exists."""
        try:
            return await call
        except errors.GoneError:
            raise
        except errors.RejectedError:
            return otherwise

    async def count_of(self, owner: EntityRef) -> int | None:
        """The number of files that an entity states now, None if it states none; `GoneError` if it no longer exists."""
        return (await self._unless_refused(self._included(owner), ({}, None)))[1]

    async def _included_instead(self, owner: EntityRef, refusal: errors.ItemFailedError) -> Files:
        """The files inside the entity, because its list failed with `refusal`. Raises the error that says more.

        If the list exists and is broken, the files inside the entity count only if there are some, and surely all.
        """
        is_missing = isinstance(refusal, errors.RejectedError) and refusal.status in _NO_ROUTE
        try:
            files, count = await self._included(owner)
        except errors.ItemFailedError as error:
            is_definite = is_missing and (error.status not in _NO_ROUTE or isinstance(error, errors.GoneError))
            raise error if is_definite else refusal from None
        if not is_missing and (not files or (len(files) in _CUT_LENGTHS if count is None else len(files) < count)):
            raise refusal
        self.by_inclusion, self.stands_in = is_missing and not self._listed, True
        return files

    async def _included(self, owner: EntityRef) -> tuple[Files, int | None]:
        """The files inside the entity, and their number as stated; fields that the server refuses are left out."""
        refusal: errors.MigratorError | None = None
        for query in _INCLUSIONS:
            try:
                item = await self._api.ask(f"Generals/{quote(owner.id, safe='')}", query)
            except errors.ItemFailedError as error:
                if not is_refusal(error, first=True):
                    raise
                refusal = error
                continue
            if isinstance(item.get("Attachments"), dict | list) or item.get("Attachments") == "":
                files = [await self._completed(file) for file in inner(item.get("Attachments"))]
                return self._by_id(files, owner), integer(item.get("Attachments-Count"))
        raise refusal or errors.RejectedError(
            f"GET api/v1/Generals/{owner.id}: the answer holds no Attachments", status=501
        )

    async def _completed(self, file: Mapping[str, Any]) -> Mapping[str, Any]:
        """A file inside an entity, completed from its own record."""
        if "Size" in file or integer(file.get("Id")) is None:
            return file
        with suppress(errors.RejectedError):
            return {**file, **await self._api.ask(f"Attachments/{file['Id']}", {"include": f"[{FILE_FIELDS}]"})}
        return file

    async def _walked(self, collection: Collection, owner: EntityRef) -> Files:
        async def step(cursor: Cursor | None) -> tuple[Items, Cursor | None]:
            page = await self._api.page(collection, cursor, quote(owner.id, safe=""))
            return page.items, page.next

        items = [item async for item in walked(step, None)]
        if collection is OF_ENTITY_AMONG_ALL:  # some servers silently ignore a filter
            items = [item for item in items if str(as_object(item.get("General")).get("Id")) == owner.id]
        return self._by_id(items, owner)

    def _by_id(self, items: Iterable[Mapping[str, Any]], owner: EntityRef) -> Files:
        files = [attachment(item, owner, self._http.path_of) for item in items]
        return {file.id: file for file in files}


def _may_be_the_route(error: errors.ItemFailedError) -> bool:
    """Whether the reason may be the route alone: refused, unknown, broken, or a web page instead of an answer."""
    if isinstance(error, errors.RejectedError):
        return True
    return error.status == _SERVER_ERROR or (
        isinstance(error, errors.UnexpectedBodyError) and type(error) is not errors.ShortListingError
    )


def records_of(api: Api) -> FileRecords:
    """The records of single files of a server."""

    async def ask(number: str) -> object:
        return await api.ask(f"Attachments/{quote(number, safe='')}", {"include": "[Id]"})

    async def sample() -> list[str]:
        items = listed(await api.ask("Attachments", {"include": "[Id]", "take": "3"}), "Attachments")
        return [str(id_of(item, "Attachments")) for item in items]

    return FileRecords(ask, sample)


async def text_now(api: Api, owner: EntityRef, comment_id: str | None) -> str:
    """The current text of an entity, or of a comment on it; `GoneError` if it no longer exists."""
    path = f"Generals/{quote(owner.id, safe='')}" if comment_id is None else f"Comments/{quote(comment_id, safe='')}"
    return text((await api.ask(path, {"include": "[Id,Description]"})).get("Description"))
