"""Snapshots of an archive: the list, what changed between two, and which one a person means. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, time

from migrator.errors import ConfigError
from migrator.pipeline.summary import DiffSummary, FileChange, SnapshotRow, SnapshotsSummary
from migrator.store import Catalog, Snapshot

MAX_SHOWN = 10
"""Snapshots named in an error."""
CHANGES = ("added", "removed", "renamed", "moved", "replaced")


def snapshots(catalog: Catalog) -> SnapshotsSummary:
    """Every snapshot, the oldest first, each with what changed since the one before."""
    rows, before = [], 0
    for taken in catalog.snapshots.all():
        counts = _counts(change.change for change in catalog.snapshots.changes(before, taken.run))
        rows.append(SnapshotRow(taken.run, taken.at, taken.entities, taken.attachments, taken.bytes, **counts))
        before = taken.run
    return SnapshotsSummary(snapshots=tuple(rows))


def diff(catalog: Catalog, older: str = "", newer: str = "") -> DiffSummary:
    """What changed from one snapshot to another, each named by its run or a date; by default the last two.

    With `older` alone, it is compared with the last one. `ConfigError` if there are no such snapshots.
    """
    held = catalog.snapshots.all()
    if not older and len(held) < 2:
        raise ConfigError(f"there is nothing to compare: this archive has {_number_of(held)}")
    first = snapshot_at(catalog, older) if older else held[-2].run
    last = snapshot_at(catalog, newer) if newer else held[-1].run
    if first > last:
        raise ConfigError(f"snapshot {first} is newer than {last}; name the older one first")
    changes = tuple(
        FileChange(file.change, file.attachment, file.owner.kind, file.owner.id, file.name, file.was)
        for file in catalog.snapshots.changes(first, last)
    )
    return DiffSummary(older=first, newer=last, counts=_counts(file.change for file in changes), changes=changes)


def snapshot_at(catalog: Catalog, when: str) -> int:
    """The run of the snapshot that `--at` names: its number, or the last one at a moment (ISO 8601).

    A date without a time means the end of that day, and a time without an offset is local. `ConfigError` if there is
    none, or if it is neither.
    """
    held = catalog.snapshots.all()
    if when.isascii() and when.isdigit():
        if (run := int(when)) not in {snapshot.run for snapshot in held}:
            known = ", ".join(str(snapshot.run) for snapshot in held[-MAX_SHOWN:])
            hint = f"snapshots are {known}" if known else "it has none yet; a complete backup makes one"
            raise ConfigError(f"run {run} is not a snapshot of this archive; {hint}")
        return run
    moment = _moment(when)
    before = [snapshot for snapshot in held if datetime.fromisoformat(snapshot.at) <= moment]
    if not before:
        first = f"the first is from {held[0].at}" if held else "it has none yet"
        raise ConfigError(f"this archive has no snapshot as old as {when}; {first}")
    return before[-1].run


def view_at(catalog: Catalog, when: str) -> None:
    """Let this catalog show the state of the snapshot that `when` names; an empty `when` leaves it unchanged.

    Nothing can be recorded about files and entities any more, only about blobs, runs and uploads.
    """
    if when:
        catalog.snapshots.view(snapshot_at(catalog, when))


def _moment(when: str) -> datetime:
    try:
        moment = datetime.fromisoformat(when)
    except ValueError:
        message = f"{when!r} is neither the number of a run nor a date; write it like 2026-03-31 or 2026-03-31T18:00"
        raise ConfigError(message) from None
    if len(when) == len("2026-03-31"):
        moment = datetime.combine(moment, time.max)
    return moment.astimezone()


def _counts(changes: Iterable[str]) -> dict[str, int]:
    counted = Counter(changes)
    return {name: counted[name] for name in CHANGES}


def _number_of(held: list[Snapshot]) -> str:
    """How many snapshots there are, if fewer than two."""
    return "one snapshot" if held else "no snapshot yet; a complete backup makes one"
