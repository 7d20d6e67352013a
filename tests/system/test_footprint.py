"""Peak memory of a backup and its fetch worker: it grows neither with the size of a file nor with their number."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from tests.support.parts import only_in_full
from tests.support.program import ROOT, configure, process_and_peak

LIMIT = 200 * 1024 * 1024


async def peak_of_backup(config: Path) -> tuple[int, int]:
    """Exit status and peak resident memory, in bytes, of one backup in a process of its own."""
    line = [sys.executable, "-m", "migrator", "-q", "backup", str(config)]
    process = await asyncio.create_subprocess_exec(*line, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return await process_and_peak(process)


async def peak(folder: Path, world: World, **sections) -> int:
    """Peak memory of a backup of this world that went well."""
    async with TargetprocessSandbox(world) as sandbox:
        sections = {"source__options": {"inline_images": "skip"}, "limits": {"workers": 1}, **sections}
        began = time.monotonic()
        code, peak_rss = await peak_of_backup(configure(folder, sandbox, **sections))
        took = time.monotonic() - began
        print(f"{len(world.attachments)} files: {peak_rss / 2**20:.0f} MiB at most, {took:.0f} s")  # noqa: T201
        assert code == 0
        assert sandbox.downloads.total() == len(world.attachments)
    with sqlite3.connect(folder / "archive" / "catalog.db") as db:
        counted = db.execute("SELECT count(*) FROM attachments WHERE status = 'stored'").fetchone()
    assert counted == (len(world.attachments),)
    return peak_rss


@pytest.mark.timeout(300)
async def test_a_file_of_2_gb_takes_less_than_200_mb_of_memory(tmp_path):
    world = World.generate(entities=20, attachments=42, median_bytes=2000, large_bytes=2_000_000_000)
    assert max(file.size for file in world.attachments) == 2_000_000_000
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 5_000_000_000:
        pytest.skip("less than 5 GB free")
    assert await peak(tmp_path, world) < LIMIT
    [large] = [path for path in (tmp_path / "archive" / "blobs").glob("*/*") if path.stat().st_size == 2_000_000_000]
    large.unlink()  # it need not lie around until pytest sweeps


@pytest.mark.slow
@pytest.mark.skipif("MIGRATOR_SLOW" not in os.environ, reason="takes minutes: MIGRATOR_SLOW=1 pytest -m slow")
@pytest.mark.timeout(1800)
async def test_100_000_files_take_less_than_200_mb_of_memory(tmp_path):
    world = World.generate(entities=20_000, attachments=100_000, median_bytes=20, large_bytes=0)
    assert await peak(tmp_path, world) < LIMIT


@only_in_full
async def test_files_that_wait_to_be_written_take_little_memory(tmp_path):
    """As large as files may be that are held in memory."""
    world = World.generate(entities=100, attachments=1500, median_bytes=250_000, large_bytes=260_000)
    assert await peak(tmp_path, world) < LIMIT


async def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    few = await peak(tmp_path / "few", World.generate(entities=100, attachments=500, median_bytes=20, large_bytes=0))
    many = await peak(
        tmp_path / "many", World.generate(entities=1000, attachments=3000, median_bytes=20, large_bytes=0)
    )
    assert many < few + 40 * 1024 * 1024
