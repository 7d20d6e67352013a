"""Rebuild: catalog and journal restored, each from the other, and compared with the blobs.

A catalog that is lost, or differs from its journal, is made anew from the journal; a journal that is lost or damaged,
from a sound catalog. What both have lost, the next backup fetches.

Beware: a second rebuild must find nothing to do, and one that was killed at any moment is simply repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from migrator.model import RunStatus
from migrator.pipeline.backup import missing_blobs
from migrator.pipeline.summary import Problem, RebuildSummary
from migrator.pipeline.verify import problem, with_files
from migrator.store import BLOB_FOLDERS, JOURNAL, Archive, Catalog, audit, blob_name, remake


def rebuild(archive: Archive) -> RebuildSummary:
    """One run; the caller holds the archive. Blobs are checked by name and length; `verify` hashes them.

    `damaged` if blobs are missing or unknown, or lines of the manifest were lost together with the catalog.
    """
    lost: list[str] = []
    found = [code for code, _, _ in audit(archive.root)]
    made = any(code < "E20" for code in found)
    if made:
        lost = remake(archive.root)
    with closing(Catalog(archive.root)) as catalog:
        if found and not made:
            catalog.mark_journal_damaged(found[0])
        catalog.ensure_journal(anew=made)
        run = catalog.runs.begin("rebuild")
        problems = [problem("E21", "", JOURNAL, what) for what in lost]
        problems += with_files(catalog, _missing(archive, catalog))
        problems += _unknown(archive, catalog)
        status = RunStatus.DAMAGED if problems else RunStatus.COMPLETE
        totals = catalog.summaries.totals()
        summary = RebuildSummary(
            run=run,
            status=status,
            made_from="manifest" if made else "catalog",
            entities=totals["entities"],
            attachments=sum(totals["attachments"].values()),
            uploads=sum(totals["uploads"].values()),
            blobs=totals["blobs"]["count"],
            problems=tuple(problems),
        )
        catalog.runs.end(run, status, summary.as_json())
        return summary


def _missing(archive: Archive, catalog: Catalog) -> list[Problem]:
    """Blobs that are not there; what they belong to is wanted again."""
    missing = missing_blobs(archive, catalog)
    if missing:
        catalog.crawl.requeue(missing)
    return [problem("E02", sha256, blob_name(sha256)) for sha256 in missing]


def _unknown(archive: Archive, catalog: Catalog) -> Iterator[Problem]:
    for folder in BLOB_FOLDERS:
        known = catalog.blobs.in_folder(folder).keys() | catalog.blobs.removed_in(folder)
        for name in sorted(name for name, _ in archive.files_in(folder) if name not in known):
            yield problem("E03", name, f"blobs/{folder}/{name}")
    yield from (problem("E03", "", name) for name in archive.unknown_files())
