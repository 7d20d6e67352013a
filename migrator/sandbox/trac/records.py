"""The tickets and files of a sandbox Trac as its plugin shows them.

Shaped after recordings of a running Trac 1.6. A ticket has at most one file of a name, and any name is one: with
slashes, with line ends, even an empty one.
"""

import os
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from migrator.sandbox.state import TrackerState
from migrator.sandbox.world import World, WorldAttachment, WorldEntity

TYPES = ("defect", "enhancement", "task")
_TYPE_OF = {"bug": "defect", "task": "task", "request": "task"}
"""The type of a ticket for each kind of the world; the others are enhancements."""
CLOSED_EACH = 5
"""Every ticket whose number divides by this is closed."""
_FOUNDED = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class TracQuirks:
    """How real servers differ. May be changed while the sandbox runs."""

    items_per_page: int = 100  # what a query gives at the most, unless it asks for another number
    obeys_max: bool = True  # False: it gives no more, whatever number it asks for
    permits_rpc: bool = True  # False: the account lacks XML_RPC, and every call is refused
    shows_files: bool = True  # False: the account lacks ATTACHMENT_VIEW, and every list of files is empty


def free_name(name: str, taken: Container[str]) -> str:
    """The name under which a file is kept beside others: `a.txt`, `a.2.txt` and so on."""
    stem, extension = os.path.splitext(name)  # noqa: PTH122 - as Trac does it, whatever the name is
    numbered = (f"{stem}.{number}{extension}" for number in count(2))
    return name if name not in taken else next(other for other in numbered if other not in taken)


def world_of(world: World) -> World:
    """The world as Trac can hold it: files on tickets only, each under a name of its own."""
    taken: dict[int, set[str]] = defaultdict(set)
    files = []
    for file in world.attachments:
        owner = world.owner_of(file)
        if owner is not None:
            name = free_name(file.name, taken[owner])
            taken[owner].add(name)
            files.append(replace(file, entity_id=owner, comment_id=None, message_id=None, name=name))
    return replace(world, attachments=tuple(files), messages=())


class Records:
    """Tickets and files as values of JSON-RPC."""

    def __init__(self, state: TrackerState, user: str) -> None:
        self._state, self._user = state, user
        self.given: dict[int, dict[str, str]] = {}
        """The fields of a ticket that were set by a call."""
        self.created_at: dict[int, datetime] = {}
        self.comments: dict[int, list[tuple[datetime, str]]] = defaultdict(list)

    def ticket(self, ticket: WorldEntity) -> list[Any]:
        """A ticket: number, two dates, fields. No file changes its dates."""
        created = self.created_at.get(ticket.id, _FOUNDED)
        changed = self.comments[ticket.id][-1][0] if self.comments[ticket.id] else created
        times = {"time": stamp(created), "changetime": stamp(changed), "_ts": _ticks(changed)}
        return [ticket.id, stamp(created), stamp(changed), {**self.fields(ticket), **times}]

    def fields(self, ticket: WorldEntity) -> dict[str, str]:
        """The fields of a ticket that hold text."""
        closed = ticket.id % CLOSED_EACH == 0 and ticket.id not in self.created_at
        return {
            "summary": ticket.title,
            "reporter": self._user,
            "owner": "< default >",
            "description": ticket.text,
            "type": _TYPE_OF.get(ticket.kind, "enhancement"),
            "status": "closed" if closed else "new",
            "priority": "major",
            "milestone": "",
            "component": "",
            "version": "",
            "resolution": "fixed" if closed else "",
            "keywords": "",
            "cc": "",
            **self.given.get(ticket.id, {}),
        }

    def file(self, file: WorldAttachment) -> list[Any]:
        """A file: name, description, size, date, author."""
        return [file.name, file.description or "", file.size, stamp(file.created_at), file.author]

    def change_log(self, ticket: WorldEntity) -> list[list[Any]]:
        """The changes of a ticket: each file that it has, with its description as a comment."""
        comments = [*((_FOUNDED, comment.text) for comment in ticket.comments), *self.comments[ticket.id]]
        changes: list[list[Any]] = [
            [stamp(date), self._user, "comment", str(number), text, 1]
            for number, (date, text) in enumerate(comments, 1)
        ]
        for file in self.files_of(ticket.id):
            date = stamp(file.created_at)
            changes.append([date, file.author, "attachment", "", file.name, 0])
            changes.append([date, file.author, "comment", "", file.description or "", 0])
        return changes

    def files_of(self, ticket: int) -> list[WorldAttachment]:
        """The files of a ticket, the oldest first."""
        return sorted(self._state.attachments_of(ticket), key=lambda file: (file.created_at, file.id))


def stamp(moment: datetime) -> dict[str, Any]:
    """A date as the plugin writes it, in UTC."""
    return {"__jsonclass__": ["datetime", f"{moment:%Y-%m-%dT%H:%M:%S}"]}


def _ticks(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1_000_000))
