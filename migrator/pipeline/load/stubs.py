"""Stubs: entities created at the target for source entities that have files and no row in the mapping.

A stub contains a marker, which is different for each original. Before a stub is created, the target is searched for its
marker; so a load finds the stubs of a load that was killed, even if neither catalog nor mapping file has them.

Beware: an original is known by the source's address, its kind and its id, because its title may be edited. So if
another tracker has taken over the source's address, such as a demo that was installed anew, and the target was kept,
the stubs of the first one are found for entities of the second one with the same ids.

Rows are added to the mapping file in batches; rows that a kill loses are added by the next load.
"""

from __future__ import annotations

import asyncio
import hashlib

from migrator import errors
from migrator.mapping import NewRow, field_of
from migrator.model import NOBODY, Entity, EntityDraft, EntityRef
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.evidence import MIN_LOOKS
from migrator.pipeline.load.html_text import plain_text
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.stop import StopToken
from migrator.pipeline.summary import Failure
from migrator.pipeline.workers import run_workers
from migrator.ports import Target
from migrator.store import Catalog

MAX_TEXT_CHARACTERS = 30_000
"""Length of the text of a stub, which has the original's description."""
MIN_ROWS_PER_WRITE = 50
"""Rows collected before the first write. Later writes wait for more, because each rewrites the whole file."""


class StubCreator:
    """Creates the missing entities of one load, and adds them to the mapping that the load uses."""

    def __init__(
        self, target: Target, catalog: Catalog, settings: LoadSettings, executor: SerialExecutor, stop: StopToken
    ) -> None:
        self._target, self._catalog, self._settings = target, catalog, settings
        self._executor, self._stop = executor, stop
        self._rows: list[NewRow] = []
        self._source = ""
        self._written = self.created = self.found = 0
        self.failures: list[Failure] = []

    async def require_creatable(self) -> None:
        """`ConfigError` if entities are missing and the target, as it is configured, can't create them."""
        if await self._executor.call(self.missing):
            try:
                await self._target.require_creating()
            except errors.ItemFailedError as error:
                raise errors.TrackerUnreachableError(str(error)) from error

    def missing(self) -> list[EntityRef]:
        """Entities with files and without a row. Files without an owner have no original to make a stub from."""
        return [
            ref for ref, _ in self._catalog.entities.owners() if ref != NOBODY and not self._settings.mapping.get(ref)
        ]

    async def create(self) -> None:
        """Find or create all of them, several side by side, and write their rows."""
        source = await self._executor.call(self._catalog.settings.get, "source")
        self._source = source or ""
        missing = await self._executor.call(self.missing)
        with self._stop.in_flight():  # so that a stop waits until the rows are written
            try:
                count = min(self._settings.uploads, self._target.capabilities.max_writes)
                await run_workers(missing, self._create_one, count, self._stop)
            finally:
                await self._write_rows()

    async def _create_one(self, ref: EntityRef) -> None:
        entity = await self._executor.call(self._catalog.entities.get, ref)
        draft = stub_for(entity, self._source)
        try:
            to = await self._target.find_entity(draft)
            self.found += to is not None
            to = to or await self._create(draft)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            reason = f"no entity could be created for it: {error}"
            self.failures.append(Failure(ref, None, entity.title, reason))
            return
        self._settings.mapping[ref] = (to,)
        self._rows.append(NewRow(ref, to, "created", "high"))
        if len(self._rows) >= max(MIN_ROWS_PER_WRITE, self._written // 4):
            await self._write_rows()

    async def _create(self, draft: EntityDraft) -> EntityRef:
        """Create a stub. If the answer is lost, look for it; if it isn't found, the next load looks again."""
        try:
            to = await self._target.create_entity(draft)
        except errors.OutcomeUnknownError as error:
            for _ in range(MIN_LOOKS):
                if stub := await self._target.find_entity(draft):
                    self.created += 1
                    return stub
                await asyncio.sleep(self._settings.look_again)
            raise errors.OutcomeUnknownError(f"sent, but not found; the next load looks again ({error})") from error
        self.created += 1
        return to

    async def _write_rows(self) -> None:
        rows, self._rows = self._rows, []
        if rows and self._settings.add_rows is not None:
            self._written += len(rows)
            await self._executor.call(self._settings.add_rows, rows)

    def summary(self, *, dry_run: bool) -> dict[str, int]:
        """The counts for the summary of the load. Those `found` were created by an earlier load, which added no row."""
        if dry_run:
            return {"would_create": len(self.missing())}
        return {"created": self.created, "found": self.found, "failed": len(self.failures)}


def stub_for(entity: Entity, source: str) -> EntityDraft:
    """The stub of a source entity."""
    description = plain_text(field_of(entity.raw, "description"))
    mark = hashlib.sha256(f"{source}\n{entity.ref.kind}\n{entity.ref.id}".encode("utf-8", "replace")).hexdigest()
    text = f"Migrated from {source}: {entity.ref}\n{entity.url}\n\n{description}".strip()[:MAX_TEXT_CHARACTERS]
    return EntityDraft(entity.ref.kind, entity.title or str(entity.ref), text, f"migrator-{mark[:24]}")
