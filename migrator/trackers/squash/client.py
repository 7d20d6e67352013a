"""What Squash TM is as a source and as a target alike: options, capabilities, the verbs of both."""

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
from migrator.trackers.squash.files import FileFacts
from migrator.trackers.squash.hal import number_of, read_page
from migrator.trackers.squash.records import NO_RECORDS, STREAMS, Records, listing, odd_lists
from migrator.trackers.squash.tree import KINDS, path_of
from migrator.trackers.strict import digits, object_in, objects_in
from migrator.wire import HttpClient

API = "api/rest/latest"


MAX_PARTIAL_OWNERS = 100  # owners of which it is remembered what a failed try got


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

    page_size       items in one answer of a listing; the server may give fewer
    project_files   "read", or "skip" for an account that is no administrator and so may not read projects themselves
    untold          a source's owner whose record tells nothing of files: "report" it as not read, or "ignore" it
    extension       what a target adds to names that have no extension; the server's whitelist must allow it
    """

    page_size: int = 100
    project_files: Literal["read", "skip"] = "read"
    untold: Literal["report", "ignore"] = "report"
    extension: str = "bin"


class SquashTM(HttpTracker[Options]):
    """What the source and the target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, CAPABILITIES)
        self._records = Records(self._get)
        self._partial: dict[EntityRef, dict[str, Attachment]] = {}
        self._facts = FileFacts(self._get)

    @override
    async def check(self) -> str:
        """Any list that answers will do; none says whose the credentials are."""
        try:
            stream, answer = await self._records.first_answer()
        except AuthError as error:
            hint = "Squash TM 15 takes personal API tokens only, unless its administrator allows Basic"
            raise AuthError(f"{error}; {hint}") from error
        except (GoneError, UnexpectedBodyError) as error:
            if isinstance(error, LoginPageError):
                raise
            hint = "does `url` end with /squash, or must it?"
            raise TrackerUnreachableError(f"no {API} at this address ({error}); {hint}") from None
        count = non_negative(as_object(answer.get("page")).get("totalElements"))
        return f"Squash TM with {'some' if count is None else count} {stream} to be seen"

    @override
    async def oddities(self) -> tuple[str, ...]:
        return (*await odd_lists(self._get, self._options.page_size), *await self._odd_files())

    async def _odd_files(self) -> tuple[str, ...]:
        """What can't be had of the first file that is found on a few owners."""
        for kind in ("test-cases", "campaigns", "requirement-folders"):
            for item in await self._records.first_items(kind):
                owner = EntityRef(kind, str(number_of(item)))
                with contextlib.suppress(RejectedError, UnexpectedBodyError):
                    for told in (await self._listed_files(owner)).values():
                        return () if await self._has_size(told, owner) else (NO_RECORDS,)
        return ()

    async def _has_size(self, told: Mapping[str, Any], owner: EntityRef) -> bool:
        try:
            return (await self._facts.of(told, owner)).size is not None
        except UnexpectedBodyError:
            return False

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return object_in(await self._http.get_json(f"{API}/{path}", query))

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """By id. What a try got before it failed is kept: the next one asks for the rest."""
        items = await self._listed_files(owner)
        known = self._partial.pop(owner, {})
        lacking = [item for number, item in items.items() if number not in known]
        tried = await asyncio.gather(*(self._facts.of(item, owner) for item in lacking), return_exceptions=True)
        known.update((file.id, file) for file in tried if isinstance(file, Attachment))
        for failure in tried:
            if isinstance(failure, BaseException):
                self._partial = dict([*self._partial.items(), (owner, known)][-MAX_PARTIAL_OWNERS:])
                raise failure
        return tuple(known[number] for number in sorted(items, key=int))

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        """By the owner's own record."""
        return attachment.id in await self._listed_files(attachment.owner)

    async def _listed_files(self, owner: EntityRef) -> dict[str, dict[str, Any]]:
        """What an owner's record tells of its files, by id."""
        found = await self._get(path_of(owner))
        told = found.get("attachments")
        files = await self._files_by_link(owner, text(found.get("_type"))) if told is None else objects_in(told)
        return {str(number_of(item)): item for item in files}

    async def _files_by_link(self, owner: EntityRef, kind: str) -> Items:
        """The files by their own listing, for a record that doesn't tell them. It is documented nowhere."""
        try:
            first = listing(f"{path_of(owner)}/attachments", self._options.page_size)
            return [item async for item in walked(partial(read_page, self._get), first)]
        except ForbiddenError:
            raise
        except RejectedError:
            if self._options.untold == "report":
                raise NotExposedError(f"{owner}: the API tells no files of {kind or 'it'}") from None
            return []

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        await self._stream(attachment, f"{API}/attachments/{digits(attachment.id)}/content", sink)
