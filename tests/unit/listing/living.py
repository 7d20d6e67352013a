"""A sandbox that changes between any two requests, and a model of it.

The one idea: before a request the schedule may take its next step, which changes the sandbox's own state and the model
alike. What the model calls `unharmed` was there, on one and the same entity, from before the first request on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from hypothesis import strategies as st

from migrator.model import EntityRef
from migrator.sandbox import SANDBOXES
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world.model import World, WorldAttachment, WorldEntity
from migrator.sandbox.world.samples import KINDS

MOST = 3000
"""So many requests are a loop."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def small_world(entities: int, files: int) -> World:
    """Plain entities and files; every third id is taken, so that there is room between them."""
    made = tuple(WorldEntity(101 + 3 * n, KINDS[n % len(KINDS)], f"entity {n}") for n in range(entities))
    owners = [made[(n * 7) % entities].id for n in range(files)]
    return World(1, made, tuple(some_file(11 + 3 * n, owner, 40 + n) for n, owner in enumerate(owners)))


def some_file(number: int, owner: int, size: int) -> WorldAttachment:
    """A file with content of its own."""
    day = datetime(2024, 1, 1 + number % 28, tzinfo=UTC)
    name = f"file {number}.txt"
    return WorldAttachment(number, owner, None, name, "text/plain", None, day, "Ann Lee", size, number)


@dataclass(frozen=True)
class Step:
    """What happens, `after` so many requests; `one` and `other` pick what it happens to."""

    after: int
    what: str
    one: int = 0
    other: int = 0


