"""One seed: some nights of a tracker that changes, with every job that an archive sees in years, each of them killed.

Each night the source changes, and a few jobs run: backups (with rechecks), accept, prune, restore, loads, reads of
earlier snapshots. Most are disturbed at first, some are left unfinished while others follow. The model, which knows
only the source and the contract, says what must hold after each.

Beware: what is in the source while a crawl is under way may come into its snapshot early or late. Such a snapshot is
taken as it is, and from then on must stay so.
"""

from __future__ import annotations

import asyncio
import csv
import random
import shutil
from collections import Counter
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

from typing_extensions import override

from migrator.errors import RejectedError
from migrator.layers.restoring import RestoreTarget
from migrator.layers.retry import RetryingTarget
from migrator.mapping.file import Mapping
from migrator.model import NOBODY
from migrator.pipeline.accept import Choice, accept
from migrator.pipeline.condition import condition
from migrator.pipeline.export import ExportSettings, export
from migrator.pipeline.prune import Retention, prune
from migrator.pipeline.snapshots import diff, view_at
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog, snapshots
from migrator.trackers.memory import MemoryTarget
from tests.simulation.faults import SMALL, FaultInjector, FaultyTracker, simulated
from tests.simulation.model import (
    FileState,
    Held,
    Model,
    blobs_of,
    has_tables,
    hashes,
    of_loads,
    snapshots_of,
    unsettled_uploads,
)
from tests.simulation.story import (
    BACKUP_CRASH_POINTS,
    LOAD_CRASH_POINTS,
    PATIENCE,
    Story,
    disturbed,
    lose_the_catalog,
    new_story,
    no_faults,
    recorded,
)
from tests.support.parts import expected, files_on, rows, run_backup, run_load, run_restore, run_rollback, run_verify

START = datetime(2026, 1, 1, 22, tzinfo=UTC)
MAX_NIGHTS = 5
PRUNE_CRASH_POINTS = ("commit", "before remove", "sync_folders")
COMMON = (b"same", b"", b"x" * (SMALL * 2), *(b"again %d" % number for number in range(6)))
"""Contents that several files have, at the same time or one after the other."""
RETENTIONS = (
    Retention(last=1),
    Retention(last=2),
    Retention(last=3),
    Retention(daily=2),
    Retention(weekly=2),
    Retention(last=1, monthly=2),
    Retention(within=86_400.0 * 2),
    Retention(),
)


