"""One seed: a tracker, a few disturbed runs of each job and one without faults, and what has to hold after each.

Whatever the faults were, the last run leaves the archive and the target as if there had been none; and at no moment
does the catalog claim anything that the disk doesn't hold.

Beware: a run may end in many honest ways (killed, refused, incomplete). Only what it leaves behind counts.
"""

from __future__ import annotations

import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from migrator.errors import MigratorError
from migrator.layers.retry import RetryingTarget
from migrator.layers.retry_policy import RetryPolicy
from migrator.mapping.file import Mapping
from migrator.model import NOBODY, EntityRef
from migrator.pipeline.rebuild import rebuild
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.catalog.database import sqlite_errors
from migrator.store.repair.auditing import audit
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.simulation import loop
from tests.simulation.disk import ForgetfulDisk
from tests.simulation.faults import NO_FAULTS, SMALL, FaultInjector, FaultPlan, FaultyTracker, ViolationError, simulated
from tests.simulation.workers import DyingWorkers
from tests.support.parts import expected, files_on, rows, run_backup, run_load, run_rollback, run_verify

PATIENCE = RetryPolicy(retries=3, max_total_wait=10_000)
MAX_DISTURBED_RUNS = 3
BACKUP_CRASH_POINTS = ("read ", "attachments_of", "download")
LOAD_CRASH_POINTS = ("find_attachments", "upload", "read_back")
ROLLBACK_CRASH_POINTS = ("find_attachments", "read_back", "delete")
"""Half of the kills are at crash points with one of these words, so that rare ones are reached."""
_NUMBERED = re.compile(r" \(\d+\)|~\d+|_\d+(?=\.)")


@dataclass(slots=True)
class Story:
    """The world of one seed, and its runs so far. `log` has a line for each run, to find out what went wrong."""

    seed: int
    root: Path
    rng: random.Random
    source: FaultyTracker
    target: FaultyTracker
    mapping: Mapping
    disk: ForgetfulDisk = field(default_factory=ForgetfulDisk)
    log: list[str] = field(default_factory=list)
    traces: list[list[str]] = field(default_factory=list)

    def expect(self, holds: object, what: str) -> None:
        """Raise `ViolationError` unless it holds."""
        if not holds:
            raise ViolationError("\n".join([f"seed {self.seed}: {what}", *self.log]))

    def run(self, name: str, work: Coroutine[Any, Any, Any], injector: FaultInjector) -> dict[str, Any] | None:
        """Run a job like a process of its own; None if it did not get as far as its summary."""
        self.source.injector = self.target.injector = injector
        self.disk.catalog = b""
        self.traces.append(injector.trace)
        summary = self._run(name, work, injector)
        looked_at = injector.plan.power_cut or self.rng.random() < 0.15
        if looked_at and (self.root / "catalog.db").exists() and (summary or name != "rebuild"):
            found = audit(self.root)
            self.expect(not found, f"the manifest tells all that the catalog says: {found}")
        return summary

    def _run(self, name: str, work: Coroutine[Any, Any, Any], injector: FaultInjector) -> dict[str, Any] | None:
        try:
            with sqlite_errors(), simulated(injector):
                summary = loop.run(work, injector.rng)
        except loop.Killed as crash_point:
            self._apply_crash(injector)
            return self._tell(f"{name}: killed at crash point {len(injector.trace)}, {crash_point}; {injector.plan}")
        except (MigratorError, OSError) as error:
            return self._tell(f"{name}: {type(error).__name__}: {error}; {injector.plan}")
        self._tell(f"{name}: {summary['status']}; {injector.plan}")
        return dict(summary)

    def _tell(self, line: str) -> None:
        self.log.append(line)

    def _apply_crash(self, injector: FaultInjector) -> None:
        """Apply the power cut, if one is planned; it takes what was not flushed. A kill alone takes nothing."""
        if injector.plan.power_cut:
            self.disk.power_cut(self.rng, self.root)
            if (self.root / "catalog.db").exists():
                Catalog(self.root).close()  # opening the catalog lets it catch up with its manifest


