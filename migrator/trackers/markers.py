"""The markers on created entities, for trackers whose API cannot search for one.

One walk over the entities of the target finds all markers; those that this process creates are added.

Beware: after a write without an answer the earlier walk proves nothing, so the walk is repeated.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

from migrator.errors import OutcomeUnknownError, UnexpectedBodyError
from migrator.model import EntityRef

MARKER = re.compile(r"migrator-[0-9a-f]{24}")
"""What a marker looks like."""

Walk = Callable[[], AsyncIterator[tuple[EntityRef, str]]]
"""Yields every entity of the target with its description."""


class MarkerIndex:
    """Which entity carries which marker, see `Target.find_entity`. Only the first search takes a walk."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._known: dict[str, EntityRef] | None = None
        self._uncertain: set[str] = set()
        self._lock = asyncio.Lock()

    async def find(self, mark: str) -> EntityRef | None:
        """The entity with this marker; None if there is none."""
        async with self._lock:
            if self._known is None or (mark in self._uncertain and mark not in self._known):
                self._known = {marker: ref async for ref, text in self._walk() for marker in MARKER.findall(text)}
            return self._known.get(mark)

    async def created(self, mark: str, creation: Awaitable[EntityRef]) -> EntityRef:
        """The result of creating an entity with this marker. Without a clear answer, `find` will walk again for it."""
        try:
            ref = await creation
        except (OutcomeUnknownError, UnexpectedBodyError):
            self._uncertain.add(mark)
            raise
        if self._known is not None:
            self._known[mark] = ref
        return ref
