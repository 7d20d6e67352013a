"""The summary of a night: the result of each configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from typing_extensions import override

from migrator.model import RunStatus
from migrator.pipeline.summary.backup import BackupSummary
from migrator.pipeline.summary.base import OPTIONAL, Summary
from migrator.pipeline.summary.export import ReportSummary
from migrator.pipeline.summary.upkeep import Problem, PruneSummary, VerifySummary


@dataclass(frozen=True, slots=True)
class StepError:
    """The error that ended a step: the exit status that it means, and one line."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Notified:
    """Who was told of a night, by the key of the configuration, and whether that worked."""

    to: str
    sent: bool
    reason: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class NightResult:
    """The night of one configuration. A step that was not done is an empty object.

    `problems` is damage that an earlier night found and nothing has repaired since.
    """

    config: str
    status: RunStatus
    error: StepError | None = field(default=None, metadata=OPTIONAL)
    backup: BackupSummary | dict[str, object] = field(default_factory=dict)
    verify: VerifySummary | dict[str, object] = field(default_factory=dict)
    prune: PruneSummary | dict[str, object] = field(default_factory=dict)
    report: ReportSummary | dict[str, object] = field(default_factory=dict)
    problems: tuple[Problem, ...] | None = field(default=None, metadata=OPTIONAL)
    notified: tuple[Notified, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlySummary(Summary):
    """A night of several configurations; status and error are those of the worst."""

    command = "nightly"
    last = ("seconds", "results")

    error: StepError | None = field(default=None, metadata=OPTIONAL)
    seconds: float = 0.0
    results: tuple[NightResult, ...] = ()

    @property
    @override
    def silent_if_quiet(self) -> bool:
        """If all was well: cron mails each line."""
        return self.status is RunStatus.COMPLETE
