"""A tracker that has a new address: its archive continues there, once it is certain to be the same tracker.

An address proves nothing, and mistaking another tracker for this one would call every file gone. So the tracker at the
new address is asked for files that the archive holds, and must report the same id, name and size as the old one did.
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

SAMPLE = 12
"""At most this many entities with files are asked for."""
PAGES = 3
"""Pages of each listing that are looked at where the archive holds no file of an entity."""
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the new address says of the files that were asked for: how many are the same, and how the others differ."""

    same: int
    differing: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Files are renamed, replaced and deleted in any tracker; in another one hardly a single one agrees."""
        return self.same > len(self.differing)


async def relocate(source: Source, catalog: Catalog, old: str, new: str) -> str:
    """Let the archive of the tracker `old` go on as that of `new`, which `source` reads; gives a sentence on it.

    Whoever calls holds the archive. May be repeated. `ConfigError`, and nothing is changed, where the archive is of
    neither or the tracker is another one.
    """
    executor = SerialExecutor()
    try:
        held = await executor.call(catalog.settings.get, "source")
        if held == new:
            return f"the archive is that of {new} already"
        if held != old:
            raise ConfigError(f"this archive holds {held or 'nothing yet'}, and not {old}: nothing was changed")
        found = await _compared(source, await executor.call(catalog.files.sample, SAMPLE))
        if not found.is_same:
            raise ConfigError(_refusal(found, new))
        await executor.call(catalog.settings.move_source, old, new)
        return f"{new} is the tracker that was {old}: {_told(found.same)} as the archive has it"
    finally:
        await executor.close()


async def _compared(source: Source, sample: Sequence[Attachment]) -> Comparison:
    """Ask the tracker for each sampled entity's files; where files belong to none, its listings are looked at."""
    there: dict[str, Attachment] = {}
    for owner in dict.fromkeys(one.owner for one in sample if one.owner.id):
        there.update(_by_id(await _files_of(source, Entity(owner))))
    if any(not one.owner.id for one in sample):
        there.update(_by_id(await _first_pages(source)))
    verdicts = [_difference(one, there.get(one.id)) for one in sample]
    return Comparison(Counter(verdicts)[""], tuple(verdict for verdict in verdicts if verdict))


async def _files_of(source: Source, entity: Entity) -> tuple[Attachment, ...]:
    try:
        return await source.attachments_of(entity)
    except (GoneError, ForbiddenError):
        return ()


async def _first_pages(source: Source) -> list[Attachment]:
    found: list[Attachment] = []
    for stream in source.capabilities.streams:
        cursor = None
        for _ in range(PAGES):
            page = await source.read(stream, cursor)
            found += page.attachments
            if (cursor := page.next) is None:
                break
    return found


def _by_id(files: Iterable[Attachment]) -> dict[str, Attachment]:
    return {file.id: file for file in files}


def _difference(one: Attachment, there: Attachment | None) -> str:
    """How a file differs from what the archive knows; empty if it doesn't."""
    what = f"attachment {one.id} ({one.name!r} of {one.owner})"
    if there is None:
        return f"{what} is not there"
    if there.name != one.name:
        return f"{what} is called {there.name!r}"
    if None not in (one.size, there.size) and there.size != one.size:
        return f"{what} has {there.size} bytes, not {one.size}"
    return ""


def _refusal(found: Comparison, new: str) -> str:
    asked = found.same + len(found.differing)
    if not asked:
        return f"the archive holds no file by which {new} could be known again; nothing was changed: use another folder"
    some = "; ".join(found.differing[:SHOWN]) + ("; ..." if len(found.differing) > SHOWN else "")
    return f"{new} is another tracker: {found.same} of {asked} files agree; {some}. Nothing was changed"


def _told(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'} there"
