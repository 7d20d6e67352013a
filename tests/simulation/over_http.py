"""One seed over HTTP: the adapters of two trackers, real sockets, a server that fails, a program that is killed.

The sandbox of a tracker runs in the simulated loop beside the program, at a socket that outlives both. A kill ends
both, but what the tracker holds stays.

Beware: a seed draws the trackers and the fault plans, but not what the operating system does with a socket, so it
gives the same faults each time and not always the same trace.
"""

from __future__ import annotations

import random
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.errors import MigratorError
from migrator.layers.retry import RetryingTarget
from migrator.model import EntityRef
from migrator.sandbox import SANDBOXES
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world.model import World
from migrator.store.catalog import Catalog
from migrator.trackers import adapter
from migrator.wire.client import HttpClient
from tests.simulation import loop
from tests.simulation.disk import ForgetfulDisk
from tests.simulation.faults import NO_FAULTS, FaultInjector, FaultPlan, ViolationError, simulated
from tests.simulation.story import HAS_TABLES, archived
from tests.support.parts import PATIENCE, rows, run_backup, run_load, run_verify
from tests.system.test_pairs import OPTIONS, REFUSES, assert_there_once, mapped

TRACKERS = tuple(sorted(SANDBOXES))
NOTHING_TELLS_A_LENGTH = ("kiwi", "roundup")
"""Sources whose files can't be told from others: neither the listing nor the file itself says how long it is."""
NO_EMPTY_FILES = ("kiwi", "roundup")
FAULTY = ("stalled", "login_page", "redirected", "gzipped", "dribbled")
CRASH_POINTS = {"backup": 400, "load": 250}
"""About how many crash points a whole run has."""


@dataclass(slots=True)
class Place:
    """A tracker and the socket at which it answers."""

    sandbox: Sandbox
    socket: socket.socket

    @asynccontextmanager
    async def client(self) -> AsyncIterator[tuple[Any, HttpClient, Any]]:
        """The running tracker; yields its `Adapter`, a client and the options, to build a source or target from."""
        await self.sandbox.start(listening=self.socket.dup())
        parts = adapter(self.sandbox.tracker)
        known = parts.options.__dataclass_fields__
        options = {key: value for key, value in OPTIONS.get(self.sandbox.tracker, {}).items() if key in known}
        http = HttpClient(self.sandbox.url, parts.signer(self.sandbox.credentials), timeout=10)
        try:
            yield parts, http, parts.options(**options)
        finally:
            await http.close()
            await self.sandbox.stop()


