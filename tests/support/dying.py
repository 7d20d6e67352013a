"""Exports that die at a step, each in a process of its own."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from migrator.pipeline.export import ExportSettings, export, formats, placing, zipped
from migrator.store import Archive, Catalog
from tests.support.forks import FORKS

DIED, DONE = 41, 42
"""Exit statuses: it died at its step, or came to its end before."""


def die_at(step: int, root: Path, dest: Path, shape: str, mounted: bool) -> None:
    """Export, and end this process at its n-th step, as a kill would."""
    count = 0
    if mounted:
        Path.is_mount = lambda path: path == dest  # type: ignore[method-assign]

    def stepping(function):
        def wrapped(*args, **kwargs):
            nonlocal count
            count += 1
            if count == step:
                os._exit(DIED)
            return function(*args, **kwargs)

        return wrapped

    for where, name in ((placing.LocalFiles, "add"), (zipped.Zip, "add"), (formats.os, "open"), (Path, "rename")):
        setattr(where, name, stepping(getattr(where, name)))
    for name in ("mkdir", "hardlink_to", "unlink", "rmdir"):
        setattr(Path, name, stepping(getattr(Path, name)))
    asyncio.run(_export(root, dest, shape))
    os._exit(DONE)


async def _export(root: Path, dest: Path, shape: str) -> None:
    catalog = Catalog(root)
    try:
        await export(Archive(root), catalog, ExportSettings(dest, shape))
    finally:
        catalog.close()


def dies_at(step: int, root: Path, dest: Path, shape: str, *, mounted: bool = False) -> int:
    """The exit status of an export that dies at its n-th step; `mounted`: as if `dest` were a mount point."""
    child = FORKS.Process(target=die_at, args=(step, root, dest, shape, mounted))
    child.start()
    child.join(60)
    if child.exitcode is None:
        child.kill()
        raise AssertionError(f"an export that should die at step {step} did not end")
    return child.exitcode
