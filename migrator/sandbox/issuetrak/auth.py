"""Access to a sandbox Issuetrak: three headers, an HMAC over the exact bytes, a clock, no replays.

The HMAC covers the body, so it is computed while the body is read.

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

HEADER = "X-Issuetrak-API-"


@dataclass(slots=True)
class IssuetrakQuirks:
    """How real servers differ; may be changed while the sandbox runs."""

    routes: tuple[str, ...] = ("issuenumber", "issue")  # spellings of the list of an issue's files
    no_route: tuple[int, str] = (404, "")  # answer to an unknown spelling; without a text, as Web API answers
    search_status: int | None = None  # the status with which `issues/search` is refused
    page_cap: int = 1000  # larger pages are cut
    missing_status: int = 404  # 404 or 400 for an issue or attachment that does not exist
    refusal_status: int = 401  # 401 or 403 for a wrong signature
    clock_offset: float = 0.0  # seconds by which the server's clock is ahead
    clock_tolerance: float = 300.0
    escaped: bool = False  # `+` and `/` of base64 as JSON escapes
    empty_is_null: bool = False  # FileContent of an empty file
    tells_active: bool = True  # whether a user's record shows if it is inactive
    answer: str = "bare"  # bare, quoted or object: how an upload's answer gives the new number
    too_large_status: int = 404  # 404 (IIS 404.13) or 413
    zip_bomb: bool = False  # the ZIP unpacks to more than it declares


def refused(error: RefusedError) -> web.Response:
    """The answer to a refused request, as Web API writes errors."""
    headers = {"Date": error.details["date"]} if "date" in error.details else {}
    return web.json_response({"Message": error.message}, status=error.status, headers=headers)


class SignatureAuth:
    """Decides which requests have access: those signed with `key`, each with an id of its own, and on time."""

    def __init__(self, key: str, quirks: IssuetrakQuirks) -> None:
        self._key, self._quirks = key, quirks
        self._seen: set[str] = set()

    def now(self) -> datetime:
        """The server's time."""
        return datetime.now(UTC) + timedelta(seconds=self._quirks.clock_offset)

    def check(self, request: web.Request) -> "SignatureCheck":
        """Check everything except the body; `RefusedError` if access is denied."""
        number = request.headers.get(HEADER + "Request-ID", "")
        moment = request.headers.get(HEADER + "Timestamp", "")
        signature = request.headers.get(HEADER + "Authorization", "")
        if not number or not moment or not signature:
            raise self.refusal("The authentication headers are missing.")
        if number in self._seen:
            raise self.refusal("This request id was used before.")
        if len(number) != 36 or number != number.lower() or number.count("-") != 4:
            raise self.refusal("The request id is no GUID.")
        self._check_clock(moment)
        self._seen.add(number)
        path, _, query = request.raw_path.partition("?")
        head = f"{request.method}\n{number}\n{moment}\n{path.lower()}\n{query}\n".encode()
        return SignatureCheck(hmac.new(self._key.encode(), head, "sha512"), signature, self.refusal)

    def refusal(self, message: str) -> RefusedError:
        """The answer to a client without access, with the server's time."""
        date = format_datetime(self.now(), usegmt=True)
        return RefusedError(self._quirks.refusal_status, message, date=date)

    def _check_clock(self, moment: str) -> None:
        if len(moment) != 28 or not moment.endswith("Z"):
            raise self.refusal("The timestamp is not in round-trip format.")
        try:
            sent = datetime.strptime(moment[:-2], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
        except ValueError:
            raise self.refusal("The timestamp is not in round-trip format.") from None
        if abs((self.now() - sent).total_seconds()) > self._quirks.clock_tolerance:
            raise self.refusal("The timestamp is too far from the server's time.")


class SignatureCheck:
    """A signature check in progress: `feed` it the body, then call `finish`."""

    def __init__(self, mac: "hmac.HMAC", signature: str, refusal: Callable[[str], RefusedError]) -> None:
        self._mac, self._signature, self._refusal = mac, signature, refusal
        self.feed = mac.update

    def finish(self) -> None:
        """Compare the signatures; `RefusedError` if they differ."""
        expected = base64.b64encode(self._mac.digest()).decode()
        if not hmac.compare_digest(expected.encode(), self._signature.encode()):
            raise self._refusal("The signature is wrong.")
