"""The methods of the plugin, as far as they concern tickets and their files.

Beware: a file replaces an older one of its name unless the last parameter says no, and a list of files of a ticket that
does not exist is empty.
"""

import base64
import binascii
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.server import Sandbox
from migrator.sandbox.trac.query import failed, parsed
from migrator.sandbox.trac.records import Records, TracQuirks, free_name
from migrator.sandbox.uploads import received
from migrator.sandbox.world import WorldAttachment, WorldEntity

API_VERSION = [1, 1, 9]
UNREADABLE = -32700
"""The code of the error for a body that is no call."""
OPEN_ONLY = "status!=closed"
"""The query that is made if none is given."""


class Methods:
    """What a method does with its parameters. Its result may be sent as JSON."""

    def __init__(self, sandbox: Sandbox, quirks: TracQuirks, records: Records) -> None:
        self._sandbox, self._state, self._quirks, self._records = sandbox, sandbox.state, quirks, records
        self._known: Mapping[str, tuple[str, Callable[..., Any]]] = {
            "system.getAPIVersion": ("XmlRpcSystem", self.getAPIVersion),
            "system.listMethods": ("XmlRpcSystem", self.listMethods),
            "system.multicall": ("XmlRpcSystem", self.multicall),
            "ticket.query": ("TicketRPC", self.query),
            "ticket.get": ("TicketRPC", self.get),
            "ticket.changeLog": ("TicketRPC", self.changeLog),
            "ticket.create": ("TicketRPC", self.create),
            "ticket.update": ("TicketRPC", self.update),
            "ticket.listAttachments": ("TicketRPC", self.listAttachments),
            "ticket.getAttachment": ("TicketRPC", self.getAttachment),
            "ticket.putAttachment": ("TicketRPC", self.putAttachment),
            "ticket.deleteAttachment": ("TicketRPC", self.deleteAttachment),
        }

    def answer(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a call: its result, or an error."""
        try:
            return {"result": self._result(call), "error": None, "id": call.get("id")}
        except RefusedError as error:
            return refusal(error, call.get("id"))

    def _result(self, call: Mapping[str, Any]) -> Any:
        name, params = call.get("method"), params_of(call)
        if not name:
            raise failed("Missing method name")
        if not self._quirks.permits_rpc:
            raise forbidden("XML_RPC")
        if name not in self._known:
            raise failed(f'RPC method "{name}" not found', -32601)
        kind, method = self._known[name]
        try:
            inspect.signature(method).bind(*params)
        except TypeError:
            raise failed(_complaint(kind, method, params)) from None
        return method(*params)

    def listMethods(self) -> list[str]:  # noqa: N802
        """The names of all methods."""
        return [*self._known]

    def getAPIVersion(self) -> list[int]:  # noqa: N802
        """The version of the plugin's API."""
        return API_VERSION

    def multicall(self, *calls: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The answers to many calls."""
        return [self.answer(call) for call in calls]

    def query(self, qstr: str = OPEN_ONLY) -> list[int]:
        """The numbers of the tickets that a query finds."""
        query = parsed(qstr)
        forbidden_ones = self._sandbox.faults.forbidden_entities
        tickets = [ticket for ticket in self._state.entities() if ticket.id not in forbidden_ones]
        found = [one.id for one in tickets if query.in_range(one.id) and query.admits(self._records.fields(one))]
        if query.descending and query.order == "id":
            found.reverse()
        return list(query.cut(found, self._quirks.items_per_page, obeys_max=self._quirks.obeys_max))

    def get(self, id: int) -> list[Any]:  # noqa: A002 - as the plugin calls it
        """One ticket."""
        return self._records.ticket(self._ticket(id))

    def changeLog(self, id: int, when: int = 0) -> list[list[Any]]:  # noqa: A002, ARG002, N802
        """The changes of a ticket."""
        return self._records.change_log(self._ticket(id))

    def create(
        self,
        summary: str,
        description: str,
        attributes: Mapping[str, str] | None = None,
        notify: bool = False,  # noqa: ARG002
        when: object = None,  # noqa: ARG002
    ) -> int:
        """Make a ticket; its type may be any text."""
        if not summary:
            raise failed("Tickets must contain a summary.")
        ticket = self._state.create_entity("ticket", summary, description)
        self._records.created_at[ticket.id] = self._state.clock()
        self._records.given[ticket.id] = {"type": "defect", **(attributes or {})}
        return ticket.id

    def update(
        self,
        id: int,  # noqa: A002
        comment: str,
        attributes: Mapping[str, str] | None = None,
        notify: bool = False,  # noqa: ARG002
    ) -> list[Any]:
        """Comment on a ticket and change its fields."""
        ticket = self._ticket(id)
        self._records.comments[ticket.id].append((self._state.clock(), comment))
        self._records.given.setdefault(ticket.id, {}).update(attributes or {})
        return self._records.ticket(ticket)

    def listAttachments(self, ticket: int) -> list[list[Any]]:  # noqa: N802
        """The files of a ticket; none for one that doesn't exist."""
        if self._sandbox.faults.forbids(_number(ticket)) or not self._quirks.shows_files:
            return []
        return [self._records.file(file) for file in self._records.files_of(_number(ticket))]

    def getAttachment(self, ticket: int, filename: str) -> WorldAttachment:  # noqa: N802
        """A file, whose content takes its place in the answer. One without a name can't be had."""
        if not filename:
            raise failed("Attachment 'None' not found", 404)
        if self._sandbox.faults.forbids(_number(ticket)):
            raise forbidden("ATTACHMENT_VIEW")
        return self._file(_number(ticket), filename)

    def putAttachment(  # noqa: N802
        self, ticket: int, filename: str, description: str, data: Any, replace: bool = True
    ) -> str:
        """Add a file, and give the name under which it is kept.

        The older file of the name goes first, and stays away even if the new one can't be read.
        """
        number = self._ticket(ticket).id
        names = {file.name: file for file in self._state.attachments_of(number)}
        if replace and filename in names:
            self._state.delete(names.pop(filename).id)
        content, name = _content(data), free_name(filename, names)
        self._state.keep(received(name, "", content), number, description)
        return name

    def deleteAttachment(self, ticket: int, filename: str) -> bool:  # noqa: N802
        """Delete a file."""
        self._state.delete(self._file(self._ticket(ticket).id, filename).id)
        return True

    def _ticket(self, number: object) -> WorldEntity:
        ticket = self._state.entity(_number(number))
        if ticket is None:
            raise failed(f"Ticket {number} does not exist.", 404)
        if self._sandbox.faults.forbids(ticket.id):
            raise forbidden("TICKET_VIEW", f" on Ticket #{ticket.id}")
        return ticket

    def _file(self, ticket: int, name: str) -> WorldAttachment:
        for file in self._state.attachments_of(ticket):
            if file.name == name:
                return file
        raise failed(f"Attachment 'ticket:{ticket}: {name}' does not exist.", 404)


def refusal(error: RefusedError, number: object) -> dict[str, Any]:
    """The answer that an error is. Its HTTP status is 200."""
    told = {"name": "JSONRPCError", "code": error.status, "message": error.message}
    return {"result": None, "id": number, "error": told}


def forbidden(permission: str, place: str = "") -> RefusedError:
    """The error of an account that lacks a permission."""
    needed = f"{permission} privileges are required to perform this operation{place}."
    return failed(f"{needed} You don't have the required permissions.", 403)


def _number(value: object) -> int:
    """The number of a ticket; one that no ticket has, for anything else."""
    return int(value) if isinstance(value, int | str) and str(value).isdecimal() else -1


def _content(data: Any) -> bytes:
    """The bytes of a parameter. What is no base64 in it is passed over in silence."""
    if not isinstance(data, dict) or "__jsonclass__" not in data:
        raise failed(f"{type(data).__name__!r} object has no attribute 'data'")
    try:
        return base64.b64decode(data["__jsonclass__"][1])
    except binascii.Error:
        return b""


def _complaint(kind: str, method: Callable[..., Any], params: Sequence[Any]) -> str:
    """What Python says of a wrong number of parameters, with the name of the plugin's class."""
    try:
        method(*params)
    except TypeError as error:
        return f"{kind}.{method.__name__}{str(error).partition(method.__name__)[2]}"
    raise AssertionError("these fit")


def params_of(call: Mapping[str, Any]) -> list[Any]:
    """The parameters of a call."""
    return list(call.get("params") or ())


def size_of(call: Mapping[str, Any]) -> int:
    """How many bytes the file has that a call brings; 0 if it brings none."""
    for param in params_of(call):
        if isinstance(param, dict) and "__jsonclass__" in param:
            return len(str(param["__jsonclass__"][-1]).rstrip("=\n")) * 3 // 4
    return 0
