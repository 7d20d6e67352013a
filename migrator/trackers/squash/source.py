"""Squash TM, as source and as target: the files of all twelve kinds of owner (REST plugin, `api/rest/latest`).

The one idea: seven kinds have a list, five are found only below what they belong to. A cursor is what is still to be
asked for, so that each step is a few small requests; files are told by each owner's own record, never by a list.

The one trap: a page is not what it seems. Without `sort=id` items come twice and others never; without items there
is no `_embedded`; with a deletion meanwhile everything moves up, so each page after the first must join the one before.

A name travels in a multipart header, where a quote or a slash arrives as something else: see `squash_passing.py`.
Not read: files of sprints, of automated suites and of exploratory sessions (the plugin's page names no such owners).
Sources: vendor page "Attachments"; the manual's chapters on projects, test cases and steps; the source of Squash TM
2.0 (names, sizes, whitelist); clients that say what live servers did (Basic refused by 15, wrapped tokens, paging).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

from migrator.errors import (
    AuthRefused,
    ConfigError,
    Forbidden,
    Gone,
    LoginPage,
    NotReachable,
    Rejected,
    Retriable,
    TrackerUnreachable,
    WrongBody,
)
from migrator.model import Attachment, Cursor, Draft, Entity, EntityRef, Page
from migrator.ports import Body, Capabilities, CreatesNothing, Sink
from migrator.trackers import Adapter
from migrator.trackers.base import HttpTracker
from migrator.trackers.lenient import natural, record, text
from migrator.trackers.listing import Items, walked
from migrator.trackers.squash.files import FileFacts
from migrator.trackers.squash.hal import number_of, read_page
from migrator.trackers.squash.parse import attachment_in, explain, made_in, whitelist
from migrator.trackers.squash.passing import Passing
from migrator.trackers.squash.records import NO_RECORDS, STREAMS, Records, listing, odd_lists
from migrator.trackers.squash.tree import KINDS, Tree, is_closed, path_of
from migrator.trackers.strict import digits, object_in, objects_in
from migrator.wire.auth import Signer, basic, bearer
from migrator.wire.client import Call, HttpClient
from migrator.wire.request_body import Multipart

API = "api/rest/latest"
LONGEST_NAME, LONGEST_EXTENSION = 255, 10  # characters, the columns' widths
PARTLY_KEPT = 100  # owners of which it is remembered what a failed try got
CAPABILITIES = Capabilities(
    streams=STREAMS,
    kinds=tuple(sorted(KINDS)),
    max_connections=8,
    max_writes=2,
    sets_description=False,
    deletes=True,
)

_NEVER = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NOT_IN_HEADERS = re.compile(r'["/\\]')
_EXTENSION = re.compile(r"[A-Za-z0-9]{1,10}")


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


class _Squash(HttpTracker[Options]):
    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, CAPABILITIES)
        self._records = Records(self._get)
        self._partly: dict[EntityRef, dict[str, Attachment]] = {}
        self._facts = FileFacts(self._get)

    async def check(self) -> str:
        """See `Tracker`. Any list that answers will do; none says whose the credentials are."""
        try:
            stream, answer = await self._records.first_answer()
        except AuthRefused as error:
            hint = "Squash TM 15 takes personal API tokens only, unless its administrator allows Basic"
            raise AuthRefused(f"{error}; {hint}") from error
        except (Gone, WrongBody) as error:
            if isinstance(error, LoginPage):
                raise
            hint = "does `url` end with /squash, or must it?"
            raise TrackerUnreachable(f"no {API} at this address ({error}); {hint}") from None
        count = natural(record(answer.get("page")).get("totalElements"))
        return f"Squash TM with {'some' if count is None else count} {stream} to be seen"

    async def oddities(self) -> tuple[str, ...]:
        """See `Tracker`."""
        return (*await odd_lists(self._get, self._options.page_size), *await self._odd_files())

    async def _odd_files(self) -> tuple[str, ...]:
        """What can't be had of the first file that is found on a few owners."""
        for kind in ("test-cases", "campaigns", "requirement-folders"):
            for item in await self._records.few(kind):
                owner = EntityRef(kind, str(number_of(item)))
                with contextlib.suppress(Rejected, WrongBody):
                    for told in (await self._told(owner)).values():
                        return () if await self._has_size(told, owner) else (NO_RECORDS,)
        return ()

    async def _has_size(self, told: Mapping[str, Any], owner: EntityRef) -> bool:
        try:
            return (await self._facts.of(told, owner)).size is not None
        except WrongBody:
            return False

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return object_in(await self._http.get_json(f"{API}/{path}", query))

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`, by id. What a try got before it failed is kept: the next one asks for the rest."""
        items = await self._told(owner)
        known = self._partly.pop(owner, {})
        lacking = [item for number, item in items.items() if number not in known]
        tried = await asyncio.gather(*(self._facts.of(item, owner) for item in lacking), return_exceptions=True)
        known.update((file.id, file) for file in tried if isinstance(file, Attachment))
        for failure in tried:
            if isinstance(failure, BaseException):
                self._partly = dict([*self._partly.items(), (owner, known)][-PARTLY_KEPT:])
                raise failure
        return tuple(known[number] for number in sorted(items, key=int))

    async def still_lists(self, attachment: Attachment) -> bool:
        """See `Source`: by the owner's own record."""
        return attachment.id in await self._told(attachment.owner)

    async def _told(self, owner: EntityRef) -> dict[str, dict[str, Any]]:
        """What an owner's record tells of its files, by id."""
        found = await self._get(path_of(owner))
        told = found.get("attachments")
        files = await self._linked(owner, text(found.get("_type"))) if told is None else objects_in(told)
        return {str(number_of(item)): item for item in files}

    async def _linked(self, owner: EntityRef, kind: str) -> Items:
        """The files by their own listing, for a record that doesn't tell them. It is documented nowhere."""
        try:
            first = listing(f"{path_of(owner)}/attachments", self._options.page_size)
            return [item async for item in walked(partial(read_page, self._get), first)]
        except Forbidden:
            raise
        except Rejected:
            if self._options.untold == "report":
                raise NotReachable(f"{owner}: the API tells no files of {kind or 'it'}") from None
            return []

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`."""
        await self._stream(attachment, f"{API}/attachments/{digits(attachment.id)}/content", sink)


class SquashSource(_Squash):
    """Each of the seven lists, and after each of its pages all that is below what is on it."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        projects = options.project_files == "read"
        self._tree = Tree(self._get, self._records, f"{http.base}/{API}", options.page_size, projects=projects)

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """See `Source`."""
        return await self._tree.page(stream, cursor)

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """See `Source`. What stands for a closed way is refused, so that it is recorded, or has all files below it."""
        if not is_closed(entity.ref):
            return await self.find_attachments(entity.ref)
        files: list[Attachment] = []
        cursor: Cursor | None = await self._tree.reopened(entity.ref)
        while cursor is not None:
            page = await self._tree.page("", cursor)
            for unread in page.unread:
                raise NotReachable(unread.reason)
            for owner in page.ask:
                files += await self.attachments_of(owner)
            cursor = page.next
        return tuple(files)


