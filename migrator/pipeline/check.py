"""Check: log in to a tracker, read one page of each listing, download one small file; write nothing.

What works, what doesn't, and what works but is odd is reported item by item. Only a login that fails ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from typing_extensions import override

from migrator.errors import ConfigError, ItemFailedError, RejectedError
from migrator.mapping import read_rows
from migrator.model import Attachment, Page
from migrator.pipeline.reading import HashSink
from migrator.pipeline.summary import Check, CheckedSide
from migrator.ports import Source, Target
from migrator.store import Catalog, is_archive
from migrator.units import counted, human_size

MAX_DOWNLOAD_BYTES = 10 * 1024 * 1024
"""The largest file, in bytes, that is downloaded as a test."""
MAX_ENTITIES_ASKED = 5
"""Entities whose attachments are asked for one by one, in search of a small file."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of something that works. `odd`: a person should know about it, so it is shown as a warning."""

    detail: str
    odd: bool = False

    def as_check(self, name: str) -> Check:
        """The result under the name of what was tried."""
        return Check(name, ok=True, warning=True if self.odd else None, detail=self.detail)


Attempt = tuple[str, Callable[[], Awaitable[Result]]]
"""The name of what is tried, and the call that tries it; `ItemFailedError` if it doesn't work."""


@dataclass(frozen=True, slots=True)
class MappingFile:
    """The mapping and the archive that a load would use. `may_be_missing`: the file may be missing or empty."""

    path: Path
    archive: Path
    may_be_missing: bool = False


async def check_source(
    source: Source,
    tracker: str,
    kinds: Sequence[str] = (),
    certificates: Sequence[str] = (),
    *,
    needs_dates: bool = False,
) -> CheckedSide:
    """Try what a backup needs. `kinds` are those of the configuration; `certificates` is what is odd about them.

    `needs_dates`: the dates of changes are needed for `[nightly] full_every`.
    """
    return await _checked(source, tracker, certificates, _source_attempts(source, kinds, needs_dates=needs_dates))


async def check_target(
    target: Target, tracker: str, mapping: MappingFile, certificates: Sequence[str] = ()
) -> CheckedSide:
    """Try what a load needs, without writing."""
    return await _checked(target, tracker, certificates, _target_attempts(target, mapping))


async def _checked(
    tracker: Source | Target, name: str, certificates: Sequence[str], attempts: Iterator[Attempt]
) -> CheckedSide:
    checks = [Result(warning, odd=True).as_check("certificate") for warning in certificates]
    checks.append(Result(await tracker.check()).as_check("login"))
    checks += await _oddities(tracker)
    for title, attempt in attempts:
        try:
            checks.append((await attempt()).as_check(title))
        except ItemFailedError as error:
            checks.append(Check(title, ok=False, detail=str(error)))
    return CheckedSide(name, tuple(checks))


async def _oddities(tracker: Source | Target) -> list[Check]:
    """What is odd about the tracker, a sentence each; that it can't be found out is odd, too."""
    try:
        sentences = list(await tracker.oddities())
    except ItemFailedError as error:
        sentences = [f"the oddities of this tracker could not be determined: {error}"]
    return [Result(sentence, odd=True).as_check("oddity") for sentence in sentences]


@dataclass(slots=True)
class _FirstPages:
    """What the first pages of all listings show: the kinds of entities, and where each unfinished listing continues.

    `asked` entities have to be asked for their files, and `dated` of them have the date of their last change.
    """

    kinds: set[str] = field(default_factory=set)
    cursors: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    dated: int = 0

    def add(self, stream: str, page: Page) -> None:
        self.kinds |= {entity.ref.kind for entity in (*page.entities, *page.ask)}
        self.asked += len(page.ask)
        self.dated += sum(entity.modified_at != "" for entity in page.ask)
        self.cursors.pop(stream, None)
        if page.next is not None:
            self.cursors[stream] = page.next


def _source_attempts(source: Source, kinds: Sequence[str], *, needs_dates: bool) -> Iterator[Attempt]:
    pages = _FirstPages()
    for stream in source.capabilities.streams:
        yield f"listing of {stream}", partial(_read_page, source, stream, pages)
    if needs_dates:
        yield "full_every", partial(_find_dates, pages)
    if kinds:
        yield "kinds", partial(_find_kinds, source, kinds, pages)
    yield "download", partial(_download_one, source)


def _target_attempts(target: Target, mapping: MappingFile) -> Iterator[Attempt]:
    yield "mapping", partial(_read_mapping, target, mapping)
    yield "rows", partial(asyncio.to_thread, _compare_rows, mapping)


async def _read_page(source: Source, stream: str, pages: _FirstPages) -> Result:
    page = await source.read(stream, None)
    pages.add(stream, page)
    more = "" if page.next is None else ", more to come"
    entities = counted(len(page.entities), "entity", "entities")
    counts = f"{entities} and {counted(len(page.attachments), 'attachment')} on the first page{more}"
    oddities = [*page.warnings, *(f"{entity.ref}: {entity.reason}" for entity in page.unread)]
    return Result("; ".join([counts, *oddities]), odd=bool(oddities))


