"""What each command reports when it ends: the JSON of `--json`, the catalog's record of a run, the terminal's text.

A field is a key of the JSON, under the same name and in this order. Fields of `OPTIONAL` that are None are left out.
Whoever changes a name here changes what scripts rely on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

from migrator.model import EntityRef, RunStatus, Upload

OPTIONAL = {"optional": True}
"""Metadata of a field that stands in the JSON only where there is something to say."""
HIDDEN = {"hidden": True}
"""Metadata of a field that is not part of the JSON."""


def as_json(value: object) -> Any:
    """Dataclasses as objects, enums as their words, tuples as lists; everything else as it is."""
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
    found = {}
    for each in fields(value):
        held = getattr(value, each.name)
        left_out = each.metadata.get("hidden") or (each.metadata.get("optional") and held is None)
        if not left_out:
            found[each.name] = round(held, 2) if each.name == "seconds" else as_json(held)
    return found


@dataclass(frozen=True, slots=True)
class Failure:
    """One file or one entity that a run could not do. `target` is set where it is about an upload; `status` then says
    how that stands. `accepted_at` is when a person accepted it.
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
        """The upload of a file. Its status is that of the upload, if no other is given."""
        of = upload.attachment
        return cls(of.owner, of.id, of.name, reason, upload.to, status or str(upload.status))

    @classmethod
    def of_row(cls, row: Mapping[str, str | None]) -> Failure:
        """As the catalog tells of one, by the keys of the JSON."""
        target = EntityRef(row["target_kind"] or "", row["target_id"] or "") if "target_kind" in row else None
        owner = EntityRef(row["kind"] or "", row["entity"] or "")
        status = row.get("status") or ""
        accepted_at = row.get("accepted_at") or ""
        return cls(owner, row["attachment"], row["name"] or "", row["reason"] or "", target, status, accepted_at)

    def as_json(self) -> dict[str, str | None]:
        """Five keys, three more where an upload failed, and one where it is accepted."""
        told: dict[str, str | None] = {
            "kind": self.owner.kind,
            "entity": self.owner.id,
            "attachment": self.attachment,
            "name": self.name,
            "reason": self.reason,
        }
        if self.target is not None:
            told |= {"target_kind": self.target.kind, "target_id": self.target.id, "status": self.status}
        if self.accepted_at:
            told["accepted_at"] = self.accepted_at
        return told


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What all have. `run` is the run's number in the catalog; None for a command that is no run."""

    command: ClassVar[str]
    last: ClassVar[tuple[str, ...]] = ("seconds", "problems", "failures")
    """Keys that stand at the end of the JSON, in this order, whatever else there is."""

    status: RunStatus = RunStatus.COMPLETE
    run: int | None = field(default=None, metadata=OPTIONAL)

    def as_json(self) -> dict[str, Any]:
        """The JSON document: command, run and status first, what is long last."""
        found = _fields_of(self)
        head = {"command": self.command, **({} if self.run is None else {"run": self.run}), "status": str(self.status)}
        middle = {key: value for key, value in found.items() if key not in {"status", "run", *self.last}}
        return {**head, **middle, **{key: found[key] for key in self.last if key in found}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(Summary):
    """Of a run that goes through items one by one: what it could not do, and how many seconds it took."""

    seconds: float | None = field(default=None, metadata=OPTIONAL)
    failures: tuple[Failure, ...] = ()
    incomplete: bool = field(default=False, metadata=HIDDEN)
    """Makes a complete run incomplete, as failures do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSummary(RunSummary):
    """`attachments` counts what was listed and what became of it; `changes`, against the archive as it was;
    `rechecked`, the stored files that were fetched again and compared. `accepted` are failures that don't count.
    """

    command = "backup"
    last = ("seconds", "failures", "accepted")

    entities: int
    attachments: dict[str, int]
    changes: dict[str, int]
    rechecked: dict[str, int] | None = field(default=None, metadata=OPTIONAL)
    bytes: int
    warnings: tuple[str, ...]
    accepted: tuple[Failure, ...] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class UploadCounts:
    """What a load planned, and what became of it."""

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
    """What would become of one upload."""

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
class ChangedRow:
    """A file at an entity that the mapping no longer names: where it belongs now, and why it stays, if it has to."""

    kind: str
    entity: str
    attachment: str
    name: str
    target_kind: str
    target_id: str
    remote_id: str | None
    now: tuple[dict[str, str], ...]
    stays: str | None


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    """A row of the mapping that names nothing in the archive; `line` is that of the file."""

    kind: str
    entity: str
    target_kind: str
    target_id: str
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSummary(RunSummary):
    """`stubs` counts created entities; `altered` are uploads that the target altered; `moved` counts deletions at
    former entities.
    """

    command = "load"
    last = ("seconds", "failures", "moved")

    uploads: UploadCounts
    dry_run: DryRunCounts | None = field(default=None, metadata=OPTIONAL)
    rehearsal: tuple[DryRunRow, ...] | None = field(default=None, metadata=OPTIONAL)
    content: ContentCounts | None = field(default=None, metadata=OPTIONAL)
    stubs: dict[str, int] | None = field(default=None, metadata=OPTIONAL)
    changed: tuple[ChangedRow, ...] | None = field(default=None, metadata=OPTIONAL)
    altered: tuple[dict[str, Any], ...] | None = field(default=None, metadata=OPTIONAL)
    unmatched_rows: tuple[UnmatchedRow, ...] | None = field(default=None, metadata=OPTIONAL)
    unmapped_files: tuple[dict[str, Any], ...] | None = field(default=None, metadata=OPTIONAL)
    warnings: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    bytes: int
    moved: DeletionCounts | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class DeletionCounts:
    """What a rollback had to delete, and what became of it."""

    planned: int
    deleted: int
    already_gone: int
    changed: int
    impossible: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackSummary(RunSummary):
    """`dry_run` has the number of files that would be deleted."""

    command = "rollback"

    deletions: DeletionCounts
    dry_run: dict[str, int] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class Problem:
    """Damage that was found.

    `code` never changes its meaning, `detail` is for people, `files` has what a blob holds.
    """

    code: str
    problem: str
    sha256: str
    path: str
    detail: str | None = field(default=None, metadata=OPTIONAL)
    files: tuple[dict[str, Any], ...] | None = field(default=None, metadata=OPTIONAL)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Problem:
        """As it stands in the JSON of an earlier run."""
        files = tuple(row["files"]) if "files" in row else None
        return cls(row["code"], row["problem"], row["sha256"], row["path"], row.get("detail"), files)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySummary(Summary):
    """`blobs` of `of` were hashed; `round_complete`: with those of earlier runs, that was all of them."""

    command = "verify"

    blobs: int = 0
    bytes: int = 0
    checked: int = 0
    of: int | None = field(default=None, metadata=OPTIONAL)
    round_complete: bool | None = field(default=None, metadata=OPTIONAL)
    seconds: float | None = field(default=None, metadata=OPTIONAL)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildSummary(Summary):
    """`made_from`: manifest, if the catalog was made anew from it; else catalog. The counts are what it holds now."""

    command = "rebuild"

    made_from: str
    entities: int
    attachments: int
    uploads: int
    blobs: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary(RunSummary):
    """`files` and `bytes` are what stands at the destination, 0 where nothing was left there."""

    command = "export"

    format: str
    destination: str
    files: int
    bytes: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class MapCounts:
    """What became of the entities of the archive."""

    kept: int
    proposed: int
    ambiguous: int
    unmatched: int
    without_files: int


@dataclass(frozen=True, slots=True)
class OpenEntity:
    """An entity with files that no rule found at the target, or found more than once: why, and the candidates."""

    kind: str
    entity: str
    title: str
    url: str
    why: str
    candidates: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSummary(Summary):
    """`found_by` and `sure` count the new rows by rule and by certainty; `mapping` and `open` are the files written."""

    command = "map"
    last = ("seconds", "mapping", "open")

    entities: int
    targets: int
    rows: MapCounts
    found_by: dict[str, int]
    sure: dict[str, int]
    ambiguous: tuple[OpenEntity, ...]
    unmatched: tuple[OpenEntity, ...]
    seconds: float | None = field(default=None, metadata=OPTIONAL)
    mapping: str | None = field(default=None, metadata=OPTIONAL)
    open: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSummary(Summary):
    """The files that were written, and what they tell of; `redirected` counts the rows of the table of redirects."""

    command = "report"

    out: str | None
    redirects: str | None
    entities: int
    attachments: int
    differing: int
    redirected: int | None = field(default=None, metadata=OPTIONAL)


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
    """The condition of an archive, its totals and its last runs; `at_work` is who holds it. `accepted` are failures
    that don't count. `health` is missing where an earlier snapshot is looked at.
    """

    command = "status"
    last = ("failures", "accepted")

    health: Health | None = field(default=None, metadata=OPTIONAL)
    archive: str
    source: str | None
    at_work: dict[str, str] | None
    problems: tuple[Problem, ...]
    totals: dict[str, Any]
    runs: tuple[dict[str, Any], ...]
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
    """One thing that was tried: whether it works, and what is to be said of it. `warning` where it works and is odd."""

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
    """`target` is an empty object where none is configured."""

    command = "check"

    source: CheckedSide
    target: CheckedSide | dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateSummary(Summary):
    """The two runs; `load` is an empty object where the backup was stopped."""

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
    """The oldest snapshot first."""

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
    """`older` and `newer` are runs; a file that was renamed and replaced stands in two rows."""

    command = "diff"

    older: int
    newer: int
    counts: dict[str, int]
    changes: tuple[FileChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSummary(Summary):
    """`snapshots` are runs that were `kept` and `removed`; `blobs` counts them likewise; `bytes` is what was freed."""

    command = "prune"

    dry_run: bool | None = field(default=None, metadata=OPTIONAL)
    snapshots: dict[str, list[int]]
    blobs: dict[str, int]
    bytes: int


@dataclass(frozen=True, slots=True)
class DemoStep:
    """One step of the demo, and whether it went as it should."""

    step: str
    what: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary(Summary):
    """`kept` is the folder that was asked for, None where all was thrown away."""

    command = "demo"

    kept: str | None
    steps: tuple[DemoStep, ...]
    backup: BackupSummary
    load: LoadSummary
