"""The report: what was in the source, what is in the archive, what is at the target, and what differs and why.

The one idea: entities, attachments and uploads are read side by side in one order (`story`), so a report of any
length needs little memory; it is read twice, once for the sums and once for the rows.
The one trap: names, titles and reasons come from a tracker. The page escapes them, and the table for spreadsheets
(`.csv`) puts an apostrophe before what a spreadsheet would run as a formula; only `.json` has them unchanged.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

from migrator.archive import disk_errors
from migrator.catalog import Catalog, now
from migrator.errors import ConfigError
from migrator.model import Attachment, EntityRef, Status, UploadStatus

T = TypeVar("T")
UrlOf = Callable[[str, Attachment], str]
"""The address of an attachment at the tracker of an identity (`redmine https://...`); empty if unknown."""

SIZES = ((10**4, "under 10 kB"), (10**5, "10 to 100 kB"), (10**6, "0.1 to 1 MB"), (10**7, "1 to 10 MB"))
SIZES += ((10**8, "10 to 100 MB"), (10**9, "0.1 to 1 GB"))
LARGEST = "1 GB and more"
SAMPLES = 50
"""So many files are named for each reason in the overview."""
THERE = {UploadStatus.UPLOADED, UploadStatus.ALREADY_THERE}


@dataclass(frozen=True, slots=True)
class Sent:
    """One upload of a file: where it is, or why not. `url` is its address there."""

    target: str
    to: EntityRef
    status: str
    remote_id: str
    name: str
    error: str
    content: str
    url: str


@dataclass(frozen=True, slots=True)
class Filed:
    """One attachment: as the source tells of it, in the archive, at the target. `remarks` say what differs and why."""

    of: Attachment
    status: str
    sha256: str
    size: int | None
    url: str
    sent: tuple[Sent, ...]
    remarks: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """One entity with its files. `error` is why its files could not be listed."""

    ref: EntityRef
    title: str
    url: str
    error: str
    files: tuple[Filed, ...]


@dataclass(slots=True)
class Totals:
    """The sums of a report. `reasons` are told with samples; the flag says whether it is a failure."""

    source: str
    made_at: str
    entities: int = 0
    attachments: int = 0
    differing: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    archived_bytes: int = 0
    listed_bytes: int = 0
    targets: dict[str, Counter[str]] = field(default_factory=dict)
    target_bytes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    kind_bytes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, bool]] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)
    unlisted: list[str] = field(default_factory=list)
    content: Counter[str] = field(default_factory=Counter)


class _Side(Generic[T]):
    """Groups of rows, taken in the order of their keys."""

    def __init__(self, rows: Iterable[T], key: Callable[[T], Hashable]) -> None:
        self._groups = groupby(rows, key)
        self._at = next(self._groups, None)

    def take(self, key: Hashable) -> list[T]:
        if self._at is None or self._at[0] != key:
            return []
        found = list(self._at[1])
        self._at = next(self._groups, None)
        return found


def story(catalog: Catalog, url_of: Callable[[str], UrlOf]) -> Iterator[Chapter]:
    """All of the archive, entity by entity. `url_of` gives the function for the tracker of an identity."""
    source = catalog.setting("source") or ""
    files = _Side(catalog.all_attachments(), lambda row: row[0].owner)
    uploads = _Side(catalog.all_uploads(), lambda row: str(row["attachment_id"]))
    loaded = bool(catalog.totals()["uploads"])
    for entity in catalog.all_entities():
        ref = EntityRef(entity["kind"], entity["entity_id"])
        filed = []
        for of, archived in files.take(ref):
            sent = tuple(_sent(row, url_of) for row in uploads.take(of.id))
            url = url_of(source)(_base(source), of)
            remarks = tuple(_remarks(of, archived, sent, loaded=loaded))
            sha256, size = archived["sha256"] or "", archived["stored_size"]
            filed.append(Filed(of, archived["status"], sha256, size, url, sent, remarks))
        yield Chapter(ref, entity["title"], entity["url"], entity["error"] or entity["note"], tuple(filed))


def _base(identity: str) -> str:
    return identity.partition(" ")[2]


def _sent(row: dict[str, Any], url_of: Callable[[str], UrlOf]) -> Sent:
    to, target = EntityRef(row["target_kind"], row["target_id"]), row["target"]
    remote = Attachment(row["remote_id"] or "", to, row["name"] or "", locator=row["remote_locator"])
    url = url_of(target)(_base(target), remote) if row["status"] in THERE and remote.id else ""
    return Sent(target, to, row["status"], remote.id, remote.name, row["error"] or "", row["content_check"] or "", url)


def _remarks(
    of: Attachment, archived: dict[str, Any], sent: tuple[Sent, ...], *, loaded: bool
) -> Iterator[tuple[str, bool]]:
    """What differs and why, each with whether it is a failure."""
    match archived["status"]:
        case Status.PENDING:
            yield "not fetched yet", True
        case Status.FAILED:
            yield f"not in the archive: {archived['error'] or 'unknown'}", True
        case Status.SKIPPED:
            yield f"left out: {archived['error'] or 'by a filter'}", False
        case Status.GONE:
            kept = "; what it was is kept in the archive" if archived["sha256"] else ""
            yield f"no longer in the source{kept}", False
    if archived["problem"]:
        yield f"its blob in the archive is {archived['problem']}", True
    if loaded and not sent and archived["status"] == Status.STORED:
        yield "not uploaded: its entity is not in the mapping", False
    for one in sent:
        yield from _remarks_on(of, one)


def _remarks_on(of: Attachment, one: Sent) -> Iterator[tuple[str, bool]]:
    match one.status:
        case UploadStatus.PLANNED:
            yield "not uploaded yet", True
        case UploadStatus.IN_DOUBT:
            yield f"it is not known whether it arrived: {one.error or 'sent, no answer seen'}", True
        case UploadStatus.FAILED:
            yield f"not at the target as it should be: {one.error or 'unknown'}", True
        case UploadStatus.ROLLED_BACK:
            yield "taken back from the target", False
    if one.status in THERE and one.name != of.name:
        yield "has another name at the target", False


def sums(chapters: Iterable[Chapter], source: str) -> Totals:
    """The totals of a story."""
    totals = Totals(source, now())
    for chapter in chapters:
        totals.entities += bool(chapter.ref.id)
        if chapter.error:
            totals.unlisted.append(f"{chapter.ref}: {chapter.error}")
        for filed in chapter.files:
            _add(totals, filed)
    return totals


def _add(totals: Totals, filed: Filed) -> None:
    of, size = filed.of, filed.size if filed.size is not None else filed.of.size or 0
    totals.attachments += 1
    totals.listed_bytes += size
    totals.statuses[filed.status] += 1
    totals.archived_bytes += (filed.size or 0) if filed.status == Status.STORED else 0
    totals.kinds[of.owner.kind] += 1
    totals.kind_bytes[of.owner.kind] += size
    totals.sizes[next((words for limit, words in SIZES if size < limit), LARGEST)] += 1
    totals.differing += bool(filed.remarks)
    for one in filed.sent:
        totals.targets.setdefault(one.target, Counter())[one.status] += 1
        totals.target_bytes[one.target] += (filed.size or 0) if one.status in THERE else 0
        totals.content[one.content] += bool(one.content)
    for remark in set(filed.remarks):
        totals.reasons[remark] += 1
        samples = totals.samples.setdefault(remark[0], [])
        if len(samples) < SAMPLES:
            samples.append(f"{of.owner}: {of.name}")


def report(
    catalog: Catalog, url_of: Callable[[str], UrlOf], out: Path | None, redirects: Path | None = None
) -> dict[str, Any]:
    """Write the report (`.html`, `.csv` or `.json`, by the ending) and the redirects, each whole or not at all.

    Reads only, and may do so during a run. What stands at those paths is replaced.
    """
    writer = _WRITERS.get(out.suffix.lower()) if out else None
    if out and writer is None:
        raise ConfigError(f"{out.name}: the ending decides; known are {', '.join(sorted(_WRITERS))}")
    source = catalog.setting("source") or ""
    with catalog.snapshot():
        totals = sums(story(catalog, url_of), source)
        if out and writer:
            with whole_file(out) as file:
                writer(file, totals, story(catalog, url_of))
        if redirects:
            with whole_file(redirects) as file:
                count = write_redirects(file, story(catalog, url_of))
    return {
        "command": "report",
        "status": "complete",
        "out": str(out) if out else None,
        "redirects": str(redirects) if redirects else None,
        "entities": totals.entities,
        "attachments": totals.attachments,
        "differing": totals.differing,
        **({"redirected": count} if redirects else {}),
    }


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A file that gets its name when it is whole; only its owner may read it."""
    partial = path.with_name(f".{os.getpid()}.report.partial")
    with disk_errors(str(path)):
        try:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_redirects(file: TextIO, chapters: Iterable[Chapter]) -> int:
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


