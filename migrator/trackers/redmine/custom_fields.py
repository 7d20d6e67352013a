"""Files in custom fields (format "File", since Redmine 3.4): the value is the id of an attachment.

Only the list of custom fields says which of them hold files, and only administrators may read it. For any other
account an option names them; a value that may or may not be a file is reported, not guessed.

Beware: `attachments/N.json` is also 404 if the storage has lost the file (Redmine 5.0, `file_readable`), so it never
proves that a file is gone. A file that a field names is listed, and the download decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from migrator.errors import ForbiddenError, GoneError
from migrator.model import Attachment, EntityRef
from migrator.trackers.lenient import integer, text
from migrator.trackers.redmine.api import Api
from migrator.trackers.redmine.parse import GROUP, ISSUE, PROJECT, TIME_ENTRY, USER, VERSION, attachment_in, values_in
from migrator.trackers.strict import object_in, objects_in

LIST = "custom_fields.json"
TYPES = {
    ISSUE: "issue",
    PROJECT: "project",
    VERSION: "version",
    USER: "user",
    GROUP: "group",
    TIME_ENTRY: "time_entry",
}
"""The name of each kind in the list. The API shows the values of no other kind."""


class Fields:
    """The custom fields for files of one Redmine. `named` are names or numbers of some; not `wanted`: none is read."""

    def __init__(self, api: Api, named: Sequence[str], *, wanted: bool) -> None:
        self._api, self._named, self._wanted = api, frozenset(named), wanted
        self._types: dict[str, dict[str, str]] | None = None
        self._refusal = ""
        self._warned: set[str] = set()

    async def types(self) -> Mapping[str, Mapping[str, str]] | None:
        """For each type, the names of its fields for files by their numbers; None if this account may not list them."""
        if self._types is None and not self._refusal:
            try:
                fields = objects_in(object_in(await self._api.get(LIST)), "custom_fields")
            except (ForbiddenError, GoneError) as error:
                if (await self._api.account()).get("admin") is True:
                    raise  # an administrator may list them, so the refusal has another cause
                self._refusal = str(error)
                return None
            self._types = {}
            for field in fields:
                if field.get("field_format") == "attachment":
                    names = self._types.setdefault(text(field.get("customized_type")), {})
                    names[str(integer(field.get("id")))] = text(field.get("name"))
        return self._types

    async def may_have_files(self, kind: str) -> bool:
        """Whether a kind may have fields for files: one is listed, or if they can't be listed, an option names some.

        Users and groups are read only if the fields can be listed.
        """
        types = await self.types()
        if types is None:
            return bool(self._named) and kind not in {USER, GROUP}
        return bool(types.get(TYPES[kind]))

    async def unknowns(self) -> tuple[str, ...]:
        """Sentences on files in custom fields that are not read."""
        if not self._wanted:
            return ()
        types = await self.types()
        if types is None:
            why = f"custom fields can't be listed, which is for administrators ({self._refusal})"
            return (f"{why}: files in those that `file_fields` doesn't name are not read",)
        others = {kind: names for kind, names in types.items() if kind not in TYPES.values()}
        known = {word for names in types.values() for pair in names.items() for word in pair}
        unknown = sorted(self._named - known)
        sentences = [
            f"files in custom fields of a {kind} are not in Redmine's API, and are not read: {_listed(names.values())}"
            for kind, names in sorted(others.items())
        ]
        if unknown:
            sentences.insert(0, f"`file_fields` names what is not a custom field for files here: {_listed(unknown)}")
        return tuple(sentences)

    def may_hold_files(self, item: Mapping[str, Any]) -> bool:
        """Whether an item has a value that could be a file."""
        return self._wanted and any(True for _ in values_in(item))

    async def numbers(self, item: Mapping[str, Any], kind: str) -> tuple[str, ...]:
        """The numbers of the files in an item's custom fields."""
        if not self.may_hold_files(item):
            return ()
        known = ((await self.types()) or {}).get(TYPES.get(kind, ""), {})
        fields = [field for field in values_in(item) if field.id in known or not self._named.isdisjoint(field[:2])]
        return tuple(dict.fromkeys(number for field in fields for number in field.numbers))

    def warnings(self, items: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """A sentence on each field of these items whose values may be files, if nobody says so; each field once."""
        if self._types is not None or not self._wanted:
            return ()
        fields = (field for item in items for field in values_in(item))
        doubtful = {field.name or field.id for field in fields if self._named.isdisjoint(field[:2])}
        new = sorted(doubtful - self._warned)
        self._warned.update(new)
        sentence = "custom field {!r} may hold files; they are not read ({}) unless `file_fields` names it"
        return tuple(sentence.format(name, self._refusal) for name in new)

    async def files(self, numbers: Sequence[str], owner: EntityRef) -> list[Attachment]:
        """The files with these numbers. A file whose record can't be read has a number and nothing else."""
        return [await self._file(number, owner) for number in numbers]

    async def _file(self, number: str, owner: EntityRef) -> Attachment:
        try:
            record = object_in(await self._api.get(f"attachments/{number}.json"), "attachment")
        except (ForbiddenError, GoneError):
            return Attachment(number, owner, "")
        return attachment_in(record, owner)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
