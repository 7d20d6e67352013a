"""One seed of the third kind: backups into a bucket by two machines, one after the other, killed at any step.

The store is in memory and loses answers (`stores.py`); all above it is real: blobs, lock, the copies of catalog and
journal, and how a machine gets in step with them. What holds is what holds for a folder, and for two machines: what the
bucket's journal calls stored is in the bucket, whoever reads it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from migrator.errors import ConfigError
from migrator.jobs import remote
from migrator.layers.retry import RetryingSource
from migrator.layers.verify import VerifiedSource
from migrator.model import Blob
from migrator.pipeline.backup import BackupSettings, backup
from migrator.pipeline.rebuild import rebuild
from migrator.pipeline.verify import verify
from migrator.store import Bucket, BucketAddress, Catalog, Encryption, IncomingBlob, InStep, Lease, Mirror
from migrator.store.catalog.database import CatalogDatabase, sqlite_errors
from migrator.store.objects import blobs, bucket, lease, receiving
from migrator.trackers.memory import MemorySource
from tests.simulation import loop
from tests.simulation.faults import NO_FAULTS, SMALL, FaultInjector, FaultPlan, simulated
from tests.simulation.stores import MemoryStore, blobs_in, unsound
from tests.simulation.story import HAS_TABLES, PATIENCE, SAID, Story, fault_plan, new_story
from tests.simulation.toy_age import toy_age
from tests.support.parts import expected, rows

URL = "memory://archive"
MACHINES = "ab"
MAX_DISTURBED_RUNS = 5
CRASH_POINTS = (
    "put blobs",
    "put incoming",
    "copy blobs",
    "put lock",
    "put manifest",
    "put catalog",
    "delete",
    "rename",
)
"""Half of the kills are at crash points with one of these words."""
STORED = "SELECT attachment_id, name, sha256 FROM attachments WHERE status = 'stored'"


class StoreInjector(FaultInjector):
    """Faults of one run; a catalog must not call a blob stored that the store does not have."""

    store: MemoryStore

    def expect_safe(self, catalog: CatalogDatabase) -> None:
        super().expect_safe(catalog)
        if catalog.db.conn.execute(HAS_TABLES).fetchone():
            said = catalog.db.conn.execute("SELECT sha256 FROM attachments WHERE status = 'stored'").fetchall()
            wrong = unsound(blobs_in(self.store.objects), [name for (name,) in said])
            missing = set(wrong) - self.store.damaged
            if missing:
                raise loop.ViolationError(
                    f"the catalog says that these are stored, and the store lacks them: {missing}"
                )

    def sending_the_journal(self, _mirror: Mirror, _lease: Lease, _seconds: float) -> AbstractContextManager[None]:
        """In place of the thread that copies the journal now and then: it never does."""
        return nullcontext()


class ShuffledPool:
    """In place of threads: what was submitted is done when the first result is asked for, in an order of chance."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._waiting: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Any:
        future: Future[Any] = Future()
        self._waiting.append((future, call, arguments))
        return SimpleNamespace(result=lambda: self._result(future))

    def _result(self, future: Future[Any]) -> Any:
        while not future.done():
            other, call, arguments = self._waiting.pop(self._rng.randrange(len(self._waiting)))
            try:
                other.set_result(call(*arguments))
            except loop.Killed:
                raise
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                other.set_exception(error)
        return future.result()


class InlineUpload:
    """In place of the thread that sends a large file: it is sent when it is complete."""

    def __init__(self, store: Bucket, name: str, encoding: Any) -> None:
        self._bucket, self._encoding, self.name_there = store, encoding, name
        self._chunks: list[bytes] = []
        self.discarded = False

    def start(self) -> None:
        """Nothing is to be started."""

    async def send(self, chunk: bytes) -> None:
        """Keep a chunk."""
        self._chunks.append(chunk)

    def finish(self) -> Any:
        """Send it."""
        content = b"".join(self._chunks)
        self._bucket.put_stream(f"incoming/{self.name_there}", self._encoding.encoded(iter(self._chunks)))
        return IncomingBlob(Blob(sha256(content).hexdigest(), len(content)), self.name_there)


