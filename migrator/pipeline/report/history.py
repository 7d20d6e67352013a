"""The history of an archive: how its backups went, one after the other, as data for charts and documents.

A page copes with about ninety columns, so many backups are put together by week, month or year.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from statistics import mean
from typing import Any

from migrator.store import Catalog, EndedBackup

MAX_POINTS = 90
"""Points of a chart."""


@dataclass(frozen=True, slots=True)
class Point:
    """One backup, or those of a period; None for what is not recorded.

    `attachments` and `bytes` are those of the last snapshot, `seconds` is the average, `failures` the highest number;
    changes are added up. `incomplete` counts the backups that were not complete.
    """

    label: str
    backups: int
    incomplete: int
    attachments: int | None
    bytes: int | None
    seconds: float
    added: int
    changed: int
    removed: int
    failures: int

    @property
    def gap(self) -> str:
        """Why there is no snapshot: one of a complete backup was pruned, unless a filter kept it from being made."""
        return "not complete, so no snapshot" if self.incomplete == self.backups else "no snapshot (any more)"


@dataclass(frozen=True, slots=True)
class History:
    """All backups that have ended, and the points that the charts show. `period` is empty if each backup is one."""

    backups: tuple[EndedBackup, ...]
    period: str
    points: tuple[Point, ...]

    def as_json(self) -> list[dict[str, Any]]:
        """Each backup as an object, the oldest first."""
        return [
            {
                "run": backup.run,
                "started_at": backup.started_at,
                "status": backup.status,
                "attachments": backup.attachments,
                "bytes": backup.bytes,
                "seconds": _seconds(backup),
                "added": backup.added,
                "changed": backup.changed,
                "removed": backup.removed,
                "failures": backup.failures,
            }
            for backup in self.backups
        ]


def history_of(catalog: Catalog) -> History:
    """The history that the catalog tells."""
    backups = catalog.runs.ended_backups()
    period, points = "", [_point(f"{_start(backup):%Y-%m-%d %H:%M}", [backup]) for backup in backups]
    for longer, label in _PERIODS.items():
        if len(points) > MAX_POINTS:
            period, points = longer, _points(backups, label)
    return History(tuple(backups), period, tuple(points[-MAX_POINTS:]))


def _points(backups: Sequence[EndedBackup], label: Callable[[datetime], str]) -> list[Point]:
    groups = groupby(backups, lambda backup: label(_start(backup)))
    return [_point(words, list(group)) for words, group in groups]


def _week(moment: datetime) -> str:
    year, week, _ = moment.isocalendar()
    return f"{year} week {week}"


_PERIODS: dict[str, Callable[[datetime], str]] = {
    "week": _week,
    "month": lambda moment: f"{moment:%Y-%m}",
    "year": lambda moment: f"{moment:%Y}",
}
"""The periods, and how each is called that a moment is in."""


def _start(backup: EndedBackup) -> datetime:
    return datetime.fromisoformat(backup.started_at).astimezone()


def _seconds(backup: EndedBackup) -> float:
    """How long it took; not below zero, as clocks are set back."""
    taken = datetime.fromisoformat(backup.ended_at) - datetime.fromisoformat(backup.started_at)
    return max(0.0, taken.total_seconds())


def _point(label: str, backups: Sequence[EndedBackup]) -> Point:
    snapshots = [backup for backup in backups if backup.attachments is not None]
    return Point(
        label=label,
        backups=len(backups),
        incomplete=sum(backup.status != "complete" for backup in backups),
        attachments=snapshots[-1].attachments if snapshots else None,
        bytes=snapshots[-1].bytes if snapshots else None,
        seconds=mean(map(_seconds, backups)),
        added=sum(backup.added or 0 for backup in backups),
        changed=sum(backup.changed or 0 for backup in backups),
        removed=sum(backup.removed or 0 for backup in backups),
        failures=max(backup.failures or 0 for backup in backups),
    )