async def _find_dates(pages: _FirstPages) -> Result:
    """Whether a night can leave out entities that were not changed."""
    if not pages.asked:
        return Result("files come with the listings here, so there is nothing to leave out")
    if not pages.dated:
        reason = "no entity comes with the date of its last change, so each is asked for its files every night"
        return Result(f"{reason}; for some trackers an option changes that, see migrator/trackers/README.md", odd=True)
    return Result(f"{pages.dated} of {pages.asked} entities on the first pages have the date of their last change")


async def _find_kinds(source: Source, wanted: Sequence[str], pages: _FirstPages) -> Result:
    """Whether the kinds of [source] kinds exist, as far as two pages of each listing show."""
    for stream, cursor in list(pages.cursors.items()):
        pages.add(stream, await source.read(stream, cursor))
    missing = ", ".join(kind for kind in wanted if kind not in pages.kinds)
    if not missing:
        return Result("each kind has entities")
    kinds = ", ".join(sorted(pages.kinds)) or "none"
    if pages.cursors:
        return Result(f"not on the first pages: {missing}; there are {kinds}")
    return Result(f"no entity of the kind {missing} is listed; there are {kinds}", odd=True)


async def _download_one(source: Source) -> Result:
    """Download the smallest file on the first pages, or the beginning of one whose size isn't listed."""
    count, unsized = 0, list[Attachment]()
    for stream in source.capabilities.streams:
        files = await _first_files(source, stream)
        count += len(files)
        unsized += [file for file in files if file.size is None]
        small = [file for file in files if file.size is not None and 0 < file.size <= MAX_DOWNLOAD_BYTES]
        if small:
            smallest = min(small, key=lambda file: file.size or 0)
            await source.download(smallest, HashSink())
            return Result(f"{smallest.name!r} of {smallest.owner}, {human_size(smallest.size or 0)}")
    if not count:
        return Result("nothing was listed on the first pages, so nothing was tried", odd=True)
    if unsized:
        return await _download_beginning(source, unsized[0])
    return Result("no small file on the first pages, so no download was tried", odd=True)


class _EnoughError(Exception):
    """The beginning of a file has come."""


class _Beginning(HashSink):
    """Takes the beginning of a file, then ends its download by `_EnoughError`."""

    @override
    async def write(self, chunk: bytes) -> None:
        await super().write(chunk)
        if self.size > MAX_DOWNLOAD_BYTES:
            raise _EnoughError


async def _download_beginning(source: Source, file: Attachment) -> Result:
    sink = _Beginning()
    try:
        await source.download(file, sink)
    except _EnoughError:
        return Result(f"the first {sink.size} bytes of {file.name!r} of {file.owner}")
    return Result(f"{file.name!r} of {file.owner}, {human_size(sink.size)}")


async def _first_files(source: Source, stream: str) -> list[Attachment]:
    """The files on a stream's first page; a listing that fails is reported by the check of that listing."""
    files: list[Attachment] = []
    with suppress(ItemFailedError):
        page = await source.read(stream, None)
        files += page.attachments
        for entity in page.ask[:MAX_ENTITIES_ASKED]:
            files += await source.attachments_of(entity)
    return files


async def _read_mapping(target: Target, mapping: MappingFile) -> Result:
    """Whether the mapping file is usable and its first target entity exists."""
    if not mapping.path.exists():
        name = mapping.path.name
        return Result(f"{name} is not written yet; `migrator map CONFIG` proposes it after the backup", odd=True)
    try:
        rows = read_rows(mapping.path, may_be_missing=mapping.may_be_missing)
        rows.require_target_kinds(target.capabilities.kinds)
    except ConfigError as error:
        raise RejectedError(str(error)) from None
    for first, *_ in rows.mapping.values():
        files = await target.find_attachments(first)
        entities = counted(len(rows.mapping), "source entity", "source entities")
        return Result(f"{entities}; {first} is there, with {counted(len(files), 'attachment')}")
    return Result("the mapping file has no row, so nothing at the target was tried", odd=True)


def _compare_rows(mapping: MappingFile) -> Result:
    """Whether the rows of the mapping file match the archive, if there is one yet. Blocks."""
    try:
        rows = read_rows(mapping.path, may_be_missing=mapping.may_be_missing)
    except ConfigError:
        return Result("no mapping to compare with the archive")
    if not is_archive(mapping.archive):
        return Result("no archive yet: a load will list the rows that name nothing in it")
    with closing(Catalog(mapping.archive, read_only=True)) as catalog:
        known = catalog.entities.refs()
        without = sum(count for owner, count in catalog.entities.owners() if owner not in rows.mapping)
    problems = []
    if unmatched := rows.unmatched(known):
        line = rows.lines[unmatched[0]]
        names = counted(len(unmatched), "row names", "rows name")
        problems.append(f"{names} nothing in the archive, the first in line {line}")
    if without:
        problems.append(f"{counted(without, 'file has', 'files have')} no row")
    if problems:
        return Result("; ".join(problems), odd=True)
    return Result("each row names something in the archive, and each file has a row")
