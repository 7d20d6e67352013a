"""`migrator check CONFIG`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.options import config_argument
from jobs.output import Output
from migrator.errors import ConfigError, ItemFailedError, RejectedError
from migrator.model import RunStatus
from migrator.pipeline.summary import Check, CheckedSide, CheckSummary

if TYPE_CHECKING:
    from jobs.wiring import Wired
    from migrator.config import Configuration, SourceSection, TargetSection
    from migrator.model import Attachment, Page
    from migrator.ports import Source, Target


class OddResult(str):
    """The result of a check that passed, but that a person should know about: it is shown as a warning."""

    __slots__ = ()


Attempt = Callable[[], Awaitable[str]]
Attempts = Callable[[Any], Iterator[tuple[str, Attempt]]]

MAX_TRIED_BYTES = 10 * 1024 * 1024
"""The largest file, in bytes, that is downloaded as a test."""


@click.command("check")
@config_argument
@click.pass_obj
def command(output: Output, /, *, config: Path) -> CheckSummary:
    """Log in to source and target, read one page, download one small file; write nothing.

    Reports what will work (ok), what will not (FAIL, exit status 3) and what works but is odd (warn). Refused
    credentials or a tracker that doesn't answer end it with status 4.
    """
    from jobs.runtime import cancel_on_stop, run_job
    from migrator.config import read_configuration

    configuration = read_configuration(config)
    return run_job(lambda stop: cancel_on_stop(_check(configuration, output), stop))


async def _check(configuration: Configuration, output: Output) -> CheckSummary:
    from jobs.wiring import wire_source, wire_target

    settings = configuration.settings
    listings = partial(_source_attempts, settings.source.kinds)
    source = await _check_side(settings.source, wire_source(configuration), listings, output)
    target: CheckedSide | None = None
    if settings.target:
        attempts = partial(_target_attempts, configuration)
        target = await _check_side(settings.target, wire_target(configuration), attempts, output)
    good = all(check.ok for check in (*source.checks, *(target.checks if target else ())))
    status = RunStatus.COMPLETE if good else RunStatus.INCOMPLETE
    return CheckSummary(status=status, source=source, target=target or {})


async def _check_side(
    section: SourceSection | TargetSection, wired: Wired[Source] | Wired[Target], attempts: Attempts, output: Output
) -> CheckedSide:
    """Log in, which must work, and try the rest."""
    for warning in wired.warnings:
        output.warn(warning)
    # An unverified certificate is among the results as well, because it works but should not stay that way.
    unsafe = [warning for warning in wired.warnings if ".tls.verify = false" in warning]
    checks = [_passed("certificate", OddResult(warning)) for warning in unsafe]
    try:
        checks.append(_passed("login", await wired.tracker.check()))
        await _look_for_oddities(checks, wired.tracker)
        for name, attempt in attempts(wired.tracker):
            await _tried(checks, name, attempt)
    finally:
        await wired.tracker.close()
    return CheckedSide(section.tracker, tuple(checks))


@dataclass(slots=True)
class FirstPages:
    """What the first pages of all listings show: the kinds of entities, and where each unfinished listing continues."""

    kinds: set[str] = field(default_factory=set)
    following: dict[str, str] = field(default_factory=dict)

    def take(self, stream: str, page: Page) -> None:
        """Add a page."""
        self.kinds |= {entity.ref.kind for entity in (*page.entities, *page.ask)}
        self.following.pop(stream, None)
        if page.next is not None:
            self.following[stream] = page.next


def _source_attempts(wanted: Sequence[str], source: Source) -> Iterator[tuple[str, Attempt]]:
    seen = FirstPages()
    for stream in source.capabilities.streams:
        yield f"listing of {stream}", partial(_one_page, source, stream, seen)
    if wanted:
        yield "kinds", partial(_kinds, source, wanted, seen)
    yield "download", partial(_one_file, source)


def _target_attempts(configuration: Configuration, target: Target) -> Iterator[tuple[str, Attempt]]:
    yield "mapping", partial(_mapped, configuration, target)
    yield "rows", partial(_rows, configuration)


def _passed(name: str, detail: str) -> Check:
    """What works."""
    return Check(name, ok=True, warning=True if isinstance(detail, OddResult) else None, detail=str(detail))


async def _look_for_oddities(checks: list[Check], tracker: Source | Target) -> None:
    """What is odd about the tracker, a line each; where that can't be told, that is one."""
    try:
        checks += [_passed("oddity", OddResult(sentence)) for sentence in await tracker.oddities()]
    except ItemFailedError as error:
        checks.append(_passed("oddity", OddResult(f"what is odd about this tracker can't be told: {error}")))


