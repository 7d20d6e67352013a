"""What all summaries share: how they become JSON, how a run ended, and what failed in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

from typing_extensions import override

from migrator.model import EntityRef, RunStatus, Upload
from migrator.units import counted

OPTIONAL = {"optional": True}
"""Metadata of a field that is left out of the JSON if it is None."""
HIDDEN = {"hidden": True}
"""Metadata of a field that is never in the JSON."""

LISTING_OF = "listing of "
"""Begins the name of a failure that is a listing."""

_WORST_FIRST = (RunStatus.INTERRUPTED, RunStatus.DAMAGED, RunStatus.INCOMPLETE, RunStatus.COMPLETE)


def worst_of(*statuses: RunStatus) -> RunStatus:
    """The status of several runs together."""
    return min(statuses, key=_WORST_FIRST.index)


def part_done(done: int, total: int, participle: str) -> str:
    """`160 of 643 files are kept`, or nothing."""
    return f"{done:,} of {counted(total, 'file')} {'is' if done == 1 else 'are'} {participle}" if done else ""


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

    @property
    def is_of_listing(self) -> bool:
        """Whether it is a listing that could not be read, or not to its end."""
        return not self.owner.kind and self.name.startswith(LISTING_OF)

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

    @property
    def silent_if_quiet(self) -> bool:
        """Whether a quiet command has nothing to say when it ends like this."""
        return False

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

    def kept(self) -> str:
        """What stays of a run that broke off: `160 of 643 files are kept`. Empty if that is nothing, or not known."""
        return ""

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
