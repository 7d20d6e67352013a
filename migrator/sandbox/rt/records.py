"""The records of a sandbox Request Tracker as its API shows them.

Shaped after recordings of a running RT 5.0.3. In a list an item has its number as text, and only the fields that are
asked for; a record by itself has its number as a number.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from migrator.sandbox.rt.receiving import is_text
from migrator.sandbox.rt.tickets import FOUNDED, QUEUES, Message, Part, Tickets, Transaction
from migrator.sandbox.state import TrackerState
from migrator.sandbox.world import WorldAttachment, WorldEntity

NEVER = "1970-01-01T00:00:00Z"


class Searched(dict[str, Any]):
    """The values of a ticket that a search compares, each computed only when it is: a search looks at all tickets."""

    def __init__(self, values: Mapping[str, Callable[[WorldEntity], Any]], ticket: WorldEntity) -> None:
        super().__init__()
        self._values, self._ticket = values, ticket

    def __missing__(self, name: str) -> Any:
        return self._values[name](self._ticket)


class Records:
    """Records as JSON objects. `place` gives the address of the API."""

    def __init__(self, state: TrackerState, user: str, tickets: Tickets) -> None:
        self._state, self._user, self._tickets = state, user, tickets

        self._values: dict[str, Callable[[WorldEntity], Any]] = {
            "id": lambda ticket: ticket.id,
            "Subject": lambda ticket: ticket.title,
            "Queue": lambda ticket: [QUEUES[tickets.queue_of(ticket)], str(tickets.queue_of(ticket))],
            "Status": tickets.status_of,
            "Created": lambda ticket: stamp(tickets.transactions_of(ticket.id)[0].created),
            "LastUpdated": lambda ticket: stamp(tickets.changed_at(ticket.id)),
            "Creator": lambda _: user,
            "Owner": lambda _: "Nobody",
            "RefersTo": lambda ticket: tickets.links.get(ticket.id, ""),
        }
        self.searchable = frozenset(self._values)
        """The fields by which tickets can be searched."""

    def searched(self, ticket: WorldEntity) -> Searched:
        """A ticket for a search."""
        return Searched(self._values, ticket)

    def ticket(self, ticket: WorldEntity, place: str) -> dict[str, Any]:
        """A ticket."""
        values = self.searched(ticket)
        page = f"{place}/ticket/{ticket.id}"
        links: list[dict[str, Any]] = [{"ref": "self", "type": "ticket", "id": ticket.id, "_url": page}]
        links += [{"ref": way, "_url": f"{page}/{way}"} for way in ("history", "correspond", "comment")]
        if values["RefersTo"]:
            links.append({"ref": "refers-to", "type": "external", "_url": values["RefersTo"]})
        return {
            "id": ticket.id,
            "Type": "ticket",
            **{name: values[name] for name in ("Subject", "Status", "Created", "LastUpdated")},
            "Queue": reference("queue", self._tickets.queue_of(ticket), place),
            "EffectiveId": reference("ticket", ticket.id, place),
            **{name: reference("user", self._user, place) for name in ("Creator", "LastUpdatedBy")},
            "Owner": reference("user", "Nobody", place),
            **dict.fromkeys(("Priority", "InitialPriority", "FinalPriority"), "0"),
            **dict.fromkeys(("TimeEstimated", "TimeLeft", "TimeWorked"), "0"),
            **dict.fromkeys(("Due", "Starts", "Started"), NEVER),
            "Resolved": values["LastUpdated"] if values["Status"] == "resolved" else NEVER,
            **{name: [] for name in ("Requestor", "Cc", "AdminCc", "CustomFields")},
            "_hyperlinks": links,
        }

    def queue(self, number: int, place: str) -> dict[str, Any]:
        """A queue."""
        links = [{"ref": "self", "type": "queue", "id": number, "_url": f"{place}/queue/{number}"}]
        return {
            "id": number,
            "Name": QUEUES[number],
            **dict.fromkeys(("Description", "CommentAddress", "CorrespondAddress"), ""),
            **dict.fromkeys(("Disabled", "SortOrder"), "0"),
            "SLADisabled": "1",
            "Lifecycle": "default",
            **dict.fromkeys(("Created", "LastUpdated"), stamp(FOUNDED)),
            **dict.fromkeys(("Creator", "LastUpdatedBy"), reference("user", "RT_System", place)),
            **{name: [] for name in ("Cc", "AdminCc", "CustomFields")},
            **{name: [] for name in ("TicketCustomFields", "TicketTransactionCustomFields")},
            "_hyperlinks": links,
        }

    def transaction(self, one: Transaction, place: str) -> dict[str, Any]:
        """A transaction."""
        return {
            "id": one.id,
            "Type": one.type,
            "Field": "",
            "OldValue": one.old,
            "NewValue": one.new,
            "Data": one.data,
            "Created": stamp(one.created),
            "Creator": reference("user", one.creator, place),
            "Object": reference("ticket", one.ticket, place),
            "TimeTaken": "0",
        }

    def part(self, part: Part, place: str) -> dict[str, Any]:
        """A message or a file in a list. Of a file that was cut, the size is that which it had before."""
        transaction = self._tickets.transaction_of(part)
        if isinstance(part, Message):
            name, media_type, size, subject = "", part.media_type, len(part.content or b""), part.subject
            created, creator = transaction.created, transaction.creator
        else:
            name, media_type, subject = part.name, self._type_of(part), ""
            size, created, creator = self._tickets.stated.get(part.id, part.size), part.created_at, part.author
        return {
            "id": part.id,
            "Filename": name,
            "ContentType": media_type,
            "ContentLength": str(size),
            "Created": stamp(created),
            "Creator": reference("user", creator, place),
            "Subject": subject,
            "MessageId": "",
            "TransactionId": str(transaction.id),
        }

    def whole_part(self, part: Part, place: str) -> dict[str, Any]:
        """A message or a file by itself, without its content."""
        record = self.part(part, place)
        parent = part.parent if isinstance(part, Message) else self._tickets.parents[part.id]
        whole = {
            **record,
            "Headers": _headers(record),
            "Parent": reference("attachment", parent, place) if parent else "0",
            "TransactionId": reference("transaction", record["TransactionId"], place),
            "_hyperlinks": [
                {"ref": "self", "type": "attachment", "id": part.id, "_url": f"{place}/attachment/{part.id}"}
            ],
        }
        left_out = {"ContentLength"} if record["Filename"] else {"ContentLength", "Filename"}
        return {name: value for name, value in whole.items() if name not in left_out}

    def _type_of(self, file: WorldAttachment) -> str:
        """The type of a file. RT would have converted the made-up texts, so they are known to it as plain bytes."""
        as_bytes = is_text(file.media_type) and file.id not in self._state.uploads
        return "application/octet-stream" if as_bytes else file.media_type


def listed(record: Mapping[str, Any], kind: str, fields: str, of_queue: str, place: str) -> dict[str, Any]:
    """A record in a list: with the fields that are asked for. One that does not exist is empty."""
    item: dict[str, Any] = {"type": kind, "id": str(record["id"]), "_url": f"{place}/{kind}/{record['id']}"}
    item |= {name: record.get(name, "") for name in fields.split(",") if name}
    if isinstance(item.get("Queue"), dict) and of_queue:
        item["Queue"] = {**item["Queue"], "Name": QUEUES[int(item["Queue"]["id"])]}
    return item


def reference(kind: str, number: int | str, place: str) -> dict[str, str]:
    """A record as another one names it."""
    return {"type": kind, "id": str(number), "_url": f"{place}/{kind}/{number}"}


def stamp(moment: datetime) -> str:
    """A date as RT writes it."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _headers(record: Mapping[str, Any]) -> str:
    """The headers of a part. Only a text has a character set, and only a file has a name."""
    name = record["Filename"].replace("\\", "\\\\").replace('"', '\\"')
    charset = '; charset="utf-8"' if is_text(record["ContentType"]) else ""
    named, filename = (f'; name="{name}"', f'; filename="{name}"') if name else ("", "")
    return (
        f"Content-Type: {record['ContentType']}{charset}{named}\n"
        f"Content-Transfer-Encoding: {'binary' if charset else 'base64'}\n"
        f"Content-Disposition: inline{filename}\n"
        f"Content-Length: {record['ContentLength']}"
    )
