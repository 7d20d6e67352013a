"""The summary of a map: the rows that it added, and the entities that it left open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from migrator.model import RunStatus
from migrator.pipeline.summary.base import OPTIONAL, RunSummary
from migrator.pipeline.summary.load import TargetRef


@dataclass(frozen=True, slots=True)
class MapCounts:
    """The entities of the archive, by outcome."""

    kept: int = 0
    proposed: int = 0
    ambiguous: int = 0
    unmatched: int = 0
    without_files: int = 0


@dataclass(frozen=True, slots=True)
class ProposedRow:
    """A new row of the mapping: both entities, and why they belong together."""

    kind: str
    entity: str
    title: str
    url: str
    target_kind: str
    target_id: str
    target_title: str
    target_url: str
    found_by: str
    sure: str
    why: str


@dataclass(frozen=True, slots=True)
class OpenEntity:
    """An entity with files and without a row: no rule matched it, or rules matched several `candidates`."""

    kind: str
    entity: str
    title: str
    url: str
    why: str
    candidates: tuple[TargetRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSummary(RunSummary):
    """The summary of a map. `found_by` and `sure` count the new rows by rule and by certainty.

    `mapping` and `open` are the files written.
    """

    command = "map"
    last = ("seconds", "mapping", "open")

    dry_run: bool | None = field(default=None, metadata=OPTIONAL)
    entities: int = 0
    targets: int = 0
    rows: MapCounts = field(default_factory=MapCounts)
    found_by: dict[str, int] = field(default_factory=dict)
    sure: dict[str, int] = field(default_factory=dict)
    proposals: tuple[ProposedRow, ...] = ()
    ambiguous: tuple[OpenEntity, ...] = ()
    unmatched: tuple[OpenEntity, ...] = ()
    mapping: str | None = field(default=None, metadata=OPTIONAL)
    open: str | None = field(default=None, metadata=OPTIONAL)

    @override
    def as_record(self) -> dict[str, Any]:
        """Without the lists, which may be as long as the archive; without counts if nothing was matched."""
        document = self.as_json()
        keys = document.keys() - {"proposals", "ambiguous", "unmatched"}
        if self.status is not RunStatus.COMPLETE:
            keys = {"command", "run", "status", "seconds"}
        return {key: value for key, value in document.items() if key in keys}