class RefusingTracker(FaultyTracker):
    """A tracker that lists some files and never hands them out."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.refused: set[str] = set()

    @override
    async def called(self, verb: str, key: str) -> None:
        await super().called(verb, key)
        if verb == "download" and key in self.refused and not self.injector.dead:
            raise RejectedError("status 403: this file is never handed out")


@dataclass
class Life:
    """The world of one seed and what must be true of it.

    `crawling` is whether a crawl may be under way, and `mixed` whether the source has changed since it began. `exact`:
    the archive knows what the source held at the last backup. `accepted` are refused files that are accepted for sure.
    """

    story: Story
    model: Model
    clock: datetime = START
    crawling: bool = False
    mixed: bool = False
    exact: bool = False
    accepted: set[str] = field(default_factory=set)

    @property
    def source(self) -> RefusingTracker:
        assert isinstance(self.story.source, RefusingTracker)
        return self.story.source

    @property
    def root(self) -> Path:
        return self.story.root

    def expect(self, holds: object, what: str) -> None:
        self.story.expect(holds, what)

    def run(self, name: str, work: Coroutine[Any, Any, Any], injector: FaultInjector) -> dict[str, Any] | None:
        """Run a job; whatever became of it, every snapshot is as it was, and its files are on the disk."""
        summary = self.story.run(name, work, injector)
        if summary is None and (self.root / "catalog.db").exists():
            with simulated(no_faults(self.story)):
                Catalog(self.root).close()  # opening the catalog lets it catch up with its manifest
        return summary

    def check_snapshots(self, *, may_be_fewer: bool = False) -> dict[int, Held]:
        """Every snapshot must be what the model says, with its bytes; those that the model doesn't know are returned.

        `may_be_fewer`: a prune may have forgotten some of them.
        """
        found = snapshots_of(self.root) if has_tables(self.root) else {}
        for run, held in self.model.snapshots.items():
            if run not in found:
                self.expect(may_be_fewer, f"snapshot {run} is still there")
                continue
            self.expect(found[run].files == held.files, f"snapshot {run} holds the files of its night")
            self.expect(found[run].titles == held.titles, f"snapshot {run} holds the entities of its night")
        counted = rows(self.root, "SELECT run_id, entities, attachments, bytes FROM snapshots") if found else []
        for run, entities, attachments, size in counted:
            files = found[run].files
            total = sum(len(self.model.contents[state.sha256]) for state in files.values())
            said = (entities, attachments, size)
            right = (len(found[run].titles), len(files), total)
            self.expect(said == right, f"snapshot {run} is counted rightly: {said}, not {right}")
        self.check_blobs(hashes(state for held in found.values() for state in held.files.values()))
        return {run: held for run, held in found.items() if run not in self.model.snapshots}

    def check_blobs(self, needed: set[str]) -> None:
        """These blobs must be on the disk, and sound."""
        for digest in sorted(needed):
            blob = self.root / "blobs" / digest[:2] / digest
            whole = blob.is_file() and sha256(blob.read_bytes()).hexdigest() == digest
            self.expect(whole, f"a blob that is needed is on the disk: {self.model.contents[digest][:20]!r}")


def simulate_nights(seed: int) -> Story:
    """Play the nights of a seed; `ViolationError` if a rule is broken."""
    with new_story(seed, nightly_world) as story:
        assert isinstance(story.source, RefusingTracker)
        model = Model(story.source, story.source.refused)
        life = Life(story, model)
        grow(life, story.rng.randint(3, 8))
        with patch.object(snapshots, "now", lambda: life.clock.isoformat(timespec="seconds")):
            before = {to: files_on(story.target, to) for to in story.target.entities}
            for _ in range(story.rng.randint(2, MAX_NIGHTS)):
                night(life)
            end(life, before)
    return story


def nightly_world(rng: random.Random) -> tuple[FaultyTracker, FaultyTracker, Mapping]:
    """A source with a few entities and no files yet, an empty target, and a mapping."""
    source, target = RefusingTracker(page_size=rng.randint(2, 5), reports_size=rng.random() < 0.8), FaultyTracker()
    for number in range(rng.randint(2, 4)):
        source.add(rng.choice(["Bug", "Story"]), title=f"entity {number}")
    return source, target, {ref: (target.add("Issue"),) for ref in source.entities}


def night(life: Life) -> None:
    """One day and night: changes, and a few jobs."""
    rng = life.story.rng
    change(life)
    life.clock += timedelta(hours=rng.choice([1, 10, 24, 24, 24, 24 * 7, 24 * 30]))
    backups(life)
    if rng.random() < 0.6:
        accepts(life)
    for _ in range(rng.randint(0, 2)):
        job = rng.choice([prunes, prunes, restores, restores, loads, reads, reads])
        job(life)


def grow(life: Life, files: int) -> None:
    """Add files; many have equal contents, a few are refused."""
    rng, source = life.story.rng, life.source
    for _ in range(files):
        content = rng.choice([*COMMON, *COMMON, rng.randbytes(rng.randint(1, 100))])
        owner = rng.choice([*source.entities, *source.entities, NOBODY])
        file = source.attach(owner, life.model.new_name(), life.model.keep_content(content))
        if rng.random() < 0.08:
            source.refused.add(file.id)


def change(life: Life) -> None:
    """A few changes of any kind. What an unfinished restore works on is left alone: nobody could tell what was lost."""
    rng, source, model = life.story.rng, life.source, life.model
    life.mixed = life.crawling
    for _ in range(rng.randint(0, 5)):
        untouched = model.back if model.under_way else set()
        files = [id_ for id_, file in source.files.items() if model.numbers[file.name] not in untouched]
        what = rng.choice(
            [
                "grow",
                "grow",
                "remove",
                "remove",
                "remove",
                "remove",
                "rename",
                "move",
                "replace",
                "silent",
                "title",
                "end",
            ]
        )
        if what == "grow" or not files:
            grow(life, 1)
        elif what == "title":
            ref = rng.choice(list(source.entities))
            source.entities[ref] = replace(source.entities[ref], title=f"title {rng.randint(0, 2)}")
        elif what == "end":
            end_of_something(life)
        else:
            change_file(life, what, rng.choice(files))


def end_of_something(life: Life) -> None:
    """A refused file is handed out from now on, or an entity is deleted with its files, or another one comes."""
    rng, source = life.story.rng, life.source
    what = rng.random()
    if what < 0.4 and source.refused:
        source.refused.discard(rng.choice(sorted(source.refused)))
    elif what < 0.7 and len(source.entities) > 2 and not life.model.under_way:
        ref = rng.choice(list(source.entities))
        for file in source.of(ref):
            source.remove(file.id)
            source.refused.discard(file.id)
        del source.entities[ref]
    else:
        source.add(rng.choice(["Bug", "Story"]), title="new")


def change_file(life: Life, what: str, id_: str) -> None:
    """Remove, rename, move or replace a file; `silent` leaves size and date as they are."""
    rng, source, model = life.story.rng, life.source, life.model
    file, old = source.files[id_], source.content[id_]
    if what == "remove":
        source.remove(id_)
        source.refused.discard(id_)
    elif what == "rename":
        source.files[id_] = replace(file, name=model.new_name(model.numbers[file.name]))
    elif what == "move" and file.owner != NOBODY:
        source.files[id_] = replace(file, owner=rng.choice(list(source.entities)))
    elif what == "silent" and old and id_ not in source.refused:
        model.older.setdefault(id_, set()).add(sha256(old).hexdigest())
        source.content[id_] = model.keep_content(rng.randbytes(len(old)))
    elif what == "replace" and id_ not in source.refused:
        content = rng.choice([*COMMON, rng.randbytes(rng.randint(1, 60))])
        source.content[id_] = model.keep_content(content)
        size = len(source.content[id_]) if source.capabilities.reports_size else None
        at = f"20{rng.randint(10, 60)}-{rng.randint(1, 12):02}-01T00:00:00Z"
        source.files[id_] = replace(file, size=size, created_at=at)
        if size == file.size and at == file.created_at:
            model.older.setdefault(id_, set()).add(sha256(old).hexdigest())
        else:
            model.older.pop(id_, None)


def attempts(life: Life, crash_points: int, words: tuple[str, ...]) -> list[FaultInjector]:
    """The injectors of no, one or a few disturbed attempts at a job."""
    return list(disturbed(life.story, crash_points, words))[: life.story.rng.choice([0, 1, 1, 2])]


def backups(life: Life) -> None:
    """Backups until one of them has seen the whole source; sometimes they are left unfinished."""
    rng = life.story.rng
    for injector in attempts(life, 25 + 5 * len(life.source.files), BACKUP_CRASH_POINTS):
        back_up(life, injector, recheck=rng.choice([0.0, 0.0, 0.3, 1.0]))
    if rng.random() < 0.85:
        whole_backup(life)


def whole_backup(life: Life, recheck: float | None = None) -> None:
    """A backup without faults; a second one if the first went on with a crawl of an earlier state of the source."""
    share = life.story.rng.choice([0.0, 0.0, 0.3, 1.0]) if recheck is None else recheck
    while True:
        mixed = life.mixed
        summary = back_up(life, no_faults(life.story), recheck=share)
        life.expect(summary, "a backup without faults comes to its end")
        if not mixed:
            break
    if share == 1.0:
        different = [id_ for id_ in life.model.older if id_ in life.source.files and not up_to_date(life, id_)]
        life.expect(not different, f"a full recheck has found all contents that changed: {different}")


def up_to_date(life: Life, id_: str) -> bool:
    """Whether the archive has the present content of a file, by what it calls stored."""
    return recorded(life.story).get(id_, ("", ""))[1] == life.model.state(id_).sha256


def back_up(life: Life, injector: FaultInjector, *, recheck: float) -> dict[str, Any] | None:
    """One backup, and what must hold after each."""
    lose_the_catalog(life.story)
    model, quiet, mixed = life.model, not injector.plan.faulty, life.mixed
    life.crawling = True
    work = run_backup(life.source, life.root, downloads=3, stop=injector.stop, recheck=recheck, max_gone=None)
    summary = life.run("backup", work, injector)
    recorded(life.story)
    expect_new_snapshots(life, mixed=mixed)
    if has_tables(life.root) and not mixed:  # what moves while a crawl is under way may be on none of its pages
        gone = {id_ for (id_,) in rows(life.root, "SELECT attachment_id FROM attachments WHERE status = 'gone'")}
        life.expect(not gone & life.source.files.keys(), f"nothing that the source has is called gone: {gone}")
    status = summary["status"] if summary else ""
    if summary and not mixed:
        taken = summary["run"] in model.snapshots
        life.expect((status == "complete") == taken, "a complete backup, and no other, is a snapshot")
        if quiet:
            expect_failures(life, summary)
    ended = status in {"complete", "incomplete"}
    life.crawling, life.mixed = not ended, mixed and not ended
    life.exact = ended and not mixed and (quiet or status == "complete")
    if life.exact:
        model.present_at_backup = set(model.present())
        model.back = set()
    if not quiet:
        life.accepted.clear()  # another reason may have ended it
    return summary


def expect_new_snapshots(life: Life, *, mixed: bool) -> None:
    """A new snapshot is what the source holds, unless the source has changed since its crawl began."""
    for run, held in life.check_snapshots().items():
        if not mixed:
            life.expect(life.model.matches_source(held), f"snapshot {run} is what the source holds: {held}")
        life.model.snapshots[run] = held
        settle_contents(life, held)


def settle_contents(life: Life, held: Held) -> None:
    """What a snapshot holds as it is now is no longer in doubt."""
    for id_ in list(life.model.older):
        if id_ in life.source.files and id_ in held.files and held.files[id_].sha256 == life.model.state(id_).sha256:
            del life.model.older[id_]


def expect_failures(life: Life, summary: dict[str, Any]) -> None:
    """Without faults, exactly the refused files fail, and those that were accepted don't count."""
    failed = {failure["attachment"] for failure in summary["failures"]}
    tolerated = {failure["attachment"] for failure in summary.get("accepted") or ()}
    refused = life.source.refused & life.source.files.keys()
    life.expect(failed | tolerated == refused, f"the refused files fail, and no others: {failed}, {tolerated}")
    life.expect(life.accepted & refused <= tolerated, f"what is accepted does not count: {failed}")
    life.expect(summary["status"] == ("incomplete" if failed else "complete"), f"the status says so: {summary}")