class InlineThread:
    """In place of the threads of a lock: it is renewed only where `guard` asks for it, and released at once."""

    def __init__(self, target: Callable[[], None], name: str, **_: object) -> None:
        self._target, self._name = target, name

    def start(self) -> None:
        """Run what is to be run once."""
        if self._name == "release":
            self._target()

    def join(self, timeout: float | None = None) -> None:
        """It has ended."""


@dataclass(slots=True)
class Cloud:
    """A story with its store."""

    story: Story
    store: MemoryStore
    had: dict[str, Any] = field(default_factory=dict)

    def folder(self, machine: str) -> Path:
        """Where a machine keeps its catalog."""
        return self.story.root.with_name(f"machine-{machine}")

    @contextmanager
    def held(self, machine: str, command: str, *, create: bool = False, ours: bool = True) -> Iterator[Any]:
        """The archive, as `held_bucket` holds it."""
        encryption = self.encryption(machine)
        place = SimpleNamespace(
            folder=self.folder(machine),
            bucket=lambda: Bucket(URL, self.store),  # type: ignore[arg-type]
            known=InStep(URL, recipients=encryption.recipients if encryption else ()),
            encryption=encryption,
            address=BucketAddress(URL),
        )
        with remote.held_bucket(place, command, create=create, ours=ours) as archive:  # type: ignore[arg-type]
            yield archive

    def encryption(self, _machine: str) -> Encryption | None:
        """How a machine encrypts; None if it doesn't."""
        return None

    def run(self, machine: str, name: str, work: Any, injector: StoreInjector) -> dict[str, Any] | None:
        """One run of a machine, as a process of its own."""
        story, self.store.injector, injector.store = self.story, injector, self.store
        story.root = self.folder(machine)
        story.source.injector = story.target.injector = injector
        story.disk.catalog = b""
        story.traces.append(injector.trace)
        with in_memory(injector, self.store):
            summary = story._run(f"{name} on {machine}", work, injector)
        self.check(machine)
        return summary

    def check(self, machine: str) -> None:
        """What a catalog calls stored is in the bucket, whole."""
        folder = self.folder(machine)
        if (folder / "catalog.db").exists() and rows(folder, HAS_TABLES):
            wrong = unsound(blobs_in(self.store.objects), {digest for _, _, digest in rows(folder, STORED)})
            self.story.expect(not wrong, f"what machine {machine} has recorded is in the store: {wrong}")


@contextmanager
def in_memory(injector: FaultInjector, store: MemoryStore) -> Iterator[None]:
    """Put the store and what replaces threads into the program while the context lasts."""
    tokens = iter(range(10**9))
    with (
        simulated(injector),
        toy_age(1000 * store.writes),
        patch.object(bucket, "WAIT_SECONDS", 0),
        patch.object(lease, "PAUSE_SECONDS", 0),
        patch.object(lease, "token_hex", lambda _: f"{store.writes}-{next(tokens)}"),
        patch.object(lease, "_seconds_awake", lambda: store.seconds),
        patch.object(lease.threading, "Thread", InlineThread),
        patch.object(blobs, "ThreadPoolExecutor", lambda *_: ShuffledPool(injector.rng)),
        patch.object(receiving, "_Upload", InlineUpload),
        patch.object(receiving, "PART_BYTES", 2 * SMALL),
        patch.object(remote, "interruptible", lambda call: call()),
        patch.object(remote.store, "ArchiveLock", lambda *_: nullcontext(SimpleNamespace(handles=()))),
        patch.object(remote, "_sending_the_journal", injector.sending_the_journal),
    ):
        yield


async def _backup(cloud: Cloud, machine: str, injector: FaultInjector) -> dict[str, Any]:
    with cloud.held(machine, "backup", create=True) as archive:
        folder = cloud.folder(machine)
        with closing(Catalog(folder)) as catalog, sqlite_errors(folder):
            source = RetryingSource(VerifiedSource(MemorySource(cloud.story.source)), PATIENCE)
            settings = BackupSettings(identity="memory", downloads=4)
            return (await backup(source, archive, catalog, settings, stop=injector.stop)).as_json()


