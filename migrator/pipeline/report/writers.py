"""The files of a report: a page (see `html.py`), a table for spreadsheets, a document, and a table of redirects.

Beware: names come from a tracker. The table for spreadsheets puts an apostrophe before anything that a spreadsheet
would run as a formula; only the document has such names unchanged.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

from migrator.errors import ConfigError
from migrator.pipeline.report.data import EntityReport, FileReport, Totals, UploadReport, UrlOf, story, sums
from migrator.pipeline.report.html import write_page
from migrator.pipeline.summary import ReportSummary
from migrator.store import Catalog, disk_errors
from migrator.whole_file import whole_file


def report(
    catalog: Catalog, url_of: Callable[[str], UrlOf], out: Path | None, redirects: Path | None = None
) -> ReportSummary:
    """Write the report (`.html`, `.csv` or `.json`, by the ending) and the redirects, each whole or not at all.

    Reads only, and may do so during a run. What stands at those paths is replaced.
    """
    writer = _WRITERS.get(out.suffix.lower()) if out else None
    if out and writer is None:
        raise ConfigError(f"{out.name}: the ending decides; known are {', '.join(sorted(_WRITERS))}")
    source = catalog.settings.get("source") or ""
    with catalog.exports.snapshot():
        totals = sums(story(catalog, url_of), source)
        if out and writer:
            with disk_errors(str(out)), whole_file(out) as file:
                writer(file, totals, story(catalog, url_of))
        if redirects:
            with disk_errors(str(redirects)), whole_file(redirects) as file:
                count = write_redirects(file, story(catalog, url_of))
    return ReportSummary(
        out=str(out) if out else None,
        redirects=str(redirects) if redirects else None,
        entities=totals.entities,
        attachments=totals.attachments,
        differing=totals.differing,
        redirected=count if redirects else None,
    )


def write_redirects(file: TextIO, chapters: Iterable[EntityReport]) -> int:
    """Old and new address of every file that is at a target, where both are known; gives their number."""
    rows, count = csv.writer(file), 0
    rows.writerow(["old_url", "new_url", "attachment_id", "remote_id"])
    for chapter in chapters:
        for filed in chapter.files:
            for one in filed.sent:
                if filed.url and one.url:
                    rows.writerow([filed.url, one.url, filed.of.id, one.remote_id])
                    count += 1
    return count


_CSV = ("kind", "entity_id", "title", "attachment_id", "name", "size", "created_at", "created_by", "archive", "sha256")
_CSV_SENT = ("target", "target_kind", "target_id", "remote_id", "target_name", "upload", "content", "differs")


def write_csv(file: TextIO, totals: Totals, chapters: Iterable[EntityReport]) -> None:  # noqa: ARG001 - rows only
    """A row for each attachment and target entity."""
    rows = csv.writer(file)
    rows.writerow([*_CSV, *_CSV_SENT])
    for chapter in chapters:
        for filed in chapter.files:
            of = filed.of
            first = [chapter.ref.kind, chapter.ref.id, chapter.title, of.id, of.name]
            first += [_size(filed), of.created_at, of.created_by, filed.status, filed.sha256]
            why = "; ".join(remark for remark, _ in filed.remarks)
            for one in filed.sent or (None,):
                at = (
                    [one.target, one.to.kind, one.to.id, one.remote_id, one.name, one.status, one.content]
                    if one
                    else []
                )
                rows.writerow([_inert(cell) for cell in [*first, *(at or [""] * 7), why]])


def _size(filed: FileReport) -> str:
    return "" if filed.size_known is None else str(filed.size_known)


def _inert(cell: str) -> str:
    """What a spreadsheet would run as a formula, as text."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def write_json(file: TextIO, totals: Totals, chapters: Iterable[EntityReport]) -> None:
    """One document, written as it is read."""
    head = {
        "source": totals.source,
        "made_at": totals.made_at,
        "entities": totals.entities,
        "attachments": {"known": totals.attachments, **totals.statuses},
        "bytes": {"listed": totals.listed_bytes, "archived": totals.archived_bytes},
        "targets": {name: {**counts, "bytes": totals.target_bytes[name]} for name, counts in totals.targets.items()},
        "differing": totals.differing,
        "reasons": {reason: count for (reason, _), count in totals.reasons.most_common()},
    }
    file.write(json.dumps(head)[:-1] + ', "details": [\n')
    file.writelines(
        (",\n" if number else "") + json.dumps(_chapter(chapter)) for number, chapter in enumerate(chapters)
    )
    file.write("\n]}\n")


def _chapter(chapter: EntityReport) -> dict[str, Any]:
    return {
        "kind": chapter.ref.kind,
        "entity": chapter.ref.id,
        "title": chapter.title,
        "url": chapter.url,
        "error": chapter.error or None,
        **({"accepted": True} if chapter.accepted else {}),
        "attachments": [
            {
                "attachment": filed.of.id,
                "name": filed.of.name,
                "size": filed.size_known,
                "created_at": filed.of.created_at,
                "created_by": filed.of.created_by,
                "status": filed.status,
                "sha256": filed.sha256 or None,
                "url": filed.url,
                "uploads": [_upload(one) for one in filed.sent],
                "differs": [remark for remark, _ in filed.remarks],
            }
            for filed in chapter.files
        ],
    }


def _upload(one: UploadReport) -> dict[str, Any]:
    return {
        "target": one.target,
        "kind": one.to.kind,
        "entity": one.to.id,
        "status": one.status,
        "remote_id": one.remote_id or None,
        "name": one.name,
        "content": one.content or None,
        "url": one.url,
        "error": one.error or None,
        "altered": one.altered or None,
    }


_WRITERS = {".html": write_page, ".csv": write_csv, ".json": write_json}
