"""Which attachment ids are one file: a file that a restore put back has a new id at the source.

A restore is a load into the archive's own source. Its uploads have the target `OWN_SOURCE` in place of a tracker and an
address, so no load, rollback or report of a target takes them for its own, and a new address changes nothing. The row
of such an upload says which new file (`remote_id`) continues which lost one (`attachment_id`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlite_utils import Database

OWN_SOURCE = "source"
"""The value of `uploads.target` for what a restore sends."""
_RESTORED = """
SELECT remote_id, attachment_id FROM uploads
WHERE target = ? AND status IN ('uploaded', 'already_there') AND remote_id != attachment_id
"""


class Lineage:
    """The files that were put back; `links` has the id of the lost file by the new id."""

    def __init__(self, links: Mapping[str, str]) -> None:
        self.links = links
        self._ids: dict[str, list[str]] = {}
        for id_ in dict.fromkeys([*links.values(), *links]):
            self._ids.setdefault(self.first(id_), []).append(id_)

    @classmethod
    def read(cls, db: Database) -> Lineage:
        """All that restores have put back, as far as they know it arrived."""
        return cls(dict(db.execute(_RESTORED, [OWN_SOURCE]).fetchall()))

    def first(self, id_: str) -> str:
        """The id that a file had before it was lost for the first time."""
        passed = {id_}
        while (earlier := self.links.get(id_)) is not None and earlier not in passed:
            passed.add(id_ := earlier)
        return id_

    def ids(self, id_: str) -> list[str]:
        """All ids of a file."""
        return self._ids.get(self.first(id_), [id_])


def forget_deleted(db: Database, crawl_start: int, of_kinds: str, values: Sequence[str]) -> None:
    """After a complete crawl: what was put back before its first run, and has never been listed, was deleted again.

    `of_kinds` and `values` are an SQL condition for the kinds that the crawl has listed.
    """
    db.execute(
        "UPDATE uploads SET status = 'rolled_back', error = NULL "
        "WHERE target = ? AND status IN ('uploaded', 'already_there') AND accepted IS NULL AND run_id < ? "
        "AND NOT EXISTS (SELECT 1 FROM attachments WHERE attachment_id = uploads.remote_id) "
        f"AND EXISTS (SELECT 1 FROM attachments WHERE attachment_id = uploads.attachment_id {of_kinds})",
        [OWN_SOURCE, crawl_start, *values],
    )
