"""Redmine, as source and as target: the files of its issues (REST API, Redmine 3.4 or newer; tried with 5.0).

The one idea: the list of issues brings their attachments along (`include=attachments`). An upload is two steps:
the bytes go to `/uploads.json`, which answers with a token; a change of the issue that names the token attaches the
file. A crash between the two leaves a file that nobody sees and that Redmine deletes after a day.

The one trap: Redmine says yes too easily. With a wrong key `/issues.json` answers 200 with what an anonymous visitor
may see, so the account is asked for when a listing starts and again before its end is believed. A change of an issue
answers 204 even where the file was dropped (a description over 255 characters, no right to edit), so every upload is
looked up afterwards.

Each upload is a change of the issue: it stands in its history, and Redmine may mail those who watch it.
Not read: files of wiki pages, documents, news, forums and versions. Sources: redmine.org, "Rest api", "Rest Issues",
"Attachments"; the source of Redmine 5.0 (attachment.rb, acts_as_attachable.rb); recordings of a running one.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

from migrator.adapters import Adapter
from migrator.answers import expects_html
from migrator.auth import Header, Signer, basic
from migrator.errors import (
    ConfigError,
    Gone,
    LoginPage,
    MigratorError,
    Rejected,
    Retriable,
    TrackerUnreachable,
    Unanswered,
    WrongBody,
)
from migrator.fields import record, text, whole
from migrator.http import Answer, Call, HttpClient
from migrator.marks import Marks
from migrator.model import Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.multipart import Raw
from migrator.paging import Offset
from migrator.ports import Body, Capabilities, Sink

KIND = "Issue"
PAGE = 100  # more is cut down to this without a word
LONGEST_DESCRIPTION = 255  # characters; with one more the whole file is dropped without a word

_ILLEGAL = re.compile(r"[\\/?%*:|\"'<>\n\r\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    project     identifier or number of one project: only its issues (and those of its subprojects) are read
    max_bytes   the largest file that the server takes (a setting of its own, 5 MiB at first); 0 where nobody knows
    create_project  identifier or number of the project in which issues are created, see [mapping] create_missing;
                    `project` if left out
    create_kind     number or name of their tracker in Redmine's sense ("Bug"); left out: the project's first
    """

    project: str = ""
    max_bytes: int = 0
    create_project: str = ""
    create_kind: str = ""


class _Redmine:
    def __init__(self, http: HttpClient, options: Options) -> None:
        self._http, self._options = http, options
        # Names: 255 characters, whatever they are. Connections: a small server answers one at a time, and kept-alive
        # ones then wait for each other (measured: 90 files in 2 s by one, 13 s by eight).
        self.capabilities = Capabilities(
            streams=("issues",),
            max_connections=4,
            max_name_bytes=4 * 255,
            name_encoding="utf-32-le",
            creates=True,
            deletes=True,
            max_attachment_bytes=options.max_bytes or None,
        )

    async def check(self) -> str:
        """See `Tracker`."""
        try:
            return f"logged in to Redmine as {await self._account()}"
        except LoginPage:
            raise
        except (Gone, WrongBody):
            raise TrackerUnreachable("no Redmine answers at this address; is `url` right?") from None

    async def close(self) -> None:
        """See `Tracker`."""
        await self._http.close()

    async def _account(self) -> str:
        """Whom the credentials belong to; the one page that surely refuses wrong ones."""
        answer = (await self._http.get("users/current.json")).json()
        return text(_dict(answer, "user").get("login"))

    async def _step(self, cursor: Cursor | None, project: str) -> tuple[list[dict[str, Any]], Cursor | None]:
        """One page of issues, and where it goes on."""
        state = Offset.parse(cursor)
        if cursor is None:
            await self._account()
        query = {"status_id": "*", "sort": "id", "include": "attachments"}
        query |= {"limit": str(PAGE), "offset": str(state.request)}
        if project:
            query["project_id"] = project
        issues = _list((await self._http.get("issues.json", query)).json(), "issues")
        following = state.following([int(_number(issue.get("id"))) for issue in issues], PAGE)
        if following is None:
            await self._account()
        return issues, following

    async def _files_of(self, owner: EntityRef) -> tuple[Attachment, ...]:
        path = f"issues/{_number(owner.id, Gone)}.json"
        answer = (await self._http.get(path, {"include": "attachments"})).json()
        return attachments_in(_dict(answer, "issue"), owner)

    async def _download(self, attachment: Attachment, sink: Sink) -> None:
        path = f"attachments/download/{_number(attachment.id, Gone)}"
        await self._http.download(path, sink, html_expected=expects_html(attachment))


