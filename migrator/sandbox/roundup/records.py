"""The records of a sandbox Roundup: issues, files, messages, users, states, as its REST API shows them.

Shaped after recordings of a running Roundup 2.6 with its "classic" schema. An issue has no text of its own: its texts
are messages. A file is a record of its own, which any number of issues link.

Beware: a record that is deleted is only "retired". No list has it, but who asks for it by its number still gets it.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from migrator.sandbox.state import TrackerState
from migrator.sandbox.world import PEOPLE, World, WorldAttachment

PROPERTIES: dict[str, tuple[str, ...]] = {
    "file": ("content", "name", "type"),
    "issue": ("assignedto", "files", "keyword", "messages", "nosy", "priority", "status", "superseder", "title"),
    "keyword": ("name",),
    "msg": ("author", "content", "date", "files", "inreplyto", "messageid", "recipients", "summary", "type"),
    "priority": ("name", "order"),
    "query": ("klass", "name", "private_for", "url"),
    "status": ("name", "order"),
    "user": ("address", "organisation", "phone", "queries", "realname", "roles", "timezone", "username"),
}
PROTECTED = ("activity", "actor", "creation", "creator", "id")
LINKS = {
    "assignedto": "user",
    "priority": "priority",
    "status": "status",
    "author": "user",
    "creator": "user",
    "actor": "user",
}
MULTILINKS = {
    "files": "file",
    "keyword": "keyword",
    "messages": "msg",
    "nosy": "user",
    "superseder": "issue",
    "recipients": "user",
    "queries": "query",
}
LABELS = {"issue": "title", "user": "username", "msg": "activity"}
"""The property by which people know an item of a class; elsewhere its name."""
KEYED = {"keyword", "priority", "status", "user"}
"""The classes whose items may be named by their label in place of their number."""
STATES = ("unread", "deferred", "chatting", "need-eg", "in-progress", "testing", "done-cbb", "resolved")
PRIORITIES = ("critical", "urgent", "bug", "feature", "wish")
_RESOLVED_EACH = 5
_FOUNDED = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class RoundupQuirks:
    """How real servers differ. May be changed while the sandbox runs."""

    rate: tuple[int, float] | None = None  # so many calls in so many seconds; then 429 with Retry-After
    address: str = ""  # what the tracker calls itself; empty: the address at which it is reached
    lists_fewer: int = 0  # so many records are missing in each list that counts them
    loses_changes: int = 0  # so many changes are refused, because somebody else was quicker


def world_of(world: World) -> World:
    """The world as Roundup can hold it: no empty files, no name with blanks at its ends, no descriptions."""
    files = (_held(file, world.owner_of(file)) for file in world.attachments if file.size)
    return replace(world, attachments=tuple(files), messages=())


def _held(file: WorldAttachment, owner: int | None) -> WorldAttachment:
    name = file.name.strip() or "_"
    return replace(file, entity_id=owner, comment_id=None, message_id=None, name=name, description=None)


def stamp(moment: datetime) -> str:
    """A date as Roundup writes it."""
    return f"{moment:%Y-%m-%d.%H:%M:%S}"


class Records:
    """The items of each class. Those of the world's classes are made of its state; the others are kept here."""

    def __init__(self, state: TrackerState, user: str) -> None:
        self._state = state
        self.retired: set[tuple[str, int]] = set()
        self.lost: set[int] = set()
        """Files whose content is missing: an upload of an empty file leaves such a record."""
        self._users = (user, "anonymous", *PEOPLE)
        self._changed: dict[int, dict[str, Any]] = {}
        named = {"status": STATES, "priority": PRIORITIES}
        self._items: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in PROPERTIES}
        for kind, names in named.items():
            self._items[kind] = {n: {"name": name, "order": float(n)} for n, name in enumerate(names, 1)}
        for number, name in enumerate(self._users, 1):
            self._items["user"][number] = {"username": name, "roles": "Admin" if number == 1 else "User"}
        for entity in state.world.entities:
            texts = [text for text in (entity.text, *(comment.text for comment in entity.comments)) if text]
            messages = [self.create("msg", {"author": 1, "content": text}) for text in texts]
            self._changed[entity.id] = {"messages": messages}

    def numbers(self, kind: str) -> list[int]:
        """The items of a class that are not retired, in the order of their numbers."""
        if kind == "issue":
            found: Iterable[int] = (entity.id for entity in self._state.entities())
        elif kind == "file":
            found = (file.id for file in self._state.attachments())
        else:
            found = sorted(self._items[kind])
        return [number for number in found if (kind, number) not in self.retired]

    def with_files(self, kind: str) -> list[int]:
        """The items of a class other than issues that link files, found without looking at all their properties."""
        return [number for number, values in self._items[kind].items() if values.get("files")]

    def exists(self, kind: str, number: int) -> bool:
        """Whether there is such an item, retired or not."""
        if kind == "issue":
            return self._state.entity(number) is not None
        if kind == "file":
            return self._state.attachment(number) is not None
        return number in self._items[kind]

    def values(self, kind: str, number: int) -> dict[str, Any]:
        """All properties of an item; links are numbers. It must exist."""
        own = {"issue": self._issue, "file": self._file}.get(kind, lambda n: self._items[kind][n])(number)
        date = stamp(_FOUNDED)
        dates = {"activity": date, "creation": date, "creator": 1, "actor": 1, "id": str(number)}
        empty: dict[str, Any] = {name: [] if name in MULTILINKS else None for name in PROPERTIES[kind]}
        return {**dates, **empty, **own}

    def _issue(self, number: int) -> dict[str, Any]:
        issue, files = self._state.existing_entity(number), self._state.attachments_of(number)
        changed_at = self._state.changed_at(number) or _FOUNDED
        status = len(STATES) if number % _RESOLVED_EACH == 0 else 1
        own = {"title": issue.title, "status": status, "priority": 3, "activity": stamp(changed_at)}
        return {**own, **self._changed.get(number, {}), "files": [file.id for file in files]}

    def _file(self, number: int) -> dict[str, Any]:
        file = self._state.attachment(number)
        assert file is not None  # noqa: S101 - who asks for the values of a file has looked for it
        by = self._users.index(file.author) + 1 if file.author in self._users else 1
        date = stamp(file.created_at)
        return {
            "name": file.name,
            "type": file.media_type,
            "content": None,
            "creation": date,
            "activity": date,
            "creator": by,
            "actor": by,
        }

    def create(self, kind: str, values: dict[str, Any]) -> int:
        """Add an item of any class but `file`; returns its number."""
        if kind == "issue":
            issue = self._state.create_entity(kind, values.get("title") or "", "")
            for file in values.get("files", ()):
                self._state.link(file, issue.id)
            authors = [self._items["msg"][message].get("author") for message in values.get("messages", ())]
            self._changed[issue.id] = {"nosy": sorted({author for author in authors if author}), **values}
            return issue.id
        number = len(self._items[kind]) + 1
        if kind == "msg":
            values = {"summary": (values.get("content") or "").partition("\n")[0], **values}
        self._items[kind][number] = values
        return number

    def change(self, kind: str, number: int, values: dict[str, Any]) -> None:
        """Change properties of an item; those that it doesn't name stay."""
        if kind == "file":
            if "name" in values:
                self._state.rename(number, values["name"])
            return
        if kind == "issue" and "files" in values:
            before = set(self.values(kind, number)["files"])
            for file in before - set(values["files"]):
                self._state.unlink(file, number)
            for file in values["files"]:
                self._state.link(file, number)
        kept = self._changed.setdefault(number, {}) if kind == "issue" else self._items[kind][number]
        kept |= values

    def etag(self, kind: str, number: int) -> str:
        """What a change has to name: another one for each state of an item."""
        text = json.dumps(self.values(kind, number), sort_keys=True)
        return f'"{hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()}"'

    def shown(self, kind: str, number: int, fields: Sequence[str], verbose: int, place: str) -> dict[str, Any]:
        """Some properties of an item as the API shows them, in the order of their names."""
        values = self.values(kind, number)
        return {name: self._shown(kind, number, name, values[name], verbose, place) for name in sorted(fields)}

    def _shown(self, kind: str, number: int, name: str, value: Any, verbose: int, place: str) -> Any:
        if name == "content" and verbose < 3:
            return {"link": f"{place}/{kind}{number}/"}
        if (name in MULTILINKS or name in LINKS) and value and not verbose:
            return [*map(str, value)] if name in MULTILINKS else str(value)
        if name in MULTILINKS:
            return [self._link(MULTILINKS[name], one, verbose, place) for one in value]
        if name in LINKS and value:
            return self._link(LINKS[name], value, verbose, place)
        return value

    def _link(self, kind: str, number: int, verbose: int, place: str) -> dict[str, Any]:
        link: dict[str, Any] = {"id": str(number), "link": f"{place}/rest/data/{kind}/{number}"}
        if verbose > 1:
            file = self._state.attachment(number) if kind == "file" else None
            label = label_of(kind)
            link[label] = file.name if file else self.values(kind, number)[label]
        return link


def label_of(kind: str) -> str:
    """The property by which people know an item of a class."""
    return LABELS.get(kind, "name")
