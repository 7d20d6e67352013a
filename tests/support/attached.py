"""Adds files to a sandbox past its API, as somebody at the tracker does."""

from __future__ import annotations

import hashlib

from migrator.sandbox.server import Sandbox
from migrator.sandbox.uploads import ReceivedFile, StoredContent
from migrator.sandbox.world import WorldAttachment


def attach(
    sandbox: Sandbox,
    entity_id: int | None,
    name: str = "new.txt",
    content: bytes = b"new",
    media_type: str = "text/plain",
) -> WorldAttachment:
    """A new file on an entity, or on none."""
    stored = StoredContent()
    stored.write(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return sandbox.state.keep(ReceivedFile("", name, media_type, len(content), sha256, stored), entity_id, None)
