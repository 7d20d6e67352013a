"""The condition of an archive: what is damaged, what failed, who is at work. Reads only, and works during a run.

What verify or an export found of a blob holds until a backup has fetched it again or a verify found it sound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from migrator.filenames import readable
from migrator.model import RunStatus, UploadStatus
from migrator.pipeline.health import health
from migrator.pipeline.summary import Failure, Problem, StatusSummary
from migrator.pipeline.verify import OF_BLOBS, with_files
from migrator.store import Catalog, blob_name, holder_of, recorded_position

KILLED = "killed"


def condition(catalog: Catalog, root: Path) -> StatusSummary:
    """The summary of `status`: `damaged`, `incomplete` where something failed, else `complete`.

    `at_work` is who holds the archive. A run that was killed is `interrupted`, which the next one records, and has
    `killed`.
    """
    holder = holder_of(root)
    standing, accepted = catalog.accepted.all().split(catalog.summaries.failures())
    rows = [*standing, *_failed_uploads(catalog, at_work=bool(holder))]
    problems, failures = _problems(catalog), tuple(map(Failure.of_row, rows))
    status = RunStatus.DAMAGED if problems else RunStatus.INCOMPLETE if failures else RunStatus.COMPLETE
    answer = None
    if not catalog.snapshots.viewed:
        answer = health(catalog, failures, problems=len(problems), accepted=len(accepted), at_work=bool(holder))
    return StatusSummary(
        status=status,
        health=answer,
        archive=readable(root),
        source=catalog.settings.get("source"),
        at_work=holder,
        problems=tuple(problems),
        totals=catalog.summaries.totals(),
        runs=tuple(_as_it_is(run, holder) for run in catalog.runs.latest()),
        failures=failures,
        accepted=tuple(map(Failure.of_row, accepted)) or None,
    )


def _as_it_is(run: dict[str, Any], holder: dict[str, str] | None) -> dict[str, Any]:
    """A run that the catalog calls `running` is, if it began while the archive was held by who holds it now."""
    if run["status"] != RunStatus.RUNNING or (holder and run["started_at"] >= holder["since"]):
        return run
    return {**run, "status": str(RunStatus.INTERRUPTED), KILLED: True}


def _failed_uploads(catalog: Catalog, *, at_work: bool) -> list[dict[str, str | None]]:
    """While somebody is at work, what has no answer yet is under way."""
    return [
        upload
        for upload in catalog.summaries.upload_failures()
        if not at_work or upload["status"] != UploadStatus.IN_DOUBT
    ]


def _problems(catalog: Catalog) -> list[Problem]:
    """For blobs, what the catalog holds.

    For the rest, what the last full check found and nothing has repaired since.
    """
    last = [Problem.of_row(row) for row in catalog.runs.last_problems()]
    codes = {found.sha256: found.code for found in last if found.code in OF_BLOBS}
    blobs = [
        Problem(codes.get(sha256, "E02" if what == "missing" else "E01"), what, sha256, blob_name(sha256))
        for sha256, what in catalog.blobs.problems().items()
    ]
    distrusted = isinstance(recorded_position(catalog.db), str)
    rest = [found for found in last if found.code not in OF_BLOBS and (distrusted or found.code < "E20")]
    return [*with_files(catalog, blobs), *rest]
