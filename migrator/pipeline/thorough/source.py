"""Probes of a source: whether its listings, sizes, bytes and refusals are what a backup relies on. They only read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from migrator import errors
from migrator.model import NOBODY, Attachment, Cursor, Entity, EntityRef, Page
from migrator.pipeline.reading import HashSink
from migrator.pipeline.summary import Check
from migrator.pipeline.thorough.probing import MINUTES, Finding, Note, Probe, tried
from migrator.ports import Source
from migrator.units import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_PAGES = 10
"""Pages of each listing that are read."""
MAX_ASKED = 8
"""Entities of each page that are asked for their files."""
MAX_FILES = 12
MAX_FILE_BYTES = 10 * 1024 * 1024
"""How many files are downloaded, and the largest of them."""
NO_ID = "999999999"
"""An id that no entity and no file should have."""
_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


@dataclass(slots=True)
class Walk:
    """What was read of the listings: each step is (stream, cursor, page); `files` and `asked` by id and entity."""

    steps: list[tuple[str, Cursor | None, Page]] = field(default_factory=list)
    files: dict[str, Attachment] = field(default_factory=dict)
    asked: dict[EntityRef, Entity] = field(default_factory=dict)
    whole: bool = True

    def items(self) -> list[str]:
        """Entities and files of the pages, in their order."""
        return [item for _, _, page in self.steps for item in items_of(page)]


def items_of(page: Page) -> Iterator[str]:
    """What identifies the items of a page."""
    for entity in (*page.entities, *page.ask):
        yield f"entity {entity.ref.kind} {entity.ref.id}"
    for file in page.attachments:
        yield f"file {file.id}"


async def probe_source(
    source: Source, build: Callable[[], Source], refused: Callable[[], Source], note: Note, minutes: float = MINUTES
) -> tuple[Check, ...]:
    """Try what a backup relies on. `build` makes another such source, `refused` one with wrong credentials."""
    probes = _SourceProbes(source, build, refused)
    return await tried(probes.all(), minutes, note)


class _SourceProbes:
    """The probes of one source; the first reads what the others need."""

    def __init__(self, source: Source, build: Callable[[], Source], refused: Callable[[], Source]) -> None:
        self._source, self._build, self._refused = source, build, refused
        self._walk = Walk()
        self._hashes: dict[str, str] = {}

    def all(self) -> list[Probe]:
        return [
            ("listings", self._listings),
            ("listings read again", self._listings_again),
            ("listings resumed", self._resumed),
            ("sizes and bytes", self._bytes),
            ("files side by side", self._side_by_side),
            ("files that are there", self._still_listed),
            ("an entity that is not there", self._missing_entity),
            ("a file that is not there", self._missing_file),
            ("wrong credentials", self._wrong_credentials),
        ]

    async def _listings(self) -> Finding:
        self._walk = walk = await _walked(self._source, files=True)
        unread = sum(len(page.unread) for _, _, page in walk.steps)
        entities = {item for item in walk.items() if item.startswith("entity")}
        facts = {
            "pages": len(walk.steps),
            "entities": len(entities),
            "files": len(walk.files),
            "repeated": len(walk.items()) - len(set(walk.items())),
            "unread": unread,
            "whole": walk.whole,
        }
        detail = f"{len(walk.steps)} pages with {len(entities)} entities and {len(walk.files)} files"
        detail += "" if walk.whole else f" (the first {MAX_PAGES} pages of each listing)"
        if unread:
            means = "a backup names what it can't read, and ends with status 3"
            return Finding(f"{detail}; {unread} items can't be read", means, odd=True, facts=facts)
        if not walk.files:
            means = "is the account allowed to see them? Most of the checks below need one"
            return Finding(f"{detail}: no file was found", means, odd=True, facts=facts)
        return Finding(detail, facts=facts)

    async def _listings_again(self) -> Finding:
        async with _open(self._build) as another:
            again = set((await _walked(another, files=False)).items())
        lost = set(self._walk.items()) - again
        facts = {"lost": len(lost), "new": len(again - set(self._walk.items()))}
        if lost:
            means = "if nobody changed anything in the last minute, a backup may miss files, or take them for deleted"
            some = ", ".join(sorted(lost)[:3])
            return Finding(f"{len(lost)} items are missing the second time: {some}", means, fails=True, facts=facts)
        return Finding("all items are listed the second time, too", facts=facts)

    async def _resumed(self) -> Finding:
        steps = [step for step in self._walk.steps if step[1] is not None][:3]
        if not steps:
            return Finding("each listing has one page, so none was resumed", facts={"resumed": 0})
        for stream, cursor, page in steps:
            async with _open(self._build) as another:
                again = set(items_of(await another.read(stream, cursor)))
            if lost := set(items_of(page)) - again:
                means = "a backup that is interrupted and resumed may miss files"
                detail = f"{len(lost)} items of a page of {stream} are missing when it is read again on its own"
                return Finding(detail, means, fails=True, facts={"lost": len(lost)})
        pages = counted(len(steps), "page")
        return Finding(f"{pages} read again, each on its own, with the same items", facts={"resumed": len(steps)})

    async def _bytes(self) -> Finding:
        """Download a sample twice; the layers below compare each with its listed size."""
        files, failures, differ = sample_of(self._walk.files.values()), list[str](), 0
        for file in files:
            try:
                first, second = await _hash_of(self._source, file), await _hash_of(self._source, file)
            except errors.ItemFailedError as error:
                failures.append(f"{file.name!r} of {file.owner}: {error}")
                continue
            differ += first != second
            self._hashes[file.id] = first
        facts = {"files": len(files), "failed": len(failures), "differ": differ}
        facts["sizes_listed"] = sum(file.size is not None for file in files)
        if not files:
            return Finding("no file of a suitable size was found, so none was downloaded", odd=True, facts=facts)
        if differ:
            means = "the tracker changes files while it sends them: a backup holds what came the first time"
            return Finding(f"{differ} of {len(files)} files differ the second time", means, odd=True, facts=facts)
        if failures:
            means = "a backup names such files as failed and tries them again; `accept` says which are known"
            detail = f"{len(failures)} of {len(files)} files can't be had: {'; '.join(failures[:3])}"
            return Finding(detail, means, odd=True, facts=facts)
        sizes = (
            "with the sizes that are listed" if facts["sizes_listed"] == len(files) else "not all with a listed size"
        )
        return Finding(f"{len(files)} files arrived twice and were equal, {sizes}", facts=facts)

    async def _side_by_side(self) -> Finding:
        files = [self._walk.files[file] for file in self._hashes]
        if len(files) < 2:
            return Finding("too few files to try", facts={"files": len(files)})
        hashes = await asyncio.gather(*(_hash_of(self._source, file) for file in files))
        wrong = sum(sha256 != self._hashes[file.id] for file, sha256 in zip(files, hashes, strict=True))
        facts = {"files": len(files), "wrong": wrong}
        if wrong:
            means = "set [limits] downloads = 1"
            detail = f"{wrong} of {len(files)} files differ if they are fetched at the same time"
            return Finding(detail, means, fails=True, facts=facts)
        return Finding(f"{len(files)} files fetched at the same time are the same", facts=facts)

    async def _still_listed(self) -> Finding:
        """The second fact before a file is called gone must not deny one that is there."""
        files = [self._walk.files[file] for file in self._hashes if self._walk.files[file].owner != NOBODY][:4]
        if not files:
            return Finding("no file to ask for", facts={"files": 0})
        denied = [file for file in files if not await self._source.still_lists(file)]
        facts = {"files": len(files), "denied": len(denied)}
        if denied:
            means = "if its download fails with 404, a backup would take it for deleted"
            return Finding(f"{denied[0].name!r} of {denied[0].owner} is denied", means, fails=True, facts=facts)
        return Finding("asked for one by one, they are confirmed", facts=facts)

    async def _missing_entity(self) -> Finding:
        entity = next(iter(self._walk.asked.values()), None)
        if entity is None:
            why = "files come with the listings here" if self._walk.files else "no entity was listed"
            return Finding(f"{why}, so none is asked for its own", facts={})
        ref = EntityRef(entity.ref.kind, NO_ID)
        try:
            files = await self._source.attachments_of(replace(entity, ref=ref, raw=None))
        except errors.GoneError:
            return Finding("is said to be missing", facts={"answer": "gone"})
        except errors.ForbiddenError:
            means = "an entity that was deleted and one that this account may not see look alike: both are named"
            return Finding("is answered as if it were forbidden", means, odd=True, facts={"answer": "forbidden"})
        means = "an entity that is deleted during a backup looks like one without files"
        return Finding(f"is answered with {len(files)} files", means, odd=True, facts={"answer": "files"})

    async def _missing_file(self) -> Finding:
        missing = next(filter(None, map(missing_like, map(self._walk.files.__getitem__, self._hashes))), None)
        if missing is None:
            return Finding("not tried: the address of such a file can't be made up", facts={"tried": False})
        sink = HashSink()
        try:
            await self._source.download(missing, sink)
        except errors.GoneError:
            return Finding("is said to be missing", facts={"answer": "gone"})
        except errors.ItemFailedError as error:
            means = "a file that was deleted a moment ago is a failure in this night's backup, not in the next one's"
            facts = {"answer": type(error).__name__, "status": error.status}
            return Finding(f"is answered with: {error}", means, odd=True, facts=facts)
        means = "the tracker sends something else in the place of a file that is deleted"
        return Finding(f"is answered with {sink.size} bytes", means, fails=True, facts={"answer": "bytes"})

    async def _wrong_credentials(self) -> Finding:
        """With a made-up account where there is one, so that none is locked."""
        async with _open(self._refused) as stranger:
            try:
                await stranger.check()
                walk = await _walked(stranger, files=False, max_pages=1)
            except errors.FatalError as error:
                return Finding("are refused", facts={"answer": type(error).__name__})
            except errors.ItemFailedError as error:
                facts = {"answer": type(error).__name__, "status": error.status}
                return Finding(f"are answered with: {error}", facts=facts)
        facts = {"answer": "listing", "items": len(walk.items())}
        if walk.items():
            return Finding("the tracker shows its listings to everybody, without credentials", odd=True, facts=facts)
        means = "a password that was changed looks like a tracker that was emptied; [source] max_gone guards against it"
        return Finding("are answered with empty listings", means, fails=True, facts=facts)


async def _walked(source: Source, *, files: bool, max_pages: int = MAX_PAGES) -> Walk:
    """The first pages of each listing, and with `files` those of some entities that have to be asked."""
    walk = Walk()
    for stream in source.capabilities.streams:
        cursor: Cursor | None = None
        for _ in range(max_pages):
            page = await source.read(stream, cursor)
            walk.steps.append((stream, cursor, page))
            walk.files.update((file.id, file) for file in page.attachments)
            for entity in page.ask[:MAX_ASKED] if files else ():
                walk.asked[entity.ref] = entity
                walk.files.update((file.id, file) for file in await source.attachments_of(entity))
            cursor = page.next
            if cursor is None:
                break
        walk.whole &= cursor is None
    return walk


def missing_like(file: Attachment) -> Attachment | None:
    """A file that is not there: the last number in its id is NO_ID, and wherever its locator has that number. None if
    there is none.
    """
    if (parts := _LAST_NUMBER.fullmatch(file.id)) is None:
        return None
    before, number, after = parts.groups()
    missing = replace(file, id=f"{before}{NO_ID}{after}")
    locator, found = re.subn(rf"(?<!\d){number}(?!\d)", NO_ID, file.locator)
    return replace(missing, locator=locator) if found or not file.locator else None


def sample_of(files: Iterable[Attachment]) -> Sequence[Attachment]:
    """Some of them: small and large, of each type of media; none that would take long."""
    fit = [file for file in files if file.size is None or file.size <= MAX_FILE_BYTES]
    fit.sort(key=lambda file: file.size or 0)
    by_type: dict[str, Attachment] = {}
    for file in fit:
        by_type.setdefault(file.media_type or file.name.rpartition(".")[2].lower(), file)
    step = max(1, len(fit) // MAX_FILES)
    chosen = {file.id: file for file in (*fit[-1:], *by_type.values(), *fit[::step])}
    return list(chosen.values())[:MAX_FILES]


async def _hash_of(source: Source, file: Attachment) -> str:
    sink = HashSink()
    await source.download(file, sink)
    return sink.sha256.hexdigest()


@asynccontextmanager
async def _open(build: Callable[[], Source]) -> AsyncIterator[Source]:
    source = build()
    try:
        yield source
    finally:
        await source.close()
