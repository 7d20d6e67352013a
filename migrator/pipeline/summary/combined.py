"""The summaries of migrate and demo, which consist of those of other commands."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrator.pipeline.summary.backup import BackupSummary
from migrator.pipeline.summary.base import HIDDEN, OPTIONAL, Summary
from migrator.pipeline.summary.load import LoadSummary
from migrator.pipeline.summary.map import MapSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateSummary(Summary):
    """The summaries of backup and load, and of map if it proposed the mapping.

    `load` is an empty object if the backup was stopped, or a person did not want the mapping to be used (`declined`).
    `asked`: the proposed mapping was shown before that question.
    """

    command = "migrate"

    backup: BackupSummary
    map: MapSummary | None = field(default=None, metadata=OPTIONAL)
    load: LoadSummary | dict[str, object]
    asked: bool = field(default=False, metadata=HIDDEN)
    declined: bool = field(default=False, metadata=HIDDEN)


@dataclass(frozen=True, slots=True)
class DemoStep:
    """One step of the demo, and whether it went as expected."""

    step: str
    what: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary(Summary):
    """What happened in a demo. `kept` is the folder of `--keep`; None if everything was deleted."""

    command = "demo"

    kept: str | None
    steps: tuple[DemoStep, ...]
    backup: BackupSummary
    load: LoadSummary
