"""The summaries of export and report, which write files from an archive."""

from __future__ import annotations

from dataclasses import dataclass, field

from typing_extensions import override

from migrator.model import RunStatus
from migrator.pipeline.summary.base import OPTIONAL, ItemsSummary, Summary
from migrator.pipeline.summary.upkeep import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary(ItemsSummary):
    """The summary of an export. `files` and `bytes` are what is at the destination: 0 if it did not finish."""

    command = "export"

    format: str
    destination: str
    files: int
    bytes: int
    problems: tuple[Problem, ...]

    @override
    def status_after(self, ended: RunStatus) -> RunStatus:
        ended = ItemsSummary.status_after(self, ended)
        return RunStatus.DAMAGED if self.problems and ended is RunStatus.INCOMPLETE else ended


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary(Summary):
    """The summary of a report: the files written, and what is in them.

    `verdict` is fine, warning or bad, `sentence` says why. `differing` counts files, `missing`, `altered` and
    `intended` those of each category of differences; `redirected` counts rows of redirects.
    """

    command = "report"

    out: str | None
    redirects: str | None
    verdict: str
    sentence: str
    entities: int
    attachments: int
    differing: int
    missing: int
    altered: int
    intended: int
    redirected: int | None = field(default=None, metadata=OPTIONAL)