def fault_plan(rng: random.Random, crash_points: int, words: Sequence[str]) -> FaultPlan:
    """Draw the faults of a run that has about this many crash points."""
    kind = rng.choice(["kill", "kill", "power", "stop", "network", "disk", "all", "all"])
    chance = rng.choice([0.02, 0.1, 0.3])
    kill_on = rng.choice(words) if rng.random() < 0.5 else ""
    return FaultPlan(
        kill_at=rng.randint(1, 6 if kill_on else crash_points) if kind in {"kill", "power", "all"} else 0,
        kill_on=kill_on,
        stop_at=rng.randint(1, crash_points) if kind == "stop" else 0,
        power_cut=kind == "power" or (kind == "all" and rng.random() < 0.5),
        network=chance if kind in {"network", "all"} else rng.choice([0.0, 0.05]),
        disk=rng.choice([0.01, 0.05]) if kind in {"disk", "all"} else 0.0,
        away=rng.random() < 0.1,
        short=rng.choice(["", "", "", "", "", "", "", "listed", "asked", "loose"]),
        ends_at=rng.randint(1, crash_points) if rng.random() < 0.06 else 0,
        refuses=rng.random() < 0.5,
    )


def world(rng: random.Random) -> tuple[FaultyTracker, FaultyTracker, Mapping]:
    """A source with a bit of everything, a target with files of its own, and a mapping."""
    source = FaultyTracker(page_size=rng.randint(1, 4), reports_size=rng.random() < 0.8)
    target = FaultyTracker()
    mapping: Mapping = {}
    for number in range(rng.randint(1, 5)):
        owner = source.add(rng.choice(["Bug", "Story"]), title=f"entity {number}")
        for copy in range(rng.randint(0, 3)):
            content = rng.choice([b"same", b"", b"x" * (SMALL * 3), rng.randbytes(rng.randint(1, 300))])
            source.attach(owner, rng.choice(["same.txt", f"{copy}.bin", "a/b"]), content, description=f"copy {copy}")
        mapping[owner] = tuple(target.add("Issue") for _ in range(rng.choice([1, 1, 2])))
        for to in mapping[owner]:
            if rng.random() < 0.5:
                target.attach(to, "same.txt", rng.choice([b"same", b"more"]))
    source.attach(NOBODY, "loose.txt", b"nobody's")
    return source, target, mapping


ALTERATIONS: tuple[Callable[[str], str], ...] = (str.upper, lambda name: f"{name}.dat", lambda _: "file")


def made_odd(target: FaultyTracker, seed: int) -> None:
    """Make the target odd: a third of them rename files, a third list them late."""
    rng = random.Random(f"odd {seed}")
    if rng.random() < 1 / 3:
        target.alters_names = rng.choice(ALTERATIONS)
    if rng.random() < 1 / 3:
        target.lags = rng.randint(1, 3)


World = Callable[[random.Random], tuple[FaultyTracker, FaultyTracker, Mapping]]


@contextmanager
def new_story(seed: int, new_world: World = world) -> Iterator[Story]:
    """The world of a seed, in a folder that is deleted afterwards."""
    memory = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="simulation-", dir=memory if memory.is_dir() else None))
    rng = random.Random(seed)
    state = random.getstate()
    random.seed(seed)
    try:
        story = Story(seed, root / "archive", rng, *new_world(rng))
        made_odd(story.target, seed)
        yield story
    finally:
        random.setstate(state)
        shutil.rmtree(root)


def simulate(seed: int) -> Story:
    """Play the whole story of a seed; `ViolationError` if a rule is broken."""
    with new_story(seed) as story:
        before = {to: files_on(story.target, to) for to in story.target.entities}
        backups(story)
        loads(story)
        if story.rng.random() < 0.5:
            rollbacks(story, before)
    return story


def disturbed(story: Story, crash_points: int, words: Sequence[str] = ("",)) -> Iterator[FaultInjector]:
    """The injectors of a few runs with faults."""
    for _ in range(story.rng.randint(1, MAX_DISTURBED_RUNS)):
        rng = random.Random(story.rng.random())
        yield FaultInjector(rng, fault_plan(rng, crash_points, words), story.disk)


def no_faults(story: Story) -> FaultInjector:
    """The injector of a run without faults."""
    return FaultInjector(random.Random(story.seed), NO_FAULTS, story.disk)


def backups(story: Story) -> None:
    """Disturbed backups, then one that has to complete."""
    size = 30 + 12 * (len(story.source.files) + len(story.source.entities))
    for injector in disturbed(story, size, BACKUP_CRASH_POINTS):
        one_backup(story, injector)
    summary = one_backup(story, no_faults(story))
    story.expect(summary and summary["status"] == "complete", f"the last backup is complete: {summary}")
    story.expect(recorded(story) == expected(story.source), "the archive has every file, by name and content")
    listed = summary["attachments"]["listed"] if summary else 0
    story.expect(listed == len(story.source.files), "every file is counted")
    story.expect(not list((story.root / "incoming").iterdir()), "nothing is left on its way")
    undisturbed = story.root.with_name("undisturbed")
    story.run("undisturbed", run_backup(story.source, undisturbed, downloads=4), no_faults(story))
    story.expect(archived(story.root) == archived(undisturbed), "the archive is that of an undisturbed run")
    verified = story.run("verify", run_verify(story.root), no_faults(story))
    story.expect(verified and not verified["problems"], f"verify finds nothing: {verified}")


