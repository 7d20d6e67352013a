"""The report: what the source had, what the archive holds, what is at the target, and what differs and why.

Entities, attachments and uploads are read side by side in the same order, so a report of any length needs little
memory. They are read twice: once for the totals and once for the rows.

Beware: a difference is not always an error. A file that a filter left out, or that has another name because its own is
not legal at the target, is reported as such; only a failure is something that the next run tries again.
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
"""The address of an attachment at the tracker of an identity (`redmine https://...`); empty if unknown."""

SIZES = (
    (10**4, "under 10 kB"),
    (10**5, "10 to 100 kB"),
    (10**6, "0.1 to 1 MB"),
    (10**7, "1 to 10 MB"),
    (10**8, "10 to 100 MB"),
    (10**9, "0.1 to 1 GB"),
)
LARGEST = "1 GB and more"
SAMPLES = 50
"""Files named for each reason in the overview."""
THERE = {UploadStatus.UPLOADED, UploadStatus.ALREADY_THERE}


@dataclass(frozen=True, slots=True)
class UploadReport:
    """One upload of a file: where it is, or why not. `url` is its address there."""

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
    """One attachment: as the source tells of it, in the archive, at the target. `remarks` say what differs and why."""

    of: Attachment
    status: str
    sha256: str
    size: int | None
    url: str
    sent: tuple[UploadReport, ...]
    remarks: tuple[tuple[str, bool], ...]

    @property
    def size_known(self) -> int | None:
        """Bytes: those of the archive, else those that the source lists."""
        return self.of.size if self.size is None else self.size


@dataclass(frozen=True, slots=True)
class EntityReport:
    """One entity with its files. `error` is why its files could not be listed; a person may have `accepted` that."""

    ref: EntityRef
    title: str
    url: str
    error: str
    files: tuple[FileReport, ...]
    accepted: bool = False

    @property
    def failed(self) -> bool:
        """Whether anything of it is a failure."""
        return bool(self.error and not self.accepted) or any(bad for filed in self.files for _, bad in filed.remarks)

    @property
    def differs(self) -> bool:
        """Whether there is anything to say of it, failure or not."""
        return bool(self.error) or any(filed.remarks for filed in self.files)


@dataclass(slots=True)
class Totals:
    """The sums of a report. `content` counts by target what was read back and equal.

    `reasons` are counted with whether each is a failure, and told with samples. `unlisted` are entities whose files
    could not be listed, each with whether that is a failure.
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


def story(catalog: Catalog, url_of: Callable[[str], UrlOf]) -> Iterator[EntityReport]:
    """All of the archive, entity by entity. `url_of` gives the function for the tracker of an identity."""
    source = catalog.settings.get("source") or ""
    files = _Side(catalog.exports.attachments(), lambda row: row[0].owner)
    uploads = _Side(catalog.exports.uploads(), lambda row: str(row["attachment_id"]))
    loaded, acceptances = bool(catalog.summaries.totals()["uploads"]), catalog.accepted.all()
    for entity in catalog.exports.entities():
        ref = EntityRef(entity["kind"], entity["entity_id"])
        filed = []
        for of, archived in files.take(ref):
            sent = tuple(_sent(row, url_of) for row in uploads.take(of.id))
            url = url_of(source)(_base(source), of)
            failed = archived["status"] == Status.FAILED
            accepted = failed and _is_accepted(acceptances, of.id, ref, archived["error"])
            remarks = tuple(_remarks(of, archived, sent, loaded=loaded, accepted=accepted))
            sha256, size = archived["sha256"] or "", archived["stored_size"]
            filed.append(FileReport(of, archived["status"], sha256, size, url, sent, remarks))
        accepted = _is_accepted(acceptances, None, ref, entity["error"])
        error = entity["error"] or entity["note"]
        yield EntityReport(ref, entity["title"], entity["url"], error, tuple(filed), accepted)


def _is_accepted(acceptances: Acceptances, attachment: str | None, ref: EntityRef, reason: str) -> bool:
    failure = {"attachment": attachment, "kind": ref.kind, "entity": ref.id, "reason": reason}
    return acceptances.accepted_at(failure) is not None


def _base(identity: str) -> str:
    return identity.partition(" ")[2]


def _sent(row: dict[str, Any], url_of: Callable[[str], UrlOf]) -> UploadReport:
    to, target = EntityRef(row["target_kind"], row["target_id"]), row["target"]
    remote = Attachment(row["remote_id"] or "", to, row["name"] or "", locator=row["remote_locator"])
    url = url_of(target)(_base(target), remote) if row["status"] in THERE and remote.id else ""
    told = (row["error"] or "", row["content_check"] or "", url, json.loads(row["altered"] or "{}"))
    return UploadReport(target, to, row["status"], remote.id, remote.name, *told)


def _remarks(
    of: Attachment, archived: dict[str, Any], sent: tuple[UploadReport, ...], *, loaded: bool, accepted: bool
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
    if loaded and not sent and archived["status"] == Status.STORED:
        yield "not uploaded: its entity is not in the mapping", False
    for one in sent:
        yield from _remarks_on(of, one)


def _remarks_on(of: Attachment, one: UploadReport) -> Iterator[tuple[str, bool]]:
    match one.status:
        case UploadStatus.PLANNED:
            yield "not uploaded yet", True
        case UploadStatus.IN_DOUBT:
            yield f"it is not known whether it arrived: {one.error or 'sent, no answer seen'}", True
        case UploadStatus.FAILED:
            yield f"not at the target as it should be: {one.error or 'unknown'}", True
        case UploadStatus.ROLLED_BACK:
            yield "taken back from the target", False
    if one.status in THERE:
        yield from _differences(of, one)


def _differences(of: Attachment, one: UploadReport) -> Iterator[tuple[str, bool]]:
    """Of a file that has arrived."""
    if one.name != of.name:
        by = " (the target altered it)" if "name" in one.altered else ""
        yield f"has another name at the target{by}", False
    elif "name" in one.altered:
        yield "its name was altered by the target", False
    if "content" in one.altered:
        yield "its text was re-encoded by the target", False
    elif "size" in one.altered:
        yield "the target lists another size of it", False


def sums(chapters: Iterable[EntityReport], source: str) -> Totals:
    """The totals of a story."""
    totals = Totals(source, now())
    for chapter in chapters:
        totals.entities += bool(chapter.ref.id)
        if chapter.error:
            totals.unlisted.append((f"{chapter.ref}: {chapter.error}", not chapter.accepted))
        for filed in chapter.files:
            _add(totals, filed)
    return totals


def _add(totals: Totals, filed: FileReport) -> None:
    of, size = filed.of, filed.size_known or 0
    totals.attachments += 1
    totals.listed_bytes += size if filed.status != Status.GONE else 0
    totals.statuses[filed.status] += 1
    totals.archived_bytes += (filed.size or 0) if filed.status == Status.STORED else 0
    totals.kinds[of.owner.kind] += 1
    totals.kind_bytes[of.owner.kind] += size
    totals.sizes[next((words for limit, words in SIZES if size < limit), LARGEST)] += 1
    totals.differing += bool(filed.remarks)
    for one in filed.sent:
        totals.targets.setdefault(one.target, Counter())[one.status] += 1
        totals.target_bytes[one.target] += (filed.size or 0) if one.status in THERE else 0
        totals.content[one.target] += one.content == "same"
    for remark in set(filed.remarks):
        totals.reasons[remark] += 1
        samples = totals.samples.setdefault(remark[0], [])
        if len(samples) < SAMPLES:
            samples.append(f"{of.owner}: {of.name}")
