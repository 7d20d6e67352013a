"""Where a load writes down what becomes of each upload: the catalog, or the report of a dry run."""

from __future__ import annotations

from typing import Any, Protocol

from migrator.model import Upload, UploadStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.dry_run import DryRunReport
from migrator.store import Catalog


class Outcomes(Protocol):
    """What the uploads of one run come to."""

    async def intend(self, upload: Upload, name: str) -> None:
        """It is about to be sent under this name; safe on disk when this returns."""

    async def record(
        self, upload: Upload, status: UploadStatus, *, error: str | None = None, name: str | None = None, **facts: Any
    ) -> None:
        """The latest word on an upload: see `Catalog.record_upload` for the facts."""

    async def fail(self, upload: Upload, status: UploadStatus, reason: str, name: str | None) -> None:
        """It did not go; `name` is the one that it would have got."""

    async def keep(self, key: str, value: str) -> None:
        """A setting for later runs."""


class CatalogOutcomes:
    """They are rows of the catalog."""

    def __init__(self, catalog: Catalog, executor: SerialExecutor, run: int, identity: str) -> None:
        self._catalog, self._executor, self._run, self._identity = catalog, executor, run, identity

    async def intend(self, upload: Upload, name: str) -> None:
        """See `Outcomes`."""
        write, seen = self._catalog.record_intent, upload.seen
        await self._executor.call(write, self._run, self._identity, upload, name, seen, upload.sent_at)

    async def record(
        self, upload: Upload, status: UploadStatus, *, error: str | None = None, name: str | None = None, **facts: Any
    ) -> None:
        """See `Outcomes`."""
        write = self._catalog.record_upload
        await self._executor.call(write, self._run, self._identity, upload, status, error=error, name=name, **facts)

    async def fail(self, upload: Upload, status: UploadStatus, reason: str, name: str | None) -> None:  # noqa: ARG002
        """See `Outcomes`. A name that was never used is not written down."""
        await self.record(upload, status, error=reason)

    async def keep(self, key: str, value: str) -> None:
        """See `Outcomes`."""
        await self._executor.call(self._catalog.set_setting, key, value)


class DryRunOutcomes:
    """They go into a report, and nowhere else."""

    def __init__(self, report: DryRunReport) -> None:
        self._report = report

    async def intend(self, upload: Upload, name: str) -> None:
        """Nothing is sent."""

    async def record(
        self,
        upload: Upload,
        status: UploadStatus,
        *,
        error: str | None = None,
        name: str | None = None,
        **_: Any,
    ) -> None:
        """See `Outcomes`. What would be dropped from the plan is no upload."""
        if status is not UploadStatus.ROLLED_BACK:
            self._report.add(upload, status, name, error)

    async def fail(self, upload: Upload, status: UploadStatus, reason: str, name: str | None) -> None:
        """See `Outcomes`."""
        self._report.add(upload, status, name, reason)

    async def keep(self, key: str, value: str) -> None:
        """A dry run has learned nothing."""