def accepts(life: Life) -> None:
    """Accept the refused files that have failed."""
    failed = rows(life.root, "SELECT attachment_id FROM attachments WHERE status = 'failed'") if life.exact else []
    ids = tuple(sorted(life.source.refused & {id_ for (id_,) in failed}))
    if ids:
        for injector in [*attempts(life, 4, ("commit",)), no_faults(life.story)]:
            injector.plan = replace(injector.plan, stop_at=0)
            lose_the_catalog(life.story)
            summary = life.run("accept", _accept(life.root, ids), injector)
            life.check_snapshots()
        life.expect(summary, "accept without faults comes to its end")
        life.accepted = set(ids)


async def _accept(root: Path, ids: tuple[str, ...]) -> dict[str, Any]:
    with closing(Catalog(root)) as catalog:
        return accept(catalog, Choice(attachments=ids)).as_json()


def prunes(life: Life) -> None:
    """Disturbed prunes, then mostly one without faults."""
    if not has_tables(life.root):
        return
    rng = life.story.rng
    rules = rng.choice(RETENTIONS)
    for injector in attempts(life, 25, PRUNE_CRASH_POINTS):
        one_prune(life, rules, injector)
        if rng.random() < 0.5:
            change(life)
            whole_backup(life)
    if rng.random() < 0.8:
        one_prune(life, rules, no_faults(life.story))


