"""The projects that an account can see, and the modules enabled in each: what there is to request.

A disabled module answers 403 or 404, just like a forbidden or broken one. Only the project's own record tells which it
is. So nobody asks for disabled modules, and any refusal after that is a failure.

Beware: closed projects are left out unless requested by status (`1|5`; seen with 5.0), and archived ones always are:
nothing of theirs is in the API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrator.errors import GoneError
from migrator.model import Entity
from migrator.trackers.lenient import as_object, as_objects, text
from migrator.trackers.redmine.api import Api
from migrator.trackers.redmine.parse import PROJECT, entity_in
from migrator.trackers.strict import number_in, objects_in

PATH = "projects.json"
QUERY = {"status": "1|5", "include": "enabled_modules"}
NOT_IN_API = {"documents": "documents", "boards": "forums"}
MAX_NAMED = 5
"""Projects that a message names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Project:
    """One project as the list tells of it. `modules` that are on; None where the server doesn't tell."""

    number: int
    item: Mapping[str, Any]
    modules: frozenset[str] | None

    @property
    def key(self) -> str:
        """Its identifier, which Redmine never changes."""
        return text(self.item.get("identifier")) or str(self.number)

    def is_called(self, name: str) -> bool:
        """Whether this is its identifier or its number."""
        return name in {self.key, str(self.number)}

    def has(self, module: str) -> bool:
        """Whether a module is on, or nobody knows."""
        return self.modules is None or module in self.modules

    def entity(self, base: object) -> Entity:
        """As what carries files."""
        return entity_in(self.item, PROJECT, base)


class Projects:
    """Those that are to be read: all, or `root` (identifier or number) and what is below it."""

    def __init__(self, api: Api, root: str) -> None:
        self._api, self.root = api, root
        self._known: tuple[Project, ...] | None = None
        self._absent = ""

    async def all(self, *, anew: bool = False) -> tuple[Project, ...]:
        """In the order of their numbers.

        `GoneError` if there is no such root, or no list though issues name projects.
        """
        if self._known is None or anew:
            self._known = self._below_root(await self._listed())
        return self._known

    @property
    def odd(self) -> tuple[str, ...]:
        """What a run should say of those that were listed."""
        known = self._known or ()
        found = [f"{self._absent}, so only issues are read"] if self._absent else []
        for module, what in NOT_IN_API.items():
            having = [project.key for project in known if project.modules is not None and project.has(module)]
            if having:
                found.append(
                    f"files of {what} are not in Redmine's API, and are not read: {some_names(having)} may have some"
                )
        return tuple(found)

    async def _listed(self) -> Sequence[Project]:
        try:
            items = await self._api.complete_list(PATH, "projects", QUERY)
        except GoneError as error:
            if await self._are_named():
                raise
            self._absent = f"this server has no list of projects ({error}), and no issue names one"
            return ()
        return [project_of(item) for item in items]

    async def _are_named(self) -> bool:
        """Whether an issue says which project it belongs to, as any of a real Redmine does."""
        return any("project" in issue for issue in objects_in(await self._api.first_issues(), "issues"))

    def _below_root(self, listed: Sequence[Project]) -> tuple[Project, ...]:
        if not self.root or not listed:
            return tuple(listed)
        within = {project.number for project in listed if project.is_called(self.root)}
        if not within:
            raise GoneError(f"this account sees no project {self.root!r}; is it archived?")
        while more := {one.number for one in listed if _parent(one) in within} - within:
            within |= more
        return tuple(project for project in listed if project.number in within)


def project_of(item: Mapping[str, Any]) -> Project:
    """One project, from a list or its own record."""
    told = "enabled_modules" in item
    names = frozenset(text(module.get("name")) for module in as_objects(item.get("enabled_modules")))
    return Project(number_in(item), item, names if told else None)


def _parent(project: Project) -> object:
    return as_object(project.item.get("parent")).get("id")


def some_names(names: Iterable[str]) -> str:
    """Some of them by name, and how many more there are."""
    listed = [*names]
    more = f" and {len(listed) - MAX_NAMED} more" if len(listed) > MAX_NAMED else ""
    return ", ".join(listed[:MAX_NAMED]) + more
