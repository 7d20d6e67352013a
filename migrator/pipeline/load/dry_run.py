"""What a dry run would have done, upload by upload.

A dry run is a load whose target accepts no writes and whose records end up here instead of in the catalog.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from migrator.model import EntityRef, Upload, UploadStatus

WHAT = {UploadStatus.UPLOADED: "upload", UploadStatus.ALREADY_THERE: "already_there"}
REFUSED = "refused"


class DryRunReport:
    """Collects what would happen. `rows` are the rows of `rehearsal` in the summary of a dry run."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, EntityRef], dict[str, str | None]] = {}
        self._bytes = 0

    def add(self, upload: Upload, status: UploadStatus, name: str | None, error: str | None) -> None:
        """The latest word on an upload counts."""
        of, what = upload.attachment, WHAT.get(status, REFUSED)
        self._bytes += upload.blob.size if what == "upload" else 0
        self._last[of.id, upload.to] = {
            "kind": of.owner.kind,
            "entity": of.owner.id,
            "attachment": of.id,
            "name": of.name,
            "target_kind": upload.to.kind,
            "target_id": upload.to.id,
            "what": what,
            "name_at_target": name,
            "reason": error,
        }

    @property
    def rows(self) -> list[dict[str, str | None]]:
        """One for each upload that was looked at."""
        return list(self._last.values())

    @property
    def failures(self) -> list[dict[str, str | None]]:
        """What would be refused, as a load tells it."""
        keys = ("kind", "entity", "attachment", "name", "reason", "target_kind", "target_id")
        refused = [entry for entry in self.rows if entry["what"] == REFUSED]
        return [{**{key: entry[key] for key in keys}, "status": "failed"} for entry in refused]

    def summary(self) -> dict[str, Any]:
        """Its part of the summary of a load."""
        return {"dry_run": self.counts(), "rehearsal": self.rows}

    def counts(self) -> dict[str, int]:
        """How many would be uploaded, are there already, would fail, and would get another name."""
        counts = Counter(entry["what"] for entry in self.rows)
        renamed = [entry for entry in self.rows if entry["name_at_target"] not in {None, entry["name"]}]
        return {
            "would_upload": counts["upload"],
            "already_there": counts["already_there"],
            "would_fail": counts[REFUSED],
            "would_rename": len(renamed),
            "would_send_bytes": self._bytes,
        }