SAID = (
    "SELECT kind, entity_id, title, url, raw, error FROM entities ORDER BY 1, 2",
    """SELECT attachment_id, kind, entity_id, comment_id, name, size, media_type, description, created_at, created_by,
    sha256, status, error, raw FROM attachments ORDER BY 1""",
    "SELECT sha256, size, problem FROM blobs ORDER BY 1",
)


HAS_TABLES = "SELECT 1 FROM sqlite_master WHERE name = 'attachments'"


def archived(root: Path) -> tuple[Any, ...]:
    """Everything in an archive except its runs: blobs and rows."""
    blobs = {path.name: path.read_bytes() for path in sorted((root / "blobs").glob("*/*"))}
    return blobs, *(rows(root, statement) for statement in SAID)


def one_backup(story: Story, injector: FaultInjector) -> dict[str, Any] | None:
    """One backup, and what must hold after each."""
    lose_the_catalog(story)
    had, seen = recorded(story), Counter(story.source.downloads)
    place = {"place": lambda local: DyingWorkers(local, random.Random(story.seed))} if story.seed % 3 == 0 else {}
    work = run_backup(story.source, story.root, downloads=4, stop=injector.stop, **place)
    summary = story.run("backup", work, injector)
    has = recorded(story)
    story.expect(had.items() <= has.items(), "what was recorded stays recorded")
    again = {id_ for id_ in had if story.source.downloads[id_] != seen[id_]}
    witness = 0 if story.source.capabilities.reports_size else 1  # shows that files which come empty are so
    story.expect(len(again) <= witness, f"nothing that was recorded is downloaded again: {again}")
    if summary and summary["status"] == "complete":
        story.expect(has == expected(story.source), "a backup that says complete has everything")
    gone = rows(story.root, "SELECT name FROM attachments WHERE status = 'gone'") if has else []
    story.expect(not gone, f"the tracker has them all, and none is called gone: {gone}")
    without_faults = not (injector.plan.network or injector.plan.away or injector.plan.short or injector.plan.ends_at)
    if summary and without_faults and summary["status"] != "interrupted":  # that repeats earlier failures
        story.expect(not summary["failures"], f"no faults, no failures: {summary['failures']}")
    return summary


def lose_the_catalog(story: Story) -> None:
    """Now and then, delete or damage the catalog. Rebuilt, after some attempts with faults, it must be the same."""
    catalog = story.root / "catalog.db"
    if story.rng.random() > 0.06 or not catalog.exists() or not kept(story):
        return
    Catalog(story.root).close()  # applies what a kill left only in the manifest
    under_way = bool(rows(story.root, "SELECT 1 FROM checkpoints"))
    before = kept(story, crawl_under_way=under_way)
    for ending in ("-wal", "-shm"):
        catalog.with_name(catalog.name + ending).unlink(missing_ok=True)
    if story.rng.random() < 0.5:
        catalog.unlink()
    else:
        catalog.write_bytes(story.rng.randbytes(5000))
    for injector in [*disturbed(story, 25), no_faults(story)]:
        injector.plan = replace(injector.plan, power_cut=False, stop_at=0)
        summary = story.run("rebuild", _rebuild(story.root), injector)
    story.expect(summary, "the last rebuild comes to its end")
    after = kept(story, crawl_under_way=under_way)
    story.expect(after == before, "a catalog that was rebuilt says the same")


async def _rebuild(root: Path) -> dict[str, Any]:
    return rebuild(Archive(root)).as_json()


def kept(story: Story, *, crawl_under_way: bool = False) -> list[Any]:
    """The rows of a catalog, except runs and checkpoints; none if it has no manifest yet.

    What a crawl has seen again (`last_run`) gets into the journal when the crawl ends, so it is left out before.
    """
    if not rows(story.root, "SELECT 1 FROM sqlite_master WHERE name = 'settings'"):
        return []
    if not rows(story.root, "SELECT 1 FROM settings WHERE key = 'manifest' AND value LIKE '%batch%'"):
        return []
    tables = (
        "entities",
        "attachments",
        "blobs",
        "uploads",
        "past_attachments",
        "past_entities",
        "snapshots",
        "history",
    )
    said = []
    for table in tables:
        columns = [name for (name,) in rows(story.root, f"SELECT name FROM pragma_table_info('{table}')")]
        wanted = [name for name in columns if name != "last_run" or not crawl_under_way]
        said.append(rows(story.root, f"SELECT {', '.join(wanted)} FROM {table} ORDER BY 1, 2"))
    return said


