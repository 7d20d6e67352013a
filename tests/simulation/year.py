"""A year of nightly backups in a few minutes: the tracker changes, files fail, runs are killed, snapshots are pruned.

    python -m tests.simulation.year [--nights 365] [--attachments 20000] [--seed 1]

Each night the tracker changes a little; the backup may meet a file that fails, or be killed at any transaction, and is
then run again; after it comes a prune, which may be killed, too. A model remembers what the tracker held at each
complete backup. At the end every snapshot that is kept must be what the model says, with its bytes, also after the
catalog was lost and rebuilt; and the archive must hold exactly what these snapshots need.

The clock that dates the snapshots is the simulation's; everything else is the unchanged program.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import sys
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from typing_extensions import override

from migrator.errors import RejectedError
from migrator.model import Attachment, Entity, EntityRef
from migrator.pipeline.prune import Retention, prune
from migrator.pipeline.rebuild import rebuild
from migrator.store import Snapshot, audit
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog, runs, snapshots
from migrator.store.catalog.database import CatalogDatabase
from migrator.trackers.memory import ASKED, MemoryTracker
from tests.support.parts import rows, run_backup, run_verify

START = datetime(2026, 1, 1, 2, tzinfo=UTC)
RETENTION = Retention(last=3, daily=7, weekly=4, monthly=12)
MAX_BYTES_OF_AN_UNCHANGED_NIGHT = 65_536
FileState = tuple[str, str, str, str]
"""Kind, entity id, name and SHA-256."""


class KilledError(BaseException):
    """The process ends here."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """`KilledError` at the transaction with this number and all after it; below 0, at none."""
    real, steps = CatalogDatabase.transaction, count()

    def transaction(database: CatalogDatabase) -> Any:
        if 0 <= step <= next(steps):
            raise KilledError
        return real(database)

    with patch.object(CatalogDatabase, "transaction", transaction):
        try:
            yield
        except BaseExceptionGroup as group:
            if group.subgroup(KilledError) is None:
                raise
            raise KilledError from None


class IndexedTracker(MemoryTracker):
    """A tracker with indexes, so that many files are listed quickly."""

    def refresh(self) -> None:
        """Make the indexes anew, after changes."""
        self.by_owner = defaultdict[EntityRef, list[Attachment]](list)
        for file in self.files.values():
            self.by_owner[file.owner].append(file)
        self.by_stream = defaultdict[bool, list[tuple[int, Entity]]](list)
        for ref, entity in self.entities.items():
            self.by_stream[ref.kind in self.asked].append((self._numbers[ref], entity))

    @override
    def of(self, owner: EntityRef) -> tuple[Attachment, ...]:
        return tuple(self.by_owner[owner])

    @override
    def entities_after(self, number: int, stream: str) -> list[tuple[int, Entity]]:
        numbered = self.by_stream[stream == ASKED]
        start = bisect_right(numbered, number, key=lambda pair: pair[0])
        return numbered[start : start + self.page_size]


@dataclass
class Year:
    """The tracker, the archive, and what each snapshot should hold."""

    root: Path
    rng: random.Random
    tracker: IndexedTracker
    night: int = 0
    expected: dict[int, dict[str, FileState]] = field(default_factory=dict)
    kills: int = 0
    failures: int = 0
    fresh: list[str] = field(default_factory=list)

    def now(self) -> str:
        """The simulated time."""
        return (START + timedelta(days=self.night)).isoformat(timespec="seconds")

    def change(self, share: float) -> None:
        """Remove, add, rename, move or replace up to this share of the files."""
        tracker, rng = self.tracker, self.rng
        self.fresh = []
        files, entities = list(tracker.files), list(tracker.entities)
        for id_ in rng.sample(files, rng.randint(0, int(len(files) * share))):
            file, what = tracker.files[id_], rng.random()
            if what < 0.25:
                tracker.remove(id_)
            elif what < 0.5:
                self.fresh.append(tracker.attach(rng.choice(entities), f"new {self.night}.txt", rng.randbytes(20)).id)
            elif what < 0.7:
                tracker.files[id_] = replace(file, name=f"name {rng.randint(0, 9)}")
            elif what < 0.8:
                tracker.files[id_] = replace(file, owner=rng.choice(entities))
            else:
                tracker.content[id_] = rng.randbytes(rng.randint(1, 40))
                date = f"{self.now()[:10]}T00:00:00Z"
                tracker.files[id_] = replace(file, size=len(tracker.content[id_]), created_at=date)
        tracker.refresh()

    async def live(self, share: float) -> None:
        """One day and one night: change the tracker, back it up until that completes, prune."""
        self.change(share)
        while (await self._backup()) != "complete":
            pass
        with self._perhaps_killed(0.2):
            await self._prune()
        self.night += 1

    async def _backup(self, *, disturbed: bool = True) -> str:
        struck = self.rng.choice(self.fresh) if disturbed and self.fresh and self.rng.random() < 0.2 else ""
        status = "killed"

        async def on_call(verb: str, about: str) -> None:
            if verb == "download" and about == struck:
                self.failures += 1
                raise RejectedError("not tonight")

        self.tracker.on_call = on_call
        with self._perhaps_killed(0.2 * disturbed):
            summary = await run_backup(self.tracker, self.root, max_gone=None)
            status = summary["status"]
            if status == "complete":
                self.expected[summary["run"]] = {
                    id_: (*file.owner, file.name, hashlib.sha256(self.tracker.content[id_]).hexdigest())
                    for id_, file in self.tracker.files.items()
                }
        return str(status)

    async def _prune(self) -> None:
        archive = Archive(self.root)
        archive.prepare()
        with closing(Catalog(self.root)) as catalog:
            done = await prune(archive, catalog, RETENTION)
        for run in done.snapshots["removed"]:
            self.expected.pop(run, None)

    @contextmanager
    def _perhaps_killed(self, chance: float) -> Iterator[None]:
        """With this chance the program ends at one of its first transactions."""
        try:
            with killed_at(self.rng.randint(0, 12) if self.rng.random() < chance else -1):
                yield
        except KilledError:
            self.kills += 1

    def held(self) -> list[Snapshot]:
        """The snapshots of the archive. The model forgets those that a killed prune has forgotten."""
        with closing(Catalog(self.root, read_only=True)) as catalog:
            found = catalog.snapshots.all()
        self.expected = {each.run: self.expected[each.run] for each in found}
        return found

    def check(self) -> None:
        """Every snapshot must be what the model says, and the archive hold what they need and nothing else."""
        needed = {sha256 for (sha256,) in rows(self.root, "SELECT sha256 FROM attachments WHERE status = 'stored'")}
        for each in self.held():
            wanted = self.expected[each.run]
            states = rows(
                self.root,
                "SELECT attachment_id, kind, entity_id, name, sha256 FROM history "
                f"WHERE from_run <= {each.run} AND coalesce(to_run, {each.run}) >= {each.run}",
            )
            assert {id_: tuple(state) for id_, *state in states} == wanted, f"snapshot {each.run}"
            assert len(states) == len(wanted) == each.attachments, f"snapshot {each.run}"
            needed |= {state[-1] for state in wanted.values()}
        blobs = {path.name: path for path in (self.root / "blobs").glob("*/*")}
        assert blobs.keys() == needed, "the archive holds exactly what is needed"
        for sha256, path in blobs.items():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256

    def lose_the_catalog(self) -> None:
        """Delete the catalog and rebuild it from the journal."""
        for path in self.root.glob("catalog.db*"):
            path.unlink()
        assert rebuild(Archive(self.root)).as_json()["status"] == "complete"

    def story(self) -> str:
        """The state so far, in a line."""
        return (
            f"night {self.night}: {len(self.tracker.files)} files, {len(self.expected)} snapshots, {self.kills} kills, "
            f"{self.failures} failures, {self.size_of_records() / 1e6:.1f} MB of catalog and journal"
        )

    def size_of_records(self) -> int:
        """Bytes of catalog and journal together."""
        return sum(path.stat().st_size for path in (*self.root.glob("catalog.db*"), *self.root.glob("manifest*")))


def begun(root: Path, seed: int, attachments: int) -> Year:
    """A year that begins with this many attachments, three for each entity."""
    rng, tracker = random.Random(seed), IndexedTracker(page_size=500, asked=())
    for _ in range(attachments // 3 + 1):
        owner = tracker.add("Bug", title="a bug")
        for number in range(3):
            tracker.attach(owner, f"file {number}.txt", rng.randbytes(rng.randint(5, 60)))
    tracker.refresh()
    return Year(root, rng, tracker)


async def lived(year: Year, nights: int, share: float, said: Any = lambda _: None) -> None:
    """Live through this many nights, and check everything at the end."""
    with patch.object(runs, "now", year.now), patch.object(snapshots, "now", year.now):
        for _ in range(nights):
            await year.live(share)
            if year.night % 20 == 0:
                said(year.story())
        await year._prune()
        before, began = year.size_of_records(), time.monotonic()
        assert await year._backup(disturbed=False) == "complete"
        added = year.size_of_records() - before
        said(f"an unchanged night: {time.monotonic() - began:.1f} s, {added} bytes more")
        assert added < MAX_BYTES_OF_AN_UNCHANGED_NIGHT
        await year._prune()
    year.check()
    assert (await run_verify(year.root))["problems"] == []
    assert audit(year.root) == []
    year.lose_the_catalog()
    year.check()


def main() -> None:
    """Play a year."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("nights", 365), ("attachments", 20_000), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        year = begun(Path(folder) / "archive", options.seed, options.attachments)
        began = time.monotonic()
        asyncio.run(lived(year, options.nights, 0.01, _say))
        _say(f"{year.story()}; every snapshot with its bytes, also after a rebuild; {time.monotonic() - began:.0f} s")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