class SquashTarget(CreatesNothing, _Squash):
    """Files are added to owners that exist; they have no descriptions here."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        if not _EXTENSION.fullmatch(options.extension):
            raise ConfigError("target.options.extension: one to ten letters or digits are wanted, without the dot")
        # What can't be looked up must not be loaded, or it would be loaded twice.
        super().__init__(http, replace(options, untold="report"))
        self._passing = Passing(self.find_attachments, self._send, self._renamed)

    def legal_name(self, name: str) -> str:
        """See `Target`. A name has a stem and an extension of one to ten characters, or the server breaks on it."""
        legal = _NEVER.sub("_", name)
        stem, dot, ext = legal.rpartition(".")
        if not dot or not ext.strip() or len(ext) > LONGEST_EXTENSION or _NOT_IN_HEADERS.search(ext):
            stem, ext = legal, self._options.extension
        return f"{stem}.{ext}" if stem.strip() else f"_{stem}.{ext}"

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """See `Target`. Where a name can't be sent as it is, what an earlier try left is finished first."""
        if draft.name != self.legal_name(draft.name) or len(draft.name) > LONGEST_NAME:
            raise Rejected(f"{owner}: {draft.name!r} is no name that Squash TM can hold")
        if not _NOT_IN_HEADERS.search(draft.name):
            return await self._send(owner, draft, body)
        return await self._passing.upload(owner, draft, body)

    async def _send(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        parts = Multipart({}, "files", draft.name, draft.media_type, body)
        call = Call("POST", f"{API}/{path_of(owner)}/attachments", headers={"Accept": "application/json"}, body=parts)
        try:
            made = made_in((await self._http.write(call)).body)
        except Rejected as error:
            explain(error, owner, draft)
        if made == []:
            raise Rejected(f"{owner}: taken, and no file made of it; {whitelist(draft)}")
        if made is None or len(made) != 1:
            return None
        try:
            file = await self._facts.of(made[0], owner)
        except Retriable:
            file = attachment_in(made[0], owner)
        return file if file.size is not None else replace(file, size=draft.size)

    async def _renamed(self, made: Attachment, name: str) -> Attachment:
        """May be repeated. `name` is a parameter, and without the extension, which stays."""
        self._partly.pop(made.owner, None)
        query = {"name": name.rpartition(".")[0]}
        call = Call("PATCH", f"{API}/attachments/{made.id}", query, {"Accept": "application/json"})
        return attachment_in(object_in((await self._http.send(call)).json()), made.owner)

    async def describe(self, remote: Attachment, description: str) -> None:  # noqa: ARG002
        """See `Target`. There is no way."""
        raise Rejected(f"{remote.owner}: files have no description in Squash TM")

    async def delete(self, remote: Attachment) -> None:
        """Take a file off its owner; `Gone` if it is not there."""
        path, query = f"{API}/{path_of(remote.owner)}/attachments", {"attachmentIds": digits(remote.id)}
        await self._http.write(Call("DELETE", path, query))


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file: the link to its content that the API itself gives, for who logs in with it."""
    return f"{base}/{API}/attachments/{quote(attachment.id, safe='')}/content"


def signer(auth: Mapping[str, str]) -> Signer:
    """A personal API token, or an account's name and password; the server reads those as ISO 8859-1."""
    if "token" in auth:
        return bearer(unwrapped(auth["token"]))
    return basic(auth["username"], auth["password"], "latin-1")


def unwrapped(token: str) -> str:
    """The token itself, three parts with dots between: its web page may show it in base64 once more."""
    if token.count(".") == 2:
        return token
    try:
        inner = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_" if set(token) & set("-_") else None)
        plain = inner.decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return token
    return plain if plain.count(".") == 2 and plain.isprintable() else token


ADAPTER = Adapter(
    source=SquashSource,
    target=SquashTarget,
    options=Options,
    auth=(("token",), ("username", "password")),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
)
