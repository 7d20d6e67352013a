"""What an archive must hold after some nights, by the public words alone: no code of the program decides it.

Every name is given once, to one file; so a name tells which file it is, whatever id a restore gives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from migrator.model import EntityRef
from migrator.pipeline.prune import Retention
from migrator.store.catalog import Catalog
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import rows

PERIODS: dict[str, Callable[[datetime], object]] = {
    "daily": datetime.date,
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
}


class FileState(NamedTuple):
    """A file as a snapshot holds it."""

    owner: EntityRef
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Held:
    """What one snapshot holds: the files by id, and the titles of the entities."""

    at: datetime
    files: dict[str, FileState]
    titles: dict[EntityRef, str]


@dataclass(slots=True)
class Model:
    """What the source holds and has held, and what each snapshot must hold for as long as it is kept.

    `contents` are all contents that ever were, by hash. `older` are the hashes that the archive may still have of a
    file whose content changed at equal size and date. `refused` are files that the source lists and never hands out.
    `back` are files that a restore put back and no backup has seen yet. `under_way` are the states that an unfinished
    restore may yet put back; no prune deletes those. `kept_for_restore` are such states of restores that have ended
    since: until the next prune a restore may still find them.
    """

    source: MemoryTracker
    refused: set[str]
    contents: dict[str, bytes] = field(default_factory=dict)
    snapshots: dict[int, Held] = field(default_factory=dict)
    older: dict[str, set[str]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    back: set[int] = field(default_factory=set)
    under_way: dict[int, set[FileState]] = field(default_factory=dict)
    kept_for_restore: dict[int, set[FileState]] = field(default_factory=dict)
    present_at_backup: set[int] = field(default_factory=set)

    def keep_content(self, content: bytes) -> bytes:
        """Remember a content that the source has now."""
        self.contents[sha256(content).hexdigest()] = content
        return content

    def new_name(self, number: int | None = None) -> str:
        """A name that no file ever had, for a new file or for the one with this number."""
        name = f"name {len(self.numbers)}.txt"
        self.numbers[name] = len(self.numbers) if number is None else number
        return name

    def state(self, id_: str) -> FileState:
        """A file of the source as it is now."""
        file = self.source.files[id_]
        return FileState(file.owner, file.name, sha256(self.source.content[id_]).hexdigest())

    def present(self) -> dict[int, FileState]:
        """The files of the source by their numbers."""
        return {self.numbers[file.name]: self.state(id_) for id_, file in self.source.files.items()}

    def matches_source(self, held: Held) -> bool:
        """Whether this is what the source holds now: all files that it hands out, with bytes that they have or had."""
        wanted = {id_: self.state(id_) for id_ in self.source.files if id_ not in self.refused}
        return (
            held.titles == {ref: entity.title for ref, entity in self.source.entities.items()}
            and held.files.keys() == wanted.keys()
            and all(
                held.files[id_][:2] == state[:2] and held.files[id_].sha256 in {state.sha256, *self.older.get(id_, ())}
                for id_, state in wanted.items()
            )
        )

    def kept(self, rules: Retention) -> set[int]:
        """The snapshots that a prune with these rules leaves, as restic's manual explains them."""
        runs = sorted(self.snapshots)
        if rules == Retention() or not runs:
            return set(runs)
        kept = {runs[-1], *runs[len(runs) - min(rules.last, len(runs)) :]}
        newest = self.snapshots[runs[-1]].at
        if rules.within:
            kept |= {run for run in runs if newest - self.snapshots[run].at <= timedelta(seconds=rules.within)}
        for name, period in PERIODS.items():
            last_of = {period(self.snapshots[run].at.astimezone()): run for run in runs}
            kept |= set(sorted(last_of.values(), reverse=True)[: getattr(rules, name)])
        return kept

    def lost(self, snapshot: int | None) -> dict[int, FileState]:
        """What a restore must put back: held by this snapshot, or by any in its last state, and not in the source."""
        held: dict[int, FileState] = {}
        for run in sorted(self.snapshots) if snapshot is None else [snapshot]:
            held |= {self.numbers[state.name]: state for state in self.snapshots[run].files.values()}
        return {
            number: state
            for number, state in held.items()
            if number not in self.present_at_backup and number not in self.back
        }

    def may_be_put_back(self, state: FileState) -> bool:
        """Whether a restore may put this back, once."""
        number = self.numbers[state.name]
        return state in self.under_way.get(number, ()) or state in self.kept_for_restore.get(number, ())

    def restore_ended(self) -> None:
        """A restore has come to its end without faults: the next one finds out anew what is lost."""
        for number, states in self.under_way.items():
            self.kept_for_restore.setdefault(number, set()).update(states)
        self.under_way.clear()

    def changes(self, older: int, newer: int) -> Counter[tuple[str, str]]:
        """What a diff of two snapshots must say: each change with the name of its file."""
        before, after = (
            {self.numbers[state.name]: state for state in self.snapshots[run].files.values()} for run in (older, newer)
        )
        said: Counter[tuple[str, str]] = Counter()
        for number in before.keys() | after.keys():
            was, now = before.get(number), after.get(number)
            if was is None or now is None:
                said["added" if was is None else "removed", (was or now).name] += 1  # type: ignore[union-attr]
                continue
            said["renamed", now.name] += was.name != now.name
            said["moved", now.name] += was.owner != now.owner
            said["replaced", now.name] += was.sha256 != now.sha256
        return +said


