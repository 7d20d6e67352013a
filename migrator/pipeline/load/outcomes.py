"""Where a load writes down what becomes of each upload: the catalog, or the report of a dry run."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

from typing_extensions import override

from migrator.model import Upload, UploadStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.dry_run import DryRunReport
from migrator.store import Catalog


class Outcomes(Protocol):
    """What the uploads of one run come to."""

    @abstractmethod
    async def intend(self, upload: Upload, name: str) -> None:
        """It is about to be sent under this name; safe on disk when this returns."""

    @abstractmethod
    async def record(
        self, upload: Upload, status: UploadStatus, *, error: str | None = None, name: str | None = None, **facts: Any
    ) -> None:
        """The latest word on an upload: see `UploadRecords.record` for the facts."""

    @abstractmethod
    async def fail(self, upload: Upload, status: UploadStatus, reason: str, name: str | None) -> None:
        """It did not go; `name` is the one that it would have got."""

    @abstractmethod
    async def keep(self, key: str, value: str) -> None:
        """A setting for later runs."""


class CatalogOutcomes(Outcomes):
    """They are rows of the catalog."""

    def __init__(self, catalog: Catalog, executor: SerialExecutor, run: int, identity: str) -> None:
        self._catalog, self._executor, self._run, self._identity = catalog, executor, run, identity

    @override
    async def intend(self, upload: Upload, name: str) -> None:
        write, seen = self._catalog.uploads.record_intent, upload.seen
        await self._executor.call(write, self._run, self._identity, upload, name, seen, upload.sent_at)

    @override
    async def record(
        self, upload: Upload, status: UploadStatus, *, error: str | None = None, name: str | None = None, **facts: Any
    ) -> None:
        write = self._catalog.uploads.record
        await self._executor.call(write, self._run, self._identity, upload, status, error=error, name=name, **facts)

    @override
    async def fail(self, upload: Upload, status: UploadStatus, reason: str, name: str | None) -> None:
        """A name that was never used is not written down."""
        await self.record(upload, status, error=reason)

    @override
    async def keep(self, key: str, value: str) -> None:
        await self._executor.call(self._catalog.settings.set, key, value)


class DryRunOutcomes(Outcomes):
    """They go into a report, and nowhere else."""

    def __init__(self, report: DryRunReport) -> None:
        self._report = report

    @override
    async def intend(self, upload: Upload, name: str) -> None:
        """Nothing is sent."""

    @override
    async def record(
        self,
        upload: Upload,
        status: UploadStatus,
        *,
        error: str | None = None,
        name: str | None = None,
        **_: Any,
    ) -> None:
        """What would be dropped from the plan is no upload."""
        if status is not UploadStatus.ROLLED_BACK:
            self._report.add(upload, status, name, error)

    @override
    async def fail(self, upload: Upload, status: UploadStatus, reason: str, name: str | None) -> None:
        self._report.add(upload, status, name, reason)

    @override
    async def keep(self, key: str, value: str) -> None:
        """A dry run has learned nothing."""
