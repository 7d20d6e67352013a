"""What a sandbox TeamPulse answers to GET: lists, filtered, sorted and paged, and single records.

Every collection is a list of rows sorted by id; records are made only of those on the page.

Beware: its attachments always belong to a work item, so the world's unlinked attachments do not exist here.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import Sandbox
from migrator.sandbox.state import CommentRow
from migrator.sandbox.teampulse.odata import (
    BadQueryError,
    Filter,
    flat,
    parse_filter,
    parse_order,
    sort_key,
    whole,
    within,
)
from migrator.sandbox.teampulse.records import (
    ATTACHMENT_FIELDS,
    COLLECTIONS,
    COMMENT_FIELDS,
    PEOPLE_HERE,
    PROJECTS,
    SMALL_FIELDS,
    WORK_ITEM_FIELDS,
    Records,
    known_names,
)
from migrator.sandbox.teampulse.web import FilePages, TeamPulseQuirks, WrapLogin, address_number
from migrator.sandbox.world import World, WorldAttachment

Handler = Callable[[web.Request], Awaitable[web.Response]]
Row = Any


class TeamPulseReads(Sandbox):
    """The part of a sandbox TeamPulse's API that answers reads."""

    user: ClassVar[str] = "ann"
    cookie: ClassVar[str] = ".ASPXAUTH=0A1B2C3D4E"
    internal_host: ClassVar[str] = "http://teampulse-internal"

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world, faults, base_path=base_path)
        self.quirks = TeamPulseQuirks(**quirks)
        place = f"{self.internal_host}{self.base_path}"
        self.login = WrapLogin(self.user, self.password, self.cookie, place, self.quirks)
        self.file_pages = FilePages(self, self.login)
        self.removed: set[int] = set()
        self.records = Records(self)
        self._kept: tuple[tuple[int, int], list[WorldAttachment]] = ((-1, 0), [])

    def address(self, file: WorldAttachment, page: str = "AttachmentDownload") -> str:
        """The address of a file as the server believes it to be."""
        number, name = address_number(file.id), quote(file.name, safe="")
        return f"{self.internal_host}{self.base_path}/{page}/{number}/AttachmentName/{name}"

    def _answering(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            if not self.login.authenticated(request):
                return self.login.challenge()
            self.login.spend(request)
            try:
                return await handler(request)
            except BadQueryError as error:
                return web.json_response({error.parameter: str(error)}, status=400)
            except RefusedError as error:
                return web.json_response(error.body, status=error.status)

        return answer

    def _page(
        self,
        request: web.Request,
        rows: Sequence[Row],
        record: Callable[[Row], dict[str, Any]],
        known: frozenset[str],
    ) -> web.Response:
        """The requested page of these rows (sorted by id); by default the newest first."""
        query = {name.lower(): value for name, value in request.query.items()}
        if "$orderby" in query and not self.quirks.sortable:
            raise BadQueryError("$orderby", "Ordering is not supported.")
        order = parse_order(query.get("$orderby", "id desc"), known)
        rows = _filtered(rows, record, parse_filter(query["$filter"], known) if "$filter" in query else None)
        rows = _ordered(rows, record, order)
        top = min(whole(query, "$top", self.quirks.top_cap), self.quirks.top_cap)
        skip = whole(query, "$skip", 0)
        results = [record(row) for row in rows[skip : skip + top]]
        total = len(results) if self.quirks.totals_of_page else len(rows)
        totals = {
            "totalResults": total,
            "top": top if "$top" in query else None,
            "skip": skip if "$skip" in query else None,
        }
        return web.json_response({**totals, "results": results})

    def _item_id(self, request: web.Request) -> int:
        number = int(request.match_info["id"])
        if self.state.entity(number) is None or number in self.removed:
            raise RefusedError(404, message=f"Work item {number} was not found.")
        if self.faults.forbids(number):
            raise RefusedError(403, message="You have no access to this work item.")
        return number

    def _visible(self) -> list[WorldAttachment]:
        """The attachments of work items that still exist; cached until something changes."""
        state = (self.state.changes, len(self.removed))
        if self._kept[0] != state:
            hidden = {None, *self.removed}
            self._kept = (
                state,
                [file for file in self.state.attachments() if self.records.owner(file) not in hidden],
            )
        return self._kept[1]

    def _attachment(self, request: web.Request) -> WorldAttachment:
        file = self.state.attachment(int(request.match_info["id"]))
        owner = None if file is None else self.records.owner(file)
        if file is None or owner is None or owner in self.removed:
            raise RefusedError(404, message="The attachment was not found.")
        if self.faults.forbids(owner):
            raise RefusedError(403, message="You have no access to this work item.")
        return file

    def _one_comment(self, request: web.Request) -> CommentRow:
        number = int(request.match_info["id"])
        for comment in self.state.comments:
            if comment.id == number:
                return comment
        raise RefusedError(404, message=f"Comment {number} was not found.")

    async def _me(self, _: web.Request) -> web.Response:
        name = {"name": self.user, "firstName": "Ann", "lastName": "Lee", "displayName": "Ann Lee"}
        return web.json_response({"id": 8, **name, "email": "ann@sandbox.example"})

    async def _projects(self, request: web.Request) -> web.Response:
        return self._page(request, PROJECTS, self.records.project, known_names(self.records.project(PROJECTS[0])))

    async def _project(self, request: web.Request) -> web.Response:
        for project in PROJECTS:
            if project.id == int(request.match_info["id"]):
                return web.json_response(self.records.project(project))
        raise RefusedError(404, message="The project was not found.")

    def _small_collection(self, name: str) -> Handler:
        """Answer for a small collection; below a project, with that project's items."""

        async def answer(request: web.Request) -> web.Response:
            if name == "users":
                return self._page(request, PEOPLE_HERE, self.records.person, SMALL_FIELDS)
            project = request.match_info.get("id")
            rows = [row for row in COLLECTIONS[name] if project is None or row.project_id == int(project)]
            return self._page(request, rows, self.records.named, SMALL_FIELDS)

        return answer

    async def _person(self, request: web.Request) -> web.Response:
        for person in PEOPLE_HERE:
            if person.id == int(request.match_info["id"]):
                return web.json_response(self.records.person(person))
        raise RefusedError(404, message="The user was not found.")

    async def _tasks(self, request: web.Request) -> web.Response:
        story = self._item_id(request)
        rows = [
            one for one in self.state.entities() if one.id not in self.removed and self.records.parent(one) == story
        ]
        return self._page(request, rows, self.records.work_item, WORK_ITEM_FIELDS)

    async def _work_items(self, request: web.Request) -> web.Response:
        rows = [entity for entity in self.state.entities() if entity.id not in self.removed]
        return self._page(request, rows, self.records.work_item, WORK_ITEM_FIELDS)

    async def _work_item(self, request: web.Request) -> web.Response:
        return web.json_response(self.records.work_item(self.state.entity(self._item_id(request))))

    async def _files(self, request: web.Request) -> web.Response:
        return self._page(request, self._visible(), self.records.attachment, ATTACHMENT_FIELDS)

    async def _work_item_files(self, request: web.Request) -> web.Response:
        rows = self.state.attachments_of(self._item_id(request))
        if not self.quirks.comment_files_in_workitem:
            rows = [file for file in rows if file.comment_id is None]
        return self._page(request, rows, self.records.attachment, ATTACHMENT_FIELDS)

    async def _file_record(self, request: web.Request) -> web.Response:
        return web.json_response(self.records.attachment(self._attachment(request)))

    async def _comments(self, request: web.Request) -> web.Response:
        return self._page(request, self.state.comments, self.records.comment, COMMENT_FIELDS)

    async def _work_item_comments(self, request: web.Request) -> web.Response:
        number = self._item_id(request)
        rows = [comment for comment in self.state.comments if comment.entity_id == number]
        return self._page(request, rows, self.records.comment, COMMENT_FIELDS)

    async def _comment(self, request: web.Request) -> web.Response:
        return web.json_response(self.records.comment(self._one_comment(request)))

    async def _comment_files(self, request: web.Request) -> web.Response:
        comment = self._one_comment(request)
        rows = [file for file in self.state.attachments_of(comment.entity_id) if file.comment_id == comment.id]
        return self._page(request, rows, self.records.attachment, ATTACHMENT_FIELDS)


def _filtered(rows: Sequence[Row], record: Callable[[Row], dict[str, Any]], wanted: Filter | None) -> Sequence[Row]:
    if wanted is None:
        return rows
    if wanted.bound is None:
        return [row for row in rows if wanted.test(flat(record(row)))]
    return within(rows, wanted.bound)


def _ordered(
    rows: Sequence[Row], record: Callable[[Row], dict[str, Any]], order: list[tuple[str, bool]]
) -> Sequence[Row]:
    if order[0][0] == "id":
        return rows[::-1] if order[0][1] else rows
    for name, descending in reversed(order):
        rows = sorted(rows, key=lambda row: sort_key(flat(record(row))[name]), reverse=descending)
    return rows
