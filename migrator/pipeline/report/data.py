"""The data of a report: what the source had, what the archive holds, what is at the target, what differs and why.

Entities, attachments and uploads are read side by side in the same order, so a report of any length needs little
memory. They are read twice: once for the totals and once for the rows.

Beware: a difference is not always a failure. That a filter left a file out, or that its name had to be changed, is a
difference; a failure is something that the next run tries again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Generic, TypeVar

from migrator.model import Altered, Attachment, EntityRef, Status, UploadStatus
from migrator.store import Acceptances, Catalog, now

T = TypeVar("T")
UrlOf = Callable[[str, Attachment], str]
"""Base address of a tracker and attachment to the address of the attachment; empty if that is unknown."""

SIZES = (
    (10**4, "under 10 kB"),
    (10**5, "10 to 100 kB"),
    (10**6, "0.1 to 1 MB"),
    (10**7, "1 to 10 MB"),
    (10**8, "10 to 100 MB"),
    (10**9, "0.1 to 1 GB"),
)
LARGEST = "1 GB and more"
MAX_SAMPLES = 50
"""Files named for each reason in the overview."""
ARRIVED = {UploadStatus.UPLOADED, UploadStatus.ALREADY_THERE}
"""Statuses of uploads that are at the target."""


@dataclass(frozen=True, slots=True)
class UploadReport:
    """One upload of a file: where it is, with its address `url`, or why it isn't there."""

    target: str
    to: EntityRef
    status: str
    remote_id: str
    name: str
    error: str
    content: str
    url: str
    altered: Altered = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileReport:
    """One attachment: at the source, in the archive, at targets. Each difference has whether it is a failure."""

    attachment: Attachment
    status: str
    sha256: str
    size: int | None
    url: str
    uploads: tuple[UploadReport, ...]
    differences: tuple[tuple[str, bool], ...]

    @property
    def size_known(self) -> int | None:
        """The size in the archive, or else the one that the source lists."""
        return self.attachment.size if self.size is None else self.size


@dataclass(frozen=True, slots=True)
class EntityReport:
    """One entity with its files. `error` is why they could not be listed; a person may have `accepted` that."""

    ref: EntityRef
    title: str
    url: str
    error: str
    files: tuple[FileReport, ...]
    accepted: bool = False

    @property
    def failed(self) -> bool:
        """Whether anything about it is a failure."""
        return bool(self.error and not self.accepted) or any(
            failure for file in self.files for _, failure in file.differences
        )

    @property
    def differs(self) -> bool:
        """Whether anything differs, failure or not."""
        return bool(self.error) or any(file.differences for file in self.files)


@dataclass(slots=True)
class Totals:
    """The totals of a report.

    `content` counts, by target, files that were read back and equal. `reasons` counts differences, each with whether it
    is a failure; `samples` names files for each. `unlisted` are entities whose files could not be listed, each with
    whether it is a failure.
    """

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
    unlisted: list[tuple[str, bool]] = field(default_factory=list)
    content: Counter[str] = field(default_factory=Counter)


class _Groups(Generic[T]):
    """Rows in groups, which are taken in the order of their keys."""

    def __init__(self, rows: Iterable[T], key: Callable[[T], Hashable]) -> None:
        self._groups = groupby(rows, key)
        self._next = next(self._groups, None)

    def take(self, key: Hashable) -> list[T]:
        if self._next is None or self._next[0] != key:
            return []
        rows = list(self._next[1])
        self._next = next(self._groups, None)
        return rows


def entity_reports(catalog: Catalog, url_of: Callable[[str], UrlOf]) -> Iterator[EntityReport]:
    """The whole archive, entity by entity. `url_of` returns the function for the tracker of an identity."""
    source = catalog.settings.get("source") or ""
    attachments = _Groups(catalog.exports.attachments(), lambda row: row[0].owner)
    uploads = _Groups(catalog.exports.uploads(), lambda row: str(row["attachment_id"]))
    loaded, acceptances = bool(catalog.summaries.totals()["uploads"]), catalog.accepted.all()
    for entity in catalog.exports.entities():
        ref = EntityRef(entity["kind"], entity["entity_id"])
        files = []
        for attachment, archived in attachments.take(ref):
            sent = tuple(_upload_report(row, url_of) for row in uploads.take(attachment.id))
            url = url_of(source)(_base(source), attachment)
            failed = archived["status"] == Status.FAILED
            accepted = failed and _is_accepted(acceptances, attachment.id, ref, archived["error"])
            differences = tuple(_differences(attachment, archived, sent, loaded=loaded, accepted=accepted))
            sha256, size = archived["sha256"] or "", archived["stored_size"]
            files.append(FileReport(attachment, archived["status"], sha256, size, url, sent, differences))
        accepted = _is_accepted(acceptances, None, ref, entity["error"])
        error = entity["error"] or entity["note"]
        yield EntityReport(ref, entity["title"], entity["url"], error, tuple(files), accepted)


