"""The summaries of load, restore and rollback, which change a tracker, and their rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from typing_extensions import override

from migrator.model import Altered, EntityRef
from migrator.pipeline.summary.base import OPTIONAL, Failure, ItemsSummary, part_done, worst_of


@dataclass(frozen=True, slots=True)
class TargetRef:
    """An entity at the target."""

    target_kind: str
    target_id: str

    @classmethod
    def of(cls, ref: EntityRef) -> TargetRef:
        """The same entity, by the keys of the JSON."""
        return cls(ref.kind, ref.id)

    @override
    def __str__(self) -> str:
        return f"{self.target_kind} {self.target_id}".strip()


@dataclass(frozen=True, slots=True)
class UploadCounts:
    """The uploads that a load planned, by outcome."""

    planned: int
    uploaded: int
    already_there: int
    unmapped: int
    skipped: int
    failed: int


@dataclass(frozen=True, slots=True)
class DryRunCounts:
    """What a load would do."""

    would_upload: int
    already_there: int
    would_fail: int
    would_rename: int
    would_send_bytes: int


@dataclass(frozen=True, slots=True)
class DryRunRow:
    """What would happen to one upload."""

    kind: str
    entity: str
    attachment: str
    name: str
    target_kind: str
    target_id: str
    what: str
    name_at_target: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ContentCounts:
    """What was read back from the target, and how it compared."""

    checked: int
    same: int
    differ: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A file at an entity to which the mapping no longer sends it: where it belongs `now`, and why it `stays`."""

    kind: str
    entity: str
    attachment: str
    name: str
    target_kind: str
    target_id: str
    remote_id: str | None
    now: tuple[TargetRef, ...]
    stays: str | None


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    """A row of the mapping that names nothing in the archive; `line` is its line in the file."""

    kind: str
    entity: str
    target_kind: str
    target_id: str
    line: int | None


@dataclass(frozen=True, slots=True)
class AlteredUpload:
    """A file that arrived and that the target altered; `how` names what was altered, as in `Upload.altered`."""

    kind: str
    entity: str
    attachment: str
    name: str
    target_kind: str
    target_id: str
    how: Altered


@dataclass(frozen=True, slots=True)
class UnmappedFile:
    """A stored file of an entity that has no row in the mapping."""

    kind: str
    entity: str
    attachment: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSummary(ItemsSummary):
    """The summary of a load. `stubs` counts created entities; `moved` counts deletions at former entities.

    `not_in_archive` is what the backup failed to fetch or to list, or had not fetched when it was stopped.
    """

    command = "load"
    last = ("seconds", "failures", "moved")

    uploads: UploadCounts
    dry_run: DryRunCounts | None = field(default=None, metadata=OPTIONAL)
    rehearsal: tuple[DryRunRow, ...] | None = field(default=None, metadata=OPTIONAL)
    content: ContentCounts | None = field(default=None, metadata=OPTIONAL)
    stubs: dict[str, int] | None = field(default=None, metadata=OPTIONAL)
    changed: tuple[ChangedRow, ...] | None = field(default=None, metadata=OPTIONAL)
    altered: tuple[AlteredUpload, ...] | None = field(default=None, metadata=OPTIONAL)
    unmatched_rows: tuple[UnmatchedRow, ...] | None = field(default=None, metadata=OPTIONAL)
    unmapped_files: tuple[UnmappedFile, ...] | None = field(default=None, metadata=OPTIONAL)
    not_in_archive: tuple[Failure, ...] | None = field(default=None, metadata=OPTIONAL)
    warnings: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    bytes: int
    moved: DeletionCounts | None = field(default=None, metadata=OPTIONAL)

    @override
    def kept(self) -> str:
        counts = self.uploads
        return part_done(counts.uploaded + counts.already_there, counts.planned, "at the target")

    def with_moved(self, rollback: RollbackSummary) -> LoadSummary:
        """The summary of a load that was followed by a rollback at former entities."""
        status, failures = worst_of(self.status, rollback.status), (*self.failures, *rollback.failures)
        return replace(self, status=status, moved=rollback.deletions, failures=failures)


@dataclass(frozen=True, slots=True)
class RestoreCounts:
    """The files that the source lost, by outcome."""

    planned: int
    uploaded: int
    already_there: int
    skipped: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSummary(ItemsSummary):
    """The summary of a restore, with the words of a load."""

    command = "restore"

    uploads: RestoreCounts
    dry_run: DryRunCounts | None = field(default=None, metadata=OPTIONAL)
    rehearsal: tuple[DryRunRow, ...] | None = field(default=None, metadata=OPTIONAL)
    altered: tuple[AlteredUpload, ...] | None = field(default=None, metadata=OPTIONAL)
    warnings: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    bytes: int

    @override
    def kept(self) -> str:
        return part_done(self.uploads.uploaded + self.uploads.already_there, self.uploads.planned, "put back")


@dataclass(frozen=True, slots=True)
class DeletionCounts:
    """The files that a rollback had to delete, by outcome."""

    planned: int
    deleted: int
    already_gone: int
    changed: int
    impossible: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackSummary(ItemsSummary):
    """The summary of a rollback. `dry_run` has the number of files that would be deleted."""

    command = "rollback"

    deletions: DeletionCounts
    dry_run: dict[str, int] | None = field(default=None, metadata=OPTIONAL)

    @override
    def kept(self) -> str:
        return part_done(self.deletions.deleted + self.deletions.already_gone, self.deletions.planned, "deleted")