def one_prune(life: Life, rules: Retention, injector: FaultInjector) -> None:
    """One prune: it keeps what its rules keep, and what anything unfinished needs; without faults, nothing else."""
    lose_the_catalog(life.story)
    model = life.model
    wanted, unsettled = model.kept(rules), dict(unsettled_uploads(life.root))
    stored = recorded(life.story)
    summary = life.run("prune", _prune(life.root, rules, injector.stop), injector)
    life.check_snapshots(may_be_fewer=True)
    left = set(snapshots_of(life.root))
    life.expect(left in (wanted, set(model.snapshots)), f"it forgets what no rule keeps, or nothing: {left}, {wanted}")
    life.expect(recorded(life.story) == stored, "it forgets nothing that the source has")
    life.check_blobs(set(unsettled.values()))
    model.snapshots = {run: held for run, held in model.snapshots.items() if run in left}
    if summary and summary["status"] == "complete":
        life.expect(left == wanted, f"it forgets what no rule keeps: {left}, not {wanted}")
        said = summary["snapshots"]["kept"]
        life.expect(set(said) == wanted, f"it says which it keeps: {said}, not {wanted}")
        if rules != Retention():
            model.kept_for_restore.clear()
            expect_nothing_else(life)


def expect_nothing_else(life: Life) -> None:
    """The archive holds no blob that nothing needs."""
    files = rows(life.root, "SELECT attachment_id, sha256, status FROM attachments")
    loaded = of_loads(life.root)
    needed = hashes(state for held in life.model.snapshots.values() for state in held.files.values())
    needed |= {digest for id_, digest, status in files if status != "gone" or id_ in loaded}
    needed |= hashes(state for states in life.model.under_way.values() for state in states)
    needed |= {digest for (digest,) in rows(life.root, "SELECT sent_sha256 FROM uploads WHERE sent_sha256 IS NOT NULL")}
    extra = [life.model.contents[digest][:20] for digest in sorted(blobs_of(life.root) - needed)]
    life.expect(not extra, f"after a prune there is nothing that nobody needs: {extra}")


