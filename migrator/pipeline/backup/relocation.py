"""A tracker that has a new address: its archive continues there, once it is proved to be the same tracker.

An address proves nothing, and with another tracker every file would be called gone. So the tracker at the new address
is asked for files that the archive holds, and must report the same ids, names and sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from migrator.errors import ConfigError, ForbiddenError, GoneError
from migrator.model import Attachment, Entity
from migrator.pipeline.executor import SerialExecutor
from migrator.ports import Source
from migrator.store import Catalog

SAMPLE_ENTITIES = 12
"""Entities whose files are asked for."""
MAX_PAGES = 3
"""Pages of each listing that are read if the sample has files that belong to no entity."""
MAX_SHOWN = 3
"""Differences named in an error."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many files are the same at the new address, and how the others differ."""

    same: int
    differing: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether most files agree: a few may have changed, but in another tracker hardly any would agree."""
        return self.same > len(self.differing)


async def relocate(source: Source, catalog: Catalog, old: str, new: str) -> str:
    """Make the archive of the tracker `old` that of `new`, which `source` reads; returns a sentence on it.

    The caller holds the archive. May be repeated. `ConfigError`, and nothing is changed, if the archive belongs to
    neither, or the tracker is another one.
    """
    executor = SerialExecutor()
    try:
        current = await executor.call(catalog.settings.get, "source")
        if current == new:
            return f"the archive already belongs to {new}"
        if current != old:
            raise ConfigError(f"this archive holds {current or 'nothing yet'}, not {old}; nothing was changed")
        comparison = await _compare(source, await executor.call(catalog.files.sample, SAMPLE_ENTITIES))
        if not comparison.is_same:
            raise ConfigError(_refusal(comparison, new))
        await executor.call(catalog.settings.move_source, old, new)
        return f"{new} is the tracker that was {old}: {_files_there(comparison.same)} as the archive has it"
    finally:
        await executor.close()


async def _compare(source: Source, sample: Sequence[Attachment]) -> Comparison:
    """Ask for the files of each entity in the sample; for files that belong to no entity, read the listings."""
    listed: dict[str, Attachment] = {}
    for owner in dict.fromkeys(file.owner for file in sample if file.owner.id):
        listed.update(_by_id(await _files_of(source, Entity(owner))))
    if any(not file.owner.id for file in sample):
        listed.update(_by_id(await _first_pages(source)))
    differences = [_difference(file, listed.get(file.id)) for file in sample]
    return Comparison(Counter(differences)[""], tuple(filter(None, differences)))


async def _files_of(source: Source, entity: Entity) -> tuple[Attachment, ...]:
    try:
        return await source.attachments_of(entity)
    except (GoneError, ForbiddenError):
        return ()


async def _first_pages(source: Source) -> list[Attachment]:
    files: list[Attachment] = []
    for stream in source.capabilities.streams:
        cursor = None
        for _ in range(MAX_PAGES):
            page = await source.read(stream, cursor)
            files += page.attachments
            if (cursor := page.next) is None:
                break
    return files


def _by_id(files: Iterable[Attachment]) -> dict[str, Attachment]:
    return {file.id: file for file in files}


def _difference(held: Attachment, listed: Attachment | None) -> str:
    """How a file differs from the one that the archive holds; empty if it doesn't."""
    subject = f"attachment {held.id} ({held.name!r} of {held.owner})"
    if listed is None:
        return f"{subject} is not there"
    if listed.name != held.name:
        return f"{subject} is called {listed.name!r}"
    if None not in (held.size, listed.size) and listed.size != held.size:
        return f"{subject} has {listed.size} bytes, not {held.size}"
    return ""


def _refusal(comparison: Comparison, new: str) -> str:
    same, differing = comparison.same, comparison.differing
    count = same + len(differing)
    if not count:
        return f"the archive has no file by which {new} could be recognised, so nothing was changed; use another folder"
    shown = "; ".join(differing[:MAX_SHOWN]) + ("; ..." if len(differing) > MAX_SHOWN else "")
    return f"{new} is another tracker: {same} of {count} files agree; {shown}. Nothing was changed"


def _files_there(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'} there"
