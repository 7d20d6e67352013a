"""A sandbox Squash TM's records: what a path names, and its JSON.

Beware: only a record that is requested by itself mentions its files, and those without their sizes.
"""

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.server import Sandbox
from migrator.sandbox.squash.tree import CALL_STEPS, Node, Requirement, Tree
from migrator.sandbox.squash.web import Item, SquashQuirks, href, not_found
from migrator.sandbox.world import WorldAttachment

DATED_KINDS = {"test-cases", "campaigns", "requirement-versions"}
"""Kinds whose date changes with their files."""


class Lookup:
    """What exists, and what a path names: 404 if that is not there, 403 if it is forbidden."""

    def __init__(self, sandbox: Sandbox, tree: Tree) -> None:
        self._sandbox, self._tree = sandbox, tree

    def node(self, kind: str, request: web.Request) -> Node:
        """The node that a path names."""
        number = int(request.match_info["id"])
        node = self._tree.nodes.get((kind, number))
        if node is None or self._tree.is_removed(node):
            raise not_found(kind, number)
        self.permit(node)
        return node

    def file(self, request: web.Request) -> WorldAttachment:
        """The file that a path names."""
        number = int(request.match_info["id"])
        file = self._sandbox.state.attachment(number)
        owner = self._tree.of_entity.get(file.entity_id or 0) if file else None
        if file is None or owner is None or self._tree.is_removed(owner):
            raise not_found("attachment.Attachment", number)
        self.permit(owner)
        return file

    def permit(self, node: Node) -> None:
        """Refuse what the account may not read."""
        if self.is_forbidden(node):
            raise RefusedError(403, "Access is denied")

    def is_forbidden(self, node: Node) -> bool:
        """Whether the account may not read it."""
        return self._sandbox.faults.forbids(node.entity_id)

    def existing(self, nodes: Iterable[Node]) -> list[Node]:
        """Those of the nodes that were not deleted."""
        return [node for node in nodes if not self._tree.is_removed(node)]

    def is_call_step(self, kind: str, request: web.Request) -> bool:
        """Whether a path names the call step of a test case."""
        return kind == "test-steps" and ("test-cases", int(request.match_info["id"]) - CALL_STEPS) in self._tree.nodes


class Records:
    """The JSON of nodes and files."""

    def __init__(self, sandbox: Sandbox, quirks: SquashQuirks, tree: Tree, lookup: Lookup) -> None:
        self._state, self._quirks, self._tree, self._lookup = sandbox.state, quirks, tree, lookup

    def file(self, file: WorldAttachment, *, whole: bool) -> dict[str, Any]:
        """A file; an abbreviated record has neither size nor date."""
        stem, _, extension = file.name.rpartition(".")
        path = f"attachments/{file.id}"
        short = {"_type": "attachment", "id": file.id, "name": stem, "file_type": extension}
        if not whole:
            return {**short, "_links": {"self": href(path)}}
        offset = "+0000" if self._quirks.old_dates else "+00:00"
        date = file.created_at.strftime("%Y-%m-%dT%H:%M:%S.000") + offset
        links = {"self": href(path), "content": href(f"{path}/content")}
        return {**short, "size": file.size, "added_on": date, "_links": links}

    def files_of(self, node: Node) -> list[Item]:
        """The abbreviated records of a node's files."""
        files = self._state.attachments_of(node.entity_id)
        return [("attachments", file.id, self.file(file, whole=False)) for file in files]

    def node(self, node: Node, *, whole: bool, fields: str = "") -> dict[str, Any]:
        """A node; an abbreviated record mentions neither its files nor its dates, unless `fields` asks for those."""
        path = f"{node.kind}/{node.number}"
        record: dict[str, Any] = {"_type": self._tree.type_of(node), "id": node.number}
        if node.kind in {"test-steps", "execution-steps"}:
            record |= {"index": node.index, "action": node.text}
        else:
            record["name"] = node.title
        asked = fields.split(",") if self._quirks.knows_fields else []
        record |= {key: date for key, date in self._dates(node).items() if whole or key in asked}
        links = {"self": href(path)}
        if whole or node.kind in self._quirks.embeds_files:
            links |= {} if node.kind.endswith("-steps") else {"attachments": href(f"{path}/attachments")}
            if node.kind not in self._quirks.untold:
                files = self._state.attachments_of(node.entity_id)
                record["attachments"] = [self.file(file, whole=self._quirks.full_files) for file in files]
        return {**record, "_links": links}

    def _dates(self, node: Node) -> dict[str, str | None]:
        """When a node was created and last changed, if its kind has such dates."""
        if node.kind in {"projects", "test-steps"}:
            return {}
        changed_at = self._state.changed_at(node.entity_id) if node.kind in DATED_KINDS else None
        return {
            "created_on": "2015-01-01T08:00:00.000+00:00",
            "last_modified_on": changed_at.strftime("%Y-%m-%dT%H:%M:%S.000+00:00") if changed_at else None,
        }

    def item(self, node: Node, key: str = "", fields: str = "") -> Item:
        """A node in a list; one that may not be read appears by its number only."""
        key = key or node.kind
        if self._lookup.is_forbidden(node):
            kind = node.kind.removesuffix("s")
            placeholder = {"_type": "unauthorized-resource", "resource_type": kind, "resource_id": node.number}
            return key, node.number, placeholder
        record = self.node(node, whole=False, fields=fields)
        if record["_type"] == "project-template":
            key = "project-templates"
        return key, node.number, record

    def requirement(self, requirement: Requirement) -> Item:
        """A requirement in a list."""
        kind, number = "high-level-requirement" if requirement.high_level else "requirement", requirement.number
        record = {"_type": kind, "id": number, "name": requirement.versions[-1].title}
        return f"{kind}s", number, {**record, "_links": {"self": href(f"{kind}s/{number}")}}

    def plan_item(self, number: int, executions: list[Node]) -> Item:
        """An item of a test plan, with its executions."""
        record: dict[str, Any] = {"_type": "iteration-test-plan-item", "id": number}
        if self._quirks.embeds_executions:
            record["executions"] = [self.item(execution)[2] for execution in executions]
        return "test-plan", number, {**record, "_links": {"self": href(f"{self._quirks.item_path}/{number}")}}

    def other_steps(self, test_case: Node) -> list[Item]:
        """The step of a test case that is not a node, if it has one: steps of these types carry no files."""
        kinds = {"test-case": "call-step", "keyword-test-case": "keyword-step"}
        kind = kinds.get(self._tree.type_of(test_case))
        if kind is None:
            return []
        number = CALL_STEPS + test_case.number
        record = {"_type": kind, "id": number, "index": 99, "_links": {"self": href(f"test-steps/{number}")}}
        return [("steps", number, record)]
