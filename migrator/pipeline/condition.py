"""The condition of an archive: what is damaged, what failed, who is at work. Reads only, and works during a run.

A blob that verify or an export found damaged counts as damaged until a backup has fetched it again or a later verify
found it sound.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from migrator.filenames import readable
from migrator.model import RunStatus, UploadStatus
from migrator.pipeline.health import health
from migrator.pipeline.prune import KEEP_ALL, Retention, freed_by
from migrator.pipeline.summary import ArchiveTotals, Failure, ForOlderSnapshots, Problem, RunRow, StatusSummary
from migrator.pipeline.verify import BLOB_CODES, with_files
from migrator.store import Catalog, blob_name, holder_of, recorded_position


def condition(
    catalog: Catalog, root: Path, elsewhere: dict[str, str] | None = None, retention: Retention = KEEP_ALL
) -> StatusSummary:
    """The summary of `status`: `damaged`, or `incomplete` if something failed, else `complete`.

    A run that was killed is shown as `interrupted`, with `killed`; the next run records that. `elsewhere` is who holds
    the archive on another machine, `retention` the rules by which it is pruned.
    """
    holder = holder_of(root) or elsewhere
    standing, accepted = catalog.accepted.all().split(catalog.summaries.failures())
    rows = [*standing, *_failed_uploads(catalog, at_work=bool(holder))]
    problems, failures = known_problems(catalog), tuple(map(Failure.of_row, rows))
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
        totals=ArchiveTotals.of_row(catalog.summaries.totals()),
        for_older_snapshots=_for_older_snapshots(catalog, retention),
        runs=tuple(_with_real_status(RunRow(**run), holder) for run in catalog.runs.latest()),
        failures=failures,
        accepted=tuple(map(Failure.of_row, accepted)) or None,
    )


def _for_older_snapshots(catalog: Catalog, retention: Retention) -> ForOlderSnapshots | None:
    """What a prune can free, and what it would free by these rules; None if nothing is kept for older snapshots."""
    if catalog.snapshots.viewed:
        return None
    blobs, size = freed_by(catalog, Retention(last=1))
    if not blobs:
        return None
    now = (None, None) if retention == KEEP_ALL else freed_by(catalog, retention)
    return ForOlderSnapshots(blobs=blobs, bytes=size, freed_blobs=now[0], freed_bytes=now[1])


def _with_real_status(run: RunRow, holder: dict[str, str] | None) -> RunRow:
    """The run. One that the catalog calls `running` was killed, unless the present holder of the archive began it."""
    if run.status != RunStatus.RUNNING or (holder and run.started_at >= holder["since"]):
        return run
    return replace(run, status=str(RunStatus.INTERRUPTED), killed=True)


def _failed_uploads(catalog: Catalog, *, at_work: bool) -> list[dict[str, str | None]]:
    """While a run is at work, uploads without an answer are under way, and have not failed."""
    return [
        upload
        for upload in catalog.summaries.upload_failures()
        if not at_work or upload["status"] != UploadStatus.IN_DOUBT
    ]


def known_problems(catalog: Catalog) -> list[Problem]:
    """Damaged blobs as the catalog has them now; other damage that the last check found and nothing has repaired."""
    last = [Problem.of_row(row) for row in catalog.runs.last_problems()]
    codes = {problem.sha256: problem.code for problem in last if problem.code in BLOB_CODES}
    blobs = [
        Problem(codes.get(sha256, "E02" if damage == "missing" else "E01"), damage, sha256, blob_name(sha256))
        for sha256, damage in catalog.blobs.problems().items()
    ]
    journal_damaged = isinstance(recorded_position(catalog.db), str)
    others = [problem for problem in last if problem.code not in BLOB_CODES]
    return [*with_files(catalog, blobs), *(other for other in others if journal_damaged or other.code < "E20")]
