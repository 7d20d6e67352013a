"""One seed of the fourth kind: machines take turns on one bucket, with every job, while the source changes.

Backups, loads, rollbacks and prunes, each by any of three machines and killed at any step, and mostly continued by
another one. What holds after each run is read from the bucket's own journal, as the next machine would read it.

Beware: what a machine sent to the target and died before its journal was in the bucket, that machine alone knows. Such
files are called strays here. Another machine finds them at the target and does not send them again, where lists are
prompt and names stay; a rollback from there leaves them, and the next run there has to name the load that died.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from unittest.mock import patch

from migrator.errors import ConfigError, MigratorError
from migrator.jobs import remote
from migrator.layers.restoring import RestoreTarget
from migrator.layers.retry import RetryingTarget
from migrator.mapping.file import Mapping
from migrator.model import NOBODY, Attachment, EntityRef
from migrator.pipeline.load import LoadSettings, load
from migrator.pipeline.prune import Retention, prune
from migrator.pipeline.restore import RestoreSettings, restore
from migrator.pipeline.rollback import RollbackSettings, rollback
from migrator.store import Catalog, Encryption, Lease, Mirror
from migrator.store.catalog import snapshots
from migrator.store.catalog.database import sqlite_errors
from migrator.store.journal import replay
from migrator.store.objects.encoding import no_identity
from migrator.trackers.memory import MemoryTarget
from tests.simulation.disk import ForgetfulDisk
from tests.simulation.faults import NO_FAULTS, SMALL, FaultPlan, FaultyTracker
from tests.simulation.in_bucket import CRASH_POINTS, Cloud, StoreInjector, _backup, _rebuild, _verify
from tests.simulation.in_bucket import recorded as recorded_in
from tests.simulation.stores import MemoryStore, blobs_in, journal_in, unsound
from tests.simulation.story import (
    HAS_TABLES,
    LOAD_CRASH_POINTS,
    PATIENCE,
    ROLLBACK_CRASH_POINTS,
    SAID,
    Story,
    fault_plan,
    new_story,
)
from tests.support.parts import expected, rows

MACHINES = "abc"
MAX_TURNS = 9
ENCRYPTED = 1
"""Every fourth seed, beginning with this one, has an encrypted archive."""
COMMON = (b"same", b"", b"x" * (SMALL * 3), b"again", b"once more")
"""Contents that files of several owners have."""
RETENTIONS = (Retention(last=1), Retention(last=1), Retention(last=2), Retention())
WORDS = {
    "backup": CRASH_POINTS,
    "load": (*CRASH_POINTS, *LOAD_CRASH_POINTS * 3),
    "rollback": (*CRASH_POINTS, *ROLLBACK_CRASH_POINTS * 3),
    "restore": (*CRASH_POINTS, *LOAD_CRASH_POINTS * 3),
    "verify": (*CRASH_POINTS, "commit"),
    "prune": ("put manifest", "delete blobs", "delete blobs", "commit", "put lock"),
}
"""Half of the kills of a job are at crash points with one of these words."""
IDENTITY_NEEDED = "encryption.identity is needed"
NEED_NO_IDENTITY = ("backup", "prune", "verify")
IS_UNDER_WAY = "SELECT 1 FROM checkpoints"
OF_SNAPSHOTS = (
    "SELECT s.run_id, s.at, h.attachment_id, h.name, h.sha256 FROM snapshots s "
    "LEFT JOIN history h ON h.from_run <= s.run_id AND (h.to_run IS NULL OR s.run_id <= h.to_run)"
)
SENT = (
    "SELECT u.remote_id, u.seen, u.target_kind, u.target_id, coalesce(u.sent_sha256, a.sha256), u.status "
    "FROM uploads u JOIN attachments a USING (attachment_id) WHERE u.sent_run IS NOT NULL AND u.target = 'memory'"
)


class TurnInjector(StoreInjector):
    """Faults of one run, which also copies its journal into the bucket now and then, at any step of it."""

    def __init__(self, rng: random.Random, plan: FaultPlan, files: ForgetfulDisk, sends: float = 0.0) -> None:
        super().__init__(rng, plan, files)
        self._sends, self._own = sends, random.Random(rng.random())
        self._send: Callable[[], object] | None = None

    def at(self, crash_point: str) -> None:
        """The run is at a crash point; it may be its last, and another thread may copy the journal meanwhile."""
        super().at(crash_point)
        if self._send is not None and not self.dead and self._own.random() < self._sends:
            send, self._send = self._send, None
            with suppress(MigratorError):
                send()
            self._send = send

    @contextmanager
    def sending_the_journal(self, mirror: Mirror, lease: Lease, seconds: float) -> Iterator[None]:
        """As the real one does it, but for the thread."""

        def send() -> None:
            # A thread would wait for the copy that the run itself makes just now, and for its writing of the lock.
            if not (mirror._sending.locked() or lease._writing.locked()):
                lease.guard()
                mirror.send_journal()

        self._send = send
        try:
            yield
        finally:
            self._send = None


def no_faults(story: Story) -> TurnInjector:
    """The injector of a run without faults."""
    return TurnInjector(random.Random(story.seed), NO_FAULTS, story.disk)


class Warnings:
    """In place of the log of `migrator.jobs.remote`: keeps the warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, text: str, *values: object) -> None:
        """Keep it."""
        self.said.append(text % values)

    def info(self, text: str, *values: object) -> None:
        """What nobody has to see."""