def _is_accepted(acceptances: Acceptances, attachment: str | None, ref: EntityRef, reason: str) -> bool:
    failure = {"attachment": attachment, "kind": ref.kind, "entity": ref.id, "reason": reason}
    return acceptances.accepted_at(failure) is not None


def _base(identity: str) -> str:
    return identity.partition(" ")[2]


def _upload_report(row: dict[str, Any], url_of: Callable[[str], UrlOf]) -> UploadReport:
    to, target = EntityRef(row["target_kind"], row["target_id"]), row["target"]
    remote = Attachment(row["remote_id"] or "", to, row["name"] or "", locator=row["remote_locator"])
    url = url_of(target)(_base(target), remote) if row["status"] in ARRIVED and remote.id else ""
    error, content, altered = row["error"] or "", row["content_check"] or "", json.loads(row["altered"] or "{}")
    return UploadReport(target, to, row["status"], remote.id, remote.name, error, content, url, altered)


def _differences(
    attachment: Attachment, archived: dict[str, Any], uploads: tuple[UploadReport, ...], *, loaded: bool, accepted: bool
) -> Iterator[tuple[str, bool]]:
    """What differs and why, each with whether it is a failure."""
    match archived["status"]:
        case Status.PENDING:
            yield "not fetched yet", True
        case Status.FAILED:
            what = "accepted as missing in the archive" if accepted else "not in the archive"
            yield f"{what}: {archived['error'] or 'unknown'}", not accepted
        case Status.SKIPPED:
            yield f"left out: {archived['error'] or 'by a filter'}", False
        case Status.GONE:
            kept = "; what it was is kept in the archive" if archived["sha256"] else ""
            yield f"no longer in the source{kept}", False
    if archived["problem"]:
        yield f"its blob in the archive is {archived['problem']}", True
    if loaded and not uploads and archived["status"] == Status.STORED:
        yield "not uploaded: its entity is not in the mapping", False
    for upload in uploads:
        yield from _differences_of_upload(attachment, upload)


def _differences_of_upload(attachment: Attachment, upload: UploadReport) -> Iterator[tuple[str, bool]]:
    match upload.status:
        case UploadStatus.PLANNED:
            yield "not uploaded yet", True
        case UploadStatus.IN_DOUBT:
            yield f"it is not known whether it arrived: {upload.error or 'sent, no answer seen'}", True
        case UploadStatus.FAILED:
            yield f"not at the target as it should be: {upload.error or 'unknown'}", True
        case UploadStatus.ROLLED_BACK:
            yield "taken back from the target", False
    if upload.status in ARRIVED:
        yield from _differences_at_target(attachment, upload)


def _differences_at_target(attachment: Attachment, upload: UploadReport) -> Iterator[tuple[str, bool]]:
    """Differences of a file that has arrived."""
    if upload.name != attachment.name:
        by = " (the target altered it)" if "name" in upload.altered else ""
        yield f"has another name at the target{by}", False
    elif "name" in upload.altered:
        yield "its name was altered by the target", False
    if "content" in upload.altered:
        yield "its text was re-encoded by the target", False
    elif "size" in upload.altered:
        yield "the target lists another size of it", False


def totals_of(entities: Iterable[EntityReport], source: str) -> Totals:
    """The totals of all entities."""
    totals = Totals(source, now())
    for entity in entities:
        totals.entities += bool(entity.ref.id)
        if entity.error:
            totals.unlisted.append((f"{entity.ref}: {entity.error}", not entity.accepted))
        for file in entity.files:
            _add(totals, file)
    return totals


def _add(totals: Totals, file: FileReport) -> None:
    owner, size = file.attachment.owner, file.size_known or 0
    totals.attachments += 1
    totals.listed_bytes += size if file.status != Status.GONE else 0
    totals.statuses[file.status] += 1
    totals.archived_bytes += (file.size or 0) if file.status == Status.STORED else 0
    totals.kinds[owner.kind] += 1
    totals.kind_bytes[owner.kind] += size
    totals.sizes[next((words for limit, words in SIZES if size < limit), LARGEST)] += 1
    totals.differing += bool(file.differences)
    for upload in file.uploads:
        totals.targets.setdefault(upload.target, Counter())[upload.status] += 1
        totals.target_bytes[upload.target] += (file.size or 0) if upload.status in ARRIVED else 0
        totals.content[upload.target] += upload.content == "same"
    for difference in set(file.differences):
        totals.reasons[difference] += 1
        samples = totals.samples.setdefault(difference[0], [])
        if len(samples) < MAX_SAMPLES:
            samples.append(f"{owner}: {file.attachment.name}")
