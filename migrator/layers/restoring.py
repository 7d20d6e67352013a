"""A source as the target of a restore: says why a file can't go back to where it was."""

from __future__ import annotations

from typing_extensions import override

from migrator.errors import GoneError, RejectedError
from migrator.layers.forwarding import TargetWrapper
from migrator.model import NOBODY, Attachment, EntityRef


class RestoreTarget(TargetWrapper):
    """A target that knows its entities as those of the source."""

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """`RejectedError` for the owner of files that nothing owned."""
        if owner == NOBODY:
            raise RejectedError("nothing owned this file, so there is nothing to put it back onto")
        try:
            return await super().find_attachments(owner)
        except GoneError as error:
            raise GoneError(f"the entity itself is gone, or this account may not see it ({error})") from None
