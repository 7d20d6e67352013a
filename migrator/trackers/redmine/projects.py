"""The projects that an account can see, and the modules that are enabled in each.

A disabled module answers 403 or 404, just like a forbidden or broken one. Only the project's own record says that it is
disabled. So disabled modules are not requested, and any refusal of an enabled one is a failure.

Beware: closed projects are listed only if requested by status (`1|5`; seen with 5.0), and archived projects never:
nothing of them is in the API.
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
"""The most projects that a message names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Project:
    """One project. `modules` are those that are enabled, None if the server doesn't say."""

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
        """Whether a module is enabled, or may be."""
        return self.modules is None or module in self.modules

    def entity(self, base: object) -> Entity:
        """The project as an entity."""
        return entity_in(self.item, PROJECT, base)


class Projects:
    """The projects to read: all, or `root` (identifier or number) and its subprojects."""

    def __init__(self, api: Api, root: str) -> None:
        self._api, self.root = api, root
        self._known: tuple[Project, ...] | None = None
        self._absent = ""

    async def all(self, *, anew: bool = False) -> tuple[Project, ...]:
        """The projects in the order of their numbers; `anew` lists them again.

        `GoneError` if there is no such root, or if there is no list although issues name projects.
        """
        if self._known is None or anew:
            self._known = self._below_root(await self._listed())
        return self._known

    @property
    def oddities(self) -> tuple[str, ...]:
        """Sentences on what is not read of the listed projects."""
        known = self._known or ()
        sentences = [f"{self._absent}, so only issues are read"] if self._absent else []
        for module, contents in NOT_IN_API.items():
            enabled_in = [project.key for project in known if project.modules is not None and project.has(module)]
            if enabled_in:
                owners = some_names(enabled_in)
                sentences.append(
                    f"files of {contents} are not in Redmine's API, and are not read: {owners} may have some"
                )
        return tuple(sentences)

    async def _listed(self) -> Sequence[Project]:
        try:
            items = await self._api.complete_list(PATH, "projects", QUERY)
        except GoneError as error:
            if await self._any_issue_names_its_project():
                raise
            self._absent = f"this server has no list of projects ({error}), and no issue names one"
            return ()
        return [project_of(item) for item in items]

    async def _any_issue_names_its_project(self) -> bool:
        """All issues of a real Redmine name theirs."""
        return any("project" in issue for issue in objects_in(await self._api.first_issues(), "issues"))

    def _below_root(self, listed: Sequence[Project]) -> tuple[Project, ...]:
        if not self.root or not listed:
            return tuple(listed)
        within = {project.number for project in listed if project.is_called(self.root)}
        if not within:
            raise GoneError(f"this account sees no project {self.root!r}; is it archived?")
        while more := {project.number for project in listed if _parent(project) in within} - within:
            within |= more
        return tuple(project for project in listed if project.number in within)


def project_of(item: Mapping[str, Any]) -> Project:
    """A project, from a list or from its own record."""
    has_modules = "enabled_modules" in item
    names = frozenset(text(module.get("name")) for module in as_objects(item.get("enabled_modules")))
    return Project(number_in(item), item, names if has_modules else None)


def _parent(project: Project) -> object:
    return as_object(project.item.get("parent")).get("id")


def some_names(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    listed = [*names]
    more = f" and {len(listed) - MAX_NAMED} more" if len(listed) > MAX_NAMED else ""
    return ", ".join(listed[:MAX_NAMED]) + more