def write_csv(file: TextIO, totals: Totals, chapters: Iterable[Chapter]) -> None:  # noqa: ARG001 - rows only
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


def _size(filed: Filed) -> str:
    size = filed.size if filed.size is not None else filed.of.size
    return "" if size is None else str(size)


def _inert(cell: str) -> str:
    """What a spreadsheet would run as a formula, as text."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def write_json(file: TextIO, totals: Totals, chapters: Iterable[Chapter]) -> None:
    """One document, written as it is read."""
    head = {
        "source": totals.source,
        "made_at": totals.made_at,
        "entities": totals.entities,
        "attachments": {"listed": totals.attachments, **totals.statuses},
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


def _chapter(chapter: Chapter) -> dict[str, Any]:
    return {
        "kind": chapter.ref.kind,
        "entity": chapter.ref.id,
        "title": chapter.title,
        "url": chapter.url,
        "error": chapter.error or None,
        "attachments": [
            {
                "attachment": filed.of.id,
                "name": filed.of.name,
                "size": filed.size if filed.size is not None else filed.of.size,
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


def _upload(one: Sent) -> dict[str, str | None]:
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
    }


def _write_html(file: TextIO, totals: Totals, chapters: Iterable[Chapter]) -> None:
    from migrator.pipeline.page import write_page

    write_page(file, totals, chapters)


_WRITERS = {".html": _write_html, ".csv": write_csv, ".json": write_json}
