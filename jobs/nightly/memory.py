"""What one night leaves to the next, in the catalog: when all was well last, and what a message reported last."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from migrator.errors import MigratorError
from migrator.jobs.place import Place, folder_of
from migrator.jobs.runtime import held_archive, read_archive
from migrator.store import is_archive

KEY = "nightly"
LOG = logging.getLogger("migrator")


@dataclass(frozen=True, slots=True)
class Memory:
    """Unix times of the last night with exit status 0 and of the last message; fingerprints of what it reported."""

    success: float | None = None
    reported_at: float | None = None
    reported: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory, and since when each blob has been verified (Unix time); None where that is unknown."""

    memory: Memory = Memory()
    verified_since: float | None = None


def recall(root: Path) -> Recalled:
    """What the archive in `root` remembers, also while another run holds it; nothing where it can't be read."""
    try:
        if not is_archive(root):
            return Recalled()
        with read_archive(root) as catalog:
            kept, since = catalog.settings.get(KEY), catalog.runs.verified_since()
    except MigratorError:
        return Recalled()
    return Recalled(_parsed(kept), datetime.fromisoformat(since).timestamp() if since else None)


def _parsed(kept: str | None) -> Memory:
    try:
        values = json.loads(kept or "{}")
        return Memory(values.get("success"), values.get("reported_at"), frozenset(values.get("reported", ())))
    except (ValueError, AttributeError, TypeError):
        return Memory()


def remember(place: Place, memory: Memory) -> None:
    """Keep it with the archive; not where another run holds that, or where it can't be written to."""
    kept = {"success": memory.success, "reported_at": memory.reported_at, "reported": sorted(memory.reported)}
    try:
        if is_archive(folder_of(place)):
            with held_archive(place, "nightly") as (_, catalog):
                catalog.settings.set(KEY, json.dumps(kept))
    except MigratorError as error:
        LOG.info("what was reported tonight is not recorded: %s", error)