async def _tried(checks: list[Check], name: str, attempt: Attempt) -> None:
    try:
        checks.append(_passed(name, await attempt()))
    except ItemFailedError as error:
        checks.append(Check(name, ok=False, detail=str(error)))


async def _one_page(source: Source, stream: str, seen: FirstPages) -> str:
    page = await source.read(stream, None)
    seen.take(stream, page)
    more = "" if page.next is None else ", more to come"
    counts = f"{len(page.entities)} entities and {len(page.attachments)} attachments on the first page{more}"
    odd = [*page.warnings, *(f"{entity.ref}: {entity.reason}" for entity in page.unread)]
    return OddResult("; ".join([counts, *odd])) if odd else counts


async def _kinds(source: Source, wanted: Sequence[str], seen: FirstPages) -> str:
    """Whether the kinds of [source] kinds exist, as far as two pages of each listing show."""
    for stream, cursor in list(seen.following.items()):
        seen.take(stream, await source.read(stream, cursor))
    lacking = ", ".join(kind for kind in wanted if kind not in seen.kinds)
    if not lacking:
        return "each kind has entities"
    kinds = ", ".join(sorted(seen.kinds)) or "none"
    if not seen.following:
        return OddResult(f"no entity is listed of the kind {lacking}; there are {kinds}")
    return f"not on the first pages: {lacking}; there are {kinds}"


async def _one_file(source: Source) -> str:
    """Download the smallest file on the first pages."""
    from migrator.pipeline.reading import HashSink

    listed = 0
    for stream in source.capabilities.streams:
        files = await _first_files(source, stream)
        listed += len(files)
        small = [file for file in files if file.size is not None and 0 < file.size <= MAX_TRIED_BYTES]
        if small:
            smallest = min(small, key=lambda file: file.size or 0)
            await source.download(smallest, HashSink())
            return f"{smallest.name!r} of {smallest.owner}, {smallest.size} bytes"
    if not listed:
        return OddResult("nothing was listed on the first pages, so nothing was tried")
    return OddResult("no small file on the first pages, so no download was tried")


async def _first_files(source: Source, stream: str) -> list[Attachment]:
    """The files on a stream's first page; what can't be listed is left to the check of the listing."""
    files: list[Attachment] = []
    with suppress(ItemFailedError):
        page = await source.read(stream, None)
        files += page.attachments
        for entity in page.ask[:5]:
            files += await source.attachments_of(entity)
    return files


async def _mapped(configuration: Configuration, target: Target) -> str:
    """Whether the mapping file is usable and its first target entity exists."""
    from jobs.commands.load import mapping_rows

    if not configuration.mapping_file.exists():
        return OddResult(
            f"{configuration.mapping_file.name} is not written yet; `migrator map` proposes it after the backup"
        )
    try:
        mapping = mapping_rows(configuration, target).mapping
    except ConfigError as error:
        raise RejectedError(str(error)) from None
    for targets in mapping.values():
        attachments = await target.find_attachments(targets[0])
        return f"{len(mapping)} source entities; {targets[0]} is there, with {len(attachments)} attachments"
    return OddResult("the mapping file has no row, so nothing at the target was tried")


async def _rows(configuration: Configuration) -> str:
    """Whether the rows of the mapping file match the archive, if there is one yet."""
    from contextlib import closing

    from migrator.mapping import read_rows
    from migrator.store import Catalog, is_archive

    try:
        rows = read_rows(configuration.mapping_file, may_be_missing=configuration.settings.mapping.create_missing)
    except ConfigError:
        return "no mapping to compare with the archive"
    if not is_archive(configuration.archive):
        return "no archive yet: a load names the rows that name nothing in it"
    with closing(Catalog(configuration.archive, read_only=True)) as catalog:
        known = catalog.entities.refs()
        without = sum(count for owner, count in catalog.entities.owners() if owner not in rows.mapping)
    unmatched = rows.unmatched(known)
    if not unmatched and not without:
        return "each row names something in the archive, and each file has a row"
    first = f", the first in line {rows.lines[unmatched[0]]}" if unmatched else ""
    problems = [f"{len(unmatched)} rows name nothing in the archive{first}"] if unmatched else []
    return OddResult("; ".join([*problems, *([f"{without} files have no row"] if without else [])]))
