"""Who may use the API of a sandbox Redmine, and what a request is about."""

import base64

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.redmine.records import RedmineQuirks
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world import WorldAttachment, WorldEntity

_NOT_FOUND = (
    "<!DOCTYPE html>\n<html>\n<head>\n  <title>Redmine 404 error</title>\n</head>\n<body>\n  <h1>Page not found</h1>\n"
    "  <p>The page you were trying to access doesn't exist or has been removed.</p>\n</body>\n</html>\n"
)


class Access:
    """Knows the key and the password, in each of the ways in which they may be sent."""

    def __init__(self, sandbox: Sandbox, key: str, quirks: RedmineQuirks) -> None:
        self._sandbox, self._state, self._key, self._quirks = sandbox, sandbox.state, key, quirks

    def knows(self, request: web.Request) -> bool:
        """Whether the credentials are good; a visitor without good ones is anonymous."""
        if not self._quirks.rest_enabled:
            return False
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, password = base64.b64decode(value).decode("latin-1").partition(":")
            return (name, password) == (self._sandbox.user, self._sandbox.password) or name == self._key
        return self._key in {request.headers.get("X-Redmine-API-Key"), request.query.get("key")}

    def require(self, request: web.Request) -> None:
        """Refuse an anonymous visitor."""
        if not self.knows(request):
            raise RefusedError(401)

    def place(self, request: web.Request) -> str:
        """The address at which the sandbox is reached."""
        return f"{request.scheme}://{request.host}{self._sandbox.base_path}"

    def issue(self, request: web.Request) -> WorldEntity:
        """The issue in the path, if it exists and may be seen."""
        issue = self._state.entity(int(request.match_info["id"]))
        if issue is None:
            raise RefusedError(404)
        self.require(request)
        if self._sandbox.faults.forbids(issue.id):
            raise RefusedError(403)
        return issue

    def file(self, request: web.Request) -> WorldAttachment:
        """The file in the path, if it exists and may be seen."""
        file = self._state.attachment(int(request.match_info["id"]))
        if file is None:
            raise RefusedError(404)
        self.require(request)
        return file


def not_found_page() -> web.Response:
    """The page for a path that leads nowhere."""
    return web.Response(status=404, text=_NOT_FOUND, content_type="text/html")
