"""Runs with fetch workers, seen from outside: their processes, what they hold, and the archive that they leave."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path
from typing import Any

from migrator.sandbox.server import Sandbox
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World, WorldAttachment
from tests.support.program import SKIP_IMAGES, Finished, catalog, configure, ended, run, start, until

FILES = 1200


def world_of(files: int = FILES, median: int = 2000) -> World:
    """A world with so many files, some of them too large to be held in memory."""
    return World.generate(entities=60, seed=3, attachments=files, median_bytes=median, large_bytes=400_000)


def configured(
    folder: Path, sandbox: Sandbox, workers: int | str, *, sections: dict[str, Any] | None = None, **limits: object
) -> Path:
    """A configuration with so many workers. `sections` are keywords of `configure`."""
    options = {"source__options": SKIP_IMAGES} if isinstance(sandbox, TargetprocessSandbox) else {}
    limits = {"workers": workers, "downloads": 8, **limits}
    return configure(folder, sandbox, limits=limits, **options, **(sections or {}))


def workers_of(pid: int) -> list[int]:
    """The worker processes of a run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"fetching.worker" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs: a zombie doesn't."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def memory_of(pid: int) -> bytes:
    """What a process has written to its memory, as far as it can be read."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            first, last = (int(edge, 16) for edge in span.split("-"))
            if rights.startswith("rw"):
                with contextlib.suppress(OSError, ValueError):
                    memory.seek(first)
                    parts.append(memory.read(last - first))
    return b"".join(parts)


async def at_work(process: asyncio.subprocess.Process, sandbox: Sandbox, count: int, files: int) -> list[int]:
    """The workers, once all have started and so many files were fetched."""
    workers: list[int] = []

    def there() -> bool:
        workers[:] = workers_of(process.pid)
        return process.returncode is not None or (len(workers) == count and sandbox.downloads.total() >= files)

    await until(there)
    assert process.returncode is None, "the run was at work"
    return workers


def listed(sandbox: Sandbox, world: World) -> list[WorldAttachment]:
    """The files that a source lists: those that belong to nothing only Targetprocess does."""
    everything = isinstance(sandbox, TargetprocessSandbox)
    return [file for file in world.attachments if everything or world.owner_of(file) is not None]


async def assert_whole(root: Path, sandbox: Sandbox, world: World) -> None:
    """Every file is stored with the bytes that the server has, and the archive is what its catalog says."""
    truth = {str(file.id): sandbox.state.sha256_of(file) for file in listed(sandbox, world)}
    assert dict(catalog(root, "SELECT attachment_id, sha256 FROM attachments WHERE status = 'stored'")) == truth
    for sha256 in set(truth.values()):
        assert hashlib.sha256((root / "blobs" / sha256[:2] / sha256).read_bytes()).hexdigest() == sha256
    assert list((root / "incoming").iterdir()) == []
    verified = await run("-q", "--json", "verify", root)
    assert (verified.code, verified.document["problems"]) == (0, [])


async def backed_up(config: Path, *words: str) -> tuple[Finished, list[int]]:
    """Run a backup as a process; returns how it ended, and the workers that it had."""
    process = await start("--json", "backup", config, *words)
    seen: dict[int, None] = {}
    reading = asyncio.create_task(ended(process))
    while not reading.done():
        seen.update(dict.fromkeys(workers_of(process.pid)))
        await asyncio.sleep(0.02)
    return await reading, list(seen)