@dataclass(slots=True)
class Turns(Cloud):
    """The world of a seed, and what must be true of it.

    `entered`: the last run had the archive, in step with the bucket. `contents` are all contents that a file ever had,
    `snapshots` what each complete backup saw, by its run and time. `theirs` are the files that were at the target
    before, `known` those that the bucket's journal once knew as sent, `rolled_back` those that rollbacks deleted.
    `version` counts the changes of the source, and `crawled` has that at which a machine's crawl began. `odd`: the
    target lists files late or renames them, so that strays are not recognised there, or are taken for others. `pruned`
    are machines with a prune that the bucket may not know yet, `pruning`: the last run was by one of them. `restores`:
    what this seed sends goes back to the source, not to the target; `restored` are files that did, and `owners` those
    of all that ever were. `untold` are strays of which no run that ended has told yet.
    `recipients` are those of an encrypted archive, which only the machines `readers` can read; `wrote` is who wrote
    its journal last.
    """

    entered: bool = False
    warnings: Warnings = field(default_factory=Warnings)
    contents: dict[str, set[bytes]] = field(default_factory=dict)
    snapshots: dict[tuple[int, str], dict[str, tuple[str, str]]] = field(default_factory=dict)
    theirs: dict[str, tuple[Attachment, bytes]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    rolled_back: set[str] = field(default_factory=set)
    version: int = 0
    crawled: dict[str, int] = field(default_factory=dict)
    clock: int = 0
    odd: bool = False
    pruned: set[str] = field(default_factory=set)
    pruning: bool = False
    restores: bool = False
    restored: set[str] = field(default_factory=set)
    owners: dict[str, EntityRef] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    recipients: tuple[str, ...] = ()
    readers: str = MACHINES
    wrote: str = ""

    def encryption(self, machine: str) -> Encryption | None:
        """How a machine encrypts; None if it doesn't. A bare machine has the private key."""
        if not self.recipients:
            return None
        has_key = machine in self.readers or machine not in MACHINES
        return Encryption(self.recipients, (lambda: "key-1") if has_key else no_identity)

    @contextmanager
    def held(self, machine: str, command: str, *, create: bool = False, ours: bool = True) -> Iterator[Any]:
        """The archive, as `held_bucket` holds it."""
        with Cloud.held(self, machine, command, create=create, ours=ours) as archive:
            self.entered = True
            yield archive

    def expect(self, holds: object, what: str) -> None:
        """Raise `ViolationError` unless it holds."""
        self.story.expect(holds, what)

    def unsound(self, blobs: dict[str, bytes], wanted: set[str]) -> set[str]:
        """Which of these blobs are missing or damaged, but for those that the seed has damaged."""
        return {*unsound(blobs, wanted)} - self.store.damaged

    def note(self, file: Attachment) -> None:
        """Remember a file of the source as it is now."""
        self.owners[file.id] = file.owner
        self.contents.setdefault(file.id, set()).add(self.story.source.content[file.id])

    def now(self) -> str:
        """A time that no snapshot had before."""
        self.clock += 1
        return f"2026-01-01T{self.clock // 3600:02}:{self.clock // 60 % 60:02}:{self.clock % 60:02}+00:00"

    def turn(
        self, machine: str, job: str, work: Coroutine[Any, Any, Any], injector: StoreInjector
    ) -> dict[str, Any] | None:
        """One run of a machine, and what must hold after each. One that has to give way does, and has no summary."""
        self.entered, self.warnings = False, Warnings()
        self.pruned |= {machine} if job == "prune" else set()
        self.pruning = machine in self.pruned
        lock = self.store.objects.get("lock")
        before = strays(self)
        was = self.store.objects.get("manifest.jsonl.age")
        with patch.object(remote, "_log", self.warnings), patch.object(snapshots, "now", self.now):
            summary = self.run(machine, job, work, injector)
        if IDENTITY_NEEDED in self.story.log[-1] and job in NEED_NO_IDENTITY:
            self.expect(self.wrote != machine, "a machine without the private key knows the journal that it has sent")
        if self.store.objects.get("manifest.jsonl.age") != was:
            self.wrote = machine
        self.untold |= strays(self) - before
        self._is_told(machine, had_lock=lock is not None)
        check_target(self)
        self.pruned -= {machine} if summary else set()
        if summary is None and f"{job} on {machine}: {ConfigError.__name__}" in self.story.log[-1]:
            self._gives_way(machine)
        return summary

    def _is_told(self, machine: str, *, had_lock: bool) -> None:
        """Of what a load left at the target before it died, each run is told, until one that was has ended."""
        told = [said for said in self.warnings.said if "` died on " in said]
        self.expect(len(told) <= len(MACHINES) and (had_lock or not told), f"nobody is told without need: {told}")
        self.untold &= strays(self)
        journal, known = self.folder(machine) / "manifest.jsonl", set[str]()
        if self.untold and journal.exists():
            with closing(replay(journal).db.conn) as db:
                known = known_as_sent(self, db) if db.execute(HAS_TABLES).fetchone() else known
        if self.entered and self.untold - known:
            self.expect(told, f"a load that died on another machine is named: {self.untold - known}")
        if "lock" not in self.store.objects:
            self.expect(told or not self.untold, f"the lock stays until somebody is told: {self.untold}")
            self.untold.clear()

    def _gives_way(self, machine: str) -> None:
        said = self.story.log[-1]
        nothing_yet = ["is not an archive", "has no catalog yet", "holds nothing yet"]
        nothing_yet += ["names anything in the archive", "no row of"]
        if machine not in self.readers:
            nothing_yet.append(IDENTITY_NEEDED)
        if not any(reason in said for reason in nothing_yet):
            self.expect("has changes that" in said, f"no other way is closed: {said}")
            self.turn(machine, "rebuild", _rebuild(self, machine), no_faults(self.story))

    def check(self, machine: str) -> None:
        """What the journal in the bucket says is true of the bucket; so is what this machine says, if it is in step."""
        blobs, folder = blobs_in(self.store.objects), self.folder(machine)
        self.store.damaged.intersection_update(unsound(blobs, self.store.damaged))
        if self.entered and (folder / "catalog.db").exists() and rows(folder, HAS_TABLES):
            wrong = self.unsound(blobs, {digest for _, digest in recorded_in(folder).values()})
            self.expect(not wrong, f"what machine {machine} has recorded is in the store: {wrong}")
        journal = journal_in(self.store.objects)
        if journal is None:
            return
        path = self.story.root.with_name("journal-there")
        path.write_bytes(journal)
        with closing(replay(path).db.conn) as db:
            if db.execute(HAS_TABLES).fetchone():
                check_journal(self, db, blobs)


def check_journal(turns: Turns, db: Any, blobs: dict[str, bytes]) -> None:
    """Every blob that the journal in the bucket needs is there, and its snapshots are what the source had."""
    stored = db.execute("SELECT attachment_id, sha256 FROM attachments WHERE status = 'stored'").fetchall()
    wrong = turns.unsound(blobs, {digest for _, digest in stored})
    turns.expect(not wrong, f"what the bucket's journal calls stored is there: {wrong}")
    held: dict[tuple[int, str], dict[str, tuple[str, str]]] = {}
    for run, at, id_, name, digest in db.execute(OF_SNAPSHOTS).fetchall():
        files = held.setdefault((run, at), {})
        if id_ is not None:
            files[id_] = (name, digest)
    for key, files in held.items():
        wrong = turns.unsound(blobs, {digest for _, digest in files.values()})
        turns.expect(not wrong, f"what snapshot {key[0]} needs is in the bucket: {wrong}")
        was = turns.snapshots.get(key, files)
        turns.expect(files == was, f"snapshot {key[0]} holds what the source had: {files}, not {was}")
    forgotten = turns.snapshots.keys() - held.keys()
    turns.expect(turns.pruning or not forgotten, f"only a prune forgets snapshots: {forgotten}")
    turns.snapshots = {key: files for key, files in turns.snapshots.items() if key in held}
    turns.known |= known_as_sent(turns, db)


def known_as_sent(turns: Turns, db: Any) -> set[str]:
    """Files at the target that a catalog knows as sent."""
    target, known = turns.story.target, set[str]()
    for remote_id, seen, kind, id_, digest, status in db.execute(SENT).fetchall():
        if remote_id is not None:
            known.add(remote_id)
        elif status == "in_doubt":
            there = {file.id for file in target.of(EntityRef(kind, id_))} - {*json.loads(seen or "[]"), *turns.theirs}
            sent = {file for file in there if sha256(target.content[file]).hexdigest() == digest}
            known |= sent if len(sent) == 1 else set()  # one of several is it, and the others are strays
    return known


def check_target(turns: Turns) -> None:
    """What was at the target before is still there, and nothing that was sent is there twice.

    A file that a restore had to give another name is no longer the one that the target had before.
    """
    target = turns.story.target
    for id_, (file, content) in turns.theirs.items():
        same = target.files.get(id_) == file and target.content.get(id_) == content
        turns.expect(same, f"what was at the target before is as it was: {file.name!r} on {file.owner}")
    copies: dict[tuple[EntityRef, bytes], list[str]] = {}
    for id_, file in target.files.items():
        copies.setdefault((file.owner, target.content[id_]), []).append(id_)
    for (to, content), ids in copies.items():
        others = (strays(turns) if turns.odd else set()) | (turns.theirs.keys() if turns.restores else set())
        counted = [id_ for id_ in ids if id_ not in others]
        turns.expect(len(counted) <= 1, f"{content[:20]!r} is on {to} once: {ids}, strays {strays(turns)}")


def strays(turns: Turns) -> set[str]:
    """Files at the target that a machine sent, and that no journal in the bucket ever knew as sent."""
    return turns.story.target.files.keys() - turns.theirs.keys() - turns.known


def simulate_turns(seed: int) -> Story:
    """Play the whole story of a seed; `ViolationError` if a rule is broken."""
    with new_story(seed, turning_world) as story:
        rng = story.rng
        turns = Turns(story, MemoryStore(no_faults(story), conditional=rng.random() < 0.7))
        turns.odd = bool(story.target.lags) or story.target.alters_names("a.txt") != "a.txt"
        turns.restores = rng.random() < 0.25
        if seed % 4 == ENCRYPTED:
            turns.recipients, turns.readers = ("age-1",), MACHINES[: rng.choice([2, 2, 3])]
        for file in story.source.files.values():
            turns.note(file)
        turns.theirs = {id_: (file, story.target.content[id_]) for id_, file in story.target.files.items()}
        if rng.random() < 0.6:
            one_backup(turns, rng.choice(MACHINES), no_faults(story))
        for _ in range(rng.randint(3, MAX_TURNS)):
            if rng.random() < 0.5:
                change(turns)
            if rng.random() < 0.05 and not (turns.restores or turns.recipients):  # what is lost can't be fetched again
                damage(turns)
            if turns.recipients and rng.random() < 0.1:
                turns.recipients = ("age-1", "age-2") if len(turns.recipients) == 1 else ("age-1",)
            one_turn(turns)
            turns.store.seconds += rng.choice([1.0, 400.0, 400.0])
        ends_well(turns)
    return story


def turning_world(rng: random.Random) -> tuple[FaultyTracker, FaultyTracker, Mapping]:
    """A source, a target with files of its own, and a mapping. No owner has a content twice."""
    source = FaultyTracker(page_size=rng.randint(1, 4), reports_size=rng.random() < 0.8)
    target = FaultyTracker()
    mapping: Mapping = {}
    for number in range(rng.randint(1, 4)):
        owner = source.add(rng.choice(["Bug", "Story"]), title=f"entity {number}")
        for _ in range(rng.randint(0, 3)):
            grow(source, owner, rng, set())
        mapping[owner] = tuple(target.add("Issue") for _ in range(rng.choice([1, 1, 2])))
        for to in mapping[owner]:
            for file in source.of(owner)[:1]:
                if rng.random() < 0.5:
                    content = rng.choice([source.content[file.id], b"theirs"])
                    target.attach(to, file.name.replace("/", "_"), content)
    source.attach(NOBODY, "loose.txt", b"nobody's")
    return source, target, mapping


def new_content(source: FaultyTracker, owner: EntityRef, rng: random.Random, had: set[bytes]) -> bytes:
    """A content that no file of this owner has or, as far as `had` knows, ever had."""
    content = rng.choice([*COMMON, b"", rng.randbytes(rng.randint(20, 300))])
    taken = had | {source.content[file.id] for file in source.of(owner)}
    return rng.randbytes(rng.randint(20, 60)) if content in taken else content


def grow(source: FaultyTracker, owner: EntityRef, rng: random.Random, had: set[bytes]) -> Attachment:
    """Add a file."""
    name = rng.choice(["same.txt", f"{rng.randint(0, 99)}.bin", "a/b"])
    return source.attach(owner, name, new_content(source, owner, rng, had), description=rng.choice(["", "one"]))


def change(turns: Turns) -> None:
    """Add, remove and replace a few files of the source."""
    rng, source = turns.story.rng, turns.story.source
    turns.version += 1
    for _ in range(rng.randint(1, 3)):
        files = [id_ for id_, file in source.files.items() if not is_left_alone(turns, file)]
        what, had = rng.choice(["grow", "remove", "remove", "replace"]), set().union(*turns.contents.values())
        if what == "grow" or not files:
            turns.note(grow(source, rng.choice(list(source.entities)), rng, had))
            continue
        id_ = rng.choice(files)
        if what == "remove":
            source.remove(id_)
            continue
        file, content = source.files[id_], new_content(source, source.files[id_].owner, rng, had)
        source.content[id_] = content
        size = len(content) if source.capabilities.reports_size else None
        source.files[id_] = replace(file, size=size, created_at=f"2026-01-{1 + turns.version % 28:02}T00:00:00Z")
        turns.note(file)


def is_left_alone(turns: Turns, file: Attachment) -> bool:
    """Whether a file was restored, or would have no entity to go back to."""
    return file.id in turns.restored or (turns.restores and file.owner == NOBODY)


def damage(turns: Turns) -> None:
    """Damage a blob in the bucket that a file of the source needs."""
    rng, objects = turns.story.rng, turns.store.objects
    needed = sorted({digest for _, digest in expected(turns.story.source).values()} & blobs_in(objects).keys())
    if not needed:
        return
    digest = rng.choice(needed)
    path = f"blobs/{digest[:2]}/{digest}"
    content = objects[path].content
    other = rng.choice([None, content[: len(content) // 2] + b"?", bytes(len(content)) or b"?", b""])
    if other is None or other == content:
        del objects[path]
    else:
        objects[path] = objects[path]._replace(content=other, e_tag=f"damaged-{len(turns.story.log)}")
    turns.store.damaged.add(digest)


def one_turn(turns: Turns) -> None:
    """Any job by any machine, mostly disturbed."""
    rng = turns.story.rng
    writing = ["restore"] * 3 if turns.restores else ["load", "load", "load", "rollback"]
    machine, job = rng.choice(MACHINES), rng.choice(["backup", "backup", *writing, "prune", "verify"])
    if turns.wrote and rng.random() < 0.5:  # without the private key it can go on only if nobody else has
        machine = turns.wrote
    if machine not in turns.readers and rng.random() < 0.7:
        job = "backup"
    size = 60 + 25 * (len(turns.story.source.files) + len(turns.story.source.entities))
    if job == "prune" and rng.random() < 0.5:  # else there is mostly nothing to delete
        change(turns)
        one_backup(turns, rng.choice(MACHINES), no_faults(turns.story))
    turns.store.refuses = rng.choice([0.0, 0.0, 0.05, 0.2])
    own = random.Random(rng.random())
    words = WORDS[job] if not turns.recipients else (*WORDS[job], *["put manifest"] * len(WORDS[job]))
    plan = fault_plan(own, size, words)
    plan = replace(plan, disk=plan.disk / 50, away=False, short="", ends_at=0)
    if rng.random() < 0.3:
        plan, turns.store.refuses = NO_FAULTS, 0.0
    JOBS[job](turns, machine, TurnInjector(own, plan, turns.story.disk, rng.choice([0.0, 0.01, 0.05])))


def one_backup(turns: Turns, machine: str, injector: StoreInjector) -> dict[str, Any] | None:
    """One backup: it calls nothing gone that the source has, and if it says complete, it has everything.

    A crawl that goes on after the source has changed may see both states, and is no proof of either.
    """
    source, folder = turns.story.source, turns.folder(machine)
    goes_on = (folder / "catalog.db").exists() and rows(folder, HAS_TABLES) and rows(folder, IS_UNDER_WAY)
    if not goes_on:
        turns.crawled[machine] = turns.version
    mixed = turns.crawled.get(machine, turns.version) != turns.version
    summary = turns.turn(machine, "backup", _backup(turns, machine, injector), injector)
    if summary and summary["status"] == "complete" and not mixed:
        turns.expect(recorded_in(folder) == expected(source), "a backup that says complete has everything")
        at = rows(folder, f"SELECT at FROM snapshots WHERE run_id = {summary['run']}")
        turns.snapshots[summary["run"], at[0][0]] = expected(source)
        gone = {id_ for (id_,) in rows(folder, "SELECT attachment_id FROM attachments WHERE status = 'gone'")}
        turns.expect(not gone & source.files.keys(), f"nothing that the source has is called gone: {gone}")
    return summary


async def _load(turns: Turns, machine: str, injector: StoreInjector, how: dict[str, Any]) -> dict[str, Any]:
    with turns.held(machine, "load") as archive:
        folder = turns.folder(machine)
        with closing(Catalog(folder)) as catalog, sqlite_errors(folder):
            target = RetryingTarget(MemoryTarget(turns.story.target), PATIENCE)
            settings = LoadSettings("memory", turns.story.mapping, **{"look_again": 1.0, "uploads": 2, **how})
            return (await load(target, archive, catalog, settings, stop=injector.stop)).as_json()


def one_load(turns: Turns, machine: str, injector: StoreInjector, **how: Any) -> dict[str, Any] | None:
    """One load: what it recorded as there is there, and if it came to its end, the bucket knows all that it sent."""
    target, folder = turns.story.target, turns.folder(machine)
    before = set(target.files)
    summary = turns.turn(machine, "load", _load(turns, machine, injector, how), injector)
    if summary is not None:
        unknown = strays(turns) - before
        turns.expect(
            turns.odd or not unknown, f"a load that came to its end has told the bucket what it sent: {unknown}"
        )
    elif strays(turns) - before:
        turns.expect("lock" in turns.store.objects, "a load that has not told the bucket what it sent leaves the lock")
    if turns.entered:
        arrived = "status IN ('uploaded', 'already_there') AND target = 'memory'"
        statement = f"SELECT remote_id, attachment_id FROM uploads WHERE {arrived}"
        for remote_id, id_ in rows(folder, statement) if rows(folder, HAS_TABLES) else []:
            right = target.content.get(remote_id) in turns.contents[id_] or remote_id in turns.rolled_back
            turns.expect(right, f"what is recorded as there is there: {id_} as {remote_id}")
    return summary


async def _rollback(turns: Turns, machine: str, injector: StoreInjector, how: dict[str, Any]) -> dict[str, Any]:
    with turns.held(machine, "rollback"):
        folder = turns.folder(machine)
        with closing(Catalog(folder)) as catalog, sqlite_errors(folder):
            target = RetryingTarget(MemoryTarget(turns.story.target), PATIENCE)
            settings = RollbackSettings("memory", **how)
            return (await rollback(target, catalog, settings, stop=injector.stop)).as_json()


def one_rollback(turns: Turns, machine: str, injector: StoreInjector, **how: Any) -> dict[str, Any] | None:
    """One rollback."""
    before = set(turns.story.target.files)
    summary = turns.turn(machine, "rollback", _rollback(turns, machine, injector, how), injector)
    turns.rolled_back |= before - turns.story.target.files.keys()
    return summary


async def _prune(turns: Turns, machine: str, injector: StoreInjector, rules: Retention) -> dict[str, Any]:
    with turns.held(machine, "prune") as archive:
        folder = turns.folder(machine)
        with closing(Catalog(folder)) as catalog, sqlite_errors(folder):
            return (await prune(archive, catalog, rules, stop=injector.stop)).as_json()


def one_prune(turns: Turns, machine: str, injector: StoreInjector) -> dict[str, Any] | None:
    """One prune."""
    return turns.turn(machine, "prune", _prune(turns, machine, injector, turns.story.rng.choice(RETENTIONS)), injector)


async def _restore(turns: Turns, machine: str, injector: StoreInjector, how: dict[str, Any]) -> dict[str, Any]:
    with turns.held(machine, "restore") as archive:
        folder = turns.folder(machine)
        with closing(Catalog(folder)) as catalog, sqlite_errors(folder):
            target = RetryingTarget(RestoreTarget(MemoryTarget(turns.story.source)), PATIENCE)
            settings = RestoreSettings("memory", uploads=2, **how)
            return (await restore(target, archive, catalog, settings, stop=injector.stop)).as_json()


def one_restore(turns: Turns, machine: str, injector: StoreInjector, **how: Any) -> dict[str, Any] | None:
    """One restore: what it puts back the source had there, and lacks; all else stays as it was."""
    source = turns.story.source
    before = {id_: (file, source.content[id_]) for id_, file in source.files.items()}
    summary = turns.turn(machine, "restore", _restore(turns, machine, injector, how), injector)
    after = {id_: (file, source.content[id_]) for id_, file in source.files.items()}
    turns.expect(before.items() <= after.items(), "a restore leaves what is there as it is")
    for id_ in after.keys() - before.keys():
        file, content = after[id_]
        had = any(content in turns.contents[each] for each, owner in turns.owners.items() if owner == file.owner)
        turns.expect(had, f"only what was lost is put back: {file}")
        same = [each for each, (other, its) in after.items() if other.owner == file.owner and its == content]
        turns.expect(len(same) == 1, f"it is put back once: {file}, {same}")
        turns.version += 1
        turns.restored.add(id_)
        turns.note(file)
    return summary


def all_is_back(turns: Turns) -> None:
    """What any snapshot holds is in the source, with a content that it had; crawls of two states hold some, too."""
    source = turns.story.source
    there = {(file.owner, source.content[id_]) for id_, file in source.files.items()}
    for id_ in {id_ for files in turns.snapshots.values() for id_ in files}:
        owner = turns.owners[id_]
        back = id_ in source.files or any((owner, content) in there for content in turns.contents[id_])
        turns.expect(back, f"what was lost is back: {id_} of {owner}")


def one_verify(turns: Turns, machine: str, injector: StoreInjector) -> dict[str, Any] | None:
    """One verify."""
    return turns.turn(machine, "verify", _verify(turns, machine), injector)


JOBS: dict[str, Any] = {
    "backup": one_backup,
    "load": one_load,
    "rollback": one_rollback,
    "prune": one_prune,
    "restore": one_restore,
    "verify": one_verify,
}


def undisturbed(turns: Turns, job: str, machine: str, **how: Any) -> dict[str, Any]:
    """Runs without faults until one is complete.

    The first may meet a lock that has to run out, the second a catalog that has to give way, and a load a file that a
    rollback deleted whose machine died, which it sends again only the next time.
    """
    summary: dict[str, Any] | None = None
    for _ in range(5):
        turns.store.seconds += 400
        summary = JOBS[job](turns, machine, no_faults(turns.story), **how)
        if summary is not None and summary["status"] in {"complete", "damaged"}:
            return summary
    turns.expect(False, f"the last {job} is complete: {summary}")  # noqa: FBT003
    return {}


def ends_well(turns: Turns) -> None:
    """Without faults, whoever does it, everything comes to its end; a bare machine takes over what they have."""
    story, rng, turns.store.refuses = turns.story, turns.story.rng, 0.0
    if turns.store.damaged:
        if journal_in(turns.store.objects) is None:  # there is no archive yet
            undisturbed(turns, "backup", rng.choice(turns.readers))
        undisturbed(turns, "verify", rng.choice(turns.readers))
    full_backup(turns, rng.choice(turns.readers))
    mended = turns.store.damaged.isdisjoint(digest for _, digest in expected(story.source).values())
    turns.expect(mended, f"what was damaged and the source has is fetched again: {turns.store.damaged}")
    if turns.restores:
        undisturbed(turns, "restore", rng.choice(turns.readers), second=0.0)
        all_is_back(turns)
        full_backup(turns, rng.choice(turns.readers))
    story.target.lags = 0
    undisturbed(turns, "load", rng.choice(turns.readers), second=0.0, accept_gone=True)
    exactly_once(turns)
    sent = story.target.uploads
    undisturbed(turns, "load", rng.choice(turns.readers), second=0.0)
    turns.expect(story.target.uploads == sent, "a load that has nothing to do sends nothing")
    if rng.random() < 0.6:
        undisturbed(turns, "rollback", rng.choice(turns.readers), accept_gone=True)
        left = story.target.files.keys() - turns.theirs.keys() - strays(turns)
        turns.expect(not left, f"a rollback leaves only what its machine can't know: {left}")
    if rng.random() < 0.5:
        undisturbed(turns, "prune", rng.choice(turns.readers))
    last = rng.choice(turns.readers)
    full_backup(turns, last)
    for command, work in (("rebuild", _rebuild), ("verify", _verify)):
        done = turns.run("d", command, work(turns, "d"), no_faults(story))
        story.expect(done, f"a bare machine can {command}")
        if command == "verify":
            damage = [
                each for each in done["problems"] if each["code"] != "E03" and each["sha256"] not in turns.store.damaged
            ]  # type: ignore[index]
            story.expect(not damage, f"verify finds no damage: {damage}")
    here, there = ([rows(turns.folder(each), said) for said in SAID] for each in (last, "d"))
    story.expect(here == there, "a bare machine has the catalog of the last one")
    left_there = [path for path in turns.store.objects if path.startswith(("incoming/", "lock"))]
    story.expect(not left_there, f"nothing is left on its way: {left_there}")


def full_backup(turns: Turns, machine: str) -> None:
    """Backups until one has seen the source as it is."""
    for _ in range(2):  # the first may go on with a crawl of an earlier state
        undisturbed(turns, "backup", machine)
    turns.expect(recorded_in(turns.folder(machine)) == expected(turns.story.source), "every file is stored")


def exactly_once(turns: Turns) -> None:
    """Each mapped file of the source is at each of its targets, as it is or as it was when it was sent.

    That nothing is there twice holds after each run. An earlier content may be there beside it: as a stray.
    """
    source, target = turns.story.source, turns.story.target
    for of, targets in turns.story.mapping.items():
        for to in targets:
            there = {file.id: target.content[file.id] for file in target.of(to)}
            for file in source.of(of):
                ids = {id_ for id_, content in there.items() if content in turns.contents[file.id]}
                counted = ids - strays(turns) - turns.theirs.keys()
                turns.expect(ids, f"{file.name!r} of {of} is on {to}")
                turns.expect(len(counted) <= 1, f"{file.name!r} of {of} is on {to} once: {counted}")