class RedmineSource(_Redmine):
    """Issues in the order of their numbers, each with its files."""

    async def read(self, stream: str, cursor: Cursor | None) -> Page:  # noqa: ARG002 - there is one stream
        """See `Source`."""
        issues, following = await self._step(cursor, self._options.project)
        files: list[Attachment] = []
        for issue in issues:
            files += attachments_in(issue, _ref(issue)) if "attachments" in issue else ()
        return Page(
            entities=tuple(self._entity(issue) for issue in issues),
            attachments=tuple(files),
            ask=tuple(self._entity(issue) for issue in issues if "attachments" not in issue),
            next=following,
        )

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """See `Source`."""
        return await self._files_of(entity.ref)

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`. By number alone: with a name in the path, a file renamed meanwhile would be a 404."""
        await self._download(attachment, sink)

    def _entity(self, issue: Mapping[str, Any]) -> Entity:
        ref, raw = _ref(issue), json.dumps(issue, ensure_ascii=False)
        return Entity(ref, text(issue.get("subject")), f"{self._http.base}/issues/{ref.id}", raw)


class RedmineTarget(_Redmine):
    """Files are added to issues that exist."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._marks = Marks(self._described_issues)

    def legal_name(self, name: str) -> str:
        """See `Target`. Redmine drops everything up to a slash and makes `_` of some others; blank is no name."""
        legal = _ILLEGAL.sub("_", name)
        return legal if legal.strip() else "_"

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`."""
        return await self._files_of(owner)

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """See `Target`. Nothing happens to the issue before the last step, so all before it may be repeated."""
        number = _number(owner.id, Gone)
        answer = await self._http.send(Call("POST", "uploads.json", {"filename": draft.name}, body=Raw(body)))
        uploaded = _dict(answer.json(), "upload")
        token = text(uploaded.get("token"))
        # Before 4.0 the answer holds the token alone; it begins with the number.
        remote_id = _number(uploaded.get("id") or token.partition(".")[0])
        # Redmine refuses two changes of one issue at the same moment, so ours take turns.
        async with self._turns.setdefault(number, asyncio.Lock()):
            await self._attach(number, token, draft)
        return await self._look_up(owner, remote_id)

    async def _attach(self, number: str, token: str, draft: Draft) -> Answer:
        upload = {"token": token, "filename": draft.name, "description": _short(draft.description)}
        if draft.media_type:
            upload["content_type"] = draft.media_type[:255]
        body = json.dumps({"issue": {"uploads": [upload]}}).encode()
        headers = {"Content-Type": "application/json"}
        return await self._http.write(Call("PUT", f"issues/{number}.json", headers=headers, body=body))

    async def _look_up(self, owner: EntityRef, remote_id: str) -> Attachment:
        try:
            found = {file.id: file for file in await self._files_of(owner)}
        except (Retriable, Rejected) as error:
            raise Unanswered(f"sent, but it could not be looked up ({error})") from None
        if remote_id not in found:
            raise Rejected(f"{owner}: Redmine said yes, but did not attach the file; may this account edit the issue?")
        return found[remote_id]

    async def describe(self, remote: Attachment, description: str) -> None:
        """See `Target`."""
        change = {"attachment": {"description": _short(description)}}
        await self._http.send_json("PATCH", f"attachments/{_number(remote.id, Gone)}.json", change)

    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """See `Target`."""
        await self._download(remote, sink)

    async def delete(self, remote: Attachment) -> None:
        """See `Target`. It, too, is a change of the issue and stands in its history."""
        await self._http.send(Call("DELETE", f"attachments/{_number(remote.id, Gone)}.json"))

    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """See `Target`."""
        issue: dict[str, Any] = {"project_id": self._home(), "subject": draft.title[:255].strip() or "untitled"}
        issue["description"] = f"{draft.text}\n\n{draft.mark}"
        if self._options.create_kind:
            issue["tracker_id"] = await self._tracker_id(self._options.create_kind)
        headers = {"Content-Type": "application/json"}
        call = Call("POST", "issues.json", headers=headers, body=json.dumps({"issue": issue}).encode())
        try:
            ref = _ref(_dict((await self._http.write(call)).json(), "issue"))
        except (Unanswered, WrongBody):
            self._marks.doubt(draft.mark)
            raise
        self._marks.made(draft.mark, ref)
        return ref

    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """See `Target`. Not every Redmine searches descriptions, so the project's issues are walked once."""
        return await self._marks.find(draft.mark)

    async def _described_issues(self) -> AsyncIterator[tuple[EntityRef, str]]:
        cursor = None
        while True:
            issues, cursor = await self._step(cursor, self._home())
            for issue in issues:
                yield _ref(issue), text(issue.get("description"))
            if cursor is None:
                return

    def _home(self) -> str:
        home = self._options.create_project or self._options.project
        if not home:
            raise ConfigError("target.options.create_project is needed to create issues: a project's identifier")
        return home

    async def _tracker_id(self, wanted: str) -> int:
        if wanted.isascii() and wanted.isdecimal():
            return int(wanted)
        known = _list((await self._http.get("trackers.json")).json(), "trackers")
        found = [int(_number(one.get("id"))) for one in known if text(one.get("name")) == wanted]
        if not found:
            names = ", ".join(text(one.get("name")) for one in known)
            raise ConfigError(f"target.options.create_kind: there is no tracker {wanted!r}; known are {names}")
        return found[0]


