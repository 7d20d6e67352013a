"""Access to a sandbox Issuetrak: three headers, with an HMAC over the exact bytes, a timestamp and a fresh id.

Beware: the server's clock may differ from ours (`IssuetrakQuirks.clock_offset`); the Date header of a refusal shows it.
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.server import Handler

HEADER = "X-Issuetrak-API-"


@dataclass(slots=True)
class IssuetrakQuirks:
    """How real servers differ. May be changed while the sandbox runs."""

    routes: tuple[str, ...] = ("issuenumber", "issue")  # spellings of the list of an issue's files
    no_route: tuple[int, str] = (404, "")  # status and text for an unknown spelling; empty: Web API's own text
    search_status: int | None = None  # the status with which `issues/search` is refused
    page_cap: int = 1000  # larger pages are cut
    missing_status: int = 404  # 404 or 400 for an issue or attachment that does not exist
    refusal_status: int = 401  # 401 or 403 for a wrong signature
    clock_offset: float = 0.0  # seconds by which the server's clock is ahead
    clock_tolerance: float = 300.0
    escaped: bool = False  # `+` and `/` of base64 as JSON escapes
    empty_is_null: bool = False  # FileContent of an empty file
    tells_active: bool = True  # whether a user's record says if it is active
    answer: str = "bare"  # bare, quoted or object: how an upload's answer gives the new number
    too_large_status: int = 404  # 404 (IIS 404.13) or 413
    change_date: str = ""  # the field of an issue with the date of its last change; the documented ones have none
    zip_bomb: bool = False  # the ZIP unpacks to more than it declares


def refused(error: RefusedError) -> web.Response:
    """The answer to a refused request, in the form of Web API."""
    headers = {"Date": error.details["date"]} if "date" in error.details else {}
    return web.json_response({"Message": error.message}, status=error.status, headers=headers)


class SignatureAuth:
    """Lets in requests that are signed with `key`, in time, and with an id that was not used before."""

    def __init__(self, key: str, quirks: IssuetrakQuirks) -> None:
        self._key, self._quirks = key, quirks
        self._used_ids: set[str] = set()

    def now(self) -> datetime:
        """The server's time."""
        return datetime.now(UTC) + timedelta(seconds=self._quirks.clock_offset)

    def signed(self, handler: Handler) -> Handler:
        """A handler that checks the signature first, and turns refusals into answers."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                signature = self.check(request)
                signature.feed(await request.read())
                signature.finish()
                return await handler(request)
            except RefusedError as error:
                return refused(error)

        return answer

    def check(self, request: web.Request) -> "SignatureCheck":
        """Check everything except the body; `RefusedError` if access is denied."""
        request_id = request.headers.get(HEADER + "Request-ID", "")
        timestamp = request.headers.get(HEADER + "Timestamp", "")
        signature = request.headers.get(HEADER + "Authorization", "")
        if not request_id or not timestamp or not signature:
            raise self.refusal("The authentication headers are missing.")
        if request_id in self._used_ids:
            raise self.refusal("This request id was used before.")
        if len(request_id) != 36 or request_id != request_id.lower() or request_id.count("-") != 4:
            raise self.refusal("The request id is not a GUID.")
        self._check_clock(timestamp)
        self._used_ids.add(request_id)
        path, _, query = request.raw_path.partition("?")
        head = f"{request.method}\n{request_id}\n{timestamp}\n{path.lower()}\n{query}\n".encode()
        return SignatureCheck(hmac.new(self._key.encode(), head, "sha512"), signature, self.refusal)

    def refusal(self, message: str) -> RefusedError:
        """What to raise where access is denied; the answer carries the server's time."""
        date = format_datetime(self.now(), usegmt=True)
        return RefusedError(self._quirks.refusal_status, message, date=date)

    def _check_clock(self, timestamp: str) -> None:
        if len(timestamp) != 28 or not timestamp.endswith("Z"):
            raise self.refusal("The timestamp is not in round-trip format.")
        try:
            sent = datetime.strptime(timestamp[:-2], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
        except ValueError:
            raise self.refusal("The timestamp is not in round-trip format.") from None
        if abs((self.now() - sent).total_seconds()) > self._quirks.clock_tolerance:
            raise self.refusal("The timestamp is too far from the server's time.")


class SignatureCheck:
    """A check of a signature while the body arrives: `feed` it the pieces, then call `finish`."""

    def __init__(self, mac: "hmac.HMAC", signature: str, refusal: Callable[[str], RefusedError]) -> None:
        self._mac, self._signature, self._refusal = mac, signature, refusal
        self.feed = mac.update

    def finish(self) -> None:
        """Compare the signatures; `RefusedError` if they differ."""
        expected = base64.b64encode(self._mac.digest()).decode()
        if not hmac.compare_digest(expected.encode(), self._signature.encode()):
            raise self._refusal("The signature is wrong.")
