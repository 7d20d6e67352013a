"""Weeks of nights that ask only changed entities, on a tracker whose dates are coarse and whose clock is wrong.

    python -m tests.simulation.dated [--seeds 100] [--nights 30]

By day and during the crawls the tracker changes: most changes give their entity a new date, some don't. Its clock and
ours differ, its dates are precise to a second, a minute or a day, with or without an offset, and some are nonsense.
Files, lists and pages fail, and runs are killed. A model knows when each file came and went, and whether that changed
a date.

After each complete night:
- what changed with a date before the crawl is in the archive, or gone from it;
- so is everything that changed without one longer ago than `full_every` and one night;
- nothing is called gone that the tracker has, and every stored file has its bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from migrator.errors import RejectedError
from migrator.model import EntityRef
from migrator.pipeline.backup import unchanged
from migrator.store.catalog import runs, snapshots
from migrator.trackers.memory import MemoryTracker
from tests.simulation.year import KilledError, killed_at
from tests.support.parts import rows, run_backup, stored

START = datetime(2026, 1, 5, 2, tzinfo=UTC)
DAY = 86_400
NONSENSE = ("", "yesterday", "2099-12-31T00:00:00Z")


@dataclass(frozen=True)
class Event:
    """A file that came or went at a `moment`, in seconds; `dated` if its entity got a new date by that."""

    moment: float
    file: str
    came: bool
    dated: bool


@dataclass
class Dated:
    """The tracker, its clock and ours, and all that happened. `moment` is the true time in seconds since START."""

    root: Path
    rng: random.Random
    tracker: MemoryTracker
    granule: int
    zone: int
    offset_shown: bool
    tracker_skew: float
    our_skew: float
    full_every: float
    moment: float = 0.0
    events: list[Event] = field(default_factory=list)
    began: float | None = None
    complete: int = 0
    kills: int = 0
    left_out: int = 0
    trouble: bool = False

    def now(self) -> str:
        """Our clock."""
        return (START + timedelta(seconds=self.moment + self.our_skew)).isoformat(timespec="seconds")

    def date(self) -> str:
        """The tracker's date for a change that happens now."""
        moment = START + timedelta(seconds=self.moment + self.tracker_skew)
        local = moment.astimezone(timezone(timedelta(hours=self.zone)))
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        passed = int((local - midnight).total_seconds()) // self.granule * self.granule
        coarse = midnight + timedelta(seconds=passed)
        return (coarse if self.offset_shown else coarse.replace(tzinfo=None)).isoformat()

    def touch(self, ref: EntityRef, *, dated: bool) -> None:
        """Give an entity a new date, if it has any."""
        if dated and self.tracker.modified.get(ref) not in NONSENSE[:2]:
            self.tracker.modified[ref] = self.date()

    def change(self, ref: EntityRef | None = None) -> None:
        """One change of an entity."""
        tracker, rng = self.tracker, self.rng
        what, dated = rng.random(), rng.random() < 0.8
        if ref is None and (what < 0.05 or not tracker.entities):
            ref = tracker.add("Story")
            tracker.modified[ref] = self.date()
            what, dated = 1.0, True
        ref = ref or rng.choice(list(tracker.entities))
        files = tracker.of(ref)
        if ref not in tracker.entities:
            return
        if what < 0.1:
            for file in files:
                self.remove(file.id, dated=True)  # a deleted entity is not listed, whatever its date
            del tracker.entities[ref]
        elif what < 0.45 and files:
            self.remove(rng.choice(files).id, dated=dated)
            self.touch(ref, dated=dated)
        else:
            file = tracker.attach(ref, f"{len(self.events)}.txt", rng.randbytes(rng.randint(1, 30)))
            self.events.append(Event(self.moment, file.id, came=True, dated=dated))
            self.touch(ref, dated=dated)

    def remove(self, file_id: str, *, dated: bool) -> None:
        """Delete a file."""
        self.tracker.remove(file_id)
        self.events.append(Event(self.moment, file_id, came=False, dated=dated))

    async def on_call(self, verb: str, key: str) -> None:
        """During a crawl time passes, entities are changed before and after they are asked, and requests fail."""
        self.moment += self.rng.choice([0.1, 2.0, 60.0])
        if self.rng.random() < 0.1:
            owner = self.tracker.files[key].owner if verb == "download" and key in self.tracker.files else None
            if verb == "download" and owner in self.tracker.entities:
                self.change(owner)
            elif verb == "read":
                self.change()
        if self.trouble and verb in {"read", "attachments_of", "download"} and self.rng.random() < 0.05:
            raise RejectedError("not tonight")

    async def live(self) -> None:
        """One day and one night."""
        for _ in range(self.rng.randint(0, 3)):
            self.moment += self.rng.uniform(0, DAY / 4)
            self.change()
        self.moment = max(self.moment, (self.moment // DAY + 1) * DAY) + self.rng.uniform(0, 600)
        if self.rng.random() < 0.1:
            self.zone += self.rng.choice([-1, 1])  # summer time begins or ends
        self.trouble = self.rng.random() < 0.3
        await self.night()

    async def night(self) -> None:
        """One run, which may be killed, and what must hold after it."""
        self.tracker.on_call = self.on_call
        if self.began is None:
            self.began = self.moment
        done = None
        try:
            with killed_at(self.rng.randint(0, 60) if self.rng.random() < 0.25 else -1):
                done = await run_backup(self.tracker, self.root, full_every=self.full_every, max_gone=None, downloads=2)
        except KilledError:
            self.kills += 1
        self.check_gone()
        if done is None or done["status"] == "interrupted":
            return
        crawl_began, self.began = self.began, None
        self.left_out += done.get("not_asked", {}).get("entities", 0)
        if done["status"] == "complete":
            self.complete += 1
            self.check(crawl_began)

    def check_gone(self) -> None:
        """Nothing is called gone that the tracker has."""
        if (self.root / "catalog.db").exists() and rows(self.root, "SELECT 1 FROM sqlite_master WHERE name = 'runs'"):
            gone = {id_ for (id_,) in rows(self.root, "SELECT attachment_id FROM attachments WHERE status = 'gone'")}
            assert not gone & self.tracker.files.keys(), f"called gone: {gone & self.tracker.files.keys()}"

    def check(self, crawl_began: float) -> None:
        """What must be in the archive after a complete night."""
        held, silent = stored(self.root).keys(), crawl_began - self.full_every - DAY - 3600
        went = {event.file for event in self.events if not event.came}
        for event in self.events:
            if event.moment < (crawl_began if event.dated else silent):
                if event.came:
                    assert event.file in held or event.file in went, f"missed: {event}, now {self.moment}"
                else:
                    assert event.file not in held, f"still held: {event}, now {self.moment}"


def begun(root: Path, seed: int) -> Dated:
    """A tracker with a few entities, some with dates that are none."""
    rng = random.Random(seed)
    tracker = MemoryTracker(page_size=rng.randint(1, 4), dates_changes=True)
    world = Dated(
        root,
        rng,
        tracker,
        granule=rng.choice([1, 60, DAY]),
        zone=rng.randint(-11, 13),
        offset_shown=rng.random() < 0.5,
        tracker_skew=rng.uniform(-6 * 3600, 6 * 3600),
        our_skew=rng.uniform(-6 * 3600, 6 * 3600),
        full_every=rng.choice([3, 7]) * DAY,
        moment=-20.0 * DAY,
    )
    for _ in range(rng.randint(8, 14)):
        ref = tracker.add("Story")
        tracker.modified[ref] = world.date() if rng.random() < 0.85 else rng.choice(NONSENSE)
        for _ in range(rng.randint(0, 3)):
            world.change(ref)
        world.moment += rng.uniform(0, DAY)
    world.moment = 0.0
    return world


async def lived(world: Dated, nights: int) -> None:
    """Live through this many nights."""
    with ExitStack() as stack:
        for module in (unchanged, runs, snapshots):
            stack.enter_context(patch.object(module, "now", world.now))
        for _ in range(nights):
            await world.live()


def main() -> None:
    """Play many seeds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("seeds", 100), ("nights", 30), ("first", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    complete = kills = left_out = 0
    for seed in range(options.first, options.first + options.seeds):
        with TemporaryDirectory() as folder:
            world = begun(Path(folder) / "archive", seed)
            try:
                asyncio.run(lived(world, options.nights))
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
        complete, kills, left_out = complete + world.complete, kills + world.kills, left_out + world.left_out
    nights = options.seeds * options.nights
    said = f"{nights} nights, {complete} complete, {kills} killed; {left_out} times an entity was not asked"
    sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
