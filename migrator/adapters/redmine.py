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

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from migrator.adapters import Adapter
from migrator.ahead import Ahead
from migrator.auth import Header, Signer, basic
from migrator.errors import ConfigError, Gone, LoginPage, Rejected, Retriable, TrackerUnreachable, Unanswered, WrongBody
from migrator.fields import kept, record, text, whole
from migrator.http import Call, HttpClient
from migrator.listing import Found, Listing, Order, Way
from migrator.lookup import Lookup
from migrator.marks import Marks
from migrator.model import Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.multipart import Raw
from migrator.ports import Body, Capabilities, Sink
from migrator.required import digits, number_in, object_in, objects_in
from migrator.tracker import HttpTracker
from migrator.turns import Turns

KIND = "Issue"
PAGE = 100  # more is cut down to this without a word
LONGEST_DESCRIPTION = 255  # characters; with one more the whole file is dropped without a word

_ILLEGAL = re.compile(r"[\\/?%*:|\"'<>\n\r\0\ud800-\udfff]")

# Names: 255 characters, whatever they are. Connections: a small server answers one at a time, and kept-alive ones
# then wait for each other (measured: 90 files in 2 s by one, 13 s by eight).
CAPABILITIES = Capabilities(
    streams=("issues",),
    max_connections=4,
    max_name_bytes=4 * 255,
    name_encoding="utf-32-le",
    creates=True,
    deletes=True,
)


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


class _Redmine(HttpTracker[Options]):
    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, replace(CAPABILITIES, max_attachment_bytes=options.max_bytes or None))

    async def check(self) -> str:
        """See `Tracker`."""
        try:
            return f"logged in to Redmine as {await self._account()}"
        except LoginPage:
            raise
        except (Gone, WrongBody):
            raise TrackerUnreachable("no Redmine answers at this address; is `url` right?") from None

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`."""
        answer = await self._http.get_json(f"issues/{digits(owner.id)}.json", {"include": "attachments"})
        return attachments_in(object_in(answer, "issue"), owner)

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`. By number alone: with a name in the path, a file renamed meanwhile would be a 404."""
        await self._stream(attachment, f"attachments/download/{digits(attachment.id)}", sink)

    async def _account(self) -> str:
        """Whom the credentials belong to; the one page that surely refuses wrong ones."""
        return text(object_in(await self._http.get_json("users/current.json"), "user").get("login"))

    def _issues(self, project: str) -> Listing:
        """All issues, or those of a project, each with its files."""
        query = {"status_id": "*", "sort": "id", "include": "attachments"}
        query |= {"project_id": project} if project else {}

        async def ask(way: Way) -> Found:
            if not way.skip:
                await self._account()
            window = {"limit": str(way.take), "offset": str(way.skip)}
            found = objects_in(await self._http.get_json("issues.json", query | window), "issues")
            if len(found) < 2:  # the end: of what this account may see
                await self._account()
            return Found(found)

        return Listing(ask, number_in, PAGE, (Order.BY_ID,))


class RedmineSource(_Redmine):
    """Issues in the order of their numbers, each with its files."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._ahead = Ahead(number_in)

    async def close(self) -> None:
        """See `Tracker`."""
        await self._ahead.close()
        await super().close()

    async def read(self, stream: str, cursor: Cursor | None) -> Page:  # noqa: ARG002 - there is one stream
        """See `Source`."""
        issues, following = await self._ahead.over(self._issues(self._options.project)).page(cursor)
        entities = tuple(self._entity(issue) for issue in issues)
        told = [(issue, entity) for issue, entity in zip(issues, entities, strict=True) if "attachments" in issue]
        return Page(
            entities=entities,
            attachments=tuple(file for issue, entity in told for file in attachments_in(issue, entity.ref)),
            ask=tuple(entity for issue, entity in zip(issues, entities, strict=True) if "attachments" not in issue),
            next=following,
        )

    def _entity(self, issue: Mapping[str, Any]) -> Entity:
        ref = ref_in(issue)
        return Entity(ref, text(issue.get("subject")), f"{self._http.base}/issues/{ref.id}", kept(issue))


