"""The rows of a report: what the source had, what the archive holds, what is at each target, what differs and why.

Entities, attachments and uploads are read side by side in the same order, so a report of any length needs little
memory. They are read twice: once for the totals and once for the rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Generic, TypeVar

from migrator.model import Attachment, EntityRef, Status
from migrator.pipeline.report.differences import (
    ARRIVED,
    Category,
    Difference,
    UploadReport,
    differences_at_targets,
    differences_in_archive,
)
from migrator.store import Acceptances, Catalog

T = TypeVar("T")
UrlOf = Callable[[str, Attachment], str]
"""Base address of a tracker and attachment to the address of the attachment; empty if that is unknown."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """One attachment: at the source, in the archive, at targets.

    `exported` is its path in an exported tree, if the report leads there.
    """

    attachment: Attachment
    status: str
    sha256: str
    size: int | None
    url: str
    uploads: tuple[UploadReport, ...]
    differences: tuple[Difference, ...]
    exported: str = ""

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
            difference.failure for file in self.files for difference in file.differences
        )

    def count_of(self, category: Category) -> int:
        """The number of files with such a difference."""
        return sum(any(each.category is category for each in file.differences) for file in self.files)


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


def entity_reports(
    catalog: Catalog, url_of: Callable[[str], UrlOf], exported: Mapping[str, tuple[str, str]] | None = None
) -> Iterator[EntityReport]:
    """The whole archive, entity by entity. `url_of` returns the function for the tracker of an identity.

    `exported` has path and hash of files in an exported tree, by attachment id.
    """
    source = catalog.settings.get("source") or ""
    attachments = _Groups(catalog.exports.attachments(), lambda row: row[0].owner)
    uploads = _Groups(catalog.exports.uploads(), lambda row: str(row["attachment_id"]))
    acceptances, targets = catalog.accepted.all(), catalog.exports.targets()
    rechecks = _failed_rechecks(catalog)
    for entity in catalog.exports.entities():
        ref = EntityRef(entity["kind"], entity["entity_id"])
        files = []
        for attachment, row in attachments.take(ref):
            sent = tuple(_upload_report(upload, url_of) for upload in uploads.take(attachment.id))
            failed = row["status"] == Status.FAILED
            accepted = failed and _is_accepted(acceptances, attachment.id, ref, row["error"])
            recheck = rechecks.get(attachment.id, "")
            differences = (
                *differences_in_archive(row, accepted=accepted, recheck=recheck),
                *differences_at_targets(attachment, row, sent, targets),
            )
            url, sha256 = url_of(source)(_base(source), attachment), row["sha256"] or ""
            path, content = (exported or {}).get(attachment.id, ("", ""))
            link = path if content == sha256 else ""
            files.append(
                FileReport(attachment, row["status"], sha256, row["stored_size"], url, sent, differences, link)
            )
        accepted = _is_accepted(acceptances, None, ref, entity["error"])
        error = entity["error"] or entity["note"]
        yield EntityReport(ref, entity["title"], entity["url"], error, tuple(files), accepted)


def _failed_rechecks(catalog: Catalog) -> dict[str, str]:
    """Why files that are in the archive could not be fetched again, by attachment id."""
    failures = catalog.summaries.failures()
    return {row["attachment"] or "": row["reason"] or "unknown" for row in failures if row["status"] == Status.STORED}


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
