"""What an RT source and target share: options, capabilities, login, lists of files, downloads."""

from __future__ import annotations

from dataclasses import dataclass, replace

from typing_extensions import override

from migrator.errors import GoneError, LoginPageError, RetriableError, TrackerUnreachableError, UnexpectedBodyError
from migrator.errors import RejectedError as Rejected
from migrator.model import Attachment, EntityRef
from migrator.ports import Capabilities, Sink
from migrator.trackers.base import HttpTracker
from migrator.trackers.lenient import integer, text
from migrator.trackers.rt.api import API, TICKET, Api, stated_length
from migrator.trackers.strict import digits
from migrator.wire import Base64Sink, HttpClient

CAPABILITIES = Capabilities(
    streams=("tickets",),
    kinds=(TICKET,),
    max_connections=8,
    dates_changes=True,
    sets_description=False,
    creates=True,
)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    query           source: a search in RT's own words (TicketSQL), such as "Queue = 'Support'": only these tickets are
                    read
    max_bytes       target: the largest file that this RT keeps whole; 0 if it keeps all
    create_queue    target: name or number of the queue in which tickets are created, see [mapping] create_missing
    """

    query: str = ""
    max_bytes: int = 0
    create_queue: str = ""


def ticket_number(owner: EntityRef) -> str:
    """The number of a ticket; `RejectedError` for any other kind, `GoneError` for an id that is not a number."""
    if owner.kind not in {TICKET, ""}:
        raise Rejected(f"{owner}: in Request Tracker, files can be added to tickets only")
    return digits(owner.id)


class RtTracker(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, replace(CAPABILITIES, max_attachment_bytes=options.max_bytes or None))
        self.api = Api(http)

    @override
    async def check(self) -> str:
        try:
            version = text((await self.api.get("rt")).get("Version"))
        except LoginPageError:  # an UnexpectedBodyError too, but it says what is wrong
            raise
        except (GoneError, UnexpectedBodyError):
            raise TrackerUnreachableError("no Request Tracker answers at this address; is `url` right?") from None
        return f"Request Tracker {version} accepts the credentials"

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        number = ticket_number(owner)
        files = await self.api.files(owner, f"ticket/{number}")
        if not files:  # RT gives an empty list for a ticket that is not there, or not for this account
            await self.api.get(f"ticket/{number}")
        return files

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """RT answers 500 for an attachment that it doesn't have, so what the ticket lists decides."""
        decoded = Base64Sink(sink, "Content")
        path = f"{API}/attachment/{digits(attachment.id)}"
        try:
            await self._http.download(path, decoded, accept="application/json")
        except RetriableError as error:
            if error.status == 500 and await self._is_unlisted(attachment):
                raise GoneError(f"GET {path}: status 500, and its ticket no longer lists it", status=404) from None
            raise
        record = decoded.finish()
        if integer(record.get("id")) != int(attachment.id) or not isinstance(record.get("Content"), str):
            raise UnexpectedBodyError(f"GET {path}: the answer is not this attachment")
        before = stated_length(record)
        if before not in {None, decoded.size}:
            sink.warn(f"RT has {decoded.size} bytes of it; it had {before} when RT took it, and cut or dropped it")

    async def _is_unlisted(self, attachment: Attachment) -> bool:
        try:
            return not await self.still_lists(attachment)
        except GoneError:
            return False
