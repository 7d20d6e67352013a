"""Rebuild: catalog and journal restored, each from the other, and compared with the blobs.

A catalog that is lost, or differs from its journal, is made anew from the journal; a journal that is lost or damaged,
from a sound catalog. What both have lost, the next backup fetches.

Beware: a second rebuild must find nothing to do, and one that was killed at any moment is simply repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from migrator.model import RunStatus
from migrator.pipeline.backup import missing_blobs
from migrator.pipeline.verify import problem, with_files
from migrator.store import BLOB_FOLDERS, JOURNAL, Archive, Catalog, audit, blob_name, remake


def rebuild(archive: Archive) -> dict[str, Any]:
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
            catalog.distrust_manifest(found[0])
        catalog.keep_manifest(anew=made)
        run = catalog.begin_run("rebuild")
        problems = [problem("E21", "", JOURNAL, what) for what in lost]
        problems += with_files(catalog, _missing(archive, catalog))
        problems += _unknown(archive, catalog)
        status = RunStatus.DAMAGED if problems else RunStatus.COMPLETE
        totals = catalog.totals()
        counts = {what: sum(totals[what].values()) for what in ("attachments", "uploads")}
        summary = {
            "command": "rebuild",
            "run": run,
            "status": str(status),
            "made_from": "manifest" if made else "catalog",
            "entities": totals["entities"],
            **counts,
            "blobs": totals["blobs"]["count"],
            "problems": problems,
        }
        catalog.end_run(run, status, summary)
        return summary


def _missing(archive: Archive, catalog: Catalog) -> list[dict[str, str]]:
    """Blobs that are not there; what they belong to is wanted again."""
    missing = missing_blobs(archive, catalog)
    if missing:
        catalog.expect_again(missing)
    return [problem("E02", sha256, blob_name(sha256)) for sha256 in missing]


def _unknown(archive: Archive, catalog: Catalog) -> Iterator[dict[str, str]]:
    for folder in BLOB_FOLDERS:
        known = catalog.blobs_in(folder)
        for name in sorted(name for name, _ in archive.files_in(folder) if name not in known):
            yield problem("E03", name, f"blobs/{folder}/{name}")
    yield from (problem("E03", "", name) for name in archive.strangers())
