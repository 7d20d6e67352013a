"""An embedded Targetprocess with files, and an embedded Squash TM without: `... trackers FOLDER FILES OF_ENTITY`.

Writes into the folder what a migration needs, says so on stdout, and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from migrator.sandbox import SANDBOXES
from migrator.sandbox.world.model import World, WorldAttachment
from tests.support.program import configure


def world(files: int, of_entity: int) -> World:
    """Entities with so many plain files each."""
    chance, when = random.Random(1), datetime(2024, 2, 3, tzinfo=UTC)
    bare = World.generate(entities=files // of_entity, attachments=0).without_attachments()
    made = [
        WorldAttachment(
            id=10_000 + number,
            entity_id=bare.entities[number // of_entity].id,
            comment_id=None,
            name=f"picture {number}.png",
            media_type="image/png",
            description=None,
            created_at=when,
            author="Ann Smith",
            size=chance.randrange(2_000, 20_001),
            content_seed=number,
        )
        for number in range(len(bare.entities) * of_entity)
    ]
    return replace(bare, attachments=tuple(made))


async def serve(folder: Path, files: int, of_entity: int) -> None:
    """Both of them."""
    full = world(files, of_entity)
    async with SANDBOXES["targetprocess"](full) as source, SANDBOXES["squash"](full.without_attachments()) as target:
        configure(folder, source, target)
        urls = {
            str(entity.id): f"{target.url}/api/rest/latest/{target.kind_of(entity.id)}/{entity.id}/attachments"
            for entity in full.entities
        }
        header = f"Authorization: Bearer {target.credentials['token']}"
        (folder / "target.json").write_text(json.dumps({"urls": urls, "header": header}))
        print("ready", flush=True)  # noqa: T201 - who started this waits for it
        await asyncio.Event().wait()


asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
