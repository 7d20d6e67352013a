"""What a Squash TM source and target share: options, capabilities, login, the files of an owner, downloads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from typing_extensions import override

from migrator.errors import (
    AuthError,
    ForbiddenError,
    GoneError,
    LoginPageError,
    NotExposedError,
    RejectedError,
    TrackerUnreachableError,
    UnexpectedBodyError,
)
from migrator.model import Attachment, EntityRef
from migrator.ports import Capabilities, Sink
from migrator.trackers.base import HttpTracker
from migrator.trackers.lenient import as_object, non_negative, text
from migrator.trackers.listing import Items, walked
from migrator.trackers.squash.files import FileMetadata
from migrator.trackers.squash.hal import number_of, read_page
from migrator.trackers.squash.records import NO_RECORDS, STREAMS, Records, listing, odd_lists
from migrator.trackers.squash.tree import KINDS, path_of
from migrator.trackers.strict import digits, object_in, objects_in
from migrator.wire import HttpClient

API = "api/rest/latest"

MAX_PARTIAL_OWNERS = 100
"""Owners whose files are remembered after an attempt that read only some of them."""

CAPABILITIES = Capabilities(
    streams=STREAMS,
    kinds=tuple(sorted(KINDS)),
    max_connections=8,
    max_writes=2,
    sets_description=False,
    deletes=True,
)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    page_size       source: items on a page of a listing; the server may return fewer
    project_files   source: "read", or "skip" for an account that isn't an administrator's and may not read projects
                    themselves
    change_dates    source: true asks lists for the dates of changes, as `[nightly] full_every` needs them
    untold          source: an owner whose record doesn't mention files: "report" it as not read, or "ignore" it
    extension       target: the extension for names without one; the server's whitelist must allow it
    """

    page_size: int = 100
    project_files: Literal["read", "skip"] = "read"
    change_dates: bool = False
    untold: Literal["report", "ignore"] = "report"
    extension: str = "bin"


class SquashTM(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, CAPABILITIES)
        self._records = Records(self._get)
        self._partial: dict[EntityRef, dict[str, Attachment]] = {}
        self._metadata = FileMetadata(self._get)

    @override
    async def check(self) -> str:
        """Any list that answers proves the login; none says whose it is."""
        try:
            stream, answer = await self._records.first_answer()
        except AuthError as error:
            hint = "Squash TM 15 takes personal API tokens only, unless its administrator allows Basic"
            raise AuthError(f"{error}; {hint}") from error
        except (GoneError, UnexpectedBodyError) as error:
            if isinstance(error, LoginPageError):
                raise
            hint = "should `url` end with /squash?"
            raise TrackerUnreachableError(f"no {API} at this address ({error}); {hint}") from None
        count = non_negative(as_object(answer.get("page")).get("totalElements"))
        return f"Squash TM; {stream} visible to this account: {'some' if count is None else count}"

    @override
    async def oddities(self) -> tuple[str, ...]:
        return (*await odd_lists(self._get, self._options.page_size), *await self._odd_files())

    async def _odd_files(self) -> tuple[str, ...]:
        """A sentence, if the first file that a few owners have has no record with its size."""
        for kind in ("test-cases", "campaigns", "requirement-folders"):
            for item in await self._records.first_items(kind):
                owner = EntityRef(kind, str(number_of(item)))
                with contextlib.suppress(RejectedError, UnexpectedBodyError):
                    for file in (await self._listed_files(owner)).values():
                        return () if await self._has_size(file, owner) else (NO_RECORDS,)
        return ()

    async def _has_size(self, file: Mapping[str, Any], owner: EntityRef) -> bool:
        try:
            return (await self._metadata.completed(file, owner)).size is not None
        except UnexpectedBodyError:
            return False

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return object_in(await self._http.get_json(f"{API}/{path}", query))

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """The files in the order of their ids. After a failure, only those that were not read are requested again."""
        items = await self._listed_files(owner)
        known = self._partial.pop(owner, {})
        missing = [item for number, item in items.items() if number not in known]
        calls = (self._metadata.completed(item, owner) for item in missing)
        results = await asyncio.gather(*calls, return_exceptions=True)
        known.update((file.id, file) for file in results if isinstance(file, Attachment))
        for result in results:
            if isinstance(result, BaseException):
                self._partial = dict([*self._partial.items(), (owner, known)][-MAX_PARTIAL_OWNERS:])
                raise result
        return tuple(known[number] for number in sorted(items, key=int))

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        """By the owner's own record."""
        return attachment.id in await self._listed_files(attachment.owner)

    async def _listed_files(self, owner: EntityRef) -> dict[str, dict[str, Any]]:
        """The files in an owner's record, by id."""
        record = await self._get(path_of(owner))
        listed = record.get("attachments")
        files = await self._files_by_link(owner, text(record.get("_type"))) if listed is None else objects_in(listed)
        return {str(number_of(item)): item for item in files}

    async def _files_by_link(self, owner: EntityRef, kind: str) -> Items:
        """The files in an owner's own listing, which is documented nowhere, for a record that doesn't mention them."""
        try:
            first = listing(f"{path_of(owner)}/attachments", self._options.page_size)
            return [item async for item in walked(partial(read_page, self._get), first)]
        except ForbiddenError:
            raise
        except RejectedError:
            if self._options.untold == "report":
                raise NotExposedError(f"{owner}: the API doesn't show the files of {kind or 'it'}") from None
            return []

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        await self._stream(attachment, f"{API}/attachments/{digits(attachment.id)}/content", sink)