async def _prune(root: Path, rules: Retention, stop: asyncio.Event) -> dict[str, Any]:
    archive = Archive(root)
    archive.prepare()
    with closing(Catalog(root)) as catalog:
        return (await prune(archive, catalog, rules, stop=stop)).as_json()


def restores(life: Life) -> None:
    """Disturbed restores, sometimes with another job in between, and mostly one without faults."""
    rng, model = life.story.rng, life.model
    if not life.exact or not model.snapshots:
        return
    for injector in disturbed(life.story, 12 + 8 * len(model.lost(None)), (*LOAD_CRASH_POINTS, "uploaded", "uploaded")):
        one_restore(life, injector)
        if rng.random() < 0.3:
            rng.choice([prunes, whole_backup, loads])(life)
    if rng.random() < 0.8:
        finish_restore(life)


def finish_restore(life: Life) -> None:
    """A restore without faults, after a backup if the archive may not know what is lost."""
    if not life.exact:
        whole_backup(life)
    if life.model.snapshots:
        one_restore(life, no_faults(life.story))


def one_restore(life: Life, injector: FaultInjector) -> None:
    """One restore: the source has each lost file once, as the archive held it, and everything else as it was."""
    lose_the_catalog(life.story)
    model, source, rng = life.model, life.source, life.story.rng
    snapshot = rng.choice([None, None, *model.snapshots])
    quiet, lost = not injector.plan.faulty, model.lost(snapshot)
    possible = {number: state for number, state in lost.items() if state.owner in source.entities}
    for number, state in lost.items():
        model.under_way.setdefault(number, set()).add(state)
    before, known = model.present(), set(source.files)
    target = RetryingTarget(RestoreTarget(MemoryTarget(source)), PATIENCE)
    how = {"target": target, "snapshot": snapshot, "uploads": 2, "look_again": 1.0, "stop": injector.stop}
    work = run_restore(source, life.root, **how, **({"second": 0.0} if quiet else {}))
    life.mixed |= life.crawling
    summary = life.run("restore", work, injector)
    expect_put_back(life, before, known)
    life.check_snapshots()
    if quiet:
        life.expect(summary, "a restore without faults comes to its end")
        missing = possible.keys() - model.present().keys()
        life.expect(not missing, f"what was lost is back: {[possible[number] for number in missing]}")
        model.restore_ended()


def expect_put_back(life: Life, before: dict[int, FileState], known: set[str]) -> None:
    """What is new in the source was lost, and is there once, as a snapshot held it."""
    model, source = life.model, life.source
    for id_ in sorted(source.files.keys() - known):
        state = model.state(id_)
        number = model.numbers[state.name]
        life.expect(model.may_be_put_back(state), f"only what was lost is put back: {state}")
        life.expect(number not in before and number not in model.back, f"it is put back once: {state}")
        model.back.add(number)
        before[number] = state
    life.expect(model.present() == before, "everything else is as it was")


def loads(life: Life) -> None:
    """Disturbed loads, which are mostly left unfinished."""
    if not life.model.snapshots:
        return
    for injector in attempts(life, 20 + 10 * len(life.source.files), LOAD_CRASH_POINTS):
        one_load(life, injector)
    if life.story.rng.random() < 0.3:
        finish_load(life)


