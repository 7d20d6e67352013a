"""What a dry run would have done, upload by upload.

A dry run is a load whose target accepts no writes and whose records end up here instead of in the catalog.
"""

from __future__ import annotations

from collections import Counter

from migrator.model import EntityRef, Upload, UploadStatus
from migrator.pipeline.summary import DryRunCounts, DryRunRow, Failure

WHAT = {UploadStatus.UPLOADED: "upload", UploadStatus.ALREADY_THERE: "already_there"}
REFUSED = "refused"


class DryRunReport:
    """Collects what would happen. `rows` are the rows of `rehearsal` in the summary of a dry run."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, EntityRef], tuple[Upload, DryRunRow]] = {}
        self._bytes = 0

    def add(self, upload: Upload, status: UploadStatus, name: str | None, error: str | None) -> None:
        """The latest word on an upload counts."""
        of, to, what = upload.attachment, upload.to, WHAT.get(status, REFUSED)
        self._bytes += upload.blob.size if what == "upload" else 0
        row = DryRunRow(of.owner.kind, of.owner.id, of.id, of.name, to.kind, to.id, what, name, error)
        self._last[of.id, to] = upload, row

    @property
    def rows(self) -> tuple[DryRunRow, ...]:
        """One for each upload that was looked at."""
        return tuple(row for _, row in self._last.values())

    @property
    def failures(self) -> list[Failure]:
        """What would be refused, as a load reports it."""
        refused = [(upload, row) for upload, row in self._last.values() if row.what == REFUSED]
        return [Failure.of_upload(upload, row.reason or "", "failed") for upload, row in refused]

    def counts(self) -> DryRunCounts:
        """How many would be uploaded, are there already, would fail, and would get another name."""
        counts = Counter(row.what for row in self.rows)
        renamed = [row for row in self.rows if row.name_at_target not in {None, row.name}]
        return DryRunCounts(counts["upload"], counts["already_there"], counts[REFUSED], len(renamed), self._bytes)