def has_tables(root: Path) -> bool:
    """Whether there is a catalog, and it has its tables."""
    made = "SELECT 1 FROM sqlite_master WHERE name = 'snapshots'"
    return (root / "catalog.db").exists() and bool(rows(root, made))


def snapshots_of(root: Path) -> dict[int, Held]:
    """What the archive says of each snapshot: its files by the view `history`, its entities as `--at` shows them."""
    found = {}
    with closing(Catalog(root, read_only=True)) as catalog:
        execute = catalog.db.execute
        history = execute(
            "SELECT attachment_id, kind, entity_id, name, sha256, from_run, to_run FROM history"
        ).fetchall()
        for run, at in execute("SELECT run_id, at FROM snapshots ORDER BY 1").fetchall():
            states = [
                (id_, FileState(EntityRef(kind, entity), name, digest))
                for id_, kind, entity, name, digest, since, until in history
                if since <= run and (until is None or run <= until)
            ]
            files = dict(states)
            assert len(files) == len(states), "a file has one state in a snapshot"
            catalog.snapshots.view(run)
            titles = execute("SELECT kind, entity_id, title FROM entities").fetchall()
            by_ref = {EntityRef(kind, id_): title for kind, id_, title in titles}
            found[run] = Held(datetime.fromisoformat(at), files, by_ref)
    return found


def blobs_of(root: Path) -> set[str]:
    """The blobs on disk."""
    return {path.name for path in (root / "blobs").glob("*/*")}


def hashes(states: Iterable[FileState]) -> set[str]:
    """The blobs that these states need."""
    return {state.sha256 for state in states}


def unsettled_uploads(root: Path) -> Iterator[tuple[Any, ...]]:
    """Attachment and blob of each upload that a load or restore has begun and not finished."""
    yield from rows(
        root,
        "SELECT attachment_id, sha256 FROM uploads JOIN attachments USING (attachment_id) "
        "WHERE uploads.status IN ('planned', 'in_doubt', 'failed') AND sha256 IS NOT NULL AND target != 'source'",
    )


def of_loads(root: Path) -> set[str]:
    """The attachments that a load has put onto the target, or has still to put there."""
    sent = rows(root, "SELECT attachment_id FROM uploads WHERE status != 'rolled_back' AND target != 'source'")
    return {id_ for (id_,) in sent}
