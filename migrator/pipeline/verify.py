"""Verify: hash every blob again, and hold the catalog against the disk, both ways.

Codes: E01 damaged (content or length is not what the name says), E02 missing (the catalog knows it, the disk
doesn't), E03 unknown (the disk has it, the catalog doesn't). What is damaged or missing is noted in the catalog, and
the next backup fetches it again where the source still has it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from migrator.archive import FOLDERS, Archive, hash_file
from migrator.catalog import Catalog
from migrator.disk import own_limits
from migrator.model import Blob, RunStatus
from migrator.progress import Progress, Silent

CODES = {"E01": "damaged", "E02": "missing", "E03": "unknown"}
HASHERS = 2


async def verify(
    archive: Archive, catalog: Catalog, *, progress: Progress | None = None, stop: asyncio.Event | None = None
) -> dict[str, Any]:
    """One run over the whole archive; whoever calls holds it. May be repeated at any time."""
    began, progress, stop = time.monotonic(), progress or Silent(), stop or asyncio.Event()
    run = catalog.begin_run("verify")
    problems: list[dict[str, str]] = []
    count = size = 0
    for folder in FOLDERS:
        known = catalog.blobs_in(folder)
        found = await _hash_folder(archive, folder, known, progress, stop)
        if stop.is_set():
            break
        problems += list(_compare(folder, known, found))
        count += len(known)
        size += sum(blob.size for blob in known.values())
    else:
        problems += [_problem("E02", sha256, _place(sha256)) for sha256 in catalog.dangling()]
        problems += [_problem("E03", "", name) for name in archive.strangers()]
    status = _status(problems, stopped=stop.is_set())
    summary = {
        "command": "verify",
        "run": run,
        "status": str(status),
        "blobs": count,
        "bytes": size,
        "seconds": round(time.monotonic() - began, 2),
        "problems": problems,
    }
    catalog.record_problems(
        {p["sha256"]: p["problem"] for p in problems if p["code"] in {"E01", "E02"}}, whole=not stop.is_set()
    )
    catalog.end_run(run, status, summary)
    return summary


def _status(problems: list[dict[str, str]], *, stopped: bool) -> RunStatus:
    if problems:
        return RunStatus.DAMAGED
    return RunStatus.INTERRUPTED if stopped else RunStatus.COMPLETE


async def _hash_folder(
    archive: Archive, folder: str, known: dict[str, Blob], progress: Progress, stop: asyncio.Event
) -> dict[str, Blob | None]:
    """What the files of a folder really are; None for one that is no regular file or can't be read.

    After a stop it says nothing of value, and soon, however large they are.
    """
    names = [name for name, _ in archive.files_in(folder)]
    progress.known(len(names), sum(blob.size for blob in known.values()))
    hashers = asyncio.Semaphore(HASHERS)

    async def one(name: str) -> Blob | None:
        async with hashers:
            blob = await asyncio.to_thread(_hash, archive.blobs / folder / name, stop)
        progress.moved(blob.size if blob else 0)
        progress.done(failed=blob is None)
        return blob

    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


def _hash(path: Path, stop: asyncio.Event) -> Blob | None:
    def go_on(_: int) -> None:
        if stop.is_set():
            raise InterruptedError

    try:
        go_on(0)
        with own_limits(str(path)):
            return hash_file(path, go_on) if path.is_file() and not path.is_symlink() else None
    except OSError:
        return None


def _compare(folder: str, known: dict[str, Blob], found: dict[str, Blob | None]) -> Iterator[dict[str, str]]:
    for sha256, blob in known.items():
        if sha256 not in found:
            yield _problem("E02", sha256, _place(sha256))
        elif found[sha256] != blob:
            yield _problem("E01", sha256, _place(sha256))
    for name in sorted(found.keys() - known.keys()):
        yield _problem("E03", name, f"blobs/{folder}/{name}")


def _problem(code: str, sha256: str, path: str) -> dict[str, str]:
    return {"code": code, "problem": CODES[code], "sha256": sha256, "path": path}


def _place(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"
