"""The summaries of find and get: files of an archive that somebody looks up."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from migrator.pipeline.summary.base import HIDDEN, Summary


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of an archive. `title` and `url` are those of its entity; `sha256` is None if the archive lacks it."""

    attachment: str
    kind: str
    entity: str
    name: str
    title: str
    url: str
    size: int | None
    description: str
    created_at: str
    created_by: str
    status: str
    sha256: str | None

    @property
    def owner(self) -> str:
        """Its entity, as `get` and the options of other commands take it."""
        return f"{self.kind}:{self.entity}"

    @property
    def words(self) -> str:
        """What `get` takes for this file and no other, quoted for a shell."""
        return shlex.join([self.owner, self.attachment])


@dataclass(frozen=True, slots=True, kw_only=True)
class FindSummary(Summary):
    """The files in which all these texts occur; `at` is the snapshot in which they were looked for, as it was given."""

    command = "find"

    at: str = field(default="", metadata=HIDDEN)
    texts: tuple[str, ...]
    files: tuple[FoundFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSummary(Summary):
    """One file, and the path to which it was written."""

    command = "get"

    file: FoundFile
    out: str
