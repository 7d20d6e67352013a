"""Where a load records the outcome of each upload: in the catalog, or in the report of a dry run."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypedDict, Unpack

from typing_extensions import override

from migrator.model import Altered, Upload, UploadStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.dry_run import DryRunReport
from migrator.store import Catalog


class UploadFacts(TypedDict, total=False):
    """What may be recorded of an upload besides its status, as in `UploadRecords.record`."""

    name: str | None
    remote_id: str | None
    locator: str | None
    error: str | None
    ours: bool
    accepted: bool
    altered: Altered | None


class Outcomes(Protocol):
    """Records the outcomes of one run."""

    @abstractmethod
    async def intend(self, upload: Upload, name: str) -> None:
        """Record that an upload is about to be sent under this name; that is safe on disk when this returns."""

    @abstractmethod
    async def record(self, upload: Upload, status: UploadStatus, **facts: Unpack[UploadFacts]) -> None:
        """Record the outcome of an upload; it replaces an earlier one."""

    @abstractmethod
    def record_later(self, upload: Upload, status: UploadStatus, **facts: Unpack[UploadFacts]) -> None:
        """The same, together with the next outcome or intent, or in `flush`. A kill before that leaves a doubt."""

    @abstractmethod
    async def flush(self) -> None:
        """Record what waits for that."""

    @abstractmethod
    async def fail(self, upload: Upload, status: UploadStatus, reason: str, name: str | None) -> None:
        """Record that an upload failed; `name` is the name it would have had."""

    @abstractmethod
    async def keep(self, key: str, value: str) -> None:
        """Keep a setting for later runs."""


class CatalogOutcomes(Outcomes):
    """Records outcomes in the catalog.

    While one transaction is being written, the records of all uploads wait for the next one together: a transaction
    costs much more than a record.
    """

    def __init__(self, catalog: Catalog, executor: SerialExecutor, run: int, identity: str) -> None:
        self._catalog, self._executor, self._run, self._identity = catalog, executor, run, identity
        self._waiting: list[Callable[[], object]] = []
        self._turn = asyncio.Lock()
        self._writing: asyncio.Future[None] | None = None

    @override
    async def intend(self, upload: Upload, name: str) -> None:
        write, seen = self._catalog.uploads.record_intent, upload.seen
        self._waiting.append(partial(write, self._run, self._identity, upload, name, seen, upload.sent_at))
        await self.flush()

    @override
    async def record(self, upload: Upload, status: UploadStatus, **facts: Unpack[UploadFacts]) -> None:
        self.record_later(upload, status, **facts)
        await self.flush()

    @override
    def record_later(self, upload: Upload, status: UploadStatus, **facts: Unpack[UploadFacts]) -> None:
        self._waiting.append(partial(self._catalog.uploads.record, self._run, self._identity, upload, status, **facts))

    @override
    async def flush(self) -> None:
        """If one transaction fails, its records are lost, so every later call raises the same error."""
        async with self._turn:
            await self._written()
            if self._waiting:
                records, self._waiting = self._waiting, []
                self._writing = self._executor.submit(self._catalog.uploads.record_together, records)
                await self._written()

    async def _written(self) -> None:
        """Wait for the last transaction. A task that is cancelled here doesn't cancel it, as it has others' records."""
        if self._writing is not None:
            if not self._writing.done():
                await asyncio.wait({self._writing})
            self._writing.result()

    @override
    async def fail(self, upload: Upload, status: UploadStatus, reason: str, name: str | None) -> None:
        """The name was never used, so it is not recorded."""
        await self.record(upload, status, error=reason)

    @override
    async def keep(self, key: str, value: str) -> None:
        await self._executor.call(self._catalog.settings.set, key, value)


class DryRunOutcomes(Outcomes):
    """Records outcomes in the report of a dry run, and nowhere else."""

    def __init__(self, report: DryRunReport) -> None:
        self._report = report

    @override
    async def intend(self, upload: Upload, name: str) -> None:
        """Nothing is sent."""

    @override
    async def record(self, upload: Upload, status: UploadStatus, **facts: Unpack[UploadFacts]) -> None:
        """An upload that would be dropped from the plan is not reported."""
        if status is not UploadStatus.ROLLED_BACK:
            self._report.add(upload, status, facts.get("name"), facts.get("error"))

    @override
    def record_later(self, upload: Upload, status: UploadStatus, **facts: Unpack[UploadFacts]) -> None:
        self._report.add(upload, status, facts.get("name"), facts.get("error"))

    @override
    async def flush(self) -> None:
        """Nothing waits."""

    @override
    async def fail(self, upload: Upload, status: UploadStatus, reason: str, name: str | None) -> None:
        self._report.add(upload, status, name, reason)

    @override
    async def keep(self, key: str, value: str) -> None:
        """A dry run learns nothing."""
