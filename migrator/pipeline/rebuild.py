"""Rebuild: restore catalog and journal from each other, and compare them with the blobs.

A catalog that is lost, or differs from its journal, is made anew from the journal; a journal that is lost or damaged is
made anew from a sound catalog. What both have lost is fetched by the next backup.

It waits for nothing but the disk, so it is synchronous, and a signal interrupts it at once.

Beware: a second rebuild must find nothing to do, and one that was killed at any moment is simply repeated.
"""

from __future__ import annotations

from contextlib import closing

from migrator.model import RunStatus
from migrator.pipeline.summary import RebuildSummary
from migrator.pipeline.verify import CATALOG_CODES, problem_of, with_files
from migrator.store import JOURNAL, Archive, Catalog, audit, blob_name, remake, scan_blobs


def rebuild(archive: Archive) -> RebuildSummary:
    """One run; the caller holds the archive. Blobs are checked by name and length; `verify` hashes them.

    `damaged` if blobs are missing or unknown, or if lines of the journal were lost together with the catalog.
    """
    codes = [code for code, _, _ in audit(archive.root)]
    made_anew = not CATALOG_CODES.isdisjoint(codes)
    lost = remake(archive.root) if made_anew else []
    with closing(Catalog(archive.root)) as catalog:
        if codes and not made_anew:
            catalog.mark_journal_damaged(codes[0])
        catalog.ensure_journal(anew=made_anew)
        run = catalog.runs.begin("rebuild")
        catalog.unchanged.require_full_crawl()
        problems = [problem_of("E21", "", JOURNAL, part) for part in lost]
        scan = scan_blobs(archive, catalog)
        if scan.missing:
            catalog.crawl.requeue(scan.missing)
        problems += with_files(catalog, [problem_of("E02", sha256, blob_name(sha256)) for sha256 in scan.missing])
        problems += [problem_of("E03", name, archive.store.path_shown(folder, name)) for folder, name in scan.unknown]
        problems += [problem_of("E03", "", name) for name in archive.unknown_files()]
        status = RunStatus.DAMAGED if problems else RunStatus.COMPLETE
        totals = catalog.summaries.totals()
        summary = RebuildSummary(
            run=run,
            status=status,
            made_from="manifest" if made_anew else "catalog",
            entities=totals["entities"],
            attachments=sum(totals["attachments"].values()),
            uploads=sum(totals["uploads"].values()) + sum(totals.get("restored", {}).values()),
            blobs=totals["blobs"]["count"],
            problems=tuple(problems),
        )
        catalog.runs.end(run, status, summary.as_json())
        return summary
