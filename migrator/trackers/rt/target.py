"""Request Tracker as a target: each file is added by a comment on a ticket that exists, or that a load creates.

RT converts texts of the types `text/plain` and `text/html` to UTF-8 when it takes them. So texts that are UTF-8 already
are sent as such, and all others as plain bytes: RT then keeps every byte and only forgets the type.

Beware: RT may cut a file and still answer 201. Its lists state the size before that, so the real size is found out
wherever the ticket's history says that a file of this size was cut. Files that would surely be cut are then refused.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import quote

from typing_extensions import override

from migrator.errors import ConfigError, ItemFailedError, OutcomeUnknownError, RejectedError
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Body, BodyFacts, Sink, Target
from migrator.trackers.lenient import integer
from migrator.trackers.rt.api import API, TICKET, kept_bytes, words_on_cut
from migrator.trackers.rt.client import Options, RtTracker, ticket_number
from migrator.trackers.strict import number_in, object_in, objects_in
from migrator.wire import Answer, Base64JsonBody, HttpClient, Request, sendable

MAX_SUBJECT_CHARACTERS = 200
OCTETS = "application/octet-stream"
ALWAYS = (
    "each file becomes a comment, of which RT may mail the ticket's watchers, and can't be deleted again by a rollback",
    f"texts that are not UTF-8 are sent as {OCTETS}, because RT would change their bytes",
)
"""What is odd about any RT as a target."""

_ILLEGAL = re.compile(r"[/\n\r\0\ud800-\udfff]|=(?=\?)")
_QUOTED = re.compile(r'\A".*"\Z', re.DOTALL)
_LAST_TWO = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_NONCHARACTER = re.compile(f"[\ufdd0-\ufdef{_LAST_TWO}]")
_TRANSACTION = re.compile(r"/transaction/([0-9]+)/?\Z")


class RtTarget(RtTracker, Target):
    """Request Tracker as a target. Files are added to tickets, and can't be deleted."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._sizes: dict[str, int] = {}  # of files that were cut, by id
        self._largest: int | None = None  # a larger file would surely be cut
        self._asked = False  # whether the last file that was cut is known

    @override
    async def oddities(self) -> tuple[str, ...]:
        cut = None if self._options.max_bytes else await self.api.last_cut()
        hint = "larger files are not sent; if this RT keeps them now, set target.options.max_bytes to what it keeps"
        return (*ALWAYS, f"{words_on_cut(cut)}; {hint}") if cut else ALWAYS

    @override
    def legal_name(self, name: str) -> str:
        """RT removes everything before a slash and some characters, decodes `=?...?=`, and takes no blank name."""
        legal = _ILLEGAL.sub("_", name)
        if _QUOTED.match(legal):
            legal = f"_{legal[1:-1]}_"
        return legal if legal.strip() and legal != "0" else f"_{legal.strip()}"

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """With the real sizes of files that were cut."""
        files = await super().find_attachments(owner)
        cuts = await self.api.cuts(ticket_number(owner)) if files else ()
        before = {integer(cut.get("OldValue")) for cut in cuts}
        return tuple([replace(file, size=await self._size(file)) if file.size in before else file for file in files])

    async def _size(self, file: Attachment) -> int:
        if file.id not in self._sizes:
            self._sizes[file.id] = (await self._contents(file)).size
        return self._sizes[file.id]

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        """Also if it would be cut, as another file was before: in this run, or without `max_bytes` at any time."""
        if not self._asked and not self._options.max_bytes:
            cut = await self.api.last_cut()
            self._largest, self._asked = kept_bytes(cut) if cut else None, True
        if self._largest is not None and draft.size > self._largest:
            reason = f"this RT cut or dropped a file of over {self._largest} bytes"
            return f"too large: {draft.size} bytes; {reason}; see target.options.max_bytes"
        return await super().refuses(owner, draft)

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """The text of the comment is the description, or the name if there is none: RT needs one."""
        number = ticket_number(owner)
        if reason := await self.refuses(owner, draft):
            raise RejectedError(reason)
        comment = {"Content": draft.description.strip() or f"{draft.name} ", "ContentType": "text/plain"}
        # RT takes the characters of this JSON for the bytes of a name.
        file = {"FileName": draft.name.encode().decode("latin-1"), "FileType": await _media_type(draft, body)}
        sent = _HashedBody(body)
        json_body = Base64JsonBody(file, "FileContent", sent, frame=(comment, "Attachments"))
        answer = await self._http.write(Request("POST", f"{API}/ticket/{number}/comment", body=json_body))
        return await self._look_up(owner, answer, sent)

    async def _look_up(self, owner: EntityRef, answer: Answer, sent: _HashedBody) -> Attachment | None:
        """The new file, with the size that it has there. Nothing but its bytes proves that RT kept all of it."""
        match = _TRANSACTION.search(answer.headers.get("Location", ""))
        if match is None:
            return None
        try:
            files = await self.api.files(owner, f"transaction/{match[1]}")
            contents = [await self._contents(file) for file in files]
        except ItemFailedError as error:
            raise OutcomeUnknownError(f"sent, but it could not be read back ({error})") from None
        if len(files) != 1:
            reason = f"there are {len(files)} files on the comment; may this account see comments?"
            raise OutcomeUnknownError(f"RT accepted it, but {reason}", accepted=True)
        [file], [there] = files, contents
        if there.sha256.digest() != sent.sha256.digest():
            if there.size == sent.size:
                raise OutcomeUnknownError("RT accepted the file, but has different content", accepted=True)
            await self._note_cut(file, sent.size, there.size)
        return replace(file, size=there.size)

    async def _note_cut(self, file: Attachment, size: int, there: int) -> None:
        """Remember that RT cut a file of this size, if its history says so, and which files would be cut, too."""
        with contextlib.suppress(ItemFailedError):
            for cut in await self.api.cuts(ticket_number(file.owner)):
                if integer(cut.get("OldValue")) == size:
                    self._sizes[file.id], self._largest = there, kept_bytes(cut)

    @override
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """`RejectedError` for a file that was cut, if another size is expected: repeating that would not help."""
        size = self._sizes.get(remote.id)
        if size is not None and remote.size not in {None, size}:
            raise RejectedError(f"RT cut or dropped it: {size} of {remote.size} bytes are there")
        await super().read_back(remote, sink)

    async def _contents(self, file: Attachment) -> _HashSink:
        sink = _HashSink()
        await self.download(file, sink)
        return sink

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Does nothing: files of an RT have no description; `upload` puts it into the comment."""

    @override
    async def delete(self, remote: Attachment) -> None:
        """Always `RejectedError`."""
        raise RejectedError(f"{remote.owner}: RT's API can't delete files; an administrator can, with its shredder")

    @override
    async def require_creating(self) -> None:
        queue = self._options.create_queue
        if not queue:
            raise ConfigError("target.options.create_queue is needed to create tickets: a queue's name or number")
        try:
            await self.api.get(f"queue/{quote(queue, safe='')}")
        except RejectedError as error:
            raise ConfigError(f"target.options.create_queue: this account sees no queue {queue!r} ({error})") from None

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """The mark is in the text and in a link, by which RT finds the ticket. RT may create it without the link."""
        await self.require_creating()
        ticket = {
            "Queue": self._options.create_queue,
            "Subject": " ".join(draft.title.split())[:MAX_SUBJECT_CHARACTERS] or "untitled",
            "Content": draft.marked,
            "ContentType": "text/plain",
            "RefersTo": _link(draft),
        }
        answer = await self._http.write_json("POST", f"{API}/ticket", ticket)
        made = EntityRef(TICKET, str(number_in(object_in(answer.json()))))
        try:
            found = await self.find_entity(draft)
        except ItemFailedError as error:
            raise OutcomeUnknownError(f"{made} was created, but looking for its link failed ({error})") from None
        if found is None:
            reason = "was created without its link, so no run can find it; this account needs the right ModifyTicket"
            raise ConfigError(f"{made} {reason}")
        return made

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        query = {"query": f"RefersTo = '{_link(draft)}'", "orderby": "id", "order": "ASC"}
        found = objects_in(await self.api.get("tickets", query), "items")
        return EntityRef(TICKET, str(number_in(found[0]))) if found else None


def _link(draft: EntityDraft) -> str:
    return f"migrator:{draft.mark}"


async def _media_type(draft: Draft, body: Body) -> str:
    """The media type to send: the file's own, or that of plain bytes if RT would otherwise change the file."""
    media_type = sendable(draft.media_type).partition(";")[0].strip().lower()
    if media_type not in {"text/plain", "text/html"}:
        return media_type
    return f"{media_type}; charset=utf-8" if await _is_utf8(body) else OCTETS


async def _is_utf8(body: Body) -> bool:
    """Whether RT keeps a text that is declared as UTF-8: if it is, and contains no noncharacters."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        async for chunk in body:
            if _NONCHARACTER.search(decoder.decode(chunk)):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


class _HashedBody(Body):
    """The bytes of an upload, hashed while they are sent."""

    def __init__(self, body: Body) -> None:
        self._body, self.size = body, body.size
        self.sha256 = hashlib.sha256()

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.sha256 = hashlib.sha256()
        async for chunk in self._body:
            self.sha256.update(chunk)
            yield chunk


class _HashSink(Sink):
    """Hashes and counts the bytes of a file."""

    def __init__(self) -> None:
        self.rewind()

    @override
    async def start(self, facts: BodyFacts) -> None:
        self.rewind()

    @override
    async def write(self, chunk: bytes) -> None:
        self.sha256.update(chunk)
        self.size += len(chunk)

    @override
    def rewind(self) -> None:
        self.sha256, self.size = hashlib.sha256(), 0

    @override
    def warn(self, text: str) -> None:
        """A cut file is warned of; the caller compares the bytes."""
