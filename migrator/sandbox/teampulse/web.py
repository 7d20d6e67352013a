"""TeamPulse outside its API: OAuth WRAP, the login page, and the addresses that files stream from.

A token is valid only as the exact text that form-decoding the answer once gives.

Beware: addresses are absolute, with the host that the server believes it has, and the numbers in them are not the ids
of the API.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from aiohttp import web

from migrator.sandbox.server import FILE_ROUTE, Sandbox, attachment_disposition, in_any_case, show_login, to_login

STREAM_ROUTE = f"{FILE_ROUTE}.stream"
CLIENT_ID = "uri:TeamPulse"


@dataclass(slots=True)
class TeamPulseQuirks:
    """How real servers differ. May be changed while the sandbox runs."""

    token_lifetime_requests: int | None = None  # API requests after which an access token expires
    refresh_dies: bool = False  # the refresh token is refused; only a new login helps
    top_cap: int = 100
    totals_of_page: bool = False  # `totalResults` counts the page only
    sortable: bool = True  # False: `$orderby` is 400
    comment_files_in_workitem: bool = True  # whether a work item lists the files of its comments
    null_sizes: Collection[int] = ()  # attachments whose `size` is null
    too_large_status: int = 404  # 404 (IIS 404.13) or 413


class WrapLogin:
    """OAuth WRAP: gives tokens for a password, and knows which requests carry a valid one, or the cookie.

    `place` is the address that the server believes it has, with another host and the virtual directory.
    """

    def __init__(self, user: str, password: str, cookie: str, place: str, quirks: TeamPulseQuirks) -> None:
        self._user, self._password, self._cookie = user, password, cookie
        self._place, self._quirks = place, quirks
        self.logins = 0
        """Number of logins with a password."""
        self.refreshes = 0
        self.tokens: dict[str, int] = {}
        """Valid access tokens, and the requests made with each."""
        self.refresh_token = ""

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of login."""
        return [
            web.get(in_any_case("Login"), show_login),
            web.get(in_any_case("login.aspx"), show_login),
            web.get(in_any_case("Authentication/Restrict"), self._restrict),
            web.post(in_any_case("Authenticate/WRAPv0.9"), self._issue),
        ]

    def authenticated(self, request: web.Request) -> bool:
        """Whether a request carries a valid token or the cookie."""
        return self._cookie in request.headers.get("Cookie", "") or self._token(request) in self.tokens

    def spend(self, request: web.Request) -> None:
        """Count an API request against the lifetime of its token."""
        token = self._token(request)
        if token in self.tokens and self._quirks.token_lifetime_requests is not None:
            self.tokens[token] += 1
            if self.tokens[token] >= self._quirks.token_lifetime_requests:
                del self.tokens[token]

    def challenge(self) -> web.Response:
        """The 401 that says where to log in."""
        location = f"{self._place}/Authenticate/WRAPv0.9"
        answer = web.json_response({"message": "Authorization has been denied for this request."}, status=401)
        for client_id in (CLIENT_ID, f'"{CLIENT_ID}"'):  # bare in the documentation, but the SDK expects quotes
            answer.headers.add("WWW-Authenticate", f'WRAP location="{location}", client_id={client_id}')
        return answer

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
        if (form.get("wrap_username"), form.get("wrap_password")) != (self._user, self._password):
            return web.Response(status=401, text="Unauthorized")
        self.logins += 1
        self.refresh_token = f"refresh/{self.logins}+=&%"
        return self._granted(wrap_refresh_token=self.refresh_token)

    def _refreshed(self, token: str) -> web.Response:
        if self._quirks.refresh_dies or token != self.refresh_token:
            return web.Response(status=401, text="Unauthorized")
        self.refreshes += 1
        return self._granted()

    def _granted(self, **more: str) -> web.Response:
        number = self.logins + self.refreshes
        token = quote(f"http://teampulse/claims?user=ann&n={number}&sig=q+w/e==", safe="")
        self.tokens[token] = 0
        body = urlencode({"wrap_access_token": token, **more, "wrap_access_token_expires_in": "3600"})
        return web.Response(text=body, content_type="application/x-www-form-urlencoded")


class FilePages:
    """The web pages that files are downloaded from; like any page of the site they need a login."""

    def __init__(self, sandbox: Sandbox, login: WrapLogin) -> None:
        self._sandbox, self._login = sandbox, login

    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of files."""
        file = r"/{number:\d+}" + in_any_case("AttachmentName") + "/{name}"
        return [
            web.get(in_any_case("AttachmentDownload") + file, self._download, name=FILE_ROUTE),
            web.get(in_any_case("AttachmentStreaming") + file, self._stream, name=STREAM_ROUTE),
        ]

    async def _download(self, request: web.Request) -> web.StreamResponse:
        return await self._file(request, "attachment")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        return await self._file(request, "inline")

    async def _file(self, request: web.Request, how: str) -> web.StreamResponse:
        if not self._login.authenticated(request):
            return to_login(self._sandbox)
        file = self._sandbox.state.attachment(attachment_number(int(request.match_info["number"])))
        if file is None or request.match_info["name"] != file.name:
            return web.Response(status=404, text="Not found")
        owner = self._sandbox.state.world.owner_of(file)
        if owner is not None and self._sandbox.faults.forbids(owner):
            return web.Response(status=403, text="Forbidden")
        disposition = attachment_disposition(file.name).replace("attachment", how, 1)
        return await self._sandbox.send_file(
            request, file, {"Content-Type": file.media_type, "Content-Disposition": disposition}
        )


def address_number(attachment_id: int) -> int:
    """The number in a file's address; it is not the attachment's id."""
    return 3 * attachment_id + 18


def attachment_number(number: int) -> int:
    """The attachment's id for the number in an address; 0 if there can be none."""
    return (number - 18) // 3 if number % 3 == 0 and number > 18 else 0
