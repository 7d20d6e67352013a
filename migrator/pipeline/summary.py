"""What each command reports when it ends: the JSON of `--json`, the catalog's record of a run, the terminal's text.

A field is a key of the JSON, under the same name and in this order. `OPTIONAL` fields that are None are left out.

Beware: scripts rely on these names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar

from typing_extensions import override

from migrator.model import Altered, EntityRef, RunStatus, Upload

OPTIONAL = {"optional": True}
"""Metadata of a field that is left out of the JSON if it is None."""
HIDDEN = {"hidden": True}
"""Metadata of a field that is never in the JSON."""


_WORST_FIRST = (RunStatus.INTERRUPTED, RunStatus.DAMAGED, RunStatus.INCOMPLETE, RunStatus.COMPLETE)


def worst_of(*statuses: RunStatus) -> RunStatus:
    """The status of several runs together."""
    return min(statuses, key=_WORST_FIRST.index)


def as_json(value: object) -> Any:
    """Dataclasses as objects, statuses as words, tuples as lists; everything else unchanged."""
    if isinstance(value, Failure | Summary):
        return value.as_json()
    if is_dataclass(value) and not isinstance(value, type):
        return _fields_of(value)
    if isinstance(value, RunStatus):
        return str(value)
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def _fields_of(value: Any) -> dict[str, Any]:
    document = {}
    for key in fields(value):
        held = getattr(value, key.name)
        left_out = key.metadata.get("hidden") or (key.metadata.get("optional") and held is None)
        if not left_out:
            document[key.name] = round(held, 2) if key.name == "seconds" else as_json(held)
    return document


@dataclass(frozen=True, slots=True)
class Failure:
    """One file or one entity that failed. For an upload, `target` is its target entity and `status` its status.

    `accepted_at` is when a person accepted it.
    """

    owner: EntityRef
    attachment: str | None
    name: str
    reason: str
    target: EntityRef | None = None
    status: str = ""
    accepted_at: str = ""

    @classmethod
    def of_upload(cls, upload: Upload, reason: str, status: str = "") -> Failure:
        """The failure of an upload; its status is that of the upload unless another is given."""
        attachment, status = upload.attachment, status or str(upload.status)
        return cls(attachment.owner, attachment.id, attachment.name, reason, upload.to, status)

    @classmethod
    def of_row(cls, row: Mapping[str, str | None]) -> Failure:
        """From a row of the catalog with the keys of the JSON."""
        target = EntityRef(row["target_kind"] or "", row["target_id"] or "") if "target_kind" in row else None
        owner = EntityRef(row["kind"] or "", row["entity"] or "")
        status = row.get("status") or ""
        accepted_at = row.get("accepted_at") or ""
        return cls(owner, row["attachment"], row["name"] or "", row["reason"] or "", target, status, accepted_at)

    def as_json(self) -> dict[str, str | None]:
        """Five keys, three more for an upload, and one for an accepted failure."""
        document: dict[str, str | None] = {
            "kind": self.owner.kind,
            "entity": self.owner.id,
            "attachment": self.attachment,
            "name": self.name,
            "reason": self.reason,
        }
        if self.target is not None:
            document |= {"target_kind": self.target.kind, "target_id": self.target.id, "status": self.status}
        if self.accepted_at:
            document["accepted_at"] = self.accepted_at
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What all summaries have. `run` is the run's id; None for a command that is not recorded as a run."""

    command: ClassVar[str]
    last: ClassVar[tuple[str, ...]] = ("seconds", "problems", "failures")
    """Keys at the end of the JSON, in this order."""

    status: RunStatus = RunStatus.COMPLETE
    run: int | None = field(default=None, metadata=OPTIONAL)

    def as_json(self) -> dict[str, Any]:
        """The JSON document: command, run and status first, long lists last."""
        keys = _fields_of(self)
        head = {"command": self.command, **({} if self.run is None else {"run": self.run}), "status": str(self.status)}
        middle = {key: value for key, value in keys.items() if key not in {"status", "run", *self.last}}
        return {**head, **middle, **{key: keys[key] for key in self.last if key in keys}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(Summary):
    """The summary of a run that goes through `RunContext`."""

    seconds: float | None = field(default=None, metadata=OPTIONAL)

    def status_after(self, ended: RunStatus) -> RunStatus:
        """The status of a run whose work ended like this."""
        return ended

    def as_record(self) -> dict[str, Any]:
        """The part of the JSON that the catalog keeps."""
        return self.as_json()


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsSummary(RunSummary):
    """The summary of a run that handles items one by one; `failures` are the items that failed.

    `incomplete` makes a run incomplete although nothing failed.
    """

    failures: tuple[Failure, ...] = ()
    incomplete: bool = field(default=False, metadata=HIDDEN)

    @override
    def status_after(self, ended: RunStatus) -> RunStatus:
        return RunStatus.INCOMPLETE if ended is RunStatus.COMPLETE and (self.failures or self.incomplete) else ended


@dataclass(frozen=True, slots=True)
class NotAsked:
    """The entities, of how many, that were not asked for their files, as they were not changed since.

    From `full_from` on (ISO 8601, UTC), the next night asks all of them.
    """

    entities: int
    of: int
    full_from: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSummary(ItemsSummary):
    """The summary of a backup. `attachments` counts files by outcome; `changes` is relative to the archive before.

    `rechecked` counts the stored files that were fetched again and compared; `accepted` failures don't count.
    """

    command = "backup"
    last = ("seconds", "failures", "accepted")

    entities: int
    attachments: dict[str, int]
    changes: dict[str, int]
    rechecked: dict[str, int] | None = field(default=None, metadata=OPTIONAL)
    not_asked: NotAsked | None = field(default=None, metadata=OPTIONAL)
    bytes: int
    warnings: tuple[str, ...]
    accepted: tuple[Failure, ...] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class UploadCounts:
    """The uploads that a load planned, by outcome."""

    planned: int
    uploaded: int
    already_there: int
    unmapped: int
    skipped: int
    failed: int


@dataclass(frozen=True, slots=True)
class DryRunCounts:
    """What a load would do."""

    would_upload: int
    already_there: int
    would_fail: int
    would_rename: int
    would_send_bytes: int


@dataclass(frozen=True, slots=True)
class DryRunRow:
    """What would happen to one upload."""

    kind: str
    entity: str
    attachment: str
    name: str
    target_kind: str
    target_id: str
    what: str
    name_at_target: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class ContentCounts:
    """What was read back from the target, and how it compared."""

    checked: int
    same: int
    differ: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class TargetRef:
    """An entity at the target."""

    target_kind: str
    target_id: str

    @classmethod
    def of(cls, ref: EntityRef) -> TargetRef:
        """The same entity, by the keys of the JSON."""
        return cls(ref.kind, ref.id)

    @override
    def __str__(self) -> str:
        return f"{self.target_kind} {self.target_id}".strip()


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A file at an entity to which the mapping no longer sends it: where it belongs `now`, and why it `stays`."""

    kind: str
    entity: str
    attachment: str
    name: str
    target_kind: str
    target_id: str
    remote_id: str | None
    now: tuple[TargetRef, ...]
    stays: str | None


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    """A row of the mapping that names nothing in the archive; `line` is its line in the file."""

    kind: str
    entity: str
    target_kind: str
    target_id: str
    line: int | None


@dataclass(frozen=True, slots=True)
class AlteredUpload:
    """A file that arrived and that the target altered; `how` names what was altered, as in `Upload.altered`."""

    kind: str
    entity: str
    attachment: str
    name: str
    target_kind: str
    target_id: str
    how: Altered


@dataclass(frozen=True, slots=True)
class UnmappedFile:
    """A stored file of an entity that has no row in the mapping."""

    kind: str
    entity: str
    attachment: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSummary(ItemsSummary):
    """The summary of a load. `stubs` counts created entities; `moved` counts deletions at former entities."""

    command = "load"
    last = ("seconds", "failures", "moved")

    uploads: UploadCounts
    dry_run: DryRunCounts | None = field(default=None, metadata=OPTIONAL)
    rehearsal: tuple[DryRunRow, ...] | None = field(default=None, metadata=OPTIONAL)
    content: ContentCounts | None = field(default=None, metadata=OPTIONAL)
    stubs: dict[str, int] | None = field(default=None, metadata=OPTIONAL)
    changed: tuple[ChangedRow, ...] | None = field(default=None, metadata=OPTIONAL)
    altered: tuple[AlteredUpload, ...] | None = field(default=None, metadata=OPTIONAL)
    unmatched_rows: tuple[UnmatchedRow, ...] | None = field(default=None, metadata=OPTIONAL)
    unmapped_files: tuple[UnmappedFile, ...] | None = field(default=None, metadata=OPTIONAL)
    warnings: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    bytes: int
    moved: DeletionCounts | None = field(default=None, metadata=OPTIONAL)

    def with_moved(self, rollback: RollbackSummary) -> LoadSummary:
        """The summary of a load that was followed by a rollback at former entities."""
        status, failures = worst_of(self.status, rollback.status), (*self.failures, *rollback.failures)
        return replace(self, status=status, moved=rollback.deletions, failures=failures)


@dataclass(frozen=True, slots=True)
class RestoreCounts:
    """The files that the source lost, by outcome."""

    planned: int
    uploaded: int
    already_there: int
    skipped: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSummary(ItemsSummary):
    """The summary of a restore, with the words of a load."""

    command = "restore"

    uploads: RestoreCounts
    dry_run: DryRunCounts | None = field(default=None, metadata=OPTIONAL)
    rehearsal: tuple[DryRunRow, ...] | None = field(default=None, metadata=OPTIONAL)
    altered: tuple[AlteredUpload, ...] | None = field(default=None, metadata=OPTIONAL)
    warnings: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    bytes: int


@dataclass(frozen=True, slots=True)
class DeletionCounts:
    """The files that a rollback had to delete, by outcome."""

    planned: int
    deleted: int
    already_gone: int
    changed: int
    impossible: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackSummary(ItemsSummary):
    """The summary of a rollback. `dry_run` has the number of files that would be deleted."""

    command = "rollback"

    deletions: DeletionCounts
    dry_run: dict[str, int] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class BlobFile:
    """A file that has a damaged blob as its content."""

    kind: str
    entity: str
    attachment: str
    name: str
    status: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Damage. A `code` never changes its meaning, `detail` is for people, `files` have the damaged blob as content."""

    code: str
    problem: str
    sha256: str
    path: str
    detail: str | None = field(default=None, metadata=OPTIONAL)
    files: tuple[BlobFile, ...] | None = field(default=None, metadata=OPTIONAL)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Problem:
        """From the JSON of an earlier run."""
        files = tuple(BlobFile(**file) for file in row["files"]) if "files" in row else None
        return cls(row["code"], row["problem"], row["sha256"], row["path"], row.get("detail"), files)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySummary(RunSummary):
    """The summary of a verify. `blobs` of `of` were hashed; `round_complete`: with earlier runs, all of them."""

    command = "verify"

    blobs: int = 0
    bytes: int = 0
    checked: int = 0
    of: int | None = field(default=None, metadata=OPTIONAL)
    round_complete: bool | None = field(default=None, metadata=OPTIONAL)
    problems: tuple[Problem, ...] = ()

    @override
    def status_after(self, ended: RunStatus) -> RunStatus:
        return RunStatus.DAMAGED if self.problems and ended is not RunStatus.FAILED else ended


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildSummary(Summary):
    """The summary of a rebuild. `made_from` is `manifest` if the catalog was made anew, else `catalog`.

    The counts are what the catalog has now.
    """

    command = "rebuild"

    made_from: str
    entities: int
    attachments: int
    uploads: int
    blobs: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary(ItemsSummary):
    """The summary of an export. `files` and `bytes` are what is at the destination: 0 if it did not finish."""

    command = "export"

    format: str
    destination: str
    files: int
    bytes: int
    problems: tuple[Problem, ...]

    @override
    def status_after(self, ended: RunStatus) -> RunStatus:
        return RunStatus.DAMAGED if self.problems and ended is RunStatus.COMPLETE else ended


@dataclass(frozen=True, slots=True)
class MapCounts:
    """The entities of the archive, by outcome."""

    kept: int = 0
    proposed: int = 0
    ambiguous: int = 0
    unmatched: int = 0
    without_files: int = 0


@dataclass(frozen=True, slots=True)
class OpenEntity:
    """An entity with files and without a row: no rule matched it, or rules matched several `candidates`."""

    kind: str
    entity: str
    title: str
    url: str
    why: str
    candidates: tuple[TargetRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSummary(RunSummary):
    """The summary of a map. `found_by` and `sure` count the new rows by rule and by certainty.

    `mapping` and `open` are the files written.
    """

    command = "map"
    last = ("seconds", "mapping", "open")

    entities: int = 0
    targets: int = 0
    rows: MapCounts = field(default_factory=MapCounts)
    found_by: dict[str, int] = field(default_factory=dict)
    sure: dict[str, int] = field(default_factory=dict)
    ambiguous: tuple[OpenEntity, ...] = ()
    unmatched: tuple[OpenEntity, ...] = ()
    mapping: str | None = field(default=None, metadata=OPTIONAL)
    open: str | None = field(default=None, metadata=OPTIONAL)

    @override
    def as_record(self) -> dict[str, Any]:
        """Without the two lists, which may be as long as the archive; without counts if nothing was matched."""
        document = self.as_json()
        keys = document.keys() - {"ambiguous", "unmatched"}
        if self.status is not RunStatus.COMPLETE:
            keys = {"command", "run", "status", "seconds"}
        return {key: value for key, value in document.items() if key in keys}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary(Summary):
    """The summary of a report: the files written, and what is in them. `redirected` counts rows of redirects."""

    command = "report"

    out: str | None
    redirects: str | None
    entities: int
    attachments: int
    differing: int
    redirected: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class BlobTotals:
    """How many blobs there are, and their bytes."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTotals:
    """What an archive holds, and what is unfinished; `attachments`, `uploads` and `restored` by status."""

    altered: int | None = field(default=None, metadata=OPTIONAL)
    entities: int
    attachments: dict[str, int]
    blobs: BlobTotals
    uploads: dict[str, int]
    restored: dict[str, int] | None = field(default=None, metadata=OPTIONAL)
    crawl_under_way: bool

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> ArchiveTotals:
        """From what `Summaries.totals` returns."""
        return cls(**{**row, "blobs": BlobTotals(**row["blobs"])})


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, with the JSON that the catalog has of it. `killed`: it did not record its end."""

    run: int
    command: str
    status: str
    started_at: str
    ended_at: str | None
    summary: dict[str, Any] | None
    killed: bool | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a backup is fine: `verdict` is `fine`, `warning` or `bad`, and `answer` says why in one line.

    `snapshot` is the run of the last complete backup. `verified_whole`: every blob was looked at by then.
    """

    verdict: str
    answer: str
    snapshot: int | None
    snapshot_at: str | None
    age_seconds: int | None
    failing: int
    failing_since: str | None
    verified_at: str | None
    verified_whole: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSummary(Summary):
    """The condition of an archive, with totals and the latest runs; `at_work` is the process that holds it.

    `accepted` failures don't count. `health` is missing if an earlier snapshot is looked at.
    """

    command = "status"
    last = ("failures", "accepted")

    health: Health | None = field(default=None, metadata=OPTIONAL)
    archive: str
    source: str | None
    at_work: dict[str, str] | None
    problems: tuple[Problem, ...]
    totals: ArchiveTotals
    runs: tuple[RunRow, ...]
    failures: tuple[Failure, ...]
    accepted: tuple[Failure, ...] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptSummary(Summary):
    """`changed` failures were accepted, or count again; `failures` are those that count, and `accepted` the others."""

    command = "accept"
    last = ("failures", "accepted")

    changed: int
    failures: tuple[Failure, ...]
    accepted: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried: whether it works, and details. `warning`: it works, but is odd."""

    check: str
    ok: bool
    warning: bool | None = field(default=None, metadata=OPTIONAL)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CheckedSide:
    """What was tried at one tracker."""

    tracker: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSummary(Summary):
    """The result of a check. `target` is an empty object if none is configured."""

    command = "check"

    source: CheckedSide
    target: CheckedSide | dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateSummary(Summary):
    """The summaries of backup and load; `load` is an empty object if the backup was stopped."""

    command = "migrate"

    backup: BackupSummary
    load: LoadSummary | dict[str, object]


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One snapshot: when it was complete (ISO 8601, UTC), what it holds, and what changed since the one before."""

    run: int
    at: str
    entities: int
    attachments: int
    bytes: int
    added: int
    removed: int
    renamed: int
    moved: int
    replaced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsSummary(Summary):
    """The snapshots of an archive, the oldest first."""

    command = "snapshots"

    snapshots: tuple[SnapshotRow, ...]


@dataclass(frozen=True, slots=True)
class FileChange:
    """How one attachment differs between two snapshots. `was`: its older name, owner or SHA-256."""

    change: str
    attachment: str
    kind: str
    entity: str
    name: str
    was: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffSummary(Summary):
    """What changed from one snapshot to another, each named by its run; a file may have several changes."""

    command = "diff"

    older: int
    newer: int
    counts: dict[str, int]
    changes: tuple[FileChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSummary(RunSummary):
    """`snapshots` are runs that were `kept` and `removed`; `blobs` counts them likewise; `bytes` is what was freed."""

    command = "prune"

    dry_run: bool | None = field(default=None, metadata=OPTIONAL)
    snapshots: dict[str, list[int]]
    blobs: dict[str, int]
    bytes: int


@dataclass(frozen=True, slots=True)
class StepError:
    """The error that ended a step: the exit status that it means, and one line."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Notified:
    """Who was told of a night, by the key of the configuration, and whether that worked."""

    to: str
    sent: bool
    reason: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class NightResult:
    """The night of one configuration. A step that was not done is an empty object.

    `problems` is damage that an earlier night found and nothing has repaired since.
    """

    config: str
    status: RunStatus
    error: StepError | None = field(default=None, metadata=OPTIONAL)
    backup: BackupSummary | dict[str, object] = field(default_factory=dict)
    verify: VerifySummary | dict[str, object] = field(default_factory=dict)
    prune: PruneSummary | dict[str, object] = field(default_factory=dict)
    report: ReportSummary | dict[str, object] = field(default_factory=dict)
    problems: tuple[Problem, ...] | None = field(default=None, metadata=OPTIONAL)
    notified: tuple[Notified, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlySummary(Summary):
    """A night of several configurations; status and error are those of the worst."""

    command = "nightly"
    last = ("seconds", "results")

    error: StepError | None = field(default=None, metadata=OPTIONAL)
    seconds: float = 0.0
    results: tuple[NightResult, ...] = ()


@dataclass(frozen=True, slots=True)
class DemoStep:
    """One step of the demo, and whether it went as expected."""

    step: str
    what: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary(Summary):
    """What happened in a demo. `kept` is the folder of `--keep`; None if everything was deleted."""

    command = "demo"

    kept: str | None
    steps: tuple[DemoStep, ...]
    backup: BackupSummary
    load: LoadSummary
