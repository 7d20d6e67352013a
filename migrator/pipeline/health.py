"""Is the backup fine? One answer, with its colour, from what the catalog tells of snapshots, runs and failures.

How old the last complete backup may be depends on how often there was one: a nightly backup is late after three days, a
monthly one is not. Reads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median

from migrator.model import RunStatus
from migrator.pipeline.summary import Failure, Health
from migrator.store import Catalog
from migrator.units import counted, human_duration, local_time

FINE, WARNING, BAD = "fine", "warning", "bad"
LATE, LOST = 2.5, 7.0
"""A complete backup that is older than so many of the usual intervals is a warning, and bad."""
SHORTEST_INTERVAL_SECONDS = 86_400.0
UNKNOWN_INTERVAL_SECONDS = 7 * 86_400.0
"""The interval that is assumed before there are two complete backups."""
UNVERIFIED_SECONDS = 90 * 86_400.0
"""A warning if no blob was looked at for longer."""
_BROKE_OFF: dict[str, str] = {
    RunStatus.RUNNING: "the last backup was killed",
    RunStatus.INTERRUPTED: "the last backup was interrupted",
    RunStatus.FAILED: "the last backup failed",
}
_HEADS = {FINE: "the backup is fine", WARNING: "the backup needs a look", BAD: "the backup is not fine"}


def health(catalog: Catalog, failures: Sequence[Failure], *, problems: int, accepted: int, at_work: bool) -> Health:
    """The answer. `failures` are those that stand now; `problems` and `accepted` are numbers."""
    now, verified = datetime.now(UTC), catalog.runs.verified()
    last, since = _last_complete(catalog), _failing_since(catalog, failures)
    age, interval = _seconds(last[1], now) if last else None, _usual_interval(catalog)
    broke_off = "" if at_work else _broke_off(catalog)
    looked_at = max(verified.values(), default=catalog.runs.first_start())
    doubts = [bool(failures), bool(broke_off), bool(looked_at) and _seconds(looked_at, now) > UNVERIFIED_SECONDS]
    verdict = WARNING if any(doubts) or (age or 0.0) > LATE * interval else FINE
    if problems or age is None or age > LOST * interval:
        verdict = BAD
    parts = [
        f"the archive has {counted(problems, 'problem')}" if problems else "",
        f"last complete one {_ago(last[1], now)} (run {last[0]})" if last else "there is no complete one yet",
        _failing(failures, since),
        broke_off,
        f"{counted(accepted, 'failure')} accepted" if accepted else "",
        _verified(verified, now),
    ]
    return Health(
        verdict=verdict,
        answer=f"{_HEADS[verdict]}: {'; '.join(filter(None, parts))}",
        snapshot=last[0] if last else None,
        snapshot_at=last[1] if last else None,
        age_seconds=None if age is None else int(age),
        failing=len(failures),
        failing_since=since,
        verified_at=verified.get(True, verified.get(False)),
        verified_whole=True in verified if verified else None,
    )


def _failing(failures: Sequence[Failure], since: str | None) -> str:
    """What fails: of the backup, and of uploads."""
    uploads = sum(failure.target is not None for failure in failures)
    of_backup = counted(len(failures) - uploads, "failure") if len(failures) > uploads else ""
    if since:
        of_backup += f" since {local_time(since)}"
    not_arrived = f"{counted(uploads, 'upload')} not arrived" if uploads else ""
    return "; ".join(filter(None, (of_backup, not_arrived))) or "nothing fails"


def _verified(verified: dict[bool, str], now: datetime) -> str:
    if True in verified:
        return f"verified {_ago(verified[True], now)}"
    return f"a part verified {_ago(verified[False], now)}" if verified else "never verified"


def _last_complete(catalog: Catalog) -> tuple[int, str] | None:
    """Run and end of the last complete backup. An archive that no newer program has worked on has no snapshots yet."""
    if catalog.snapshots.kept:
        return next(((each.run, each.at) for each in reversed(catalog.snapshots.all())), None)
    return next(iter(catalog.runs.complete_backups(1)), None)


def _broke_off(catalog: Catalog) -> str:
    """How the last backup ended, if it did not come to its end; for several that failed, since when and why."""
    if failed := catalog.runs.failed_in_a_row():
        what = f"the last {len(failed)} runs failed since {local_time(failed[-1].started_at)}"
        return (what if len(failed) > 1 else _BROKE_OFF[RunStatus.FAILED]) + (f": {failed[0].message}").rstrip(": ")
    last = next(iter(catalog.runs.backups()), None)
    return _BROKE_OFF.get(last.status, "") if last else ""


def _failing_since(catalog: Catalog, failures: Sequence[Failure]) -> str | None:
    """When the first of the backups began in which any of these has failed without a break."""
    snapshots = {each.run for each in catalog.snapshots.all()}
    standing, since = {_key(failure.as_json()) for failure in failures if failure.target is None}, None
    for run in catalog.runs.backups() if standing else ():
        if run.status == RunStatus.INCOMPLETE:
            standing &= {_key(failure) for failure in catalog.runs.failures_of(run.run)}
            if not standing:
                break
            since = run.started_at
        elif run.status == RunStatus.COMPLETE and (run.run in snapshots or not snapshots):
            break
    return since


def _key(failure: dict[str, str | None]) -> tuple[str | None, ...]:
    return tuple(failure[name] for name in ("kind", "entity", "attachment", "name"))


def _usual_interval(catalog: Catalog) -> float:
    """Seconds from one complete backup to the next."""
    ends = [datetime.fromisoformat(ended_at) for _, ended_at in catalog.runs.complete_backups(10)]
    between = [(later - earlier).total_seconds() for later, earlier in pairwise(ends)]
    return max(SHORTEST_INTERVAL_SECONDS, median(between)) if between else UNKNOWN_INTERVAL_SECONDS


def _seconds(moment: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(moment)).total_seconds()


def _ago(moment: str, now: datetime) -> str:
    return f"{human_duration(max(0.0, _seconds(moment, now)))} ago"
