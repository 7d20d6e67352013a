"""The summaries of snapshots and diff: what an archive held, and what changed from one snapshot to another."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrator.pipeline.summary.base import OPTIONAL, Summary


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One snapshot: when it was complete (ISO 8601, UTC), what it holds, and what changed since the one before."""

    run: int
    at: str
    entities: int
    attachments: int
    bytes: int
    added: int
    removed: int
    renamed: int
    moved: int
    replaced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsSummary(Summary):
    """The snapshots of an archive, the oldest first."""

    command = "snapshots"

    snapshots: tuple[SnapshotRow, ...]


@dataclass(frozen=True, slots=True)
class FileChange:
    """How one attachment differs between two snapshots. `was`: its older name, owner or SHA-256."""

    change: str
    attachment: str
    kind: str
    entity: str
    name: str
    was: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffSummary(Summary):
    """What changed from one snapshot to another, each named by its run; a file may have several changes."""

    command = "diff"

    older: int
    newer: int
    counts: dict[str, int]
    changes: tuple[FileChange, ...]
