"""TeamPulse outside its API: OAuth WRAP, the login page, and the addresses that files stream from.

A token is valid only as the exact text that form-decoding the answer once gives.

Beware: addresses are absolute, with the host that the server believes in, and their file numbers are not the API's.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.faults import Faults
from migrator.sandbox.server import FILE_ROUTE, Sandbox, attachment_disposition, in_any_case, show_login, to_login
from migrator.sandbox.world import World, WorldAttachment

STREAM_ROUTE = f"{FILE_ROUTE}.stream"
CLIENT_ID = "uri:TeamPulse"


@dataclass(slots=True)
class TeamPulseQuirks:
    """How real servers differ; may be changed while the sandbox runs."""

    token_lifetime_requests: int | None = None  # API requests after which an access token expires
    refresh_dies: bool = False  # the refresh token is refused; only a new login helps
    top_cap: int = 100
    totals_of_page: bool = False  # `totalResults` counts the page only
    sortable: bool = True  # False: `$orderby` is 400
    comment_files_in_workitem: bool = True  # whether a work item lists the files of its comments
    null_sizes: Collection[int] = ()  # attachments whose `size` is null
    too_large_status: int = 404  # 404 (IIS 404.13) or 413


class TeamPulseWeb(Sandbox):
    """Login and files of a sandbox TeamPulse; `TeamPulseSandbox` adds the API."""

    user: ClassVar[str] = "ann"
    cookie: ClassVar[str] = ".ASPXAUTH=0A1B2C3D4E"
    internal_host: ClassVar[str] = "http://teampulse-internal"

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world, faults, base_path=base_path)
        self.quirks = TeamPulseQuirks(**quirks)
        self.logins = 0
        """Number of logins with a password."""
        self.refreshes = 0
        self._tokens: dict[str, int] = {}
        self._refresh_token = ""

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of login and files."""
        file = r"/{number:\d+}" + in_any_case("AttachmentName") + "/{name}"
        return [
            web.get(in_any_case("Login"), show_login),
            web.get(in_any_case("login.aspx"), show_login),
            web.get(in_any_case("Authentication/Restrict"), self._restrict),
            web.post(in_any_case("Authenticate/WRAPv0.9"), self._issue),
            web.get(in_any_case("AttachmentDownload") + file, self._download, name=FILE_ROUTE),
            web.get(in_any_case("AttachmentStreaming") + file, self._stream, name=STREAM_ROUTE),
        ]

    def authenticated(self, request: web.Request) -> bool:
        """Whether a request carries a valid token or the cookie."""
        return self.cookie in request.headers.get("Cookie", "") or self._token(request) in self._tokens

    def spend(self, request: web.Request) -> None:
        """Count an API request against the lifetime of its token."""
        token = self._token(request)
        if token in self._tokens and self.quirks.token_lifetime_requests is not None:
            self._tokens[token] += 1
            if self._tokens[token] >= self.quirks.token_lifetime_requests:
                del self._tokens[token]

    def challenge(self) -> web.Response:
        """The 401 that says where to log in."""
        location = f"{self.internal_host}{self.base_path}/Authenticate/WRAPv0.9"
        answer = web.json_response({"message": "Authorization has been denied for this request."}, status=401)
        for client_id in (CLIENT_ID, f'"{CLIENT_ID}"'):  # bare in the documentation, but the SDK expects quotes
            answer.headers.add("WWW-Authenticate", f'WRAP location="{location}", client_id={client_id}')
        return answer

    def address(self, file: WorldAttachment, page: str = "AttachmentDownload") -> str:
        """The address of a file as the server believes it to be."""
        number, name = address_number(file.id), quote(file.name, safe="")
        return f"{self.internal_host}{self.base_path}/{page}/{number}/AttachmentName/{name}"

    def _token(self, request: web.Request) -> str:
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        name, _, value = rest.partition("=")
        if scheme != "WRAP" or name.strip() != "access_token":
            return ""
        return value[1:-1] if value.startswith('"') and value.endswith('"') else value

    async def _restrict(self, request: web.Request) -> web.Response:
        return web.Response(text="ok") if self.authenticated(request) else self.challenge()

    async def _issue(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("wrap_client_id") != CLIENT_ID:
            return web.Response(status=400, text="wrap_client_id is missing")
        if "wrap_refresh_token" in form:
            return self._refreshed(str(form["wrap_refresh_token"]))
        if (form.get("wrap_username"), form.get("wrap_password")) != (self.user, self.password):
            return web.Response(status=401, text="Unauthorized")
        self.logins += 1
        self._refresh_token = f"refresh/{self.logins}+=&%"
        return self._granted(wrap_refresh_token=self._refresh_token)

    def _refreshed(self, token: str) -> web.Response:
        if self.quirks.refresh_dies or token != self._refresh_token:
            return web.Response(status=401, text="Unauthorized")
        self.refreshes += 1
        return self._granted()

    def _granted(self, **more: str) -> web.Response:
        number = self.logins + self.refreshes
        token = quote(f"http://teampulse/claims?user=ann&n={number}&sig=q+w/e==", safe="")
        self._tokens[token] = 0
        body = urlencode({"wrap_access_token": token, **more, "wrap_access_token_expires_in": "3600"})
        return web.Response(text=body, content_type="application/x-www-form-urlencoded")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        return await self._file(request, "attachment")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        return await self._file(request, "inline")

    async def _file(self, request: web.Request, how: str) -> web.StreamResponse:
        if not self.authenticated(request):
            return to_login(self)
        file = self.attachment(attachment_number(int(request.match_info["number"])))
        if file is None or request.match_info["name"] != file.name:
            return web.Response(status=404, text="Not found")
        owner = self.world.owner_of(file) if file.id not in self.uploads else file.entity_id
        if owner is not None and self.faults.forbids(owner):
            return web.Response(status=403, text="Forbidden")
        disposition = attachment_disposition(file.name).replace("attachment", how, 1)
        return await self.send_file(
            request, file, {"Content-Type": file.media_type, "Content-Disposition": disposition}
        )


def address_number(attachment_id: int) -> int:
    """The number in a file's address; it is not the attachment's id."""
    return 3 * attachment_id + 18


def attachment_number(number: int) -> int:
    """The attachment's id for the number in an address; 0 if there can be none."""
    return (number - 18) // 3 if number % 3 == 0 and number > 18 else 0
