"""Targetprocess, REST API version 1, as a source and as a target.

The one idea: every list that may show a file is read: all attachments, the attachments of each entity (the vendor's
page "Work with Attachments" warns that the first may be short), and the texts of entities and comments, which tell
whose the files are that name no owner.
The one trap: files of comments and e-mail messages name no owner, and a description that nobody wrote is the name.

Files are fetched by id below the configured URL: the server's links name its own idea of its host. Tokens may not
fetch files (same page). How lists are asked for is in `targetprocess_api`, what they say in `targetprocess_answers`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

from migrator import errors
from migrator.adapters import Adapter
from migrator.adapters.targetprocess_answers import (
    INLINE,
    attachment,
    id_of,
    inline_image,
    inline_paths,
    inner,
    kind_of,
    parsed,
    person,
    quoted_files,
    told_why,
    uploaded,
)
from migrator.adapters.targetprocess_api import ATTACHMENTS, COMMENTS, CREATED, GENERALS, MESSAGES, Api
from migrator.answers import says_too_large
from migrator.auth import Header, QueryToken, Signer, basic
from migrator.fields import as_html, kept, record, text, whole
from migrator.http import Call, HttpClient
from migrator.lookup import Lookup
from migrator.model import NOBODY, Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Link, Page
from migrator.multipart import Multipart
from migrator.ports import Body, Capabilities, Sink
from migrator.tracker import HttpTracker, described


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    format          "xml" asks for XML; what comes is understood either way
    page_size       items in one answer of a listing, 2 to 1000
    cross_check     which entities are asked for their own list: those with files ("counts"), "all", or none ("off")
    create_project  number or name of the project in which entities are created, see [mapping] create_missing
    create_kind     what they become; left out: the original's kind if it needs only a project, else "UserStory"
    inline_images   "list" takes old images inside of texts as files: only with a browser's cookie in
                    [source.download_auth] are they handed out, else each is told as failed; "skip" leaves them out
    max_bytes       the largest file that the server takes (the API doesn't tell it); 0 where nobody knows
    """

    format: Literal["json", "xml"] = "json"
    page_size: int = 500
    cross_check: Literal["counts", "all", "off"] = "counts"
    inline_images: Literal["list", "skip"] = "list"
    max_bytes: int = 0
    create_project: str = ""
    create_kind: str = ""


CAPABILITIES = Capabilities(
    streams=("Attachments", "Generals", "Comments", "Messages"),
    entity_streams=("Generals",),
    creates=True,
    max_connections=16,
    max_writes=1,
    deletes=True,
)


