"""A target for a dry run: calls that read are passed on, calls that write are answered and not sent."""

from __future__ import annotations

from typing_extensions import override

from migrator.layers.forwarding import TargetWrapper
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Body


class DryRunTarget(TargetWrapper):
    """A target that is only read.

    Beware: each verb that writes has to be overridden here; one that isn't does write.
    """

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """The file as the target would have described it, without an id."""
        return Attachment("", owner, draft.name, draft.size, media_type=draft.media_type, description=draft.description)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Nothing is sent."""

    @override
    async def delete(self, remote: Attachment) -> None:
        """Nothing is sent."""

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """A reference without an id, which only the target could give."""
        return EntityRef(draft.kind, "")