class RedmineTarget(_Redmine):
    """Files are added to issues that exist."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._turns = Turns()
        self._marks = Marks(self._described_issues)
        self._kind = Lookup("target.options.create_kind", options.create_kind, self._kinds)

    def legal_name(self, name: str) -> str:
        """See `Target`. Redmine drops everything up to a slash and makes `_` of some others; blank is no name."""
        legal = _ILLEGAL.sub("_", name)
        return legal if legal.strip() else "_"

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """See `Target`. Nothing happens to the issue before the last step, so all before it may be repeated."""
        number = digits(owner.id)
        answer = await self._http.send(Call("POST", "uploads.json", {"filename": draft.name}, body=Raw(body)))
        uploaded = object_in(answer.json(), "upload")
        token = text(uploaded.get("token"))
        # Before 4.0 the answer holds the token alone; it begins with the number.
        remote_id = str(number_in({"id": uploaded.get("id") or token.partition(".")[0]}))
        # Redmine refuses two changes of one issue at the same moment, so ours take turns.
        async with self._turns.at(number):
            await self._attach(number, token, draft)
        return await self._look_up(owner, remote_id)

    async def _attach(self, number: str, token: str, draft: Draft) -> None:
        upload = {"token": token, "filename": draft.name, "description": _short(draft.description)}
        if draft.media_type:
            upload["content_type"] = draft.media_type[:255]
        await self._http.write_json("PUT", f"issues/{number}.json", {"issue": {"uploads": [upload]}})

    async def _look_up(self, owner: EntityRef, remote_id: str) -> Attachment:
        try:
            found = {file.id: file for file in await self.find_attachments(owner)}
        except (Retriable, Rejected) as error:
            raise Unanswered(f"sent, but it could not be looked up ({error})") from None
        if remote_id not in found:
            raise Rejected(f"{owner}: Redmine said yes, but did not attach the file; may this account edit the issue?")
        return found[remote_id]

    async def describe(self, remote: Attachment, description: str) -> None:
        """See `Target`."""
        change = {"attachment": {"description": _short(description)}}
        await self._http.send_json("PATCH", f"attachments/{digits(remote.id)}.json", change)

    async def delete(self, remote: Attachment) -> None:
        """See `Target`. It, too, is a change of the issue and stands in its history."""
        await self._http.send(Call("DELETE", f"attachments/{digits(remote.id)}.json"))

    async def expect_creating(self) -> None:
        """See `Target`."""
        self._home()
        if self._options.create_kind:
            await self._kind.number()

    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """See `Target`."""
        issue: dict[str, Any] = {"project_id": self._home(), "subject": draft.title[:255].strip() or "untitled"}
        issue["description"] = draft.marked
        if self._options.create_kind:
            issue["tracker_id"] = await self._kind.number()
        return await self._marks.created(draft.mark, self._create(issue))

    async def _create(self, issue: Mapping[str, Any]) -> EntityRef:
        return ref_in(object_in((await self._http.write_json("POST", "issues.json", {"issue": issue})).json(), "issue"))

    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """See `Target`. Not every Redmine searches descriptions, so the project's issues are walked once."""
        return await self._marks.find(draft.mark)

    async def _described_issues(self) -> AsyncIterator[tuple[EntityRef, str]]:
        async for issue in self._issues(self._home()).all():
            yield ref_in(issue), text(issue.get("description"))

    def _home(self) -> str:
        home = self._options.create_project or self._options.project
        if not home:
            raise ConfigError("target.options.create_project is needed to create issues: a project's identifier")
        return home

    async def _kinds(self) -> Iterable[tuple[int, str]]:
        known = objects_in(await self._http.get_json("trackers.json"), "trackers")
        return [(number_in(one), text(one.get("name"))) for one in known]


def attachments_in(issue: Mapping[str, Any], owner: EntityRef) -> tuple[Attachment, ...]:
    """The files that an issue's JSON tells of."""
    return tuple(attachment_in(found, owner) for found in objects_in(issue, "attachments"))


def attachment_in(found: Mapping[str, Any], owner: EntityRef) -> Attachment:
    """One file."""
    return Attachment(
        id=str(number_in(found)),
        owner=owner,
        name=text(found.get("filename")),
        size=whole(found.get("filesize")),
        media_type=text(found.get("content_type")),
        description=text(found.get("description")),
        created_at=text(found.get("created_on")),
        created_by=text(record(found.get("author")).get("name")),
        raw=kept(found),
    )


def ref_in(issue: Mapping[str, Any]) -> EntityRef:
    """Which issue this is."""
    return EntityRef(KIND, str(number_in(issue)))


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file, as Redmine's own pages link to it."""
    return f"{base}/attachments/download/{quote(attachment.id, safe='')}/{quote(attachment.name, safe='')}"


def signer(auth: Mapping[str, str]) -> Signer:
    """An API key, or the name and password of an account."""
    if "api_key" in auth:
        return Header("X-Redmine-API-Key", auth["api_key"])
    return basic(auth["username"], auth["password"])


def _short(description: str) -> str:
    fits = len(description) <= LONGEST_DESCRIPTION
    return description if fits else description[: LONGEST_DESCRIPTION - 1] + "…"


ADAPTER = Adapter(
    source=RedmineSource,
    target=RedmineTarget,
    options=Options,
    auth=(("api_key",), ("username", "password")),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
)
