"""What a sandbox Squash TM answers to GET: lists of all, lists of children, and single records."""

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.server import Handler, Sandbox
from migrator.sandbox.squash.records import Lookup, Records
from migrator.sandbox.squash.tree import Tree
from migrator.sandbox.squash.web import Pages, SquashQuirks, not_found


class Reads:
    """The handlers of requests that read."""

    def __init__(
        self, sandbox: Sandbox, quirks: SquashQuirks, tree: Tree, lookup: Lookup, records: Records, pages: Pages
    ) -> None:
        self._sandbox, self._state, self._quirks, self._tree = sandbox, sandbox.state, quirks, tree
        self._lookup, self._records, self._pages = lookup, records, pages

    def everything(self, kind: str) -> Handler:
        """The handler of the list of all nodes of a kind."""

        async def answer(request: web.Request) -> web.StreamResponse:
            nodes = self._lookup.existing(self._tree.kinds[kind])
            return self._pages.page(request, [self._records.item(node, fields=_fields(request)) for node in nodes])

        return answer

    def children(self, kind: str, key: str, child_kind: str) -> Handler:
        """The handler of the list of a node's children of one kind; `key` is what the list calls them."""

        async def answer(request: web.Request) -> web.StreamResponse:
            node = self._lookup.node(kind, request)
            nodes = self._lookup.existing(self._tree.children(node, child_kind))
            items = [self._records.item(child, key, _fields(request)) for child in nodes]
            if child_kind == "test-steps":
                items += self._records.other_steps(node)
            return self._pages.page(request, items, sorts=child_kind != "test-steps")

        return answer

    def single(self, kind: str) -> Handler:
        """The handler of single records."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if self._lookup.is_call_step(kind, request):
                number = int(request.match_info["id"])
                return web.json_response({"_type": "call-step", "id": number, "index": 99})
            node = self._lookup.node(kind, request)
            if kind == "projects" and not self._quirks.admin:
                raise RefusedError(403, "Access is denied")
            return web.json_response(self._records.node(node, whole=True))

        return answer

    async def requirements(self, request: web.Request) -> web.StreamResponse:
        """The list of all requirements."""
        all_of_them = self._tree.requirements.values()
        existing = [requirement for requirement in all_of_them if self._lookup.existing(requirement.versions)]
        return self._pages.page(request, [self._records.requirement(requirement) for requirement in existing])

    async def requirement(self, request: web.Request) -> web.StreamResponse:
        """One requirement with its versions."""
        number = int(request.match_info["id"])
        requirement = self._tree.requirements.get(number)
        high_level = "/high-level-" in request.path
        versions = self._lookup.existing(requirement.versions) if requirement else []
        if requirement is None or not versions or requirement.high_level != high_level:
            raise not_found("requirement.Requirement", number)
        self._lookup.permit(versions[-1])
        _, _, record = self._records.requirement(requirement)
        current = self._records.node(versions[-1], whole=True)
        abbreviated = [self._records.node(version, whole=False) for version in versions]
        return web.json_response({**record, "current_version": current, "versions": abbreviated})

    async def test_plan(self, request: web.Request) -> web.StreamResponse:
        """The test plan of an iteration: an item for each execution, and one without any."""
        node = self._lookup.node("iterations", request)
        executions = self._lookup.existing(self._tree.children(node, "executions"))
        items = [self._records.plan_item(execution.number + 3, [execution]) for execution in executions]
        return self._pages.page(request, [*items, self._records.plan_item(node.number, [])])

    async def executions(self, request: web.Request) -> web.StreamResponse:
        """The executions of an item of a test plan."""
        number = int(request.match_info["id"])
        if request.match_info["items"] != self._quirks.item_path:
            raise RefusedError(404, "No such path")
        execution = self._tree.nodes.get(("executions", number - 3))
        return self._pages.page(request, [self._records.item(execution)] if execution else [])

    def files(self, kind: str) -> Handler:
        """The handler of the list of a node's files."""

        async def answer(request: web.Request) -> web.StreamResponse:
            node = self._lookup.node(kind, request)
            if not self._quirks.lists_files:
                raise RefusedError(405, "Request method 'GET' not supported")
            return self._pages.page(request, self._records.files_of(node))

        return answer

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One file without its content."""
        return web.json_response(self._records.file(self._lookup.file(request), whole=True))

    async def content(self, request: web.Request) -> web.StreamResponse:
        """The content of a file."""
        file = self._lookup.file(request)
        plain = "".join(c if "!" <= c <= "~" and c not in '";\\' else "_" for c in file.name)
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": f"attachment; filename={plain}"}
        return await self._sandbox.send_file(request, file, headers)


def _fields(request: web.Request) -> str:
    return request.query.get("fields", "")