def recorded(story: Story) -> dict[str, tuple[str, str]]:
    """Name and hash of each attachment that the catalog calls stored, by id; each blob must be sound on disk."""
    if not (story.root / "catalog.db").exists() or not rows(story.root, HAS_TABLES):
        return {}
    found = {}
    statement = "SELECT attachment_id, name, sha256 FROM attachments WHERE status = 'stored'"
    for id_, name, digest in rows(story.root, statement):
        blob = story.root / "blobs" / digest[:2] / digest
        whole = blob.is_file() and sha256(blob.read_bytes()).hexdigest() == digest
        story.expect(whole, f"what is recorded is on the disk: {id_}, {name!r}")
        found[id_] = (name, digest)
    return found


def loads(story: Story) -> None:
    """Disturbed loads, then one that has to complete, then one that has nothing to do."""
    theirs = {to: files_on(story.target, to) for to in story.target.entities}
    for injector in disturbed(story, 20 + 14 * len(story.source.files), LOAD_CRASH_POINTS):
        one_load(story, injector)
    story.target.lags = 0
    summary = one_load(story, no_faults(story), second=0.0)  # a day later
    story.expect(summary and summary["status"] == "complete", f"the last load is complete: {summary}")
    exactly_once(story, theirs)
    sent = story.target.uploads
    one_load(story, no_faults(story))
    story.expect(story.target.uploads == sent, "a load that has nothing to do sends nothing")


def one_load(story: Story, injector: FaultInjector, **how: Any) -> dict[str, Any] | None:
    """One load; every upload that is recorded as arrived must be at the target."""
    lose_the_catalog(story)
    target = RetryingTarget(MemoryTarget(story.target), PATIENCE)
    how = {"target": target, "uploads": 2, "look_again": 1.0, "stop": injector.stop, **how}
    work = run_load(story.target, story.root, story.mapping, **how)
    summary = story.run("load", work, injector)
    statement = "SELECT remote_id, attachment_id FROM uploads WHERE status IN ('uploaded', 'already_there')"
    for remote, attachment in rows(story.root, statement):
        same = story.target.content.get(remote) == story.source.content[attachment]
        story.expect(same, f"what is recorded as there is there: {attachment} as {remote}")
    return summary


def exactly_once(story: Story, theirs: dict[Any, Any]) -> None:
    """Each mapped file must be at each of its targets once, beside other files that were there before."""
    for of, targets in story.mapping.items():
        wanted = named(story.source, of)
        for to in targets:
            before = Counter(f"{name} {brief(content)}" for name, content, _ in theirs[to].elements())
            there = named(story.target, to)
            sent = Counter(altered(story.target, one) for one in (wanted - before).elements())
            story.expect(
                there == sent + before,
                f"{of} is on {to} once: {there - (sent + before)} too many, {(sent + before) - there} missing",
            )


def altered(target: MemoryTracker, named_one: str) -> str:
    """A name and its content, with the name that the target gives it."""
    name, rest = named_one.split(" ", 1)
    return f"{target.alters_names(name)} {rest}"


def named(tracker: MemoryTracker, ref: EntityRef) -> Counter[str]:
    """The files on an entity: name, without the number that makes it unique at the target, and content."""
    found = files_on(tracker, ref).elements()
    return Counter(f"{_NUMBERED.sub('', name).replace('/', '_')} {brief(content)}" for name, content, _ in found)


def brief(content: bytes) -> str:
    """A few characters that differ for different contents."""
    return f"{len(content)} bytes {sha256(content).hexdigest()[:6]}"


def rollbacks(story: Story, before: dict[Any, Any]) -> None:
    """Disturbed rollbacks, then one that has to complete; the target must be what it was before the loads."""
    for injector in disturbed(story, 15 + 8 * story.target.uploads, ROLLBACK_CRASH_POINTS):
        one_rollback(story, injector)
    summary = one_rollback(story, no_faults(story))
    story.expect(summary and summary["status"] == "complete", f"the last rollback is complete: {summary}")
    after = {to: files_on(story.target, to) for to in story.target.entities}
    story.expect(after == before, "the target is as it was before")


def one_rollback(story: Story, injector: FaultInjector) -> dict[str, Any] | None:
    """One rollback."""
    lose_the_catalog(story)
    target = RetryingTarget(MemoryTarget(story.target), PATIENCE)
    return story.run("rollback", run_rollback(story.target, story.root, target=target, stop=injector.stop), injector)
