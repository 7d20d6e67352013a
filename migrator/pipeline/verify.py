"""Verify: hash every blob again, and compare catalog, disk and journal with each other.

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
from dataclasses import dataclass, replace

from typing_extensions import override

from migrator.errors import ArchiveDamagedError
from migrator.model import Blob, RunStatus
from migrator.pipeline.run import Job, RunContext, run_context
from migrator.pipeline.stop import StopRequestedError, StopToken
from migrator.pipeline.summary import BlobFile, Problem, VerifySummary
from migrator.pipeline.workers import run_workers
from migrator.progress import Progress, Silent
from migrator.store import BLOB_FOLDERS, CATALOG, Archive, Catalog, audit, blob_name

CODES = {
    "E01": "damaged",  # the content of a blob is not what its name says
    "E02": "missing",  # the catalog knows a blob, the disk doesn't
    "E03": "unknown",  # the disk has a file that the catalog doesn't know
    "E04": "damaged",  # a blob is shorter or longer than it was
    "E05": "damaged",  # a blob has the content of another one
    "E06": "damaged",  # in place of a blob there is a link, a folder, or a file that can't be read
    "E10": "missing",  # there is a manifest, but no catalog
    "E11": "damaged",  # the catalog can't be read, or its tables are not what they were
    "E12": "damaged",  # a row of the catalog differs from the manifest
    "E13": "missing",  # the manifest has a row that the catalog doesn't have
    "E14": "unknown",  # the catalog has a row that the manifest doesn't have
    "E21": "damaged",  # lines of the manifest are not what was written
    "E22": "missing",  # the catalog knows of a manifest, the disk doesn't
    "E23": "missing",  # the manifest is shorter than it was
}
"""Code of each kind of damage, and the word for it. A code never changes its meaning."""
BLOB_CODES = frozenset({"E01", "E02", "E04", "E05", "E06"})
"""Codes of damage to a blob."""
CATALOG_CODES = frozenset({"E10", "E11", "E12", "E13", "E14"})
"""Codes of damage to the catalog."""
JOURNAL_CODES = frozenset({"E21", "E22", "E23"})
"""Codes of damage to the journal, whose file is the manifest."""
MAX_BLOBS_AT_ONCE = 64
"""Blobs hashed before they are judged."""
POSITION_KEY = "verify_at"
"""The setting that holds where the last partial verify ended."""


@dataclass(frozen=True, slots=True)
class Portion:
    """How many blobs to check: a share (0 to 1; 1 is all, as None is), or as many as `seconds` allow."""

    share: float | None = None
    seconds: float | None = None

    @property
    def whole(self) -> bool:
        """Whether all blobs are checked."""
        return self.seconds is None and (self.share is None or self.share >= 1)


WHOLE = Portion()


async def verify(
    archive: Archive,
    *,
    portion: Portion = WHOLE,
    full: bool = False,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> VerifySummary:
    """One run over the whole archive, or over the next portion of its blobs; the caller holds the archive.

    Encrypted blobs are read only if it is `full`; else their names and sizes are checked, which needs no private key.
    May be repeated at any time. If the catalog can't be opened, that is the only problem reported.
    """
    began = time.monotonic()
    reads = full or not archive.store.encrypted
    if reads:
        await asyncio.to_thread(archive.require_readable)
    problems = [
        problem_of(code, "", path, detail) for code, path, detail in await asyncio.to_thread(audit, archive.root)
    ]
    if any(problem.code in {"E10", "E11"} for problem in problems):
        return _unopened(problems)
    try:
        catalog = Catalog(archive.root, read_only=not os.access(archive.root, os.W_OK))
    except ArchiveDamagedError as error:
        return _unopened([problem_of("E11", "", CATALOG, str(error))])

    def mark_journal() -> None:
        damage = [problem.code for problem in problems if problem.code in JOURNAL_CODES]
        if damage and not catalog.read_only:
            catalog.mark_journal_damaged(damage[0])

    with closing(catalog):
        async with run_context(catalog, "verify", mark_journal, mends_journal=False, began=began) as context:
            job = _Verify(archive, portion, problems, context, progress or Silent(), reads=reads)
            return await context.execute(job, stop)


def _unopened(problems: list[Problem]) -> VerifySummary:
    return VerifySummary(status=RunStatus.DAMAGED, problems=tuple(problems))


@dataclass(slots=True)
class _Folder:
    """A folder of blobs: those that the catalog knows, names and sizes on disk, and the names still to be checked."""

    name: str
    known: dict[str, Blob]
    on_disk: dict[str, int]
    left: list[str]


class _Verify(Job[VerifySummary]):
    """One verify. The position is `FOLDER/NAME` of the last blob checked, from which a partial verify continues; it is
    empty at the end.
    """

    def __init__(
        self,
        archive: Archive,
        portion: Portion,
        problems: list[Problem],
        context: RunContext,
        progress: Progress,
        *,
        reads: bool,
    ) -> None:
        self._reads = reads
        self._archive, self._portion, self._problems, self._progress = archive, portion, problems, progress
        self._catalog, self._executor, self._stop = context.catalog, context.executor, context.stop
        self._position = "00/"
        self._total = self._checked = self._bytes = 0
        self._max_blobs, self._until = math.inf, math.inf
        if portion.seconds is not None:
            self._until = context.began + portion.seconds

    @override
    async def work(self) -> None:
        with self._stop.in_flight():
            call = self._executor.call
            self._progress.known(*await call(self._begin))
            if self._portion.seconds is None:
                self._progress.all_known()
            if not await self._check_blobs():
                return
            self._position = ""
            await call(self._check_rest)

    @override
    async def flush(self) -> None:
        """What was found is recorded with the summary."""

    @override
    def summary(self, status: RunStatus) -> VerifySummary:
        catalog, whole, at_end = self._catalog, self._portion.whole, not self._position
        problems = with_files(catalog, self._problems)
        damaged = {problem.sha256: problem.problem for problem in problems if problem.code in BLOB_CODES}
        catalog.blobs.record_problems(damaged, whole=whole and at_end and self._reads)
        if not catalog.read_only and (not whole or at_end):
            catalog.settings.set(POSITION_KEY, self._position)
        return VerifySummary(
            blobs=self._checked,
            bytes=self._bytes,
            checked=self._checked,
            of=self._total,
            round_complete=at_end,
            hashed=None if self._reads else False,
            problems=tuple(problems),
        )

    def _begin(self) -> tuple[int, int]:
        """Find the position; returns how many blobs of the catalog are to be checked, and about how many bytes."""
        self._total = self._catalog.summaries.totals()["blobs"]["count"]
        if self._portion.share is not None and not self._portion.whole:
            self._max_blobs = math.ceil(self._total * self._portion.share)
        if not self._portion.whole:
            self._position = self._catalog.settings.get(POSITION_KEY) or self._position
        folder, _, after = self._position.partition("/")
        count, size = self._catalog.blobs.size_after(after or folder)
        wanted = int(min(count, self._max_blobs))
        return wanted, size * wanted // max(1, count)

    async def _check_blobs(self) -> bool:
        """Check blobs from the position on; False if some are left."""
        began_at, _, after = self._position.partition("/")
        for name in BLOB_FOLDERS[BLOB_FOLDERS.index(began_at) :]:
            folder = await self._executor.call(self._folder, name, after)
            self._position, after = f"{name}/{after}", ""
            self._progress.known(sum(name not in folder.known for name in folder.left), 0)
            while folder.left:
                if self._is_enough() or not await self._check_some(folder):
                    self._stop.left_undone |= self._stop.requested
                    return False
        return True

    def _folder(self, name: str, after: str) -> _Folder:
        known = self._catalog.blobs.in_folder(name)
        removed = self._catalog.blobs.removed_in(name)
        on_disk = dict(self._archive.files_in(name, known, removed))
        for sha256 in removed - known.keys():
            on_disk.pop(sha256, None)
        return _Folder(name, known, on_disk, sorted(file for file in known.keys() | on_disk if file > after))

    def _is_enough(self) -> bool:
        return self._stop.requested or self._checked >= self._max_blobs or time.monotonic() >= self._until

    async def _check_some(self, folder: _Folder) -> bool:
        """Hash the next blobs and judge them; False, and none is judged, if a stop came first."""
        count = int(min(MAX_BLOBS_AT_ONCE, self._max_blobs - self._checked))
        names, actual = folder.left[:count], dict[str, Blob | None]()

        async def hash_one(name: str) -> None:
            if self._reads:
                actual[name] = blob = await asyncio.to_thread(_hash, self._archive, folder.name, name, self._stop)
            else:
                actual[name] = blob = _by_size(folder.known.get(name), folder.on_disk[name])
            self._progress.transferred(blob.size if blob else 0)
            self._progress.done(failed=blob is None)

        await run_workers(
            [name for name in names if name in folder.on_disk], hash_one, self._archive.store.readers, self._stop
        )
        if self._stop.requested:
            return False
        for name in set(names) - folder.on_disk.keys():
            self._progress.done(failed=True, not_transferred=folder.known[name].size)
        await self._executor.call(self._judge, folder, names, actual)
        del folder.left[:count]
        self._position = f"{folder.name}/{names[-1]}"
        return True

    def _judge(self, folder: _Folder, names: list[str], actual: dict[str, Blob | None]) -> None:
        for name in names:
            if code := self._code_of(folder.known.get(name), actual.get(name), on_disk=name in folder.on_disk):
                self._problems.append(problem_of(code, name, self._archive.store.path_shown(folder.name, name)))
        checked = [folder.known[name] for name in names if name in folder.known]
        self._checked += len(checked)
        self._bytes += sum(blob.size for blob in checked) if self._reads else 0

    def _code_of(self, known: Blob | None, actual: Blob | None, *, on_disk: bool) -> str:
        """The code of what is wrong with a blob, or with a file in its place; empty if nothing is."""
        if known is None:
            return "E03"
        if not on_disk:
            return "E02"
        if actual is None:
            return "E06"
        if actual == known:
            return ""
        if self._catalog.blobs.has(actual.sha256):
            return "E05"
        return "E01" if actual.size == known.size else "E04"

    def _check_rest(self) -> None:
        """Blobs that only an attachment knows of, and files that belong to no archive."""
        self._problems += [problem_of("E02", sha256, blob_name(sha256)) for sha256 in self._catalog.blobs.dangling()]
        self._problems += [problem_of("E03", "", name) for name in self._archive.unknown_files()]


def _by_size(known: Blob | None, size: int) -> Blob | None:
    """What a file seems to hold if it isn't read."""
    return known if known is None or known.size == size else Blob("", size)


def _hash(archive: Archive, folder: str, name: str, stop: StopToken) -> Blob | None:
    """What a file really holds; None if it is no regular file or can't be read, or after a stop."""
    try:
        return archive.hash_of(folder, name, lambda _: stop.check())
    except (OSError, StopRequestedError):
        return None


def problem_of(code: str, sha256: str, path: str, detail: str = "") -> Problem:
    """A problem, with the word for its code."""
    return Problem(code, CODES[code], sha256, path, detail or None)


def with_files(catalog: Catalog, problems: list[Problem]) -> list[Problem]:
    """The same problems; each damaged blob with the `files` whose content it is, of which there may be none."""
    blobs = {problem.sha256 for problem in problems if problem.code in BLOB_CODES}
    files = catalog.files.with_content(blobs) if blobs else {}

    def with_its_files(problem: Problem) -> Problem:
        return replace(problem, files=tuple(BlobFile(**file) for file in files.get(problem.sha256, ())))

    return [with_its_files(problem) if problem.code in BLOB_CODES else problem for problem in problems]
