"""The condition of an archive: what is damaged, what failed, who is at work. Reads only, and works during a run.

What verify or an export found of a blob holds until a backup has fetched it again or a verify found it sound.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from migrator.filenames import readable
from migrator.model import RunStatus, UploadStatus
from migrator.pipeline.summary import ArchiveTotals, Failure, Problem, RunRow, StatusSummary
from migrator.pipeline.verify import OF_BLOBS, with_files
from migrator.store import Catalog, blob_name, holder_of, recorded_position


def condition(catalog: Catalog, root: Path) -> StatusSummary:
    """The summary of `status`: `damaged`, `incomplete` where something failed, else `complete`.

    `at_work` is who holds the archive. A run that was killed is `interrupted`, which the next one records, and has
    `killed`.
    """
    holder = holder_of(root)
    rows = [*catalog.failures(), *_failed_uploads(catalog, at_work=bool(holder))]
    problems, failures = _problems(catalog), tuple(map(Failure.of_row, rows))
    status = RunStatus.DAMAGED if problems else RunStatus.INCOMPLETE if failures else RunStatus.COMPLETE
    return StatusSummary(
        status=status,
        archive=readable(root),
        source=catalog.setting("source"),
        at_work=holder,
        problems=tuple(problems),
        totals=ArchiveTotals.of_row(catalog.totals()),
        runs=tuple(_as_it_is(RunRow(**run), holder) for run in catalog.runs()),
        failures=failures,
    )


def _as_it_is(run: RunRow, holder: dict[str, str] | None) -> RunRow:
    """A run that the catalog calls `running` really is if it began after the present holder took the archive."""
    if run.status != RunStatus.RUNNING or (holder and run.started_at >= holder["since"]):
        return run
    return replace(run, status=str(RunStatus.INTERRUPTED), killed=True)


def _failed_uploads(catalog: Catalog, *, at_work: bool) -> list[dict[str, str | None]]:
    """While somebody is at work, what has no answer yet is under way."""
    return [upload for upload in catalog.upload_failures() if not at_work or upload["status"] != UploadStatus.IN_DOUBT]


def _problems(catalog: Catalog) -> list[Problem]:
    """For blobs, what the catalog holds.

    For the rest, what the last full check found and nothing has repaired since.
    """
    last = [Problem.of_row(row) for row in catalog.last_problems()]
    codes = {found.sha256: found.code for found in last if found.code in OF_BLOBS}
    blobs = [
        Problem(codes.get(sha256, "E02" if what == "missing" else "E01"), what, sha256, blob_name(sha256))
        for sha256, what in catalog.blob_problems().items()
    ]
    distrusted = isinstance(recorded_position(catalog.db), str)
    rest = [found for found in last if found.code not in OF_BLOBS and (distrusted or found.code < "E20")]
    return [*with_files(catalog, blobs), *rest]
