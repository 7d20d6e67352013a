"""Which entities a crawl need not ask for their files, because they were not changed since they were last asked.

That is decided by the tracker's own dates, never by comparing its clock with ours. An entity is asked unless its date
is the one that it had when it was last asked, and unless that date was at least OVERLAP older than the newest date that
the tracker had listed until then. The newest date is not later than the tracker's clock, so nothing that happens later
can get the same old date.

Everything is asked where the tracker gives no dates, where nothing is known (a first crawl, other kinds, an archive
that was rebuilt), and every `full_every` seconds, because a tracker may not date every change. What the last crawl
could not see is asked, too.

Beware: an entity that two runs of a crawl ask may have lost a file between them, which counts as seen by this crawl. So
its date is not recorded, and the next crawl asks it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from migrator.model import Entity, EntityRef
from migrator.pipeline.run import RunContext
from migrator.pipeline.summary import NotAsked
from migrator.selection import aware
from migrator.store import Crawl, FullCrawl, UnchangedRecords, now

OVERLAP = timedelta(days=2)
"""Covers dates that are precise to a day only, two time zones (14 hours), and a list of files that lags behind."""


@dataclass(frozen=True, slots=True)
class CrawlPlan:
    """What a crawl asks: all entities if it is `full`. `scope` is that of its checkpoints, `looked_for` what it sees.

    `last` is the last full crawl that saw the same, None if there was none that counts.
    """

    scope: str
    looked_for: str
    full: bool
    last: FullCrawl | None


def plan_crawl(records: UnchangedRecords, scope: str, left_out: Sequence[str], full_every: float | None) -> CrawlPlan:
    """Decide whether the crawl asks all entities. `full_every` is in seconds; None: each crawl does.

    A full crawl that is under way goes on, and never resumes one that left entities out. A clock that was set back
    makes a crawl full, too.
    """
    looked_for, last = repr((scope, sorted(left_out))), records.full_crawl()
    if last is not None and last.scope != looked_for:
        last = None
    if full_every is None or last is None or records.under_way(scope):
        return CrawlPlan(scope, looked_for, full=True, last=last)
    began, today = _moment(last.started_at), _moment(now())
    due = began is None or today is None or not 0 <= (today - began).total_seconds() < full_every
    return CrawlPlan(scope if due else f"{scope} changed", looked_for, full=due, last=last)


class UnchangedEntities:
    """The entities of one crawl. `counts` says how many of how many were not asked, None if all were."""

    def __init__(self, context: RunContext, plan: CrawlPlan, crawl: Crawl) -> None:
        self._records, self._executor, self._run = context.catalog.unchanged, context.executor, context.run
        self._plan, self._crawl = plan, crawl
        self._newest = _moment(plan.last.newest) if plan.last else None
        self._left_out, self._asked, self._asked_earlier = set[EntityRef](), set[EntityRef](), set[EntityRef]()

    async def leave_out(self, entities: Sequence[Entity]) -> list[Entity]:
        """Those of these listed entities that have to be asked. The stored files of the others are taken over.

        Listings may repeat entities; one that was asked is asked again.
        """
        self._note_newest(entities)
        start = self._crawl.start
        self._asked_earlier |= await self._executor.call(self._records.seen_earlier, entities, start, self._run)
        if self._plan.full or self._plan.last is None:
            return list(entities)
        latest = self._plan.last.latest
        unchanged = await self._executor.call(self._records.among, entities, latest)
        unchanged -= self._asked | self._asked_earlier
        if unchanged:
            await self._executor.call(self._records.take_over, self._run, unchanged, latest)
        self._left_out |= unchanged
        return [entity for entity in entities if entity.ref not in unchanged]

    def dates_of(self, entities: Sequence[Entity]) -> dict[EntityRef, str | None]:
        """What to record of these entities if they answer: the date of each, or None if it has to be asked again.

        Call it before they are asked: what the tracker lists later may be newer than their answers. For the same
        reason, nothing is recorded of an entity that this run has asked before.
        """
        first = [entity for entity in entities if entity.ref not in self._asked]
        self._asked.update(entity.ref for entity in first)
        return {entity.ref: entity.modified_at if self._is_old(entity) else None for entity in first}

    async def record(self, asked: Iterable[tuple[EntityRef, str | None]]) -> None:
        """Record this of the entities that have answered, after their files."""
        await self._executor.call(self._records.record, list(asked))

    def full_crawl(self, started_at: str) -> FullCrawl:
        """The last full crawl, once this one has come to its end. `started_at`: when this one began."""
        newest = self._newest.isoformat() if self._newest else ""
        if self._plan.full or self._plan.last is None:
            return FullCrawl(self._plan.looked_for, started_at, self._crawl.start, newest)
        return replace(self._plan.last, latest=self._crawl.start, newest=newest)

    def not_asked(self, full_every: float | None) -> NotAsked | None:
        """How many entities this run has not asked; None if the crawl asks all."""
        if self._plan.full or self._plan.last is None:
            return None
        began = _moment(self._plan.last.started_at) or datetime.now(UTC)
        due = (began + timedelta(seconds=full_every or 0)).isoformat(timespec="seconds")
        return NotAsked(len(self._left_out), len(self._left_out | self._asked), due)

    def _note_newest(self, entities: Sequence[Entity]) -> None:
        dates = [moment for entity in entities if (moment := _moment(entity.modified_at))]
        self._newest = max([*dates, *([self._newest] if self._newest else [])], default=None)

    def _is_old(self, entity: Entity) -> bool:
        """Whether the entity's date can be recorded: a change that happens from now on can't have the same date.

        A date in the future must not make all others look old, so the newest one counts only up to our own time.
        """
        date, today = _moment(entity.modified_at), _moment(now())
        if date is None or today is None or self._newest is None or entity.ref in self._asked_earlier:
            return False
        return min(self._newest, today) - date >= OVERLAP


def _moment(text: str) -> datetime | None:
    """A date as a tracker or an archive writes it, in UTC if it has no offset; None if it is none."""
    try:
        return aware(datetime.fromisoformat(text))
    except ValueError:
        return None