def finish_load(life: Life) -> None:
    """A load without faults, a day later: by then the target lists all that it has."""
    life.story.target.lags = 0
    one_load(life, no_faults(life.story), second=0.0)


def one_load(life: Life, injector: FaultInjector, **how: Any) -> dict[str, Any] | None:
    """One load; what it has sent is what the archive held."""
    lose_the_catalog(life.story)
    story = life.story
    target = RetryingTarget(MemoryTarget(story.target), PATIENCE)
    how = {"target": target, "uploads": 2, "look_again": 1.0, "stop": injector.stop, **how}
    summary = life.run("load", run_load(story.target, life.root, story.mapping, **how), injector)
    strange = [content[:20] for content in story.target.content.values() if content not in life.model.contents.values()]
    life.expect(not strange, f"the target has only contents that the source had: {strange}")
    life.check_snapshots()
    if not injector.plan.faulty:
        life.expect(summary and not summary["failures"], f"a load without faults sends all: {summary}")
    return summary


def reads(life: Life) -> None:
    """Export, status and diff of earlier snapshots say what the model says."""
    rng, model = life.story.rng, life.model
    if not model.snapshots:
        return
    lose_the_catalog(life.story)
    older, newer = sorted(rng.choices(sorted(model.snapshots), k=2))
    work = _read(life.root, older, newer)
    told = life.run("read", work, no_faults(life.story))
    assert told is not None
    held = model.snapshots[older]
    life.expect(told["exported"] == exported(model, held), f"snapshot {older} is exported as it was")
    totals = told["totals"]
    said = (totals["entities"], totals["attachments"].get("stored", 0))
    right = (len(held.titles), len(held.files))
    life.expect(said == right, f"the status of snapshot {older} counts {said}, not {right}")
    if not model.under_way:
        changes = Counter((change["change"], change["name"]) for change in told["changes"])
        wanted = model.changes(older, newer)
        life.expect(changes == wanted, f"{older} and {newer} differ by {wanted}, not {changes}")


def exported(model: Model, held: Held) -> list[tuple[str, ...]]:
    """What an export of a snapshot has in its index, with the hashes of the files themselves."""
    return sorted((*state.owner, id_, state.name, state.sha256, state.sha256) for id_, state in held.files.items())


async def _read(root: Path, older: int, newer: int) -> dict[str, Any]:
    destination = root.with_name("exported")
    with closing(Catalog(root)) as catalog:
        view_at(catalog, str(older))
        done = await export(Archive(root), catalog, ExportSettings(destination))
    with (destination / "index.csv").open(encoding="utf-8-sig", newline="") as file:
        index = [*csv.DictReader(file)]
    files = [
        (
            *(row[name] for name in ("kind", "entity_id", "attachment_id", "name", "sha256")),
            sha256((destination / row["path"]).read_bytes()).hexdigest(),
        )
        for row in index
    ]
    shutil.rmtree(destination)
    with closing(Catalog(root, read_only=True)) as catalog:
        changes = diff(catalog, str(older), str(newer)).as_json()["changes"]
        view_at(catalog, str(older))
        totals = condition(catalog, root).as_json()["totals"]
    return {"status": done.status, "exported": sorted(files), "changes": changes, "totals": totals}


def end(life: Life, before: dict[Any, Any]) -> None:
    """Everything once more without faults: nothing is lost, nothing is left over, and the target is as it was."""
    story, source = life.story, life.source
    source.refused.clear()
    if life.crawling or not life.exact or life.mixed:
        whole_backup(life)
    finish_restore(life)
    whole_backup(life, recheck=1.0)
    life.expect(recorded(story) == expected(source), "the archive has every file, by name and content")
    reads(life)
    finish_load(life)
    one_prune(life, Retention(last=1), no_faults(story))
    verified = life.run("verify", run_verify(life.root), no_faults(story))
    life.expect(verified and not verified["problems"], f"verify finds nothing: {verified}")
    target = RetryingTarget(MemoryTarget(story.target), PATIENCE)
    summary = life.run("rollback", run_rollback(story.target, life.root, target=target), no_faults(story))
    life.expect(summary and summary["status"] == "complete", f"the rollback is complete: {summary}")
    after = {to: files_on(story.target, to) for to in story.target.entities}
    left = {to: after[to] - before[to] for to in after if after[to] != before[to]}
    life.expect(after == before, f"the target is as it was before the loads, without {left}")