EVENTS = ("add file", "add entity", "remove file", "remove entity", "rename file", "rename entity", "move file", "cap")
WORST = ("remove file", "remove entity", "purge files", "purge entities", "purge files", "purge entities")
"""What makes items of a listing slip past: the more of them go at once, the farther."""
steps = st.builds(
    Step,
    st.integers(0, 4) | st.integers(0, 12),
    st.sampled_from([*EVENTS, *WORST]),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
schedules = st.lists(steps, max_size=25) | st.lists(steps, min_size=12, max_size=30)


class Living(Sandbox):
    """Put before a sandbox's class."""

    pending: list[Step]
    waits: int = 0
    asked: int = 0
    lately: tuple[int, ...] = ()
    answer_with: Callable[[web.Request, web.StreamResponse], web.StreamResponse] | None = None

    def routes(self) -> Iterable[web.RouteDef]:
        for route in super().routes():
            yield web.RouteDef(route.method, route.path, self._through(route.handler), route.kwargs)

    def _through(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.asked += 1
            if self.asked > MOST:
                raise web.HTTPGone(text="a loop")
            self._live()
            given = await handler(request)
            self._take_note(given)
            return self.answer_with(request, given) if self.answer_with else given

        return answer

    def _live(self) -> None:
        while self.pending and self.waits >= self.pending[0].after:
            self.waits = 0
            self.happen(self.pending.pop(0))
        self.waits += 1

    def _take_note(self, given: web.StreamResponse) -> None:
        """What a list showed is what is best removed: the pages after it move up then."""
        if isinstance(given, web.Response) and given.content_type == "application/json" and given.body:
            numbers = re.findall(rb'"(?:id|Id|IssueNumber|AttachmentID)": ?(\d+)', bytes(given.body))
            self.lately = (*self.lately, *map(int, numbers))[-40:]

    def _worst(self, some: list[Any], step: Step) -> list[Any]:
        """Those of them that were shown lately, where the step wants that and there are any."""
        shown = [one for one in some if one.id in self.lately]
        return shown if shown and step.other % 3 else some

    # --- the model

    def begin(self, pending: list[Step]) -> None:
        """Take note of what is there, and let things happen from now on."""
        self.pending, self.waits, self.asked = list(pending), 0, 0
        self.unharmed: dict[int, EntityRef] = {file.id: self.owner_ref(file) for file in self.present()}
        self.owners: dict[int, set[EntityRef]] = {number: {ref} for number, ref in self.unharmed.items()}
        self.moved: set[int] = set()
        self.numbers = {entity.id for entity in self.world.entities}
        self.contents = {file.id: {self.state.sha256_of(file)} for file in self.present()}

    def present(self) -> list[WorldAttachment]:
        """The files that are there now."""
        return [file for file in self.state.attachments() if self.is_there(file.entity_id or 0)]

    def is_there(self, entity_id: int) -> bool:
        """Whether an entity can be seen."""
        if self.tracker == "squash":
            return not self.tree.is_removed(self.tree.of_entity[entity_id])
        return self.state.entity(entity_id) is not None

    def owner_ref(self, file: WorldAttachment) -> EntityRef:
        """The entity of a file, as the tracker names it."""
        number = file.entity_id or 0
        return EntityRef(self.kind_of(number), str(self.number_of(number) if self.tracker == "squash" else number))

    def there(self) -> list[WorldEntity]:
        """The entities that can be seen."""
        return [entity for entity in self.world.entities if self.is_there(entity.id)]

    def happen(self, step: Step) -> None:
        """One change; where there is nothing it could happen to, nothing happens."""
        files, entities = self._worst(self.present(), step), self._worst(self.there(), step)
        act: Callable[..., None] = getattr(self, "_" + step.what.replace(" ", "_"))
        if step.what in {"add entity", "cap"}:
            act(step)
        elif len(self.there()) < 3:
            return
        elif step.what in {"add file", "remove entity", "rename entity"}:
            act(step, entities[step.one % len(entities)])
        elif step.what.startswith("purge"):
            some = files if step.what.endswith("files") else entities
            at = step.one % (len(some) + 1)
            act(step, some[at : at + 3])
        elif files:
            act(step, files[step.one % len(files)])

    def put(
        self, entities: Iterable[WorldEntity] | None = None, files: Iterable[WorldAttachment] | None = None
    ) -> None:
        """The new state."""
        kept = self.world.entities if entities is None else tuple(sorted(entities, key=lambda one: one.id))
        some = self.world.attachments if files is None else tuple(sorted(files, key=lambda one: one.id))
        self.state.world = World(self.world.seed, kept, some)
        self.state.changes += 1
        if self.tracker == "squash":
            self.tree.build(kept)
        still = {file.id for file in self.present()}
        self.unharmed = {number: ref for number, ref in self.unharmed.items() if number in still}

    def _free(self, taken: Iterable[int], wish: int, *, at_end: bool) -> int:
        known = set(taken)
        free = max(known, default=100) + 1
        return (
            next((n for n in range(min(known, default=100) + wish % 60, free) if n not in known), free)
            if not at_end
            else free
        )

    def _add_file(self, step: Step, entity: WorldEntity) -> None:
        number = self._free((file.id for file in self.world.attachments), step.other, at_end=step.other % 3 > 0)
        file = some_file(number, entity.id, 20 + step.one % 50)
        self.owners.setdefault(number, set()).add(self.owner_ref(file))
        self.contents.setdefault(number, set()).add(hashlib.sha256(self.world.content(file)).hexdigest())
        self.unharmed.pop(number, None)
        self.put(files=[*self.world.attachments, file])

    def _add_entity(self, step: Step) -> None:
        at_end = self.tracker == "squash" or step.other % 3 > 0
        number = self._free(self.numbers, step.other, at_end=at_end)
        self.numbers.add(number)  # for ever: no tracker gives the number of an entity that is gone to another one
        self.put([*self.world.entities, WorldEntity(number, KINDS[step.one % len(KINDS)], "new")])

    def _remove_file(self, _: Step, file: WorldAttachment) -> None:
        self.put(files=[one for one in self.world.attachments if one.id != file.id])

    def _purge_files(self, step: Step, files: list[WorldAttachment]) -> None:
        for file in files:
            self._remove_file(step, file)

    def _purge_entities(self, step: Step, entities: list[WorldEntity]) -> None:
        for entity in entities:
            if len(self.there()) > 2 and self.is_there(entity.id):
                self._remove_entity(step, entity)

    def _remove_entity(self, _: Step, entity: WorldEntity) -> None:
        if self.tracker == "squash":
            self.tree.removed.add(self.tree.of_entity[entity.id].key)
            return self.put()
        files = [one for one in self.world.attachments if one.entity_id != entity.id]
        return self.put([one for one in self.world.entities if one.id != entity.id], files)

    def _rename_file(self, step: Step, file: WorldAttachment) -> None:
        new = replace(file, name=f"renamed {step.other}.txt")
        self.put(files=[new if one.id == file.id else one for one in self.world.attachments])

    def _rename_entity(self, step: Step, entity: WorldEntity) -> None:
        new = replace(entity, title=f"renamed {step.other}")
        self.put([new if one.id == entity.id else one for one in self.world.entities])

    def _move_file(self, step: Step, file: WorldAttachment) -> None:
        to = self.there()[step.other % len(self.there())]
        if to.id == file.entity_id:
            return
        new = replace(file, entity_id=to.id)
        self.unharmed.pop(file.id, None)
        self.moved.add(file.id)
        self.owners[file.id].add(self.owner_ref(new))
        self.put(files=[new if one.id == file.id else one for one in self.world.attachments])

    def _cap(self, step: Step) -> None:
        """The server gives larger or smaller pages from now on."""
        for name in ("size_cap", "top_cap"):
            if hasattr(self.quirks, name):
                setattr(self.quirks, name, 2 + step.one % 5)


@asynccontextmanager
async def living(tracker: str, world: World, pending: list[Step], **oddities: Any) -> AsyncIterator[Any]:
    """A tracker at work, in which these things are about to happen."""
    kind = type("Living" + SANDBOXES[tracker].__name__, (Living, SANDBOXES[tracker]), {"pending": []})
    async with kind(world, **oddities) as sandbox:
        sandbox.begin(pending)
        yield sandbox