async def _rebuild(cloud: Cloud, machine: str) -> dict[str, Any]:
    with cloud.held(machine, "rebuild", ours=False) as archive, sqlite_errors(archive.root):
        return rebuild(archive).as_json()


async def _verify(cloud: Cloud, machine: str) -> dict[str, Any]:
    with cloud.held(machine, "verify") as archive:
        return (await verify(archive)).as_json()


def simulate_in_bucket(seed: int) -> Story:
    """Play the whole story of a seed; `ViolationError` if a rule is broken."""
    with new_story(seed) as story:
        chance = story.rng
        cloud = Cloud(story, MemoryStore(no_faults(story), conditional=chance.random() < 0.7))
        for plan in plans(chance, 60 + 25 * (len(story.source.files) + len(story.source.entities))):
            cloud.store.refuses = chance.choice([0.0, 0.0, 0.05, 0.2])
            one_backup(cloud, chance.choice(MACHINES), StoreInjector(random.Random(chance.random()), plan, story.disk))
            cloud.store.seconds += chance.choice([1.0, 400.0])
        ends_well(cloud)
    return story


def plans(rng: random.Random, crash_points: int) -> Iterator[FaultPlan]:
    """The faults of some runs."""
    words: Sequence[str] = CRASH_POINTS
    for _ in range(rng.randint(1, MAX_DISTURBED_RUNS)):
        plan = fault_plan(rng, crash_points, words)
        yield replace(plan, disk=plan.disk / 50, away=False, short="", ends_at=0)  # a run has thousands of reads


def no_faults(story: Story) -> StoreInjector:
    """The injector of a run without faults."""
    return StoreInjector(random.Random(story.seed), NO_FAULTS, story.disk)


def one_backup(cloud: Cloud, machine: str, injector: StoreInjector) -> dict[str, Any] | None:
    """One backup. Where two machines have gone on apart, this one gives way, as its user would decide."""
    story, folder = cloud.story, cloud.folder(machine)
    summary = cloud.run(machine, "backup", _backup(cloud, machine, injector), injector)
    if summary and summary["status"] == "complete":
        story.expect(recorded(folder) == expected(story.source), "a backup that says complete has everything")
    if summary is None and f"run: {ConfigError.__name__}" in story.log[-1].replace(f"backup on {machine}", "run"):
        story.expect("has changes that" in story.log[-1], f"no other way is closed: {story.log[-1]}")
        cloud.run(machine, "rebuild", _rebuild(cloud, machine), no_faults(story))
    return summary


def recorded(folder: Path) -> dict[str, tuple[str, str]]:
    """Name and hash of each attachment that the catalog calls stored."""
    return {id_: (name, digest) for id_, name, digest in rows(folder, STORED)}


def ends_well(cloud: Cloud) -> None:
    """Each machine completes; a bare one takes over what they have, and nothing is left on its way."""
    story, cloud.store.refuses = cloud.story, 0.0
    for machine in MACHINES:
        for _ in range(3):  # a lock that has to run out, and a catalog that has to give way
            cloud.store.seconds += 400
            summary = one_backup(cloud, machine, no_faults(story))
            if summary is not None:
                break
        story.expect(summary and summary["status"] == "complete", f"the last backup is complete: {summary}")
    for command, work in (("rebuild", _rebuild), ("verify", _verify)):
        done = cloud.run("c", command, work(cloud, "c"), no_faults(story))
        story.expect(done, f"a bare machine can {command}")
        story.expect(command != "verify" or not done["problems"], f"verify finds nothing: {done}")  # type: ignore[index]
    story.expect(recorded(cloud.folder("c")) == expected(story.source), "a bare machine has every file")
    here, there = ([rows(cloud.folder(each), said) for said in SAID] for each in "bc")
    story.expect(here == there, "a bare machine has the catalog of the last one")
    left = [path for path in cloud.store.objects if path.startswith(("incoming/", "lock"))]
    story.expect(not left, f"nothing is left on its way: {left}")
