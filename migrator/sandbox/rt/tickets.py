"""What a sandbox Request Tracker holds: tickets, the transactions on each, and what these brought.

Each message and each file belongs to a transaction, such as the creation of the ticket or a comment. A message has no
name, but a number among those of the files.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count

from migrator.sandbox.rt.receiving import kept, kept_name
from migrator.sandbox.state import TrackerState
from migrator.sandbox.uploads import received
from migrator.sandbox.world import World, WorldAttachment, WorldEntity

QUEUES = {1: "General", 2: "Support"}
_QUEUE_OF = {"bug": 2, "request": 2}
"""The queue of a ticket for each kind of the world; the others are in the first."""
CLOSED_EACH = 5
"""Every ticket of the world whose number divides by this is resolved."""
FOUNDED = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class RtQuirks:
    """How real servers differ. May be changed while the sandbox runs."""

    max_size: int | None = None  # larger files are cut to this, as with $TruncateLongAttachments, and nothing is said
    drops: bool = False  # they are dropped for a sentence, as with $DropLongAttachments
    superuser: bool = True  # False: lists of files have no totals, and gaps where there is a `hidden` one
    hidden: frozenset[int] = frozenset()  # files that the account may not see
    sql_acl: bool = True  # False, as without $UseSQLForACLChecks: lists of tickets have no totals
    keeps_links: bool = True  # False: the account lacks ModifyTicket, and tickets are created without their links
    file_fields: tuple[str, ...] = ()  # custom fields that hold files


@dataclass(frozen=True, slots=True)
class Transaction:
    """Something that happened to a ticket."""

    id: int
    ticket: int
    type: str
    created: datetime
    creator: str
    old: str = ""
    new: str = ""
    data: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """The text of a transaction or, without `content`, what holds this text and the files together."""

    id: int
    transaction: Transaction
    media_type: str
    content: bytes | None
    subject: str = ""
    parent: int = 0


Part = Message | WorldAttachment
"""An attachment in the sense of RT."""


def world_of(world: World) -> World:
    """The world as RT can hold it: files of tickets and of comments, under the names that RT keeps."""
    files = []
    for file in world.attachments:
        owner = world.owner_of(file)
        if owner is not None:
            entity = None if file.comment_id else owner
            files.append(replace(file, entity_id=entity, message_id=None, name=kept_name(file.name) or "_"))
    return replace(world, attachments=tuple(files), messages=())


class Tickets:
    """The tickets of a world, and what was done to them since."""

    def __init__(self, state: TrackerState, user: str, quirks: RtQuirks) -> None:
        self._state, self._user, self._quirks = state, user, quirks
        self._numbers = count(1)
        self.transactions: dict[int, Transaction] = {}
        self.messages: dict[int, Message] = {}
        self.links: dict[int, str] = {}
        """What a ticket refers to."""
        self.stated: dict[int, int] = {}
        """The sizes that files had before they were cut."""
        self.parents: dict[int, int] = {}
        """What holds a file together with the text of its transaction."""
        self._queues: dict[int, int] = {}
        self._of_ticket: dict[int, list[Transaction]] = defaultdict(list)
        self._of_transaction: dict[int, list[int]] = defaultdict(list)
        self._transaction_of: dict[int, Transaction] = {}
        for ticket in state.world.entities:
            self._settle(ticket)

    def _settle(self, ticket: WorldEntity) -> None:
        """Give a ticket of the world its transactions: its creation, and its comments."""
        by_comment: dict[int | None, list[WorldAttachment]] = defaultdict(list)
        for file in self._state.world.attachments_of(ticket.id):
            by_comment[file.comment_id].append(file)
        texts = [(None, "Create", ticket.text), *((one.id, "Comment", one.text) for one in ticket.comments)]
        for comment, kind, text in texts:
            files = by_comment[comment]
            when = max((file.created_at for file in files), default=FOUNDED)
            transaction = self._add(ticket.id, kind, when)
            subject = ticket.title if kind == "Create" else ""
            self._say(transaction, text.encode(), "text/html", subject, together=bool(files))
            for file in files:
                self._put(file.id, transaction)

    def _add(self, ticket: int, kind: str, when: datetime, old: str = "", new: str = "", data: str = "") -> Transaction:
        made = Transaction(next(self._numbers), ticket, kind, when, self._user, old, new, data)
        self.transactions[made.id] = made
        self._of_ticket[ticket].append(made)
        return made

    def _say(
        self, transaction: Transaction, text: bytes, media_type: str, subject: str = "", *, together: bool
    ) -> None:
        parent = 0
        if together:
            parent = self._keep(Message(self._state.reserve(), transaction, "multipart/mixed", None, subject))
        content, kind = (text, media_type) if text else (None, "application/octet-stream")
        self._keep(Message(self._state.reserve(), transaction, kind, content, "" if parent else subject, parent))

    def _keep(self, message: Message) -> int:
        self.messages[message.id] = message
        self._of_transaction[message.transaction.id].append(message.id)
        return message.id

    def _put(self, file: int, transaction: Transaction) -> None:
        held = self._of_transaction[transaction.id]
        self._transaction_of[file], self.parents[file] = transaction, held[0]
        held.append(file)

    def open(self, queue: int, subject: str, text: bytes, media_type: str, *, files: bool = False) -> Transaction:
        """A new ticket: its first transaction."""
        ticket = self._state.create_entity("ticket", subject, "")
        self._queues[ticket.id] = queue
        transaction = self._add(ticket.id, "Create", self._state.clock())
        self._say(transaction, text, media_type, subject, together=files)
        return transaction

    def comment(self, ticket: int, kind: str, text: bytes, media_type: str, *, files: bool) -> Transaction:
        """A comment, or a reply to the requestor."""
        transaction = self._add(ticket, kind, self._state.clock(), data="No Subject")
        self._say(transaction, text, media_type, together=files)
        return transaction

    def take(self, transaction: Transaction, name: str, media_type: str, content: bytes) -> None:
        """Add a file to a transaction. If it is cut, only another transaction says so."""
        file = kept(name, media_type, content, self._quirks.max_size, drops=self._quirks.drops)
        if not file.name:
            self._keep(Message(self._state.reserve(), transaction, file.media_type, file.content))
            return
        added = self._state.keep(received(file.name, file.media_type, file.content), transaction.ticket, None)
        self._put(added.id, transaction)
        if file.cut_at is not None:
            self.stated[added.id] = file.stated
            kind = "AttachmentDrop" if self._quirks.drops else "AttachmentTruncate"
            old, new = str(file.stated), str(file.cut_at)
            self._add(transaction.ticket, kind, self._state.clock(), old, new, kept_name(name))

    def transactions_of(self, ticket: int) -> list[Transaction]:
        """The transactions of a ticket, the oldest first."""
        return self._of_ticket[ticket]

    def transaction_of(self, part: Part) -> Transaction:
        """The transaction that brought it."""
        return part.transaction if isinstance(part, Message) else self._transaction_of[part.id]

    def part(self, number: int) -> Part | None:
        """A message or a file that is not deleted."""
        return self.messages.get(number) or self._state.attachment(number)

    def parts_of(self, transaction: int) -> list[Part]:
        """The messages and files that a transaction brought, by number."""
        parts = map(self.part, sorted(self._of_transaction[transaction]))
        return [part for part in parts if part is not None]

    def parts_on(self, ticket: int) -> list[Part]:
        """All messages and files of a ticket, by number."""
        found = [part for one in self._of_ticket[ticket] for part in self.parts_of(one.id)]
        return sorted(found, key=lambda part: part.id)

    def queue_of(self, ticket: WorldEntity) -> int:
        """The number of its queue."""
        return self._queues.get(ticket.id) or _QUEUE_OF.get(ticket.kind, 1)

    def status_of(self, ticket: WorldEntity) -> str:
        """Its status."""
        return "resolved" if ticket.id not in self._queues and ticket.id % CLOSED_EACH == 0 else "new"

    def changed_at(self, ticket: int) -> datetime:
        """When it was last changed."""
        dates = [transaction.created for transaction in self._of_ticket[ticket]]
        return max(self._state.changed_at(ticket) or FOUNDED, *dates)
