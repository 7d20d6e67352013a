"""Squash TM, as source and as target: the files of all twelve kinds of owner (REST plugin, `api/rest/latest`).

The one idea: seven kinds have a list, five are found only below what they belong to. A cursor is what is still to be
asked for, so that each step is a few small requests; files are told by each owner's own record, never by a list.

The one trap: a page is not what it seems. Without `sort=id` items come twice and others never; without items there
is no `_embedded`; with a deletion meanwhile everything moves up, so each page after the first must join the one before.

A name travels in a multipart header, where a quote or a slash arrives as something else. Such a file is sent under a
name that says what is in it and gets its own name by PATCH; one that was left between the two is found and finished.
Not read: files of sprints, of automated suites and of exploratory sessions (the plugin's page names no such owners).
Sources: vendor page "Attachments"; the manual's chapters on projects, test cases and steps; the source of Squash TM
2.0 (names, sizes, whitelist); clients that say what live servers did (Basic refused by 15, wrapped tokens, paging).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NoReturn
from weakref import WeakValueDictionary

from migrator.adapters import Adapter
from migrator.answers import expects_html
from migrator.auth import Header, Signer
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
    Unanswered,
    WrongBody,
)
from migrator.fields import record, text, whole
from migrator.hal import Step, cursor_of, items_in, number_of, object_in, objects_in, read_page, steps_in
from migrator.http import Call, HttpClient
from migrator.model import Attachment, Cursor, Draft, Entity, EntityRef, Page
from migrator.multipart import Multipart
from migrator.ports import Body, Capabilities, CreatesNothing, Sink

API = "api/rest/latest"
STREAMS = (
    "projects",
    "requirement-folders",
    "requirements",
    "test-case-folders",
    "test-cases",
    "campaign-folders",
    "campaigns",
)
BELOW = {
    "test-cases": ("steps",),
    "campaigns": ("iterations",),
    "iterations": ("test-suites", "test-plan"),
    "executions": ("execution-steps",),
}
KINDS = ({*STREAMS} - {"requirements"}) | {
    *("requirement-versions", "test-steps", "iterations", "test-suites", "executions", "execution-steps")
}
KIND_OF = {
    "requirements": "requirement-versions",
    "versions": "requirement-versions",
    "steps": "test-steps",
    "test-plan": "executions",
}
"""Kinds of what a listing holds, where it isn't called the same."""
PLANS = ("iteration-test-plan-items", "test-plan-items")  # the second since version 14
BARRED = "unauthorized-resource"
AT_ONCE = 8  # listings asked in one step
LONGEST_NAME = 255  # characters, the column's width
LONGEST_EXTENSION = 10

_NEVER = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NOT_IN_HEADERS = re.compile(r'["/\\]')
_EXTENSION = re.compile(r"[A-Za-z0-9]{1,10}")
_LIMIT = re.compile(r"maxSize\W+(\d+)")
_ABOUT_TYPES = re.compile(r"whitelist|extension|file[ _-]?type", re.IGNORECASE)


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


@dataclass(frozen=True, slots=True)
class Found:
    """What a step brought, whose files are to be asked for, and what is to be read next."""

    entities: tuple[Entity, ...] = ()
    ask: tuple[Entity, ...] = ()
    below: tuple[Step, ...] = ()


