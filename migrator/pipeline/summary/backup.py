"""The summary of a backup."""

from __future__ import annotations

from dataclasses import dataclass, field

from typing_extensions import override

from migrator.pipeline.summary.base import HIDDEN, OPTIONAL, Failure, ItemsSummary, part_done


@dataclass(frozen=True, slots=True)
class NotAsked:
    """The entities, of how many, that were not asked for their files, as they were not changed since.

    From `full_from` on (ISO 8601, UTC), the next night asks all of them.
    """

    entities: int
    of: int
    full_from: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSummary(ItemsSummary):
    """The summary of a backup. `attachments` counts files by outcome; `changes` is relative to the archive before.

    `rechecked` counts the stored files that were fetched again and compared; `accepted` failures don't count.
    `partial`: it had a selection, so it says nothing of the rest. `taken` is how many entities --limit took, for the
    text alone.
    """

    command = "backup"
    last = ("seconds", "failures", "accepted")

    partial: bool | None = field(default=None, metadata=OPTIONAL)
    entities: int
    attachments: dict[str, int]
    changes: dict[str, int]
    taken: int | None = field(default=None, metadata=HIDDEN)
    rechecked: dict[str, int] | None = field(default=None, metadata=OPTIONAL)
    not_asked: NotAsked | None = field(default=None, metadata=OPTIONAL)
    bytes: int
    warnings: tuple[str, ...]
    accepted: tuple[Failure, ...] | None = field(default=None, metadata=OPTIONAL)

    @override
    def kept(self) -> str:
        files = self.attachments
        return part_done(files["stored"] + files["unchanged"], files["listed"], "kept")
