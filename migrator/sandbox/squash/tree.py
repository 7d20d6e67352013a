"""The world as a tree of Squash TM: which entity is a project, a folder or a step, and what its parent is.

An entity's kind follows from its position in the world, by a pattern that begins with the twelve kinds, parents before
children. So a world of twelve entities has them all.

Beware: requirements and items of a test plan carry no files and are no entities. Their ids are also used by other
things, as happens on a server that counts each kind separately.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from migrator.sandbox.world import World, WorldAttachment, WorldEntity

KINDS = (
    "projects",
    "requirement-folders",
    "requirement-versions",
    "test-case-folders",
    "test-cases",
    "test-steps",
    "campaign-folders",
    "campaigns",
    "iterations",
    "test-suites",
    "executions",
    "execution-steps",
)
"""The kinds of what may carry files, as the API spells them."""

_PATTERN = (
    *KINDS,
    *("requirement-folders", "requirement-versions", "requirement-versions", "test-case-folders", "test-cases"),
    *("test-steps", "test-steps", "test-cases", "campaign-folders", "campaigns", "iterations", "executions"),
    *("execution-steps", "execution-steps"),
)
_PARENT_KINDS = {
    "requirement-folders": "projects",
    "requirement-versions": "requirement-folders",
    "test-case-folders": "projects",
    "test-cases": "test-case-folders",
    "test-steps": "test-cases",
    "campaign-folders": "projects",
    "campaigns": "campaign-folders",
    "iterations": "campaigns",
    "test-suites": "iterations",
    "executions": "iterations",
    "execution-steps": "executions",
}
_OTHER_TEST_CASES = ("scripted-test-case", "keyword-test-case", "exploratory-test-case")
CALL_STEPS = 900_000
"""The call step of a test case has the test case's number plus this."""


@dataclass(frozen=True, slots=True)
class Node:
    """An entity in its place in the tree; `number` is its id within its kind."""

    kind: str
    number: int
    entity_id: int
    title: str
    text: str
    parent: "Node | None"
    index: int  # among its siblings of the same kind

    @property
    def key(self) -> tuple[str, int]:
        """What identifies it in the API."""
        return self.kind, self.number

    def ancestors(self) -> Iterator["Node"]:
        """Its parent, and so on up to the project."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


@dataclass(frozen=True, slots=True)
class Requirement:
    """A requirement and its versions; the last one is the current one."""

    number: int
    versions: list[Node]
    high_level: bool


class Tree:
    """All nodes, by kind, by id and by parent."""

    def __init__(self, entities: Iterable[WorldEntity], *, own_numbers: bool) -> None:
        self._own_numbers = own_numbers
        self.removed: set[tuple[str, int]] = set()
        """The keys of what was deleted, which hides everything below it too."""
        self.build(entities)

    def build(self, entities: Iterable[WorldEntity]) -> None:
        """Put these entities in place of all that was there."""
        self.nodes: dict[tuple[str, int], Node] = {}
        self.of_entity: dict[int, Node] = {}
        self.kinds: dict[str, list[Node]] = {kind: [] for kind in KINDS}
        self.requirements: dict[int, Requirement] = {}
        self._children: dict[tuple[str, int, str], list[Node]] = {}
        self._counts: Counter[str] = Counter()
        latest: dict[str, Node] = {}
        before = ""
        for position, entity in enumerate(entities):
            kind = _PATTERN[position % len(_PATTERN)]
            self._counts[kind] += 1
            node = self._node(kind, entity, latest)
            if kind == "projects":
                latest = {}
            latest[kind] = node
            self._add(node, same_requirement=before == kind)
            before = kind

    def is_removed(self, node: Node) -> bool:
        """Whether it, or one of its ancestors, was deleted."""
        return bool(self.removed) and any(ancestor.key in self.removed for ancestor in (node, *node.ancestors()))

    def children(self, node: Node, kind: str) -> list[Node]:
        """The children of one kind, in order."""
        return self._children.get((*node.key, kind), [])

    def attach(self, parent: Node, nodes: list[Node]) -> None:
        """Attach nodes of one kind to a parent, in this order and replacing its children; for tests."""
        for node in nodes:
            self._children.pop((*node.parent.key, node.kind) if node.parent else ("", 0, ""), None)
        self._children[*parent.key, nodes[0].kind] = nodes

    def type_of(self, node: Node) -> str:
        """The `_type` of a node."""
        if node.kind == "projects":
            return "project-template" if self.kinds["projects"].index(node) % 3 == 2 else "project"
        if node.kind == "test-steps":
            return "action-step"
        if node.kind == "test-cases" and not self.children(node, "test-steps"):
            return _OTHER_TEST_CASES[node.number % 3]
        return node.kind.removesuffix("s")

    def _node(self, kind: str, entity: WorldEntity, latest: dict[str, Node]) -> Node:
        parent = latest.get(_PARENT_KINDS.get(kind, ""))
        if kind.endswith("-folders") and self._counts[kind] % 2 == 0:
            parent = latest.get(kind, parent)  # every other folder is in a folder
        siblings = self.children(parent, kind) if parent else []
        number = self._counts[kind] if self._own_numbers else entity.id
        return Node(kind, number, entity.id, entity.title, entity.text, parent, len(siblings))

    def _add(self, node: Node, *, same_requirement: bool) -> None:
        self.nodes[node.key] = self.of_entity[node.entity_id] = node
        self.kinds[node.kind].append(node)
        if node.parent is not None:
            self._children.setdefault((*node.parent.key, node.kind), []).append(node)
        if node.kind == "requirement-versions":
            self._add_version(node, same=same_requirement)

    def _add_version(self, node: Node, *, same: bool) -> None:
        if same:
            next(reversed(self.requirements.values())).versions.append(node)
        else:
            number = node.number + 3
            self.requirements[number] = Requirement(number, [node], high_level=len(self.requirements) % 3 == 2)


def fitting(name: str) -> str:
    """The nearest name that Squash TM can hold: with a stem, and an extension of up to ten characters."""
    stem, dot, extension = name.rpartition(".")
    if not dot or not extension.strip() or len(extension) > 10:
        return f"{name or '_'}.bin"
    return name if stem.strip() else f"_{name}"


def world_of(world: World) -> World:
    """The world as Squash TM can hold it: files on entities only, names that fit, no descriptions."""
    files = tuple(_on_entity(file, owner) for file in world.attachments if (owner := world.owner_of(file)) is not None)
    return replace(world, attachments=files, messages=())


def _on_entity(file: WorldAttachment, owner: int) -> WorldAttachment:
    return replace(file, entity_id=owner, comment_id=None, message_id=None, name=fitting(file.name), description=None)
