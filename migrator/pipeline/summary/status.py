"""The summaries of status and accept: what an archive holds, whether its backups are fine, and what is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.pipeline.summary.base import OPTIONAL, Failure, Summary
from migrator.pipeline.summary.upkeep import Problem


@dataclass(frozen=True, slots=True)
class BlobTotals:
    """How many blobs there are, and their bytes."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTotals:
    """What an archive holds, and what is unfinished; `attachments`, `uploads` and `restored` by status.

    `targets` has the uploads of each target, if there are several.
    """

    altered: int | None = field(default=None, metadata=OPTIONAL)
    entities: int
    attachments: dict[str, int]
    blobs: BlobTotals
    uploads: dict[str, int]
    targets: dict[str, dict[str, int]] | None = field(default=None, metadata=OPTIONAL)
    restored: dict[str, int] | None = field(default=None, metadata=OPTIONAL)
    crawl_under_way: bool

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> ArchiveTotals:
        """From what `Summaries.totals` returns."""
        return cls(**{**row, "blobs": BlobTotals(**row["blobs"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class ForOlderSnapshots:
    """What is kept only for snapshots before the newest, or for none: the most that a prune can free.

    `freed_blobs` and `freed_bytes` are what it would free now by the rules of [retention], if there are any.
    """

    blobs: int
    bytes: int
    freed_blobs: int | None = field(default=None, metadata=OPTIONAL)
    freed_bytes: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, with the JSON that the catalog has of it. `killed`: it did not record its end."""

    run: int
    command: str
    status: str
    started_at: str
    ended_at: str | None
    summary: dict[str, Any] | None
    killed: bool | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a backup is fine: `verdict` is `fine`, `warning` or `bad`, and `answer` says why in one line.

    `snapshot` is the run of the last complete backup. `verified_whole`: every blob was looked at by then.
    """

    verdict: str
    answer: str
    snapshot: int | None
    snapshot_at: str | None
    age_seconds: int | None
    failing: int
    failing_since: str | None
    verified_at: str | None
    verified_whole: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSummary(Summary):
    """The condition of an archive, with totals and the latest runs; `at_work` is the process that holds it.

    `accepted` failures don't count. `health` and `for_older_snapshots` are missing if an earlier snapshot is looked at.
    """

    command = "status"
    last = ("failures", "accepted")

    health: Health | None = field(default=None, metadata=OPTIONAL)
    archive: str
    source: str | None
    at_work: dict[str, str] | None
    problems: tuple[Problem, ...]
    totals: ArchiveTotals
    for_older_snapshots: ForOlderSnapshots | None = field(default=None, metadata=OPTIONAL)
    runs: tuple[RunRow, ...]
    failures: tuple[Failure, ...]
    accepted: tuple[Failure, ...] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptSummary(Summary):
    """`changed` failures were accepted, or count again; `failures` are those that count, and `accepted` the others."""

    command = "accept"
    last = ("failures", "accepted")

    changed: int
    failures: tuple[Failure, ...]
    accepted: tuple[Failure, ...]