def attachments_in(issue: Mapping[str, Any], owner: EntityRef) -> tuple[Attachment, ...]:
    """The files that an issue's JSON tells of."""
    return tuple(attachment_in(found, owner) for found in _list(issue, "attachments"))


def attachment_in(found: Mapping[str, Any], owner: EntityRef) -> Attachment:
    """One file."""
    return Attachment(
        id=_number(found.get("id")),
        owner=owner,
        name=text(found.get("filename")),
        size=whole(found.get("filesize")),
        media_type=text(found.get("content_type")),
        description=text(found.get("description")),
        created_at=text(found.get("created_on")),
        created_by=text(record(found.get("author")).get("name")),
        raw=json.dumps(found, ensure_ascii=False),
    )


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file, as Redmine's own pages link to it."""
    return f"{base}/attachments/download/{quote(attachment.id, safe='')}/{quote(attachment.name, safe='')}"


def signer(auth: Mapping[str, str]) -> Signer:
    """An API key, or the name and password of an account."""
    if "api_key" in auth:
        return Header("X-Redmine-API-Key", auth["api_key"])
    return basic(auth["username"], auth["password"])


def _ref(issue: Mapping[str, Any]) -> EntityRef:
    return EntityRef(KIND, _number(issue.get("id")))


def _short(description: str) -> str:
    fits = len(description) <= LONGEST_DESCRIPTION
    return description if fits else description[: LONGEST_DESCRIPTION - 1] + "…"


def _number(value: object, otherwise: type[MigratorError] = WrongBody) -> str:
    """A number as text; anything else could lead elsewhere when it stands in a path."""
    number = str(value)
    if not (number.isascii() and number.isdecimal()):
        raise otherwise(f"{number[:40]!r} is no number of Redmine's")
    return number


def _dict(answer: object, key: str) -> dict[str, Any]:
    found = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        raise WrongBody(f"the answer holds no {key!r}")
    return found


def _list(answer: object, key: str) -> list[dict[str, Any]]:
    found = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise WrongBody(f"the answer holds no list of {key!r}")
    return found


ADAPTER = Adapter(
    source=RedmineSource,
    target=RedmineTarget,
    options=Options,
    auth=(("api_key",), ("username", "password")),
    signer=signer,
    max_connections=4,
    url_of=attachment_url,
)
