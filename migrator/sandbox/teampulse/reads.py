"""What a sandbox TeamPulse answers to GET: lists and single records."""

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.server import Handler
from migrator.sandbox.state import TrackerState
from migrator.sandbox.teampulse.lists import Lists, Lookup
from migrator.sandbox.teampulse.records import (
    ATTACHMENT_FIELDS,
    COLLECTIONS,
    COMMENT_FIELDS,
    PROJECTS,
    SMALL_FIELDS,
    USERS,
    WORK_ITEM_FIELDS,
    Records,
    known_names,
)
from migrator.sandbox.teampulse.web import TeamPulseQuirks


class Reads:
    """The handlers of requests that read."""

    def __init__(
        self, state: TrackerState, quirks: TeamPulseQuirks, records: Records, lookup: Lookup, lists: Lists
    ) -> None:
        self._state, self._quirks = state, quirks
        self._records, self._lookup, self._lists = records, lookup, lists

    async def me(self, _: web.Request) -> web.Response:
        """The user who is logged in."""
        return web.json_response(self._records.user(USERS[0]))

    async def user(self, request: web.Request) -> web.Response:
        """One user."""
        for user in USERS:
            if user.id == int(request.match_info["id"]):
                return web.json_response(self._records.user(user))
        raise RefusedError(404, message="The user was not found.")

    async def projects(self, request: web.Request) -> web.Response:
        """The list of projects."""
        record = self._records.project
        return self._lists.page(request, PROJECTS, record, known_names(record(PROJECTS[0])))

    async def project(self, request: web.Request) -> web.Response:
        """One project."""
        for project in PROJECTS:
            if project.id == int(request.match_info["id"]):
                return web.json_response(self._records.project(project))
        raise RefusedError(404, message="The project was not found.")

    def collection(self, name: str) -> Handler:
        """The handler of a small collection; below a project, it shows only that project's items."""

        async def answer(request: web.Request) -> web.Response:
            if name == "users":
                return self._lists.page(request, USERS, self._records.user, SMALL_FIELDS)
            project = request.match_info.get("id")
            rows = [row for row in COLLECTIONS[name] if project is None or row.project_id == int(project)]
            return self._lists.page(request, rows, self._records.named, SMALL_FIELDS)

        return answer

    async def work_items(self, request: web.Request) -> web.Response:
        """The list of work items."""
        return self._lists.page(request, self._lookup.work_items(), self._records.work_item, WORK_ITEM_FIELDS)

    async def work_item(self, request: web.Request) -> web.Response:
        """One work item."""
        return web.json_response(self._records.work_item(self._lookup.work_item(request)))

    async def tasks(self, request: web.Request) -> web.Response:
        """The tasks of a story."""
        story = self._lookup.work_item(request)
        tasks = [entity for entity in self._lookup.work_items() if self._records.parent(entity) == story.id]
        return self._lists.page(request, tasks, self._records.work_item, WORK_ITEM_FIELDS)

    async def attachments(self, request: web.Request) -> web.Response:
        """The list of all attachments."""
        return self._lists.page(request, self._lookup.attachments(), self._records.attachment, ATTACHMENT_FIELDS)

    async def attachment(self, request: web.Request) -> web.Response:
        """One attachment, without its content."""
        return web.json_response(self._records.attachment(self._lookup.attachment(request)))

    async def attachments_of_work_item(self, request: web.Request) -> web.Response:
        """The attachments of a work item."""
        files = self._state.attachments_of(self._lookup.work_item(request).id)
        if not self._quirks.comment_files_in_workitem:
            files = [file for file in files if file.comment_id is None]
        return self._lists.page(request, files, self._records.attachment, ATTACHMENT_FIELDS)

    async def attachments_of_comment(self, request: web.Request) -> web.Response:
        """The attachments of a comment."""
        comment = self._lookup.comment(request)
        files = [file for file in self._state.attachments_of(comment.entity_id) if file.comment_id == comment.id]
        return self._lists.page(request, files, self._records.attachment, ATTACHMENT_FIELDS)

    async def comments(self, request: web.Request) -> web.Response:
        """The list of all comments."""
        return self._lists.page(request, self._state.comments, self._records.comment, COMMENT_FIELDS)

    async def comments_of_work_item(self, request: web.Request) -> web.Response:
        """The comments of a work item."""
        number = self._lookup.work_item(request).id
        comments = [comment for comment in self._state.comments if comment.entity_id == number]
        return self._lists.page(request, comments, self._records.comment, COMMENT_FIELDS)

    async def comment(self, request: web.Request) -> web.Response:
        """One comment."""
        return web.json_response(self._records.comment(self._lookup.comment(request)))
