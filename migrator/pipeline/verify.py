"""Verify: hash every blob again, and compare catalog, disk and journal with one another.

Each kind of damage has a code that never changes. A damaged blob is marked in the catalog, and the next backup fetches
it again if the source still has it. A damaged catalog is repaired by `migrator rebuild`, a damaged journal by the next
run that writes to the archive.

Beware: the catalog is inspected before it is opened for writing, so this module opens it, not the caller.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from migrator.errors import ArchiveDamagedError
from migrator.model import Blob, RunStatus
from migrator.pipeline.summary import Problem, VerifySummary
from migrator.progress import Progress, Silent
from migrator.store import BLOB_FOLDERS, CATALOG, Archive, Catalog, audit, blob_name, hash_file, own_limits

CODES = {
    "E01": "damaged",  # the content of a blob is not what its name says
    "E02": "missing",  # the catalog knows a blob, the disk doesn't
    "E03": "unknown",  # the disk has a file that the catalog doesn't know
    "E04": "damaged",  # a blob is cut, or longer than it was
    "E05": "damaged",  # a blob has the content of another one
    "E06": "damaged",  # in place of a blob stands a link, a folder, or a file that can't be read
    "E10": "missing",  # there is a manifest and no catalog
    "E11": "damaged",  # the catalog can't be read, or its tables are not what they were
    "E12": "damaged",  # a row of the catalog is not what the manifest tells
    "E13": "missing",  # the manifest tells of a row that the catalog doesn't have
    "E14": "unknown",  # the catalog has a row that the manifest doesn't tell of
    "E21": "damaged",  # lines of the manifest are not what was written
    "E22": "missing",  # the catalog knows of a manifest, the disk doesn't
    "E23": "missing",  # the manifest is shorter than the catalog knows
}
"""Code of each kind of damage, and its word. A code is never given to anything else."""
OF_BLOBS = frozenset({"E01", "E02", "E04", "E05", "E06"})
HASHERS = 2
SOME = 64
PLACE = "verify_at"
"""Under which the catalog keeps where the last verify of a part ended."""


@dataclass(frozen=True, slots=True)
class Part:
    """How much of the blobs: a share of them between 0 and 1, or seconds; None is no limit. Both: what comes first."""

    share: float | None = None
    seconds: float | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.share is None and self.seconds is None


WHOLE = Part()


async def verify(
    archive: Archive, *, part: Part = WHOLE, progress: Progress | None = None, stop: asyncio.Event | None = None
) -> VerifySummary:
    """One run over the whole archive, or over the next part of its blobs; the caller holds the archive.

    May be repeated at any time. A catalog that can't be opened is a finding; blobs are not looked at then.
    """
    began = time.monotonic()
    problems = [problem(code, "", path, detail) for code, path, detail in await asyncio.to_thread(audit, archive.root)]
    if any(found.code in {"E10", "E11"} for found in problems):
        return _unopened(problems)
    try:
        catalog = Catalog(archive.root, read_only=not os.access(archive.root, os.W_OK))
    except ArchiveDamagedError as error:
        return _unopened([problem("E11", "", CATALOG, str(error))])
    with closing(catalog):
        work = _Verify(archive, catalog, part, progress or Silent(), stop or asyncio.Event(), problems)
        return await work.run(began)


def _unopened(problems: list[Problem]) -> VerifySummary:
    return VerifySummary(status=RunStatus.DAMAGED, problems=tuple(problems))


@dataclass(slots=True)
class _Verify:
    archive: Archive
    catalog: Catalog
    part: Part
    progress: Progress
    stop: asyncio.Event
    problems: list[Problem]
    count: int = 0
    size: int = 0
    until: float = math.inf
    most: float = field(default=math.inf, init=False)

    async def run(self, began: float) -> VerifySummary:
        distrusted = [found.code for found in self.problems if found.code > "E20"]
        if distrusted and not self.catalog.read_only:
            self.catalog.mark_journal_damaged(distrusted[0])
        run = self.catalog.runs.begin("verify")
        of = self.catalog.summaries.totals()["blobs"]["count"]
        if self.part.share is not None:
            self.most = math.ceil(of * self.part.share)
        if self.part.seconds is not None:
            self.until = began + self.part.seconds
        at = "" if self.part.whole else self.catalog.settings.get(PLACE) or ""
        at = await self._blobs(at)
        self.problems += [problem("E02", sha256, blob_name(sha256)) for sha256 in self.catalog.blobs.dangling()]
        self.problems += [problem("E03", "", name) for name in self.archive.unknown_files()]
        return self._finish(run, at, of, time.monotonic() - began)

    async def _blobs(self, at: str) -> str:
        """Look at blobs from a place on; gives the place to go on from, nothing at the end."""
        began_at, _, after = at.partition("/")
        for folder in BLOB_FOLDERS[BLOB_FOLDERS.index(began_at or "00") :]:
            known = self.catalog.blobs.in_folder(folder)
            names = {name for name, _ in self.archive.files_in(folder)}
            names -= self.catalog.blobs.removed_in(folder) - known.keys()
            left = sorted(name for name in known.keys() | names if name > after)
            self.progress.known(len(left), sum(known[name].size for name in left if name in known))
            while left:
                if self._enough():
                    return f"{folder}/{after}"
                some, left = left[: self._room()], left[self._room() :]
                if not await self._look(folder, some, known, names):
                    return f"{folder}/{after}"
                after = some[-1]
            after = ""
        return ""

    def _enough(self) -> bool:
        return self.stop.is_set() or self.count >= self.most or time.monotonic() >= self.until

    def _room(self) -> int:
        return int(min(SOME, self.most - self.count))

    async def _look(self, folder: str, some: list[str], known: dict[str, Blob], names: set[str]) -> bool:
        """Hash some and judge them; False if a stop came first: then nothing is said of them."""
        hashers = asyncio.Semaphore(HASHERS)

        async def one(name: str) -> Blob | None:
            async with hashers:
                blob = await asyncio.to_thread(_hash, self.archive.blobs / folder / name, self.stop)
            self.progress.moved(blob.size if blob else 0)
            self.progress.done(failed=blob is None)
            return blob

        there = [name for name in some if name in names]
        found = dict(zip(there, await asyncio.gather(*map(one, there)), strict=True))
        if self.stop.is_set():
            return False
        for name in some:
            if code := self._judged(known.get(name), found.get(name), there=name in names):
                self.problems.append(problem(code, name, f"blobs/{folder}/{name}"))
        here = [known[name] for name in some if name in known]
        self.count += len(here)
        self.size += sum(blob.size for blob in here)
        return True

    def _judged(self, blob: Blob | None, found: Blob | None, *, there: bool) -> str:
        """The code of what is wrong with a blob, or a file where blobs are; nothing for none."""
        if blob is None:
            return "E03"
        if not there:
            return "E02"
        if found is None:
            return "E06"
        if found == blob:
            return ""
        if self.catalog.blobs.has(found.sha256):
            return "E05"
        return "E01" if found.size == blob.size else "E04"

    def _finish(self, run: int, at: str, of: int, seconds: float) -> VerifySummary:
        self.problems = with_files(self.catalog, self.problems)
        stopped = self.stop.is_set() and bool(at)
        status = RunStatus.DAMAGED if self.problems else RunStatus.INTERRUPTED if stopped else RunStatus.COMPLETE
        summary = VerifySummary(
            run=run,
            status=status,
            blobs=self.count,
            bytes=self.size,
            checked=self.count,
            of=of,
            round_complete=not at,
            seconds=seconds,
            problems=tuple(self.problems),
        )
        of_blobs = {found.sha256: found.problem for found in self.problems if found.code in OF_BLOBS}
        self.catalog.blobs.record_problems(of_blobs, whole=self.part.whole and not at)
        if not self.catalog.read_only and (not self.part.whole or not at):
            self.catalog.settings.set(PLACE, at)
        self.catalog.runs.end(run, status, summary.as_json())
        return summary


def _hash(path: Path, stop: asyncio.Event) -> Blob | None:
    """What a file really is; None for one that is no regular file or can't be read."""

    def go_on(_: int) -> None:
        if stop.is_set():
            raise InterruptedError

    try:
        go_on(0)
        with own_limits(str(path)):
            return hash_file(path, go_on) if path.is_file() and not path.is_symlink() else None
    except OSError:
        return None


def problem(code: str, sha256: str, path: str, detail: str = "") -> Problem:
    """One finding, with the word for its code."""
    return Problem(code, CODES[code], sha256, path, detail or None)


def with_files(catalog: Catalog, problems: list[Problem]) -> list[Problem]:
    """Findings; those about a blob with the `files` that it is the content of, which may be none."""
    blobs = {found.sha256 for found in problems if found.code in OF_BLOBS}
    files = catalog.files.with_content(blobs) if blobs else {}
    return [
        replace(found, files=tuple(files.get(found.sha256, ()))) if found.code in OF_BLOBS else found
        for found in problems
    ]
