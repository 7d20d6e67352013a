"""Asks by id whether a tracker still has the record of a file.

"Not found" for one record proves something only if the same route returns the record of another file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from migrator.errors import GoneError
from migrator.model import NOBODY, Attachment, EntityRef

Ask = Callable[[str], Awaitable[object]]
FilesOf = Callable[[EntityRef], Awaitable[Iterable[Attachment]]]


class FileRecords:
    """The records of single files. `ask` requests one; `sample` gives the ids of a few files that are listed now."""

    def __init__(self, ask: Ask, sample: Callable[[], Awaitable[Iterable[str]]]) -> None:
        self._ask, self._sample = ask, sample
        self._proven = False

    async def still_lists(self, attachment: Attachment, files_of: FilesOf) -> bool:
        """Whether the file still has a record, or is in the list of its entity.

        `GoneError` if there is no record of any other file either, which proves nothing.
        """
        record = await self._has(attachment.id)
        if record or (attachment.owner != NOBODY and await _lists(attachment, files_of)):
            return True
        if record is None:
            raise GoneError(
                f"attachment {attachment.id}: neither its record nor that of any other file can be found", status=404
            )
        return False

    async def _has(self, number: str) -> bool | None:
        """Whether the record exists; None if the route returns neither it nor any other."""
        if await self._answers(number):
            self._proven = True
            return True
        if not self._proven:
            others = [other for other in await self._sample() if other != number]
            self._proven = any([await self._answers(other) for other in others[:2]])
        return False if self._proven else None

    async def _answers(self, number: str) -> bool:
        try:
            await self._ask(number)
        except GoneError:
            return False
        return True


async def _lists(attachment: Attachment, files_of: FilesOf) -> bool:
    try:
        return any(file.id == attachment.id for file in await files_of(attachment.owner))
    except GoneError:
        return False
