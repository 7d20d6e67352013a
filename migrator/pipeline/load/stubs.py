"""Stubs: an entity at the target for each source entity that has files and no row in the mapping.

The one idea: a stub carries a mark that only its original has; before one is created it is looked for, so whatever a
kill cut off is found again, and neither catalog nor mapping file has to know of it.
The one trap: rows go into the mapping file in batches; those that a kill loses come back with the next load.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser

from typing_extensions import override

from migrator import errors
from migrator.mapping import Row, field_of
from migrator.model import NOBODY, Entity, EntityDraft, EntityRef
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.evidence import LOOKS
from migrator.pipeline.load.upload import LoadSettings
from migrator.pipeline.run import InFlight
from migrator.ports import Target
from migrator.store import Catalog

LONGEST_TEXT = 30_000
"""Characters of the original's description that a stub takes over."""
BATCH = 50

_BREAKS = {"br", "p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "pre", "blockquote"}
_SILENT = {"script", "style"}


class StubCreator:
    """Creates what is missing for one load, and adds it to the mapping that the load goes by."""

    def __init__(
        self, target: Target, catalog: Catalog, settings: LoadSettings, desk: SerialExecutor, in_flight: InFlight
    ) -> None:
        self._target, self._catalog, self._settings = target, catalog, settings
        self._desk, self._in_flight = desk, in_flight
        self._rows: list[Row] = []
        self._written = self.created = self.found = 0
        self.failures: list[dict[str, str | None]] = []
        self.cut_short = False

    async def expect(self) -> None:
        """`ConfigError` where some are missing and the target can't create them as it is configured."""
        if await self._desk.run(self.missing):
            try:
                await self._target.expect_creating()
            except errors.ItemFailedError as error:
                raise errors.TrackerUnreachableError(str(error)) from error

    def missing(self) -> list[EntityRef]:
        """Entities with files and without a row. Files of nobody have no original to make a stub of."""
        return [ref for ref, _ in self._catalog.owners() if ref != NOBODY and not self._settings.mapping.get(ref)]

    async def create(self, stopping: Callable[[], bool]) -> None:
        """Find or create all of them, several side by side, and write their rows; until `stopping`."""
        source = await self._desk.run(self._catalog.setting, "source") or ""
        todo = iter(await self._desk.run(self.missing))
        workers = min(self._settings.uploads, self._target.capabilities.max_writes)
        with self._in_flight:  # all of it: a stop waits for the rows, too
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(self._worker(todo, source, stopping))
            finally:
                await self._write_rows()
        self.cut_short = next(todo, None) is not None

    async def _worker(self, todo: Iterator[EntityRef], source: str, stopping: Callable[[], bool]) -> None:
        while not stopping() and (ref := next(todo, None)):
            await self._one(ref, source)
            if len(self._rows) >= max(BATCH, self._written // 4):
                await self._write_rows()

    async def _one(self, ref: EntityRef, source: str) -> None:
        entity = await self._desk.run(self._catalog.entity, ref)
        draft = stub_of(entity, source)
        try:
            to = await self._target.find_entity(draft)
            self.found += to is not None
            to = to or await self._created(draft)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            reason = f"no entity could be created for it: {error}"
            failure = {"kind": ref.kind, "entity": ref.id, "attachment": None, "name": entity.title, "reason": reason}
            self.failures.append(failure)
            return
        self._settings.mapping[ref] = (to,)
        self._rows.append(Row(ref, to, "created", "high"))

    async def _created(self, draft: EntityDraft) -> EntityRef:
        """Create it; when the answer is lost, look for it. What isn't found then is left to the next run's look."""
        try:
            to = await self._target.create_entity(draft)
        except errors.OutcomeUnknownError as error:
            for _ in range(LOOKS):
                if found := await self._target.find_entity(draft):
                    self.created += 1
                    return found
                await asyncio.sleep(self._settings.look_again)
            raise errors.OutcomeUnknownError(f"sent, and not found; the next load looks again ({error})") from error
        self.created += 1
        return to

    async def _write_rows(self) -> None:
        rows, self._rows = self._rows, []
        if rows and self._settings.add_rows is not None:
            self._written += len(rows)
            await self._desk.run(self._settings.add_rows, rows)

    def summary(self, *, dry_run: bool) -> dict[str, int]:
        """For the summary of the load: `found` are those that an earlier load created and did not write down."""
        if dry_run:
            return {"would_create": len(self.missing())}
        return {"created": self.created, "found": self.found, "failed": len(self.failures)}


def stub_of(entity: Entity, source: str) -> EntityDraft:
    """What is to arrive of a source entity."""
    told = [f"Migrated from {source}: {entity.ref}", entity.url, "", plain_text(field_of(entity.raw, "description"))]
    mark = hashlib.sha256(f"{source}\n{entity.ref.kind}\n{entity.ref.id}".encode("utf-8", "replace")).hexdigest()
    text = "\n".join(told).strip()[:LONGEST_TEXT]
    return EntityDraft(entity.ref.kind, entity.title or str(entity.ref), text, f"migrator-{mark[:24]}")


def plain_text(markup: str) -> str:
    """The words of HTML, with its lines; text without tags stays as it is."""
    if "<" not in markup and "&" not in markup:
        return markup.strip()
    reader = _Words()
    reader.feed(markup)
    reader.close()
    lines = ("".join(reader.words)).split("\n")
    return _without_gaps([" ".join(line.split()) for line in lines])


def _without_gaps(lines: Sequence[str]) -> str:
    kept = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    return "\n".join(kept).strip()


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._silent = 0

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        if tag in _BREAKS:
            self.words.append("\n")

    @override
    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT and self._silent > 0
        if tag in _BREAKS - {"br"}:
            self.words.append("\n")

    @override
    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)
