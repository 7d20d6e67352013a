"""The summaries of verify, rebuild, prune and copy, which look after an archive, and the damage that they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from migrator.model import RunStatus
from migrator.pipeline.summary.base import OPTIONAL, RunSummary, Summary


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
    """The summary of a verify. `blobs` of `of` were hashed; `round_complete`: with earlier runs, all of them.

    `hashed` is false if only names and sizes of encrypted blobs were checked.
    """

    command = "verify"

    blobs: int = 0
    bytes: int = 0
    checked: int = 0
    of: int | None = field(default=None, metadata=OPTIONAL)
    round_complete: bool | None = field(default=None, metadata=OPTIONAL)
    hashed: bool | None = field(default=None, metadata=OPTIONAL)
    problems: tuple[Problem, ...] = ()

    @override
    def status_after(self, ended: RunStatus) -> RunStatus:
        return RunStatus.DAMAGED if self.problems and ended is not RunStatus.FAILED else ended


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildSummary(Summary):
    """The summary of a rebuild. `made_from` is `manifest` if the catalog was rebuilt, else `catalog`.

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
class PruneSummary(RunSummary):
    """`snapshots` are runs that were `kept` and `removed`; `blobs` counts them likewise; `bytes` is what was freed."""

    command = "prune"

    dry_run: bool | None = field(default=None, metadata=OPTIONAL)
    snapshots: dict[str, list[int]]
    blobs: dict[str, int]
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySummary(Summary):
    """`blobs` were `copied`, were `already_there`, or were `removed` in the copy, as the archive has forgotten them.

    `to` is where the copy is; `bytes` were copied.
    """

    command = "copy"

    to: str = ""
    blobs: dict[str, int]
    bytes: int
    problems: tuple[Problem, ...]