class HttpStory:
    """The world of a seed, and its runs so far. `log` has a line for each run, with the faults that it met."""

    def __init__(self, seed: int, root: Path, source: Place, target: Place) -> None:
        self.seed, self.root, self.source, self.target = seed, root, source, target
        self.rng, self.disk = random.Random(seed), ForgetfulDisk()
        self.crash_points = 0
        self.log = [f"{source.sandbox.tracker} -> {target.sandbox.tracker}"]

    def expect(self, holds: object, what: str) -> None:
        """Raise `ViolationError` unless it holds."""
        if not holds:
            raise ViolationError("\n".join([f"seed {self.seed} over HTTP: {what}", *self.log]))

    def run(self, job: str, injector: FaultInjector, faults: Faults) -> dict[str, Any] | None:
        """Run a job like a process of its own; None if it did not get as far as its summary."""
        self.disk.catalog = b""
        work = self._backup if job == "backup" else self._load
        self.source.sandbox.faults = self.target.sandbox.faults = faults
        try:
            with simulated(injector):
                summary: dict[str, Any] = loop.run(work(self.root / "archive", injector), injector.rng)
        except loop.Killed as crash_point:
            self.log.append(
                f"{job}: killed at crash point {len(injector.trace)}, {crash_point}; {dict(faults.injected)}"
            )
            if injector.plan.power_cut:
                self.disk.power_cut(self.rng, self.root / "archive")
                if (self.root / "archive" / "catalog.db").exists():
                    Catalog(self.root / "archive").close()  # opening it lets it catch up with its manifest
            return None
        except MigratorError as error:
            self.log.append(f"{job}: {type(error).__name__}: {error}; {dict(faults.injected)}")
            return None
        finally:
            self.crash_points += len(injector.trace)
        self.log.append(f"{job}: {summary['status']} after {len(injector.trace)} crash points; {dict(faults.injected)}")
        return summary

    async def _backup(self, archive: Path, injector: FaultInjector) -> dict[str, Any]:
        async with self.source.client() as (parts, http, options):
            source = parts.source(http, options)
            summary = await run_backup(None, archive, source=source, stop=injector.stop)
            await source.close()
            return summary

    async def _load(self, archive: Path, injector: FaultInjector) -> dict[str, Any]:
        async with self.target.client() as (parts, http, options):
            target = RetryingTarget(parts.target(http, options), PATIENCE)
            return await run_load(None, archive, self.mapping(), target=target, uploads=3, stop=injector.stop)

    def mapping(self) -> dict[EntityRef, tuple[EntityRef, ...]]:
        """The mapping of each entity with files to one of the target's."""
        return {of: (to,) for of, to in self.pairs()}

    def pairs(self) -> list[tuple[EntityRef, EntityRef]]:
        """The mapping as a list."""
        return mapped(self.root, self.target.sandbox)

    def disturbed(self, job: str) -> Iterator[tuple[FaultInjector, Faults]]:
        """The faults of a few runs: those of the program, and those of the tracker."""
        for _ in range(self.rng.randint(1, 3)):
            rng = random.Random(self.rng.random())
            plan = FaultPlan(kill_at=rng.randint(1, CRASH_POINTS[job]), power_cut=rng.random() < 0.5)
            faults = Faults.transient(rng.choice([0.0, 0.05, 0.2]), seed=self.seed)
            if self.source.sandbox.tracker in NOTHING_TELLS_A_LENGTH:
                faults.wrong_size = 0.0
            faults.lose_upload_rate = rng.choice([0.0, 0.1])
            for turn in range(2):
                setattr(faults, FAULTY[(self.seed + turn * 2) % len(FAULTY)], 0.15)
            if job == "backup" and rng.random() < 0.2:  # the storage is away for a night
                faults.gone = {file.id for file in self.source.sandbox.world.attachments}
            yield FaultInjector(rng, plan, self.disk), faults

    def no_faults(self) -> tuple[FaultInjector, Faults]:
        """No faults."""
        return FaultInjector(random.Random(self.seed), NO_FAULTS, self.disk), Faults()

    def backups(self) -> None:
        """Disturbed backups, then one that must complete with the same archive as an undisturbed one."""
        sandbox = self.source.sandbox
        for injector, faults in [*self.disturbed("backup"), self.no_faults()]:
            had, seen = self.recorded(), sandbox.downloads.copy()
            summary = self.run("backup", injector, faults)
            again = {id_ for id_ in had if sandbox.downloads[self.number_of(id_)] != seen[self.number_of(id_)]}
            self.expect(not again, f"downloaded again although recorded: {again}")
            self.expect(had.items() <= self.recorded().items(), "what was recorded stays recorded")
        self.expect(summary and summary["status"] == "complete", f"the last backup is complete: {summary}")
        undisturbed = self.root / "undisturbed"
        injector, sandbox.faults = self.no_faults()
        with simulated(injector):
            loop.run(self._backup(undisturbed, injector), injector.rng)
            verified = loop.run(run_verify(self.root / "archive"), injector.rng)
        same = archived(self.root / "archive") == archived(undisturbed)
        self.expect(same, "the archive is that of a run without faults")
        self.expect(not verified["problems"], f"verify finds nothing: {verified}")

    def number_of(self, id_: str) -> int:
        """The number in the source's sandbox of an attachment, by the id that its adapter gives it."""
        if self.source.sandbox.tracker == "trac":  # by ticket and name
            ticket, _, name = id_.partition("/")
            return next(file.id for file in self.source.sandbox.state.files_of(int(ticket)) if file.name == name)
        return int(re.split("[^0-9]", id_)[-1])

    def recorded(self) -> dict[str, str]:
        """The hash of each attachment that the catalog calls stored, by id."""
        archive = self.root / "archive"
        if not (archive / "catalog.db").exists() or not rows(archive, HAS_TABLES):
            return {}
        return dict(rows(archive, "SELECT attachment_id, sha256 FROM attachments WHERE status = 'stored'"))

    def loads(self) -> None:
        """Disturbed loads, then one that must complete, with each file at the target once."""
        for injector, faults in [*self.disturbed("load"), self.no_faults()]:
            summary = self.run("load", injector, faults)
        refused = REFUSES.get(self.target.sandbox.tracker, set())
        refused |= {"empty.txt"} if self.target.sandbox.tracker in NO_EMPTY_FILES else set()
        left = summary and {failure["name"] for failure in summary["failures"]}
        self.expect(summary and left <= refused, f"the last load has put there all that the target takes: {summary}")
        self.expect(left or summary["status"] == "complete", f"the last load is complete: {summary}")
        assert_there_once(self.root, self.target.sandbox, self.pairs(), describes=False)


def simulate_over_http(seed: int, root: Path) -> HttpStory:
    """Play the whole story of a seed in the folder `root`; `AssertionError` if a rule is broken.

    81 seeds in a row have each pair of trackers once.
    """
    source, target = TRACKERS[seed % len(TRACKERS)], TRACKERS[(seed + seed // len(TRACKERS)) % len(TRACKERS)]
    world = World.generate(entities=14, attachments=16, median_bytes=600, large_bytes=20_000)
    with ExitStack() as stack:
        found = HttpStory(seed, root, _place(stack, source, world), _place(stack, target, world.without_attachments()))
        found.backups()
        found.loads()
    return found


def _place(stack: ExitStack, tracker: str, world: World) -> Place:
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
    return Place(SANDBOXES[tracker](world), listening)