class _Targetprocess(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        sized, most = options.inline_images == "skip", options.max_bytes or None
        super().__init__(http, options, replace(CAPABILITIES, reports_size=sized, max_attachment_bytes=most))
        self._api = Api(http, options.format, options.page_size)

    async def close(self) -> None:
        """See `Tracker`."""
        await self._api.close()
        await super().close()

    async def check(self) -> str:
        """See `Tracker`."""
        try:
            context = await self._api.ask("Context")
        except errors.Forbidden as error:
            raise errors.AuthRefused(f"{error}; requesters may not use the API") from error
        user = record(context.get("LoggedUser"))
        version, login = text(context.get("Version")), text(user.get("Login")) or person(user) or "somebody"
        return f"Targetprocess {version or 'of unknown version'} as {login}"

    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """See `Target`."""
        return await self._api.files_of(owner)

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`. `NotReachable` for an image inside of a text, where only a browser may fetch it."""
        inline = attachment.id.startswith(INLINE)
        try:
            if inline:
                return await self._http.download(attachment.locator, sink)
            return await self._stream(attachment, "Attachment.aspx", sink, {"AttachmentID": attachment.id})
        except (errors.LoginPage, errors.AuthRefused, errors.Rejected) as error:
            if isinstance(error, errors.Rejected) and not inline:
                raise
            raise told_why(error, inline=inline) from error


class TargetprocessSource(_Targetprocess):
    """Targetprocess as a source."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._kinds: dict[int, str] = {}

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """See `Source`."""
        if stream == "Attachments":
            return await self._attachments(cursor)
        if stream == "Generals":
            return await self._generals(cursor)
        try:
            return await (self._comments(cursor) if stream == "Comments" else self._messages(cursor))
        except errors.Rejected:
            if cursor is not None:
                raise
            return Page()  # not on this server, or not for this account: files keep the owner they name, if any

    async def _attachments(self, cursor: Cursor | None) -> Page:
        items, after = await self._api.page(ATTACHMENTS, cursor)
        owners = [await self._entity(item.get("General")) for item in items]
        files = [attachment(item, owner.ref if owner else NOBODY) for item, owner in zip(items, owners, strict=True)]
        return Page(distinct(owners), tuple(files), next=after)

    async def _generals(self, cursor: Cursor | None) -> Page:
        items, after = await self._api.page(GENERALS, cursor)
        entities = [(item, entity) for item in items if (entity := await self._entity(item, raw=kept(item)))]
        wanted = tuple(entity for item, entity in entities if self._asks_for(item))
        texts = [(text(item.get("Description")), entity.ref, None) for item, entity in entities]
        files, links = self._in_texts(texts)
        return Page(tuple(entity for _, entity in entities), files, links, wanted, after)

    async def _comments(self, cursor: Cursor | None) -> Page:
        items, after = await self._api.page(COMMENTS, cursor)
        owned = [(item, owner) for item in items if (owner := await self._entity(item.get("General")))]
        texts = [(text(item.get("Description")), owner.ref, str(id_of(item, "Comments"))) for item, owner in owned]
        files, links = self._in_texts(texts)
        return Page(distinct(owner for _, owner in owned), files, links, next=after)

    async def _messages(self, cursor: Cursor | None) -> Page:
        items, after = await self._api.page(MESSAGES, cursor)
        owners: list[Entity | None] = []
        links: list[Link] = []
        for item in items:
            files = inner(item.get("Attachments"))
            general = next(iter(inner(item.get("Generals"))), None) if files else None
            if owner := await self._entity(general):
                owners.append(owner)
                links += [Link(str(id_of(file, "Messages")), owner.ref) for file in files]
        return Page(distinct(owners), links=tuple(links), next=after)

    def _asks_for(self, item: Mapping[str, Any]) -> bool:
        """Whether the entity is asked for its own list of files; without a count there is no telling."""
        count = whole(item.get("Attachments-Count"))
        check = self._options.cross_check
        return check == "all" or (check == "counts" and count != 0)

    def _in_texts(
        self, texts: Iterable[tuple[str, EntityRef, str | None]]
    ) -> tuple[tuple[Attachment, ...], tuple[Link, ...]]:
        files, links = [], []
        for words, owner, comment_id in texts:
            links += [Link(number, owner, comment_id) for number in quoted_files(words)]
            if self._options.inline_images == "list":
                files += [inline_image(path, owner, comment_id) for path in inline_paths(words)]
        return tuple(files), tuple(links)

    async def _entity(self, general: object, raw: str | None = None) -> Entity | None:
        """The entity that a General tells of; None if it is null."""
        item = record(general)
        number = whole(item.get("Id"))
        if number is None:
            return None
        ref = EntityRef(kind_of(item) or await self._looked_up(number), str(number))
        return Entity(ref, text(item.get("Name")), f"{self._http.base}/entity/{number}", raw)

    async def _looked_up(self, number: int) -> str:
        """The kind of an entity that the listing leaves open; "General" if it can't be had."""
        if number not in self._kinds:
            try:
                found = await self._api.ask(f"Generals/{number}")
            except errors.Rejected:
                found = {}
            self._kinds[number] = kind_of(found) or "General"
        return self._kinds[number]


class TargetprocessTarget(_Targetprocess):
    """Targetprocess as a target. All entities share one id space, so their kind isn't needed."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._project = Lookup("target.options.create_project", options.create_project, self._api.projects)

    def legal_name(self, name: str) -> str:
        """See `Target`: only what a header line can't carry is replaced."""
        return "".join("_" if unicodedata.category(char) in {"Cc", "Cs"} else char for char in name) or "_"

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """See `Target`. A description that could not be set is missing in what is returned; the file is there."""
        parts = Multipart({"generalId": owner.id}, "file", draft.name, draft.media_type, body)
        call = Call("POST", "UploadFile.ashx", headers={"Accept": "application/json"}, body=parts)
        try:
            answer = await self._http.write(call)
        except errors.Unanswered as error:
            raise await self._fate(owner, error) from error
        made = uploaded(answer.body, owner)
        return made and await described(self, made, draft.description)

    async def describe(self, remote: Attachment, description: str) -> None:
        """See `Target`."""
        path = f"api/v1/Attachments/{quote(remote.id, safe='')}"
        answer = await self._http.send_json("POST", path, {"Description": description}, {"format": "json"})
        parsed(answer, f"POST {path}")

    async def delete(self, remote: Attachment) -> None:
        """See `Target`."""
        await self._http.send(Call("DELETE", f"api/v1/Attachments/{quote(remote.id, safe='')}"))

    async def expect_creating(self) -> None:
        """See `Target`."""
        await self._project.number()

    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """See `Target`."""
        kind = self._options.create_kind or (draft.kind if draft.kind in CREATED else CREATED[0])
        project = await self._project.number()
        return EntityRef(kind, str(await self._api.create(kind, draft.title, as_html(draft.marked), project)))

    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        """See `Target`."""
        item = await self._api.described_with(draft.mark)
        return EntityRef(kind_of(item) or "General", str(id_of(item, "Generals"))) if item else None

    async def _fate(self, owner: EntityRef, error: errors.Unanswered) -> errors.MigratorError:
        """The upload page answers most failures with 500: a definite no where the file can't have arrived."""
        if says_too_large(error):
            return errors.Rejected(f"the server takes no file of this size ({error})")
        try:
            await self._api.ask(f"Generals/{quote(owner.id, safe='')}")
        except errors.Gone as gone:
            return gone
        except errors.MigratorError:
            return error
        return error


def distinct(entities: Iterable[Entity | None]) -> tuple[Entity, ...]:
    """Each entity once."""
    return tuple({entity.ref: entity for entity in entities if entity}.values())


def attachment_url(base: str, attachment: Attachment) -> str:
    """Where people fetch a file; an image inside of a text has its path."""
    if attachment.id.startswith(INLINE):
        return f"{base}/{quote(attachment.locator)}"
    return f"{base}/Attachment.aspx?AttachmentID={quote(attachment.id, safe='')}"


def signer(auth: Mapping[str, str]) -> Signer:
    """Credentials of [source.auth] or [target.auth]."""
    if "username" in auth:
        return basic(auth["username"], auth["password"])
    for name in ("access_token", "token"):
        if name in auth:
            return QueryToken(name, auth[name])
    return Header("Cookie", auth["cookie"])


ADAPTER = Adapter(
    source=TargetprocessSource,
    target=TargetprocessTarget,
    options=Options,
    auth=(("username", "password"), ("access_token",), ("token",), ("cookie",)),
    signer=signer,
    capabilities=CAPABILITIES,
    url_of=attachment_url,
)
