"""A sandbox Issuetrak: API version 1 over the made-up world, as strict as its documentation.

Beware: nothing in it can be changed or deleted.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from aiohttp import web
from typing_extensions import override

from migrator.sandbox.faults import Faults
from migrator.sandbox.issuetrak.auth import IssuetrakQuirks, SignatureAuth
from migrator.sandbox.issuetrak.reads import Reads, Records
from migrator.sandbox.issuetrak.uploads import Uploads
from migrator.sandbox.server import FILE_ROUTE, UPLOAD_ROUTE, Sandbox, show_login
from migrator.sandbox.world import PEOPLE, World


class IssuetrakSandbox(Sandbox):
    """An embedded Issuetrak: `IssuetrakSandbox(world, faults, base_path="/issuetrak", **quirks)`.

    Its keywords are the fields of `auth.IssuetrakQuirks`.
    """

    tracker = "issuetrak"
    user: ClassVar[str] = "APIUser"
    key: ClassVar[str] = "wV4JA/59PUf6XjiMF1om+Eg+D4rQlE8WGRTybNIkdrs="

    def __init__(self, world: World, faults: Faults | None = None, *, base_path: str = "", **quirks: Any) -> None:
        super().__init__(world, faults, base_path=base_path)
        self.quirks = IssuetrakQuirks(**quirks)
        self.auth = SignatureAuth(self.key, self.quirks)
        self.users: dict[str, bool] = {"Admin": True, self.user: True, **dict.fromkeys(PEOPLE, True)}
        """User ids, and whether they are active."""
        self.users["José Núñez"] = False
        self.records = Records(self.state, self.auth, self.quirks)
        self.reads = Reads(self, self.quirks, self.records, self.users)
        self.uploads = Uploads(self, self.quirks, self.auth, self.records, self.users)

    @property
    @override
    def target_options(self) -> dict[str, object]:
        """A file whose author is nobody here is refused, unless there is a user who takes it."""
        return {"created_by": self.user}

    @property
    @override
    def credentials(self) -> dict[str, str]:
        """The content of the configuration's [source.auth] or [target.auth]."""
        return {"api_key": self.key}

    @override
    def kind_of(self, entity_id: int) -> str:
        """Always an issue."""
        self.state.existing_entity(entity_id)
        return "Issue"

    @override
    def routes(self) -> Iterable[web.RouteDef]:
        """The routes of the API, and the login page."""
        signed, reads = self.auth.signed, self.reads
        yield web.get("/login.aspx", show_login)
        for slash in ("", "/"):
            yield web.post(f"/api/v1/issues/search{slash}", signed(reads.search))
        yield web.get("/api/v1/issues/{notes}/{number}", signed(reads.issue))
        yield web.get("/api/v1/users/{user}/{photo}", signed(reads.user))
        yield web.get("/api/v1/priorities", signed(reads.priorities))
        files = "/api/v1/attachments"
        yield web.get(files + "/compressed/{how:(?i:issuenumber)}/{number}", signed(reads.zip))
        yield web.get(files + "/{number}", signed(reads.file))
        yield web.get(files + "/{number}/{content:(?i:true)}", signed(reads.file), name=FILE_ROUTE)
        yield web.get(files + "/{number}/{content:(?i:false)}", signed(reads.file_record))
        yield web.get(files + "/{route}/{number}/{content}", signed(reads.files))
        yield web.get(files + "/{route:(?i:issue|issuenumber)}/{number}", signed(reads.files))
        yield web.post(files + "{slash:/?}", self.uploads.upload, name=UPLOAD_ROUTE)
