"""What a sandbox Squash TM answers to GET: lists of all, lists of what is below something, and single records.

Seven kinds have a list of all; the others are found only below their parent.

Beware: items of lists are abbreviated. Only a record requested by itself mentions its files, and those without sizes.
"""

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import FILE_ROUTE
from migrator.sandbox.squash.tree import CALL_STEPS, KINDS, Node, Requirement
from migrator.sandbox.squash.web import API, Handler, Item, SquashWeb, not_found
from migrator.sandbox.world import World, WorldAttachment

LISTED = ("requirement-folders", "test-case-folders", "test-cases", "campaign-folders", "campaigns")
_BELOW = (
    ("test-cases", "steps", "test-steps"),
    ("campaigns", "iterations", "iterations"),
    ("iterations", "test-suites", "test-suites"),
    ("executions", "execution-steps", "execution-steps"),
)
_ONE = r"/{id:\d+}"


class SquashReads(SquashWeb):
    """The part of a sandbox Squash TM's API that answers reads."""

    def __init__(
        self, world: World, faults: Faults | None = None, *, base_path: str = "/squash", **quirks: Any
    ) -> None:
        super().__init__(world, faults, base_path=base_path, **quirks)
        self.removed: set[tuple[str, int]] = set()
        """Kind and id of what was deleted, along with everything below it."""

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API."""
        for method, path, handler, name in self.handlers():
            yield web.RouteDef(method, API + path, self.answering(handler), {"name": name} if name else {})

    def handlers(self) -> Iterable[tuple[str, str, Handler, str]]:
        """Method, path, handler and route name of each route."""
        for kind in LISTED:
            yield "GET", f"/{kind}", self._all(kind), ""
        yield "GET", "/projects", self._projects, ""
        yield "GET", "/requirements", self._requirements, ""
        for path in ("/requirements", "/high-level-requirements"):
            yield "GET", path + _ONE, self._requirement, ""
        for kind, path, below in _BELOW:
            yield "GET", f"/{kind}{_ONE}/{path}", self._all_below(kind, path, below), ""
        yield "GET", f"/iterations{_ONE}/test-plan", self._test_plan, ""
        yield "GET", r"/{items:(?:iteration-)?test-plan-items}" + _ONE + "/executions", self._executions, ""
        for kind in KINDS:
            yield "GET", f"/{kind}{_ONE}", self._single(kind), ""
            yield "GET", f"/{kind}{_ONE}/attachments", self._files(kind), ""
        yield "GET", f"/attachments{_ONE}", self._file, ""
        yield "GET", f"/attachments{_ONE}/content", self._content, FILE_ROUTE

    def node(self, kind: str, request: web.Request) -> Node:
        """The node that a path names; 404 or 403 otherwise."""
        number = int(request.match_info["id"])
        node = self.tree.nodes.get((kind, number))
        if node is None or self.is_removed(node):
            raise not_found(kind, number)
        self.permit(node)
        return node

    def permit(self, node: Node) -> None:
        """Refuse what the account may not read."""
        if self.faults.forbids(node.entity_id):
            raise RefusedError(403, "Access is denied")

    def is_removed(self, node: Node) -> bool:
        """Whether it, or one of its ancestors, was deleted."""
        return bool(self.removed) and any(one.key in self.removed for one in (node, *node.ancestors()))

    def file_record(self, file: WorldAttachment, *, whole: bool) -> dict[str, Any]:
        """The JSON of a file; an abbreviated one has neither size nor date."""
        stem, _, extension = file.name.rpartition(".")
        path = f"attachments/{file.id}"
        short = {"_type": "attachment", "id": file.id, "name": stem, "file_type": extension}
        if not whole:
            return {**short, "_links": {"self": self.href(path)}}
        moment = file.created_at.strftime("%Y-%m-%dT%H:%M:%S.000+00:00")
        links = {"self": self.href(path), "content": self.href(f"{path}/content")}
        moment = moment.replace("+00:00", "+0000") if self.quirks.old_dates else moment
        return {**short, "size": file.size, "added_on": moment, "_links": links}

    def file_of(self, request: web.Request) -> WorldAttachment:
        """The file that a path names."""
        number = int(request.match_info["id"])
        file = self.state.attachment(number)
        owner = self.tree.of_entity.get(file.entity_id or 0) if file else None
        if file is None or owner is None or self.is_removed(owner):
            raise not_found("attachment.Attachment", number)
        self.permit(owner)
        return file

    def _record(self, node: Node, *, whole: bool) -> dict[str, Any]:
        """The JSON of a node; an abbreviated one doesn't mention its files."""
        path = f"{node.kind}/{node.number}"
        found: dict[str, Any] = {"_type": self.tree.type_of(node), "id": node.number}
        if node.kind in {"test-steps", "execution-steps"}:
            found |= {"index": node.index, "action": node.text}
        else:
            found["name"] = node.title
        links = {"self": self.href(path)}
        if whole or node.kind in self.quirks.embeds_files:
            links |= {} if node.kind.endswith("-steps") else {"attachments": self.href(f"{path}/attachments")}
            if node.kind not in self.quirks.untold:
                files = self.state.attachments_of(node.entity_id)
                found["attachments"] = [self.file_record(file, whole=self.quirks.full_files) for file in files]
        return {**found, "_links": links}

    def _item(self, node: Node, key: str = "") -> Item:
        """The JSON of a node in a list; one that may not be read appears by its number only."""
        key = key or node.kind
        if self.faults.forbids(node.entity_id):
            kind = node.kind.removesuffix("s")
            placeholder = {"_type": "unauthorized-resource", "resource_type": kind, "resource_id": node.number}
            return key, node.number, placeholder
        found = self._record(node, whole=False)
        if found["_type"] == "project-template":
            key = "project-templates"
        return key, node.number, found

    def _existing(self, nodes: Iterable[Node]) -> list[Node]:
        return [node for node in nodes if not self.is_removed(node)]

    def _all(self, kind: str) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            return self.page(request, [self._item(node) for node in self._existing(self.tree.kinds[kind])])

        return answer

    async def _projects(self, request: web.Request) -> web.StreamResponse:
        return self.page(request, [self._item(node) for node in self._existing(self.tree.kinds["projects"])])

    async def _requirements(self, request: web.Request) -> web.StreamResponse:
        requirements = [item for item in self.tree.requirements.values() if self._existing(item.versions)]
        return self.page(request, [self._requirement_item(item) for item in requirements])

    def _requirement_item(self, found: Requirement) -> Item:
        kind = "high-level-requirement" if found.high_level else "requirement"
        record = {"_type": kind, "id": found.number, "name": found.versions[-1].title}
        return f"{kind}s", found.number, {**record, "_links": {"self": self.href(f"{kind}s/{found.number}")}}

    async def _requirement(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["id"])
        found = self.tree.requirements.get(number)
        high_level = "/high-level-" in request.path
        versions = self._existing(found.versions) if found else []
        if found is None or not versions or found.high_level != high_level:
            raise not_found("requirement.Requirement", number)
        self.permit(versions[-1])
        _, _, record = self._requirement_item(found)
        current = self._record(versions[-1], whole=True)
        records = [self._record(version, whole=False) for version in versions]
        return web.json_response({**record, "current_version": current, "versions": records})

    def _all_below(self, kind: str, key: str, below: str) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            node = self.node(kind, request)
            items = [self._item(child, key) for child in self._existing(self.tree.below(node, below))]
            if below == "test-steps":
                items += self._other_steps(node)
            return self.page(request, items, sorts=below != "test-steps")

        return answer

    def _other_steps(self, node: Node) -> list[Item]:
        kind = {"test-case": "call-step", "keyword-test-case": "keyword-step"}.get(self.tree.type_of(node))
        if kind is None:
            return []
        number = CALL_STEPS + node.number
        links = {"self": self.href(f"test-steps/{number}")}
        return [("steps", number, {"_type": kind, "id": number, "index": 99, "_links": links})]

    async def _test_plan(self, request: web.Request) -> web.StreamResponse:
        node = self.node("iterations", request)
        items = [
            self._plan_item(execution.number + 3, [execution])
            for execution in self._existing(self.tree.below(node, "executions"))
        ]
        return self.page(request, [*items, self._plan_item(node.number, [])])

    def _plan_item(self, number: int, executions: list[Node]) -> Item:
        record: dict[str, Any] = {"_type": "iteration-test-plan-item", "id": number}
        if self.quirks.embeds_executions:
            record["executions"] = [self._item(execution)[2] for execution in executions]
        links = {"self": self.href(f"{self.quirks.item_path}/{number}")}
        return "test-plan", number, {**record, "_links": links}

    async def _executions(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["id"])
        if request.match_info["items"] != self.quirks.item_path:
            raise RefusedError(404, "No such path")
        found = self.tree.nodes.get(("executions", number - 3))
        return self.page(request, [self._item(node) for node in ([found] if found else [])])

    def _single(self, kind: str) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            number = int(request.match_info["id"])
            if kind == "test-steps" and ("test-cases", number - CALL_STEPS) in self.tree.nodes:
                return web.json_response({"_type": "call-step", "id": number, "index": 99})
            node = self.node(kind, request)
            if kind == "projects" and not self.quirks.admin:
                raise RefusedError(403, "Access is denied")
            return web.json_response(self._record(node, whole=True))

        return answer

    def _files(self, kind: str) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            node = self.node(kind, request)
            if not self.quirks.lists_files:
                raise RefusedError(405, "Request method 'GET' not supported")
            files = self.state.attachments_of(node.entity_id)
            items = [("attachments", file.id, self.file_record(file, whole=False)) for file in files]
            return self.page(request, items)

        return answer

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.file_record(self.file_of(request), whole=True))

    async def _content(self, request: web.Request) -> web.StreamResponse:
        file = self.file_of(request)
        plain = "".join(c if "!" <= c <= "~" and c not in '";\\' else "_" for c in file.name)
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": f"attachment; filename={plain}"}
        return await self.send_file(request, file, headers)
