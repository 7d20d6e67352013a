"""Restore against a model: random lives of a tracker, and a restore that is killed at every step."""

from __future__ import annotations

import copy
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from migrator.model import EntityRef
from migrator.pipeline.rebuild import rebuild
from migrator.selection import Selection
from migrator.store import audit
from migrator.store.blobs import Archive
from migrator.store.catalog.database import CatalogDatabase
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import FULL, expected, rows, run_backup, run_restore, run_verify, stored

State = tuple[EntityRef, str, bytes]
"""Entity, name and content."""


class KilledError(BaseException):
    """The process ends here."""


@dataclass
class Life:
    """A tracker that lives, and what a restore should put back onto it.

    A file keeps its number when a restore gives it another id; contents are unique, and so tell the number.
    """

    tracker: MemoryTracker
    root: Path
    rng: random.Random
    numbers: dict[str, int] = field(default_factory=dict)
    last: dict[int, State] = field(default_factory=dict)
    held: dict[int, dict[int, State]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    def state(self, id_: str) -> State:
        file = self.tracker.files[id_]
        return file.owner, file.name, self.tracker.content[id_]

    def number(self, id_: str) -> int:
        return self.numbers.setdefault(id_, len(self.numbers) + 1000)

    def present(self) -> dict[int, State]:
        return {self.number(id_): self.state(id_) for id_ in self.tracker.files}

    def change(self) -> None:
        tracker, rng = self.tracker, self.rng
        for _ in range(rng.randint(1, 5)):
            entities, files = list(tracker.entities), list(tracker.files)
            what = rng.choice(["entity", "attach", "remove", "remove", "remove", "rename", "move", "replace", "delete"])
            if what == "entity":
                tracker.add("Bug")
            elif what == "attach":
                tracker.attach(rng.choice(entities), rng.choice(["a.txt", "b.txt"]), rng.randbytes(8))
            elif what == "delete" and len(entities) > 4 and rng.random() < 0.3:
                ref = rng.choice(entities)
                for file in tracker.of(ref):
                    tracker.remove(file.id)
                del tracker.entities[ref]
            elif files:
                self.change_file(what, rng.choice(files), rng.choice(entities))

    def change_file(self, what: str, id_: str, other: EntityRef) -> None:
        tracker, file = self.tracker, self.tracker.files[id_]
        if what == "remove":
            tracker.remove(id_)
        elif what == "rename":
            tracker.files[id_] = replace(file, name=self.rng.choice(["a.txt", "b.txt"]))
        elif what == "move":
            tracker.files[id_] = replace(file, owner=other)
        elif what == "replace":
            content = self.rng.randbytes(self.rng.randint(9, 12))
            at = f"20{self.rng.randint(10, 60)}-01-01T00:00:00Z"
            tracker.content[id_], tracker.files[id_] = content, replace(file, size=len(content), created_at=at)

    async def back_up(self) -> None:
        if self.rng.random() < 0.2:
            await run_backup(self.tracker, self.root, selection=Selection(name_globs=("a*",)))
        summary = await run_backup(self.tracker, self.root, max_gone=None)
        assert summary["status"] == "complete"
        self.held[summary["run"]] = self.present()
        self.last.update(self.present())
        self.gone = set(self.last) - set(self.present())
        assert stored(self.root) == expected(self.tracker)

    def lost(self, snapshot: int | None) -> dict[int, State]:
        wanted = self.last if snapshot is None else self.held[snapshot]
        return {number: wanted[number] for number in self.gone & wanted.keys() if number not in self.present()}

    async def restore(self, snapshot: int | None = None) -> None:
        lost, before = self.lost(snapshot), dict(expected(self.tracker))
        possible = {number: state for number, state in lost.items() if state[0] in self.tracker.entities}
        summary = await run_restore(self.tracker, self.root, snapshot=snapshot)
        counts = summary["uploads"]
        assert counts["failed"] == len(summary["failures"]) == len(lost) - len(possible)
        self.expect_back(possible, before)
        assert (await run_restore(self.tracker, self.root, snapshot=snapshot))["uploads"]["uploaded"] == 0

    def expect_back(self, possible: dict[int, State], before: dict[str, tuple[str, str]]) -> None:
        """Exactly these files are new, and the others as they were; the new ids get their numbers."""
        new = {id_: self.state(id_) for id_ in self.tracker.files if id_ not in before}
        assert Counter(new.values()) == Counter(possible.values())
        assert before.items() <= expected(self.tracker).items()
        by_state = {state: number for number, state in possible.items()}
        self.numbers |= {id_: by_state[state] for id_, state in new.items()}


def new_life(root: Path, seed: int, entities: int = 6) -> Life:
    tracker = MemoryTracker(page_size=4)
    for number in range(entities):
        tracker.attach(tracker.add("Story" if number % 3 else "Bug"), "a.txt", f"file {number}".encode())
    return Life(tracker, root, random.Random(seed))


@pytest.mark.parametrize("seed", range(40 if FULL else 6))
async def test_a_restore_puts_back_what_the_model_says(tmp_path, seed):
    life = new_life(tmp_path, seed)
    for _ in range(12):
        life.change()
        await life.back_up()
        if life.rng.random() < 0.3:
            life.change()  # nothing of which the archive knows
        if life.rng.random() < 0.6:
            await life.restore(life.rng.choice([None, None, *life.held]))
            if life.rng.random() < 0.3:
                await life.restore(life.rng.choice([None, *life.held]))
    assert audit(tmp_path) == []
    assert (await run_verify(tmp_path))["problems"] == []


class Steps:
    """Counts transactions and requests, and kills at one of them: from then on nothing goes through any more."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self) -> None:
        if self.left <= 0:
            raise KilledError
        self.left -= 1

    def counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.take()
            return real(*args)

        return call

    async def on_call(self, _verb: str, _about: str) -> None:
        self.take()


async def killed_after(steps: int, life: Life, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A restore that ends after so many steps; whether it came to its own end before."""
    mortal = Steps(steps)
    life.tracker.on_call = mortal.on_call
    with monkeypatch.context() as patched:
        patched.setattr(CatalogDatabase, "transaction", mortal.counted(CatalogDatabase.transaction))
        try:
            await run_restore(life.tracker, life.root)
        except KilledError:
            return False
        finally:
            life.tracker.on_call = None
    return True


@pytest.mark.parametrize(
    "then",
    ["restore", "backup, loss", "rebuild", *(["backup", "loss, backup"] if FULL else [])],
)
async def test_killed_at_any_step_the_next_one_ends_exactly_once(tmp_path, monkeypatch, then):
    start = new_life(tmp_path / "start", 1, entities=3)
    for owner in list(start.tracker.entities):
        start.tracker.attach(owner, "a.txt", b"second" + owner.id.encode())
    await start.back_up()
    whole = Counter(start.present().values())
    for id_ in list(start.tracker.files)[1:5]:
        start.tracker.remove(id_)
    await start.back_up()
    for step in range(300):
        root = shutil.copytree(start.root, tmp_path / f"at {step}")
        life = Life(copy.deepcopy(start.tracker), root, random.Random(0))
        ended = await killed_after(step, life, monkeypatch)
        await live_on(life, then)
        done = await run_restore(life.tracker, root)
        assert (done["status"], Counter(life.present().values())) == ("complete", whole), step
        await run_backup(life.tracker, root, max_gone=None)
        assert (await run_restore(life.tracker, root))["uploads"]["planned"] == 0
        assert rows(root, "SELECT 1 FROM uploads WHERE status NOT IN ('uploaded', 'already_there')") == []
        shutil.rmtree(root)
        if ended:
            break
    assert step > 20


async def live_on(life: Life, then: str) -> None:
    """What happens between a kill and the next restore. `loss`: what the killed one put back is deleted again."""
    for what in then.split(", "):
        if what == "backup":
            await run_backup(life.tracker, life.root, max_gone=None)
        elif what == "loss":
            for id_ in list(life.tracker.files)[2:]:
                life.tracker.remove(id_)
        elif what == "rebuild":
            for path in life.root.glob("catalog.db*"):
                path.unlink()
            assert rebuild(Archive(life.root)).as_json()["status"] == "complete"
    if then.endswith("loss"):
        await run_backup(life.tracker, life.root, max_gone=None)
