"""The files of a report: a page (see `html.py`), a table for spreadsheets, a document, and a table of redirects.

Beware: names come from a tracker. The table has an apostrophe before anything that a spreadsheet would run as a
formula; only the document has such names unchanged.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from migrator.errors import ConfigError
from migrator.pipeline.report.data import EntityReport, FileReport, UrlOf, entity_reports
from migrator.pipeline.report.differences import Category, UploadReport
from migrator.pipeline.report.exported import exported_files
from migrator.pipeline.report.history import History, history_of
from migrator.pipeline.report.html import write_page
from migrator.pipeline.report.totals import TargetTotals, Totals, totals_of
from migrator.pipeline.report.verdict import verdict_of
from migrator.pipeline.summary import ReportSummary
from migrator.printable import BYTE_ORDER_MARK, spreadsheet_cell
from migrator.store import Catalog, disk_errors
from migrator.whole_file import whole_file


def report(
    catalog: Catalog,
    url_of: Callable[[str], UrlOf],
    out: Path | None,
    redirects: Path | None = None,
    *,
    title_of: Callable[[str], str] = str.capitalize,
    tree: Path | None = None,
) -> ReportSummary:
    """Write the report (`.html`, `.csv` or `.json`, by the extension) and the redirects, each completely or not at all.

    Existing files are replaced. The archive is only read, also while a run is at work. `title_of` returns the name of a
    tracker for people; `tree` is an exported tree to which the page leads.
    """
    suffix = out.suffix.lower() if out else ""
    if out and suffix not in _WRITERS:
        known = ", ".join(sorted(_WRITERS))
        raise ConfigError(f"{out.name}: {_unknown(suffix)}; use {' or '.join(known.rsplit(', ', 1))}")
    if tree and suffix != ".html":
        raise ConfigError("--files is for a page: use it with --out FILE.html")
    exported = exported_files(tree, out) if tree and out else None
    with catalog.exports.read_transaction():
        totals = totals_of(entity_reports(catalog, url_of), catalog)
        names = names_of([totals.source, *totals.targets], title_of)
        if out:
            with disk_errors(str(out)), whole_file(out) as file:
                _WRITERS[suffix](file, totals, names, history_of(catalog), entity_reports(catalog, url_of, exported))
        if redirects:
            with disk_errors(str(redirects)), whole_file(redirects) as file:
                count = write_redirects(file, entity_reports(catalog, url_of))
    verdict = verdict_of(totals, names)
    return ReportSummary(
        out=str(out) if out else None,
        redirects=str(redirects) if redirects else None,
        verdict=verdict.level,
        sentence=verdict.sentence,
        entities=totals.entities,
        attachments=totals.attachments,
        differing=totals.differing,
        missing=totals.by_category[Category.MISSING],
        altered=totals.by_category[Category.ALTERED],
        intended=totals.by_category[Category.INTENDED],
        redirected=count if redirects else None,
    )


def _unknown(suffix: str) -> str:
    return f"unknown file extension {suffix}" if suffix else "no file extension"


def names_of(identities: Iterable[str], title_of: Callable[[str], str]) -> dict[str, str]:
    """The name of each system for people, by its identity; with its address where two have the same name."""
    titles = {identity: title_of(identity.partition(" ")[0]) for identity in identities if identity}
    often = {title for title, count in Counter(titles.values()).items() if count > 1}
    return {
        identity: f"{title} at {identity.partition(' ')[2]}" if title in often else title
        for identity, title in titles.items()
    }


def write_redirects(file: TextIO, entities: Iterable[EntityReport]) -> int:
    """Write the old and new address of every file at a target, if both are known; returns the number of rows."""
    rows, count = csv.writer(file), 0
    rows.writerow(["old_url", "new_url", "attachment_id", "remote_id"])
    for entity in entities:
        for file_report in entity.files:
            for upload in file_report.uploads:
                if file_report.url and upload.url:
                    rows.writerow([file_report.url, upload.url, file_report.attachment.id, upload.remote_id])
                    count += 1
    return count


_ENTITY_COLUMNS = ("kind", "entity_id", "title")
_FILE_COLUMNS = ("attachment_id", "name", "size", "created_at", "created_by", "archive", "sha256")
_UPLOAD_COLUMNS = ("target", "target_kind", "target_id", "remote_id", "target_name", "upload", "content")
_NO_UPLOAD = [""] * len(_UPLOAD_COLUMNS)


def write_csv(
    file: TextIO,
    totals: Totals,
    names: Mapping[str, str],  # noqa: ARG001 - identities are for programs
    history: History,  # noqa: ARG001 - its rows would have other columns
    entities: Iterable[EntityReport],
) -> None:
    """Write a row for each attachment and target entity."""
    rows = csv.writer(file)
    file.write(BYTE_ORDER_MARK)
    rows.writerow([*_ENTITY_COLUMNS, *_FILE_COLUMNS, *_UPLOAD_COLUMNS, "differs"])
    for entity in entities:
        for file_report in entity.files:
            source = [entity.ref.kind, entity.ref.id, entity.title, *_file_cells(file_report)]
            differences = "; ".join(_differences(file_report, totals))
            for upload in [_upload_cells(upload) for upload in file_report.uploads] or [_NO_UPLOAD]:
                rows.writerow([spreadsheet_cell(cell) for cell in [*source, *upload, differences]])


def _file_cells(file_report: FileReport) -> list[str]:
    file, size = file_report.attachment, _size(file_report)
    return [file.id, file.name, size, file.created_at, file.created_by, file_report.status, file_report.sha256]


def _upload_cells(upload: UploadReport) -> list[str]:
    to = upload.to
    return [upload.target, to.kind, to.id, upload.remote_id, upload.name, upload.status, upload.content]


def _size(file_report: FileReport) -> str:
    return "" if file_report.size_known is None else str(file_report.size_known)


def _differences(file_report: FileReport, totals: Totals) -> list[str]:
    """What differs about a file, with the target if there are several."""
    several = len(totals.targets) > 1
    return [
        f"at {difference.target}: {difference.text}" if several and difference.target else difference.text
        for difference in file_report.differences
    ]


def write_json(
    file: TextIO, totals: Totals, names: Mapping[str, str], history: History, entities: Iterable[EntityReport]
) -> None:
    """Write one document, while the rows are read."""
    verdict, reasons = verdict_of(totals, names), Counter[str]()
    for group, members in totals.groups.items():
        reasons[group.text] += members.count
    head = {
        "source": totals.source,
        "made_at": totals.made_at,
        "verdict": verdict.level,
        "sentence": verdict.sentence,
        "entities": totals.entities,
        "attachments": {"known": totals.attachments, **totals.statuses},
        "bytes": {"listed": totals.listed_bytes, "archived": totals.archived_bytes},
        "unknown_sizes": totals.unknown_sizes,
        "targets": {target: _target_document(totals.targets[target]) for target in totals.targets},
        "differing": totals.differing,
        **{str(category): totals.by_category[category] for category in Category},
        "reasons": dict(reasons.most_common()),
        "history": history.as_json(),
    }
    file.write(json.dumps(head)[:-1] + ', "details": [\n')
    file.writelines(
        (",\n" if number else "") + json.dumps(_entity_document(entity, totals))
        for number, entity in enumerate(entities)
    )
    file.write("\n]}\n")


def _target_document(target: TargetTotals) -> dict[str, Any]:
    return {
        **target.statuses,
        "bytes": target.bytes,
        "entities": target.entities,
        "files": {
            "arrived": target.arrived,
            "altered": target.altered,
            "missing": target.missing,
            "failed": target.failed,
            "rolled_back": target.rolled_back,
        },
    }


def _entity_document(entity: EntityReport, totals: Totals) -> dict[str, Any]:
    return {
        "kind": entity.ref.kind,
        "entity": entity.ref.id,
        "title": entity.title,
        "url": entity.url,
        "error": entity.error or None,
        **({"accepted": True} if entity.accepted else {}),
        "attachments": [
            {
                "attachment": file_report.attachment.id,
                "name": file_report.attachment.name,
                "size": file_report.size_known,
                "created_at": file_report.attachment.created_at,
                "created_by": file_report.attachment.created_by,
                "status": file_report.status,
                "sha256": file_report.sha256 or None,
                "url": file_report.url,
                "uploads": [_upload_document(upload) for upload in file_report.uploads],
                "differs": _differences(file_report, totals),
            }
            for file_report in entity.files
        ],
    }


def _upload_document(upload: UploadReport) -> dict[str, Any]:
    return {
        "target": upload.target,
        "kind": upload.to.kind,
        "entity": upload.to.id,
        "status": upload.status,
        "remote_id": upload.remote_id or None,
        "name": upload.name,
        "content": upload.content or None,
        "url": upload.url,
        "error": upload.error or None,
        "altered": upload.altered or None,
    }


_WRITERS = {".html": write_page, ".csv": write_csv, ".json": write_json}
