"""Files whose name no multipart header can carry to a Squash TM: they are sent under a passing name and renamed.

The passing name is a digest of the file's name and content. So a file that a failure or a kill left under that name is
found and renamed, not sent again.

Beware: a list may lag behind the uploads (a cache, a replica). A file that was sent and is not listed yet is
remembered, and is not sent a second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from migrator.errors import ItemFailedError, OutcomeUnknownError
from migrator.model import Attachment, Draft, EntityRef
from migrator.ports import Body
from migrator.trackers.keyed_lock import KeyedLock

MAX_REMEMBERED_UPLOADS = 1000
"""Uploads that are remembered, so that they are not sent again."""

Find = Callable[[EntityRef], Awaitable[tuple[Attachment, ...]]]
Send = Callable[[EntityRef, Draft, Body], Awaitable[Attachment | None]]
Rename = Callable[[Attachment, str], Awaitable[Attachment]]


class Passing:
    """Uploads under passing names, by the three requests that they take."""

    def __init__(self, find: Find, send: Send, rename: Rename) -> None:
        self._find, self._send, self._rename = find, send, rename
        self._locks = KeyedLock()
        self._sent: dict[tuple[EntityRef, str], Attachment | None] = {}

    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment:
        """Send a file, for `Target.upload`; what an earlier attempt left is renamed instead."""
        async with self._locks.hold(owner):
            passing = replace(draft, name=await passing_name(draft.name, body))
            file = await self._earlier_attempt(owner, passing) or await self._sent_once(owner, passing, body)
            renamed = await self._rename(file, draft.name)
            self._sent.pop((owner, passing.name), None)
            return renamed

    async def _earlier_attempt(self, owner: EntityRef, passing: Draft) -> Attachment | None:
        files = await self._find(owner)
        return next((file for file in files if file.name == passing.name and file.size in {None, passing.size}), None)

    async def _sent_once(self, owner: EntityRef, passing: Draft, body: Body) -> Attachment:
        """The file under its passing name, sent at most once; `OutcomeUnknownError` as long as it is not listed."""
        key = (owner, passing.name)
        if key not in self._sent:
            self._sent[key] = None
            while len(self._sent) > MAX_REMEMBERED_UPLOADS:
                del self._sent[next(iter(self._sent))]
            try:
                self._sent[key] = await self._send(owner, passing, body)
            except ItemFailedError as error:
                if not isinstance(error, OutcomeUnknownError) or error.finished:
                    self._sent.pop(key, None)
                raise
        if file := self._sent.get(key) or await self._earlier_attempt(owner, passing):
            return file
        raise OutcomeUnknownError(f"{owner}: sent, but not found under the name it was sent with")


async def passing_name(name: str, body: Body) -> str:
    """The name under which a file is sent and then renamed: a digest of its name and content, and its extension."""
    digest = hashlib.sha256(name.encode() + b"\0")
    async for chunk in body:
        digest.update(chunk)
    return f"migrator-{digest.hexdigest()[:32]}.{name.rpartition('.')[2]}"
