"""The reference adapter: a tracker inside this process. Read it first when you write an adapter; tests use it.

`MemoryTracker` is the server, with entities and files; `MemorySource` and `MemoryTarget` do exactly what the ports say.
Entities of a kind in `asked` come on the stream `asked` and are put into `Page.ask`; all others come on the stream
`listed` with their attachments on the page; files without an owner come on `loose`. It is not in the registry: it needs
an object in the process, which no configuration can name.

Tests set `tracker.on_call`, which is awaited before each verb and may raise, to make the tracker fail at any step. A
tracker may also alter the names of uploads (`alters_names`), re-encode their content (`alters_content`), and leave a
new file out of the next `lags` lists of its entity. With `dates_changes`, entities have the dates in `modified`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from typing_extensions import override

from migrator.errors import ConfigError, GoneError, RejectedError
from migrator.model import NOBODY, Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Link, Page
from migrator.ports import Body, BodyFacts, Capabilities, Sink, Source, Target, Tracker
from migrator.trackers.cursors import Keyset

CHUNK_BYTES = 64 * 1024
LISTED, ASKED, LOOSE = "listed", "asked", "loose"

OnCall = Callable[[str, str], Awaitable[None]]
"""Awaited with the verb and its object: a stream, an entity (`Bug 7`) or the id of a file."""


class MemoryTracker:
    """Entities and files. `downloads` counts the downloads of each file by its id, `uploads` the files that arrived."""

    def __init__(
        self,
        *,
        page_size: int = 10,
        asked: Iterable[str] = ("Story",),
        reports_size: bool = True,
        dates_changes: bool = False,
        sets_description: bool = True,
        max_name_bytes: int = 255,
        creates: bool = True,
        deletes: bool = True,
        max_attachment_bytes: int | None = None,
    ) -> None:
        self.page_size, self.asked = page_size, frozenset(asked)
        self.capabilities = Capabilities(
            streams=(LISTED, ASKED, LOOSE),
            entity_streams=(LISTED, ASKED),
            reports_size=reports_size,
            dates_changes=dates_changes,
            sets_description=sets_description,
            max_name_bytes=max_name_bytes,
            creates=creates,
            deletes=deletes,
            max_attachment_bytes=max_attachment_bytes,
        )
        self.entities: dict[EntityRef, Entity] = {}
        self.modified: dict[EntityRef, str] = {}
        self.files: dict[str, Attachment] = {}
        self.content: dict[str, bytes] = {}
        self.links: list[Link] = []
        self.on_call: OnCall | None = None
        self.downloads: Counter[str] = Counter()
        self.uploads = 0
        self.alters_names: Callable[[str], str] = str
        self.alters_content: Callable[[bytes], bytes] = bytes
        self.lags = 0
        self._unlisted: dict[str, int] = {}
        self._numbers: dict[EntityRef, int] = {}
        self._last_number = 0

    def _number(self) -> int:
        self._last_number += 1
        return self._last_number

    def add(self, kind: str, entity_id: str | None = None, title: str = "", **fields: str) -> EntityRef:
        """Add an entity, with a new id if none is given. `fields` are further keys of its JSON."""
        number = self._number()
        ref = EntityRef(kind, entity_id or str(number))
        raw = json.dumps({"kind": kind, "id": ref.id, "title": title, **fields})
        self.entities[ref] = Entity(ref, title, f"memory:{kind}/{ref.id}", raw)
        self._numbers[ref] = number
        return ref

    def attach(self, owner: EntityRef, name: str, content: bytes, **facts: str) -> Attachment:
        """Add a file to an entity (or to `NOBODY`), always with a new id. `facts` are fields of `Attachment`."""
        size = len(content) if self.capabilities.reports_size else None
        number = str(self._number())
        attachment = Attachment(number, owner, name, size, **facts)
        self.files[number] = replace(attachment, raw=json.dumps({"id": number, "name": name}))
        self.content[number] = content
        return self.files[number]

    def remove(self, attachment_id: str) -> None:
        """Delete a file."""
        del self.files[attachment_id], self.content[attachment_id]

    def of(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """All files of one entity, oldest first."""
        return tuple(file for file in self.files.values() if file.owner == owner)

    def store_upload(self, owner: EntityRef, draft: Draft, content: bytes) -> Attachment:
        """Store an upload: altered as this tracker does, and missing from the next `lags` lists."""
        description = draft.description if self.capabilities.sets_description else ""
        name, altered = self.alters_names(draft.name), self.alters_content(content)
        file = self.attach(owner, name, altered, media_type=draft.media_type, description=description)
        if self.lags:
            self._unlisted[file.id] = self.lags
        self.uploads += 1
        return file

    def listed_files(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """The files that a list of one entity shows now."""
        files = self.of(owner)
        late = {file.id for file in files if self.lags and self._unlisted.get(file.id)}
        for file_id in late:
            self._unlisted[file_id] -= 1
        return tuple(file for file in files if file.id not in late)

    def entities_after(self, number: int, stream: str) -> list[tuple[int, Entity]]:
        """The next page of entities of a stream, oldest first, with their numbers."""
        later = [
            (self._numbers[ref], replace(entity, modified_at=self.modified.get(ref, "")))
            for ref, entity in self.entities.items()
            if self._numbers[ref] > number and (ref.kind in self.asked) == (stream == ASKED)
        ]
        return later[: self.page_size]

    async def called(self, verb: str, key: str) -> None:
        """Call `on_call`, if it is set."""
        if self.on_call is not None:
            await self.on_call(verb, key)

    async def send(self, attachment: Attachment, sink: Sink) -> None:
        """Write the bytes of a file into the sink, in chunks."""
        if attachment.id not in self.content:
            raise GoneError(f"no file {attachment.id}")
        content = self.content[attachment.id]
        self.downloads[attachment.id] += 1
        await sink.start(BodyFacts(attachment.media_type, len(content), named=True))
        for start in range(0, len(content), CHUNK_BYTES):
            await sink.write(content[start : start + CHUNK_BYTES])


class _Memory(Tracker):
    def __init__(self, tracker: MemoryTracker) -> None:
        self._tracker = tracker
        self.capabilities = tracker.capabilities

    @override
    async def check(self) -> str:
        await self._tracker.called("check", "")
        return f"memory, {len(self._tracker.entities)} entities"

    @override
    async def oddities(self) -> tuple[str, ...]:
        return ()

    @override
    async def close(self) -> None:
        """There is nothing to close."""


class MemorySource(_Memory, Source):
    """The tracker as a source."""

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        await self._tracker.called("read", stream)
        state = Keyset.parse(cursor)
        if stream == LOOSE:
            return self._loose(state)
        numbered = self._tracker.entities_after(state.after or 0, stream)
        entities = tuple(entity for _, entity in numbered)
        next_cursor = state.next_cursor([number for number, _ in numbered])
        if stream == ASKED:
            return Page(entities, ask=entities, next=next_cursor)
        refs = {entity.ref for entity in entities}
        attachments = tuple(file for entity in entities for file in self._tracker.of(entity.ref))
        links = tuple(link for link in self._tracker.links if link.owner in refs)
        return Page(entities, attachments, links, next=next_cursor)

    def _loose(self, state: Keyset) -> Page:
        later = [file for file in self._tracker.of(NOBODY) if int(file.id) > (state.after or 0)]
        files = tuple(later[: self._tracker.page_size])
        return Page(attachments=files, next=state.next_cursor([int(file.id) for file in files]))

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        await self._tracker.called("attachments_of", str(entity.ref))
        if entity.ref not in self._tracker.entities:
            raise GoneError(f"no entity {entity.ref}")
        return self._tracker.of(entity.ref)

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        await self._tracker.called("still_lists", attachment.id)
        return attachment.id in self._tracker.files

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        await self._tracker.called("download", attachment.id)
        await self._tracker.send(attachment, sink)


class MemoryTarget(_Memory, Target):
    """The tracker as a target. A slash is illegal in its names; everything else is kept."""

    @override
    def legal_name(self, name: str) -> str:
        return name.replace("/", "_") or "_"

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        if "/" in draft.name or len(draft.name.encode()) > self.capabilities.max_name_bytes:
            return f"the name of a file for {owner} is not legal"
        return self.capabilities.refuses(draft)

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        await self._tracker.called("find_attachments", str(owner))
        if owner not in self._tracker.entities:
            raise GoneError(f"no entity {owner}")
        return self._tracker.listed_files(owner)

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """`on_call` is awaited twice: with `upload` before anything, with `uploaded` once the file is stored."""
        await self._tracker.called("upload", str(owner))
        if owner not in self._tracker.entities:
            raise GoneError(f"no entity {owner}")
        if reason := await self.refuses(owner, draft):
            raise RejectedError(reason)
        content = b"".join([chunk async for chunk in body])
        if len(content) != draft.size:
            raise RejectedError(f"{len(content)} bytes came, {draft.size} were announced")
        file = self._tracker.store_upload(owner, draft, content)
        await self._tracker.called("uploaded", file.id)
        return file

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        await self._tracker.called("describe", remote.id)
        if remote.id not in self._tracker.files:
            raise GoneError(f"no file {remote.id}")
        if not self.capabilities.sets_description:
            raise RejectedError("files have no description here")
        self._tracker.files[remote.id] = replace(self._tracker.files[remote.id], description=description)

    @override
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        await self._tracker.called("read_back", remote.id)
        await self._tracker.send(remote, sink)

    @override
    async def delete(self, remote: Attachment) -> None:
        """`on_call` is awaited twice: with `delete` before anything, with `deleted` once the file is gone."""
        await self._tracker.called("delete", remote.id)
        if not self.capabilities.deletes:
            raise RejectedError("files can't be deleted here")
        if remote.id not in self._tracker.files:
            raise GoneError(f"no file {remote.id}")
        self._tracker.remove(remote.id)
        await self._tracker.called("deleted", remote.id)

    @override
    async def require_creating(self) -> None:
        if not self.capabilities.creates:
            raise ConfigError("[mapping] create_missing: entities of this target can't be created from here")

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """`on_call` is awaited twice: with `create_entity` before anything, with `created` after it."""
        await self._tracker.called("create_entity", draft.mark)
        if not self.capabilities.creates:
            raise RejectedError("no entities are created here")
        ref = self._tracker.add(draft.kind, title=draft.title, description=draft.marked)
        await self._tracker.called("created", str(ref))
        return ref

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        await self._tracker.called("find_entity", draft.mark)
        marked = (ref for ref, entity in self._tracker.entities.items() if draft.mark in (entity.raw or ""))
        return next(marked, None)
