"""What is wrong after a night, finding by finding: known again the next night by what it is about, not by its words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from migrator.jobs.nightly.night import Night
from migrator.model import RunStatus
from migrator.pipeline.summary import BackupSummary, VerifySummary


@dataclass(frozen=True, slots=True)
class Finding:
    """One error, failed file or damage. `about` identifies it, its kind first, `text` is for people."""

    about: tuple[str, ...]
    text: str

    @property
    def fingerprint(self) -> str:
        """Short, and the same each night; reasons are left out, as they may have times and numbers in them."""
        digest = hashlib.sha256("\0".join(self.about).encode("utf-8", "surrogatepass")).hexdigest()
        return self.about[0][0] + digest[:12]


def findings_of(night: Night) -> tuple[Finding, ...]:
    """All of them, what is worst first."""
    return (*_errors(night), *_problems(night), *_failures(night))


def not_looked_at(night: Night, fingerprints: frozenset[str]) -> frozenset[str]:
    """Those about which this night says nothing: files where no backup ended, blobs where no catalog was read."""
    unknown = "f" * ("backup" not in night.steps) + "p" * (night.known_problems is None)
    return frozenset(each for each in fingerprints if each[0] in unknown)


def _errors(night: Night) -> Iterator[Finding]:
    for step, error in night.errors.items():
        yield Finding(("error", step, str(error.code)), error.message)


def _problems(night: Night) -> Iterator[Finding]:
    verify = night.steps.get("verify")
    tonight = verify.problems if isinstance(verify, VerifySummary) else ()
    for problem in (*tonight, *night.earlier_problems):
        of = f" ({problem.files[0].name})" if problem.files else ""
        about = ("problem", problem.sha256 or problem.path)
        yield Finding(about, f"{problem.code} {problem.problem}: {problem.path}{of}")


def _failures(night: Night) -> Iterator[Finding]:
    backup = night.steps.get("backup")
    if not isinstance(backup, BackupSummary):
        return
    for failure in backup.failures:
        owner, name = failure.owner, "" if failure.attachment else failure.name
        about = ("file", owner.kind, owner.id, failure.attachment or "", name)
        what = " ".join(filter(None, (owner.kind, owner.id, failure.name)))
        yield Finding(about, f"{what}: {failure.reason}")
    if backup.status is RunStatus.INCOMPLETE and not backup.failures:
        yield Finding(("file", "incomplete"), "; ".join(backup.warnings) or "the backup is incomplete")
