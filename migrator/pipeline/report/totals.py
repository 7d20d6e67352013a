"""The totals of a report: numbers of files by state, kind and size, for each target, and of what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from migrator.model import EntityRef, RunStatus, Status, UploadStatus
from migrator.pipeline.report.data import EntityReport, FileReport
from migrator.pipeline.report.differences import ARRIVED, Category, Difference
from migrator.store import Catalog, now

SIZES = (
    (10**4, "under 10 kB"),
    (10**5, "10 to 100 kB"),
    (10**6, "0.1 to 1 MB"),
    (10**7, "1 to 10 MB"),
    (10**8, "10 to 100 MB"),
    (10**9, "0.1 to 1 GB"),
)
LARGEST = "1 GB and more"
UNKNOWN_SIZE = "unknown"
MAX_SAMPLES = 50
"""Files named for each reason in the overview."""
MAX_MESSAGES = 3
"""Messages quoted in full for each reason in the overview."""
_BROKE_OFF: dict[str, str] = {
    RunStatus.RUNNING: "the last backup has not ended",
    RunStatus.INTERRUPTED: "the last backup was interrupted",
    RunStatus.FAILED: "the last backup failed",
}
ONLY_A_PART = "only a part was backed up, by --limit or a filter"
"""What is said of an archive that no backup of everything has worked on."""


@dataclass(frozen=True, slots=True)
class Group:
    """Files that differ in the same way, for the same reason, at the same target or in the archive."""

    category: Category
    text: str
    target: str
    failure: bool


@dataclass(slots=True)
class Members:
    """The files of a group: their number, some of them, and some of their messages in full."""

    count: int = 0
    samples: list[tuple[EntityRef, str]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def add(self, ref: EntityRef, name: str, difference: Difference) -> None:
        """Count one more file."""
        self.count += 1
        if len(self.samples) < MAX_SAMPLES:
            self.samples.append((ref, name))
        if (
            difference.text != difference.short
            and len(self.messages) < MAX_MESSAGES
            and difference.reason not in self.messages
        ):
            self.messages.append(difference.reason)


@dataclass(slots=True)
class TargetTotals:
    """What is at one target. `statuses` counts uploads; everything else counts files of the source as it is now.

    `arrived` are on all entities to which the mapping sends them, `equal` of them were read back there and are equal;
    `entities` are those of the source with a file that arrived.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    entities: int = 0
    arrived: int = 0
    equal: int = 0
    altered: int = 0
    missing: int = 0
    failed: int = 0
    rolled_back: int = 0
    read_back: int = 0

    @property
    def is_in_use(self) -> bool:
        """Whether not everything was rolled back from it."""
        return self.statuses.keys() != {UploadStatus.ROLLED_BACK}


@dataclass(slots=True)
class Totals:
    """The totals of a report.

    `present` are the files of the source as it is now, without those that were left out. `differing` are files with any
    difference, `by_category` those with one of each category. `unknown_sizes` are files whose size nobody has told.
    `unlisted` are entities whose files could not be listed, each with whether it is a failure; `unread` are listings
    that could not be read, with the reasons. `broke_off` says why the source may have more: how the last backup
    ended, if it did not come to its end, or that each was of a part.
    """

    source: str
    made_at: str
    entities: int = 0
    attachments: int = 0
    present: int = 0
    differing: int = 0
    by_category: Counter[Category] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    archived_bytes: int = 0
    listed_bytes: int = 0
    unknown_sizes: int = 0
    targets: dict[str, TargetTotals] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    kind_bytes: Counter[str] = field(default_factory=Counter)
    kind_unknown_sizes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    groups: dict[Group, Members] = field(default_factory=dict)
    unlisted: list[tuple[str, bool]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    broke_off: str = ""
    backups: int = 0

    def groups_of(self, category: Category) -> list[tuple[Group, Members]]:
        """The groups of a category: failures first, then the largest."""
        groups = [(group, members) for group, members in self.groups.items() if group.category is category]
        return sorted(groups, key=lambda item: (not item[0].failure, -item[1].count))


def totals_of(entities: Iterable[EntityReport], catalog: Catalog) -> Totals:
    """The totals of all entities of a catalog."""
    totals = Totals(catalog.settings.get("source") or "", now())
    totals.targets = {target: TargetTotals() for target in catalog.exports.targets()}
    backups = catalog.runs.backups()
    totals.backups = len(backups)
    if backups and not catalog.snapshots.viewed:
        ended = [run for run in backups if run.status in {RunStatus.COMPLETE, RunStatus.INCOMPLETE}]
        only_parts = bool(ended) and all(run.partial for run in ended)
        totals.broke_off = _BROKE_OFF.get(backups[0].status, ONLY_A_PART if only_parts else "")
    for row in catalog.summaries.failures():
        if row["attachment"] is None and not row["kind"]:
            totals.unread.append((row["name"] or "", row["reason"] or ""))
    for entity in entities:
        totals.entities += bool(entity.ref.id)
        if entity.error:
            totals.unlisted.append((f"{entity.ref}: {entity.error}", not entity.accepted))
        for file in entity.files:
            _add(totals, file)
        for target in {upload.target for file in entity.files for upload in file.uploads if upload.status in ARRIVED}:
            totals.targets[target].entities += 1
    return totals


def _add(totals: Totals, file: FileReport) -> None:
    owner, size = file.attachment.owner, file.size_known
    totals.attachments += 1
    totals.present += file.status not in {Status.GONE, Status.SKIPPED}
    totals.listed_bytes += size or 0 if file.status != Status.GONE else 0
    totals.statuses[file.status] += 1
    totals.archived_bytes += (file.size or 0) if file.status == Status.STORED else 0
    totals.kinds[owner.kind] += 1
    totals.kind_bytes[owner.kind] += size or 0
    if size is None:
        totals.unknown_sizes += file.status != Status.GONE
        totals.kind_unknown_sizes[owner.kind] += 1
    totals.sizes[_size_class(size)] += 1
    totals.differing += bool(file.differences)
    totals.by_category.update({difference.category for difference in file.differences})
    for target, at_target in totals.targets.items():
        _add_to_target(at_target, file, target)
    seen = set[Group]()
    for difference in file.differences:
        group = Group(difference.category, difference.short, difference.target, difference.failure)
        if group not in seen:
            seen.add(group)
            totals.groups.setdefault(group, Members()).add(owner, file.attachment.name, difference)


def _size_class(size: int | None) -> str:
    if size is None:
        return UNKNOWN_SIZE
    return next((words for limit, words in SIZES if size < limit), LARGEST)


def _add_to_target(totals: TargetTotals, file: FileReport, target: str) -> None:
    uploads = [upload for upload in file.uploads if upload.target == target]
    there = [upload for upload in uploads if upload.status in ARRIVED]
    totals.statuses.update(upload.status for upload in uploads)
    totals.bytes += (file.size or 0) * len(there)
    totals.read_back += sum(upload.content == "same" for upload in there)
    at_target = [difference for difference in file.differences if difference.target == target]
    totals.missing += any(difference.category is Category.MISSING for difference in at_target)
    totals.failed += any(difference.failure for difference in at_target)
    totals.altered += any(difference.category is Category.ALTERED for difference in at_target)
    totals.rolled_back += any(difference.category is Category.INTENDED for difference in at_target)
    if file.status not in {Status.GONE, Status.SKIPPED} and uploads and len(there) == len(uploads):
        totals.arrived += 1
        totals.equal += all(upload.content == "same" for upload in there)
