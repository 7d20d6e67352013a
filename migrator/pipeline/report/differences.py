"""What differs about a file, and why: each difference with its category and whether it is a failure.

Beware: a difference is not always a failure. That a filter left a file out, or that its name had to be changed, is a
difference; a failure is something that the next run tries again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from migrator.model import Altered, Attachment, EntityRef, Status, UploadStatus
from migrator.pipeline.report.reasons import short_reason

ARRIVED = {UploadStatus.UPLOADED, UploadStatus.ALREADY_THERE}
"""Statuses of uploads that are at the target."""


class Category(StrEnum):
    """The kinds of differences, which a report keeps apart."""

    MISSING = "missing"
    ALTERED = "altered"
    INTENDED = "intended"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `what` is its kind, in words that follow "2 files: ".

    `reason` is the message of the tracker or of the program, with its remedy, if there is one. `target` is the target
    at which the file differs; empty if it differs in the archive.
    """

    category: Category
    what: str
    _: KW_ONLY
    failure: bool = False
    reason: str = ""
    target: str = ""

    @property
    def text(self) -> str:
        """The difference with its whole reason."""
        return f"{self.what}: {self.reason}" if self.reason else self.what

    @property
    def short(self) -> str:
        """The difference with its reason in few words, the same for all files that have it."""
        return f"{self.what}: {short_reason(self.reason)}" if self.reason else self.what


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
    altered: Altered


def differences_in_archive(row: Mapping[str, Any], *, accepted: bool, recheck: str) -> Iterator[Difference]:
    """What differs between source and archive. `recheck` is why the file could not be fetched again, if it failed."""
    reason = row["error"] or ""
    match row["status"]:
        case Status.PENDING:
            yield Difference(Category.MISSING, "not fetched yet", failure=True)
        case Status.FAILED if accepted:
            yield Difference(Category.INTENDED, "accepted as missing", reason=reason)
        case Status.FAILED:
            yield Difference(Category.MISSING, "could not be fetched", failure=True, reason=reason or "unknown")
        case Status.SKIPPED:
            yield Difference(Category.INTENDED, "left out", reason=reason or "by a filter")
        case Status.GONE:
            kept = "the archive has kept it" if row["sha256"] else "the archive doesn't hold it"
            yield Difference(Category.INTENDED, f"no longer in the source; {kept}")
    if row["problem"]:
        yield Difference(Category.MISSING, f"{row['problem']} in the archive", failure=True)
    if recheck:
        yield Difference(Category.MISSING, "could not be fetched again to compare it", failure=True, reason=recheck)


def differences_at_targets(
    attachment: Attachment, row: Mapping[str, Any], uploads: tuple[UploadReport, ...], targets: Mapping[str, int | None]
) -> Iterator[Difference]:
    """What differs at each of the targets, which are given with the run of the last load.

    It is None for a target from which everything was rolled back: files that were never sent there are not missed.
    """
    present = {upload.target for upload in uploads}
    for target, last_load in targets.items():
        if last_load is not None and target not in present and row["status"] == Status.STORED:
            new = row["first_run"] > last_load
            what = "not loaded yet: newer than the last load" if new else "not loaded: no row in the mapping"
            yield Difference(Category.MISSING, what, target=target)
    for upload in uploads:
        yield from _differences_of_upload(attachment, upload)


def _differences_of_upload(attachment: Attachment, upload: UploadReport) -> Iterator[Difference]:
    target, missing = upload.target, partial(Difference, Category.MISSING, failure=True, target=upload.target)
    match upload.status:
        case UploadStatus.PLANNED:
            yield missing("not uploaded yet")
        case UploadStatus.IN_DOUBT:
            yield missing("unconfirmed", reason=upload.error or "sent, no answer seen")
        case UploadStatus.FAILED:
            yield missing("could not be uploaded", reason=upload.error or "unknown")
        case UploadStatus.ROLLED_BACK:
            yield Difference(Category.INTENDED, "rolled back", target=target)
    if upload.status in ARRIVED:
        for what in _alterations(attachment, upload):
            yield Difference(Category.ALTERED, what, target=target)


def _alterations(attachment: Attachment, upload: UploadReport) -> Iterator[str]:
    """What is different about a file that has arrived."""
    if upload.name != attachment.name:
        yield "renamed by the target" if "name" in upload.altered else "renamed to a name that the target allows"
    elif "name" in upload.altered:
        yield "renamed when it was sent, and given its own name by the target"
    if "content" in upload.altered:
        yield "re-encoded by the target, as the same text"
    elif "size" in upload.altered:
        yield "listed by the target with another size"
