"""What an archive lacks of its source, as those name it who take files out of it: a load and an export."""

from __future__ import annotations

from collections.abc import Callable

from migrator.model import EntityRef
from migrator.pipeline.summary import Failure
from migrator.store import Catalog

NOT_ENDED = "it has not come to its end, so the source may have more files"

Wants = Callable[[EntityRef, str | None], bool]
"""Whether a file of this entity is wanted, by its name; None: any file of it may be."""


def lacking(catalog: Catalog, wants: Wants) -> tuple[Failure, ...]:
    """Files and listings that failed or are still to come, as far as they are wanted; first, that a backup has not
    ended. A listing that failed may have had any file. A snapshot lacks nothing, and what a person has accepted as
    missing is not counted.
    """
    if catalog.snapshots.viewed:
        return ()
    standing, _ = catalog.accepted.all().split(catalog.summaries.not_stored())
    failures = [failure for failure in map(Failure.of_row, standing) if _is_wanted(failure, wants)]
    if catalog.summaries.crawl_under_way():
        failures.insert(0, Failure(EntityRef("", ""), None, "backup", NOT_ENDED))
    return tuple(failures)


def _is_wanted(failure: Failure, wants: Wants) -> bool:
    owner = failure.owner
    return wants(owner, failure.name if failure.attachment else None) if owner.kind else failure.is_of_listing