class _Squash:
    def __init__(self, http: HttpClient, options: Options) -> None:
        self._http, self._options = http, options
        self._partly: dict[EntityRef, dict[str, Attachment]] = {}
        self.capabilities = Capabilities(
            streams=STREAMS, max_connections=8, max_writes=2, sets_description=False, deletes=True
        )

    async def check(self) -> str:
        """See `Tracker`. The API doesn't say whose the credentials are."""
        try:
            answer = await self._get("projects", {"page": "0", "size": "1"})
            items_in(answer)
        except AuthRefused as error:
            hint = "Squash TM 15 takes personal API tokens only, unless its administrator allows Basic"
            raise AuthRefused(f"{error}; {hint}") from error
        except LoginPage:
            raise
        except (Gone, WrongBody):
            raise TrackerUnreachable(f"no {API} at this address; does `url` end with /squash, or must it?") from None
        count = whole(record(answer.get("page")).get("totalElements"))
        return f"Squash TM with {'some' if count is None else count} projects to be seen"

    async def close(self) -> None:
        """See `Tracker`."""
        await self._http.close()

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return object_in((await self._http.get(f"{API}/{path}", query, Accept="application/json")).json())

    def _step(self, path: str) -> Step:
        # Steps of a test case have an order of their own; a page must hold two items at least.
        return Step(path, size=max(2, self._options.page_size), sorts=not path.endswith("/steps"))

    async def _files_of(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """All files of an owner, by id. What a try got before it failed is kept: the next one asks for the rest."""
        found = await self._get(path_of(owner))
        told = found.get("attachments")
        files = await self._linked(owner, text(found.get("_type"))) if told is None else objects_in(told)
        items = {str(number_of(item)): item for item in files}
        known = self._partly.setdefault(owner, {})
        lacking = [item for number, item in items.items() if number not in known]
        tried = await asyncio.gather(*(self._file(item, owner) for item in lacking), return_exceptions=True)
        known.update((file.id, file) for file in tried if isinstance(file, Attachment))
        for failure in tried:
            if isinstance(failure, BaseException):
                raise failure
        self._partly.pop(owner, None)
        return tuple(known[number] for number in sorted(items, key=int) if number in known)

    async def _linked(self, owner: EntityRef, kind: str) -> list[dict[str, Any]]:
        """The files by their own listing, for a record that doesn't tell them. It is documented nowhere."""
        step: Step | None = self._step(f"{path_of(owner)}/attachments")
        found: list[dict[str, Any]] = []
        try:
            while step is not None:
                items, step = await read_page(self._get, step)
                found += items
        except Forbidden:
            raise
        except Rejected:
            if self._options.untold == "report":
                raise NotReachable(f"{owner}: the API tells no files of {kind or 'it'}") from None
        return found

    async def _file(self, item: Mapping[str, Any], owner: EntityRef) -> Attachment | None:
        told = attachment_in(item, owner)
        if told.size is not None and told.created_at:
            return told
        try:
            return attachment_in(await self._get(f"attachments/{told.id}"), owner)
        except Gone:
            return None

    async def _download(self, attachment: Attachment, sink: Sink) -> None:
        path = f"{API}/attachments/{digits(attachment.id)}/content"
        await self._http.download(path, sink, html_expected=expects_html(attachment))


class SquashSource(_Squash):
    """Each of the seven lists, and after each of its pages all that is below what is on it."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._plans: tuple[str, ...] = PLANS

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """See `Source`."""
        todo = [self._step(stream)] if cursor is None else steps_in(cursor)
        tried = await asyncio.gather(*(self._found(step) for step in todo[:AT_ONCE]), return_exceptions=True)
        found = in_part(tried, todo)
        todo = [*(step for one in found for step in one.below), *todo[AT_ONCE:]]
        return Page(
            entities=tuple(entity for one in found for entity in one.entities),
            ask=tuple(entity for one in found for entity in one.ask),
            next=cursor_of(todo) if todo else None,
        )

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """See `Source`. What `_found` made of a refused listing is refused here, so that it is recorded."""
        if "/" in entity.ref.id or entity.ref.id in STREAMS:
            with contextlib.suppress(Gone):
                await self._get(entity.ref.id, {"size": "2"})
            raise NotReachable(f"{entity.ref.id}: it could not be read at first; run the backup again")
        return await self._files_of(entity.ref)

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`."""
        await self._download(attachment, sink)

    async def _found(self, step: Step) -> Found:
        """What a step brings. A way that is closed is asked for as an entity, so that it is recorded, not forgotten."""
        try:
            return await self._taken(step)
        except Gone:
            if step.path in STREAMS:
                raise
            if not await self._is_there(step.path.rpartition("/")[0]):
                return Found()  # deleted since it was listed
        except Rejected:
            pass
        return Found(ask=(Entity(refused(step.path.replace("plan/", f"{PLANS[0]}/"), listing_of(step))),))

    async def _is_there(self, path: str) -> bool:
        """Whether a record can still be seen; then a 404 below it means that the server doesn't know the way."""
        try:
            return "/" in path and not path.startswith("plan/") and bool(await self._get(path))
        except Gone:
            return False
        except Rejected:
            return True

    async def _taken(self, step: Step) -> Found:
        if step.path.startswith("requirements/"):
            return self._sorted_out(await self._versions(step.path), "versions")
        read = self._executions if step.path.startswith("plan/") else self._page
        items, following = await read(step)
        found = self._sorted_out(items, listing_of(step))
        return replace(found, below=(*found.below, following)) if following else found

    async def _page(self, step: Step) -> tuple[list[dict[str, Any]], Step | None]:
        return await read_page(self._get, step)

    async def _versions(self, path: str) -> list[dict[str, Any]]:
        """The current version among them tells its files."""
        try:
            found = await self._get(path)
        except Gone:
            found = await self._get(f"high-level-{path}")
        current = [found["current_version"]] if "current_version" in found else []
        versions = [*objects_in(found.get("versions")), *objects_in(current)]
        return list({number_of(version): version for version in versions}.values())

    async def _executions(self, step: Step) -> tuple[list[dict[str, Any]], Step | None]:
        """Those of an item of a test plan, by whichever of the two paths this server knows."""
        _, rest = step.path.split("/", 1)
        for plan in self._plans:
            try:
                items, following = await self._page(replace(step, path=f"{plan}/{rest}"))
            except Gone:
                continue
            self._plans = (plan,)
            return items, replace(following, path=step.path) if following else None
        if len(self._plans) > 1:
            raise NotReachable("the items of a test plan are under neither of the two paths")
        raise Gone(f"GET {step.path}: no longer there")

    def _sorted_out(self, items: Iterable[Mapping[str, Any]], listing: str) -> Found:
        """What the items of a listing are: owners, ways further down, or what may not be read."""
        there = [item for item in items if item.get("_type") != BARRED]
        barred = tuple(unreadable(item, listing) for item in items if item.get("_type") == BARRED)
        if listing == "requirements":
            return Found(ask=barred, below=tuple(self._step(f"requirements/{number_of(item)}") for item in there))
        if listing == "test-plan":
            return self._of_plan(there, barred)
        kind = KIND_OF.get(listing, listing)
        owners = [(item, self._entity(item, kind)) for item in there if carries_files(item, listing)]
        asked = tuple(entity for item, entity in owners if self._is_asked(item, kind))
        parts = [f"{kind}/{entity.ref.id}/{part}" for item, entity in owners for part in parts_of(item, kind)]
        entities = tuple(entity for _, entity in owners)
        return Found(entities, (*asked, *barred), tuple(self._step(path) for path in parts))

    def _of_plan(self, items: Iterable[Mapping[str, Any]], barred: tuple[Entity, ...]) -> Found:
        """The executions that the items of a test plan hold, or where to ask for those of an item that holds none."""
        told = [execution for item in items for execution in objects_in(item.get("executions", []))]
        found = self._sorted_out(told, "executions")
        silent = [number_of(item) for item in items if "executions" not in item]
        more = (self._step(f"plan/{number}/executions") for number in silent)
        return Found(found.entities, (*found.ask, *barred), (*found.below, *more))

    def _is_asked(self, item: Mapping[str, Any], kind: str) -> bool:
        """A list says nothing of files, as a rule; where it says there are none, that is that."""
        return item.get("attachments") != [] and (kind != "projects" or self._options.project_files == "read")

    def _entity(self, item: Mapping[str, Any], kind: str) -> Entity:
        ref = EntityRef(kind, str(number_of(item)))
        url = f"{self._http.base}/{API}/{kind}/{ref.id}"
        return Entity(ref, text(item.get("name")), url, json.dumps(item, ensure_ascii=False))


class SquashTarget(CreatesNothing, _Squash):
    """Files are added to owners that exist; they have no descriptions here."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        if not _EXTENSION.fullmatch(options.extension):
            raise ConfigError("target.options.extension: one to ten letters or digits are wanted, without the dot")
        # What can't be looked up must not be loaded, or it would be loaded twice.
        super().__init__(http, replace(options, untold="report"))
        self._turns: WeakValueDictionary[EntityRef, asyncio.Lock] = WeakValueDictionary()

    def legal_name(self, name: str) -> str:
        """See `Target`. A name has a stem and an extension of one to ten characters, or the server breaks on it."""
        legal = _NEVER.sub("_", name)
        stem, dot, ext = legal.rpartition(".")
        if not dot or not ext.strip() or len(ext) > LONGEST_EXTENSION or _NOT_IN_HEADERS.search(ext):
            stem, ext = legal, self._options.extension
        return f"{stem}.{ext}" if stem.strip() else f"_{stem}.{ext}"

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`."""
        return await self._files_of(owner)

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """See `Target`. Where a name can't be sent as it is, what an earlier try left is finished first."""
        if draft.name != self.legal_name(draft.name) or len(draft.name) > LONGEST_NAME:
            raise Rejected(f"{owner}: {draft.name!r} is no name that Squash TM can hold")
        if not _NOT_IN_HEADERS.search(draft.name):
            return await self._send(owner, draft, body)
        async with self._turns.setdefault(owner, asyncio.Lock()):
            under = replace(draft, name=await passing_name(draft.name, body))
            made = await self._left(owner, under) or await self._send(owner, under, body)
            if made := made or await self._left(owner, under):
                return await self._renamed(made, draft.name)
        raise Unanswered(f"{owner}: sent, but not found under the name it was sent with")

    async def _left(self, owner: EntityRef, draft: Draft) -> Attachment | None:
        there = await self._files_of(owner)
        return next((file for file in there if (file.name, file.size) == (draft.name, draft.size)), None)

    async def _send(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        parts = Multipart({}, "files", draft.name, draft.media_type, body)
        call = Call("POST", f"{API}/{path_of(owner)}/attachments", headers={"Accept": "application/json"}, body=parts)
        try:
            made = made_in((await self._http.write(call)).body)
        except Rejected as error:
            explain(error, owner, draft)
        if made == []:
            raise Rejected(f"{owner}: taken, and no file made of it; {_whitelist(draft)}")
        if made is None or len(made) != 1:
            return None
        try:
            return await self._file(made[0], owner)
        except (Retriable, Rejected) as error:
            raise Unanswered(f"{owner}: sent, but it could not be looked up ({error})") from None

    async def _renamed(self, made: Attachment, name: str) -> Attachment:
        """May be repeated. `name` is a parameter, and without the extension, which stays."""
        self._partly.pop(made.owner, None)
        query = {"name": name.rpartition(".")[0]}
        call = Call("PATCH", f"{API}/attachments/{made.id}", query, {"Accept": "application/json"})
        return attachment_in(object_in((await self._http.send(call)).json()), made.owner)

    async def describe(self, remote: Attachment, description: str) -> None:  # noqa: ARG002
        """See `Target`. There is no way."""
        raise Rejected(f"{remote.owner}: files have no description in Squash TM")

    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """See `Target`."""
        await self._download(remote, sink)

    async def delete(self, remote: Attachment) -> None:
        """Take a file off its owner; `Gone` if it is not there."""
        query = {"attachmentIds": digits(remote.id)}
        await self._http.write(Call("DELETE", f"{API}/{path_of(remote.owner)}/attachments", query))


def in_part(tried: Sequence[Found | BaseException], steps: Sequence[Step]) -> list[Found]:
    """What came of these steps; one that failed is to be read again, unless none got any further."""
    failed = [one for one in tried if isinstance(one, BaseException)]
    for failure in failed:
        if not isinstance(failure, Retriable) or len(failed) == len(tried):
            raise failure
    return [one if isinstance(one, Found) else Found(below=(step,)) for one, step in zip(tried, steps, strict=False)]


def made_in(body: bytes) -> list[dict[str, Any]] | None:
    """The files that the answer to an upload tells of; None if it can't be understood."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    files = record(answer.get("_embedded")).get("attachments", [])
    return files if isinstance(files, list) and all(isinstance(file, dict) for file in files) else None


def attachment_in(item: Mapping[str, Any], owner: EntityRef) -> Attachment:
    """A file. Its name is always shown cut in two, also where it has more than one dot."""
    ext = item.get("file_type", item.get("fileType"))
    cut = isinstance(ext, str) and "/" not in ext
    return Attachment(
        id=str(number_of(item)),
        owner=owner,
        name=text(item.get("name")) + (f".{text(ext)}" if cut else ""),
        size=whole(item.get("size")),
        created_at=date_in(item.get("added_on", item.get("addedOn"))),
        raw=json.dumps(item, ensure_ascii=False),
    )


def unreadable(item: Mapping[str, Any], listing: str) -> Entity:
    """What may not be read, as an entity to be asked for: the refusal is recorded then."""
    kind, number = f"{text(item.get('resource_type'))}s", str(number_of(item))
    return Entity(EntityRef(kind, number) if kind in KINDS else refused(f"{listing}/{number}", listing))


def refused(path: str, listing: str) -> EntityRef:
    """What stands for a path that may not be read; its kind is that of what is there."""
    kind = "requirement-versions" if path.startswith("requirements/") else KIND_OF.get(listing, listing)
    return EntityRef(kind, path)


def listing_of(step: Step) -> str:
    """The last part of its path."""
    return step.path.rpartition("/")[2]


def carries_files(item: Mapping[str, Any], listing: str) -> bool:
    """Of the steps of a test case only actions do, not calls of other test cases, nor keywords."""
    return listing != "steps" or item.get("_type") == "action-step" or "attachments" in item


def parts_of(item: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The listings below an item. Scripted, keyword and exploratory test cases have no steps that carry files."""
    plain = kind != "test-cases" or text(item.get("_type")) in {"test-case", ""}
    return BELOW.get(kind, ()) if plain else ()


def path_of(owner: EntityRef) -> str:
    """Where an owner is."""
    if owner.kind not in KINDS:
        raise Rejected(
            f"{owner.kind!r} is no kind of Squash TM that carries files; it knows {', '.join(sorted(KINDS))}"
        )
    return f"{owner.kind}/{digits(owner.id)}"


def digits(number: str) -> str:
    """An id that may stand in a path; never anything that would lead elsewhere."""
    if not (number.isascii() and number.isdecimal()):
        raise Gone(f"{number[:40]!r} is no id of Squash TM's")
    return number


def date_in(value: object) -> str:
    """ISO 8601, whether the server writes the offset with a colon (since 2.x) or without."""
    try:
        return datetime.fromisoformat(text(value)).isoformat()
    except ValueError:
        return ""


async def passing_name(name: str, body: Body) -> str:
    """The name under which a file is sent whose own can't be: made of what it is called and what is in it."""
    digest = hashlib.sha256(name.encode() + b"\0")
    async for chunk in body:
        digest.update(chunk)
    return f"migrator-{digest.hexdigest()[:32]}.{name.rpartition('.')[2]}"


def explain(error: Rejected, owner: EntityRef, draft: Draft) -> NoReturn:
    """Say what a refused upload was refused for, where that can be known."""
    told = str(error)
    if type(error) is not Rejected:
        raise error
    if "status 413" in told:
        limit = _LIMIT.search(told)
        most = f" of {limit[1]} bytes" if limit else ""
        raise Rejected(
            f"{owner}: larger than the server's limit{most} (uploadfilter.upload.sizeLimitInBytes)"
        ) from None
    if _ABOUT_TYPES.search(told):
        raise Rejected(f"{owner}: {_whitelist(draft)} ({told})") from None
    raise error


def _whitelist(draft: Draft) -> str:
    ext = draft.name.rpartition(".")[2]
    return f"the extension .{ext} is probably not on its whitelist (uploadfilter.fileExtensions.whitelist)"


def signer(auth: Mapping[str, str]) -> Signer:
    """A personal API token, or an account's name and password; the server reads those as ISO 8859-1."""
    if "token" in auth:
        return Header("Authorization", f"Bearer {unwrapped(auth['token'])}")
    pair = f"{auth['username']}:{auth['password']}"
    try:
        known = pair.encode("latin-1")
    except UnicodeEncodeError:
        known = pair.encode()
    return Header("Authorization", f"Basic {base64.b64encode(known).decode()}")


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
    max_connections=8,
)
