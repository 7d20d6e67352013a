"""What pipeline tests share: a small tracker in memory, and runs over real disk and SQLite."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from migrator.layers.dry_run import DryRunTarget
from migrator.layers.restoring import RestoreTarget
from migrator.layers.retry import RetryingSource, RetryingTarget
from migrator.layers.retry_policy import RetryPolicy
from migrator.layers.verify import VerifiedSource
from migrator.mapping.file import Mapping
from migrator.model import NOBODY, EntityRef
from migrator.pipeline.backup import BackupSettings, backup
from migrator.pipeline.load import LoadSettings, load
from migrator.pipeline.restore import RestoreSettings, restore
from migrator.pipeline.rollback import RollbackSettings, rollback
from migrator.pipeline.verify import WHOLE, Portion, verify
from migrator.ports import Target
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.trackers.memory import MemorySource, MemoryTarget, MemoryTracker

FULL = not {"CI", "MIGRATOR_SLOW"}.isdisjoint(os.environ)
"""Whether tests that repeat the same steps for many cases take all of them, or only some to be quick."""
only_in_full = pytest.mark.skipif(not FULL, reason="takes long: CI=true tests/run")
"""Marks a test whose like is always played, and which takes long."""


async def no_wait(_: float) -> None:
    """A backoff that takes no time."""
    await asyncio.sleep(0)


PATIENCE = RetryPolicy(retries=3, sleep=no_wait)


def small_tracker(entities: int = 12, page_size: int = 4) -> MemoryTracker:
    """Stories whose files must be asked for, bugs listed with theirs, a file without owner; equal names and bytes."""
    tracker = MemoryTracker(page_size=page_size)
    for number in range(entities):
        owner = tracker.add("Story" if number % 3 == 0 else "Bug", title=f"entity {number}")
        for copy in range(number % 4):
            tracker.attach(owner, "same.txt", f"{number}".encode(), description=f"copy {copy}", created_by="Ann")
        tracker.attach(owner, f"big {number}.bin", bytes([number]) * 300_000 if number == 5 else b"x" * number)
    tracker.attach(NOBODY, "loose.txt", b"nobody's")
    return tracker


def twin_of(tracker: MemoryTracker) -> tuple[MemoryTracker, Mapping]:
    """An empty target with an entity for each of the tracker's, and the mapping between them."""
    target = MemoryTracker()
    mapping = {ref: (target.add("Issue", title=entity.title),) for ref, entity in tracker.entities.items()}
    return target, mapping


async def run_backup(tracker: MemoryTracker | None, root: Path, **changes: Any) -> dict[str, Any]:
    """One backup into `root`, as a new process would make it; `source` in place of the tracker in memory."""
    stop, inner = changes.pop("stop", None), changes.pop("source", None) or MemorySource(tracker)
    place, progress = changes.pop("place", lambda downloader: downloader), changes.pop("progress", None)
    archive = Archive(root)
    archive.prepare()
    catalog = Catalog(root)
    try:
        source = RetryingSource(VerifiedSource(inner), PATIENCE)
        settings = BackupSettings(**{"identity": "memory", "downloads": 4, **changes})
        done = await backup(source, archive, catalog, settings, progress=progress, stop=stop, place=place)
        return done.as_json()
    finally:
        catalog.close()


async def run_load(tracker: MemoryTracker | None, root: Path, mapping: Mapping, **changes: Any) -> dict[str, Any]:
    """One load from `root`, as a new process would make it; `target` in place of the tracker in memory."""
    stop, progress = changes.pop("stop", None), changes.pop("progress", None)
    target = changes.pop("target", None) or RetryingTarget(MemoryTarget(tracker), PATIENCE)
    archive = Archive(root)
    archive.prepare()
    catalog = Catalog(root)
    try:
        settings = LoadSettings(**{"identity": "memory", "mapping": mapping, "look_again": 0.0, **changes})
        return (await load(target, archive, catalog, settings, progress=progress, stop=stop)).as_json()
    finally:
        catalog.close()


async def run_restore(tracker: MemoryTracker, root: Path, **changes: Any) -> dict[str, Any]:
    """One restore from `root` onto its source, as a new process would make it."""
    stop = changes.pop("stop", None)
    target: Target = changes.pop("target", None) or RetryingTarget(RestoreTarget(MemoryTarget(tracker)), PATIENCE)
    if changes.get("dry_run"):
        target = DryRunTarget(target)
    archive = Archive(root)
    archive.prepare()
    catalog = Catalog(root)
    try:
        settings = RestoreSettings(**{"identity": "memory", "look_again": 0.0, **changes})
        return (await restore(target, archive, catalog, settings, stop=stop)).as_json()
    finally:
        catalog.close()


async def run_rollback(tracker: MemoryTracker, root: Path, **changes: Any) -> dict[str, Any]:
    """One rollback of what was loaded from `root`, as a new process would make it."""
    stop = changes.pop("stop", None)
    target = changes.pop("target", None) or RetryingTarget(MemoryTarget(tracker), PATIENCE)
    catalog = Catalog(root)
    try:
        settings = RollbackSettings(**{"identity": "memory", **changes})
        return (await rollback(target, catalog, settings, stop=stop)).as_json()
    finally:
        catalog.close()


async def run_verify(root: Path, portion: Portion = WHOLE) -> dict[str, Any]:
    """One verify of `root`."""
    return (await verify(Archive(root), portion=portion)).as_json()


def rows(root: Path, statement: str) -> list[tuple[Any, ...]]:
    """The rows that another program reads from the catalog."""
    with sqlite3.connect(root / "catalog.db") as db:
        return db.execute(statement).fetchall()


def overwrite(path: Path, content: bytes) -> None:
    """Replace the content of a file and keep its mode, also that of a blob, which is read-only."""
    mode = path.stat().st_mode if path.exists() else 0o600
    path.touch()
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(mode)


def stored(root: Path) -> dict[str, tuple[str, str]]:
    """Name and hash of each stored attachment, by id, as recorded. Fails if a blob is missing or damaged."""
    files = {}
    for id_, name, sha256 in rows(root, "SELECT attachment_id, name, sha256 FROM attachments WHERE status = 'stored'"):
        content = (root / "blobs" / sha256[:2] / sha256).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
        files[id_] = (name, sha256)
    recorded = {sha256 for (sha256,) in rows(root, "SELECT sha256 FROM blobs")}
    on_disk = {path.name for path in (root / "blobs").glob("*/*")}
    assert recorded <= on_disk
    return files


def expected(tracker: MemoryTracker) -> dict[str, tuple[str, str]]:
    """Name and hash of each attachment that the tracker holds, by id; what `stored` should return."""
    return {id_: (file.name, hashlib.sha256(tracker.content[id_]).hexdigest()) for id_, file in tracker.files.items()}


def files_on(tracker: MemoryTracker, ref: EntityRef) -> Counter[tuple[str, bytes, str]]:
    """Name, bytes and description of everything on an entity."""
    return Counter((file.name, tracker.content[file.id], file.description) for file in tracker.of(ref))
