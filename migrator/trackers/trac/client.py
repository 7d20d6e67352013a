"""What a Trac source and target share: options, capabilities, login, tickets with their files, downloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from migrator.errors import (
    AuthError,
    ForbiddenError,
    LoginPageError,
    NotExposedError,
    RejectedError,
    TrackerUnreachableError,
    UnexpectedBodyError,
)
from migrator.model import Attachment, Entity, EntityRef
from migrator.ports import Capabilities, Sink
from migrator.trackers.base import HttpTracker
from migrator.trackers.lenient import as_object, iso_date, non_negative, raw_json, text
from migrator.trackers.strict import digits, list_in, object_in
from migrator.trackers.trac.api import PATH, Api, encoded, error_for
from migrator.wire import Base64Sink, HttpClient

KIND = "ticket"

# A file that is added to a ticket changes neither its date nor its version, so there are no dates to go by.
CAPABILITIES = Capabilities(
    streams=("tickets",),
    kinds=(KIND,),
    max_connections=4,
    max_writes=2,
    changes_description=False,
    renames_twins=True,
    creates=True,
    deletes=True,
)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    create_type     target: the type of new tickets ("task"), see [mapping] create_missing; left out: the default
    """

    create_type: str = ""


class TracTracker(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, CAPABILITIES)
        self._api = Api(http)

    @override
    async def check(self) -> str:
        try:
            version = list_in(await self._api.call("system.getAPIVersion"))
            count = await self._api.count()
        except ForbiddenError as error:
            raise AuthError(f"{error}; the account needs the permissions XML_RPC and TICKET_VIEW") from None
        except LoginPageError:
            raise
        except (RejectedError, UnexpectedBodyError) as error:
            reason = f"no Trac with XmlRpcPlugin answers at this address ({error})"
            raise TrackerUnreachableError(f"{reason}; is `url` right, and the plugin installed?") from None
        return f"Trac accepts the account; plugin {'.'.join(map(str, version))}, {count} tickets"

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """The ticket is asked for along with its list, which is empty for a ticket that doesn't exist."""
        if owner.kind not in {KIND, ""}:
            raise RejectedError(f"{owner}: files are read from and added to tickets only")
        number = int(digits(owner.id))
        ticket, files = await self._api.calls([("ticket.get", [number]), ("ticket.listAttachments", [number])])
        for result in (ticket, files):
            if isinstance(result, RejectedError):
                raise result
        ticket_in(ticket, number, self._http.base)
        return attachments_in(files, owner)

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """The file comes as `["binary", "..."]` in the result, or an error in its place."""
        number, _, name = attachment.id.partition("/")
        if not name:
            raise NotExposedError(f"ticket {number}: Trac's API can't give a file without a name")
        decoded = Base64Sink(sink, "binary", list_depth=3)
        call = encoded("ticket.getAttachment", int(digits(number)), name)
        await self._http.download(PATH, decoded, accept="application/json", body=call)
        rest = decoded.finish()
        if rest.get("error") is not None:
            raise error_for(as_object(rest["error"]), "ticket.getAttachment")
        if as_object(rest.get("result")).get("__jsonclass__") != ["binary", ""]:
            raise UnexpectedBodyError("ticket.getAttachment: the answer holds no file")


def ticket_in(result: object, number: int, base: object) -> Entity:
    """A ticket: its number, two dates, and its fields; `UnexpectedBodyError` if it is another one."""
    values = list_in(result)
    if len(values) != 4 or values[0] != number:
        raise UnexpectedBodyError(f"ticket.get: the answer is not ticket {number}")
    fields = object_in(values[3])
    ref, url = EntityRef(KIND, str(number)), f"{base}/{KIND}/{number}"
    return Entity(ref, text(fields.get("summary")), url, raw_json(fields))


def attachments_in(result: object, owner: EntityRef) -> tuple[Attachment, ...]:
    """The files of a ticket; `UnexpectedBodyError` if one of them can't be read."""
    return tuple(_attachment_in(record, owner) for record in list_in(result))


def _attachment_in(record: object, owner: EntityRef) -> Attachment:
    """Name, description, size, date (in UTC) and author."""
    values: Sequence[Any] = list_in(record)
    if len(values) < 5 or not isinstance(values[0], str):
        raise UnexpectedBodyError("ticket.listAttachments: an item has no name")
    name, date = text(values[0]), as_object(values[3]).get("__jsonclass__")
    stamp = text(date[1]) if isinstance(date, list) and len(date) == 2 else ""
    return Attachment(
        id=f"{owner.id}/{name}",
        owner=owner,
        name=name,
        size=non_negative(values[2]),
        description=text(values[1]),
        created_at=iso_date(f"{stamp}+00:00"),
        created_by=text(values[4]),
        raw=raw_json(values),
    )
