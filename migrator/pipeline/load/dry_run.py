"""What a load would do, upload by upload.

A dry run is a load whose target writes nothing and whose outcomes are collected here, not in the catalog.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from migrator.model import EntityRef, Upload, UploadStatus
from migrator.pipeline.summary import DryRunCounts, DryRunRow, Failure

ACTIONS = {UploadStatus.UPLOADED: "upload", UploadStatus.ALREADY_THERE: "already_there"}
REFUSED = "refused"


class DryRunReport:
    """Collects what would happen. `rows` become `rehearsal` in the summary."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, EntityRef], tuple[Upload, DryRunRow]] = {}
        self._places: dict[EntityRef, int] = {}
        self._order: dict[tuple[str, EntityRef], int] = {}
        self._bytes = 0

    def arrange(self, entities: Sequence[EntityRef]) -> None:
        """Give the order of the target entities in what is reported; several are worked on at once."""
        self._places = {to: place for place, to in enumerate(entities)}

    def arrange_files(self, uploads: Sequence[Upload]) -> None:
        """Give the order of the uploads to one entity, which end in any order."""
        self._order.update({(upload.attachment.id, upload.to): place for place, upload in enumerate(uploads)})

    def add(self, upload: Upload, status: UploadStatus, name: str | None, error: str | None) -> None:
        """Add the outcome of an upload; it replaces an earlier one."""
        file, to, action = upload.attachment, upload.to, ACTIONS.get(status, REFUSED)
        self._bytes += upload.blob.size if action == "upload" else 0
        row = DryRunRow(file.owner.kind, file.owner.id, file.id, file.name, to.kind, to.id, action, name, error)
        self._last[file.id, to] = upload, row

    @property
    def rows(self) -> tuple[DryRunRow, ...]:
        """A row for each upload."""
        return tuple(row for _, row in self._in_order())

    @property
    def would_arrive(self) -> set[tuple[str, EntityRef]]:
        """The attachments that would be at a target entity afterwards, each with that."""
        return {at for at, (_, row) in self._last.items() if row.what != REFUSED}

    @property
    def failures(self) -> list[Failure]:
        """The uploads that would fail."""
        refused = [(upload, row) for upload, row in self._in_order() if row.what == REFUSED]
        return [Failure.of_upload(upload, row.reason or "", "failed") for upload, row in refused]

    def _in_order(self) -> list[tuple[Upload, DryRunRow]]:
        def place(upload: Upload) -> tuple[int, int]:
            of_file = self._order.get((upload.attachment.id, upload.to), 0)
            return self._places.get(upload.to, len(self._places)), of_file

        return sorted(self._last.values(), key=lambda pair: place(pair[0]))

    def counts(self) -> DryRunCounts:
        """The number of uploads, by what would happen to them."""
        counts = Counter(row.what for row in self.rows)
        renamed = [row for row in self.rows if row.name_at_target not in {None, row.name}]
        return DryRunCounts(counts["upload"], counts["already_there"], counts[REFUSED], len(renamed), self._bytes)
