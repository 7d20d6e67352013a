"""Kiwi TCMS as a target: files are added to test cases and test plans, and test cases are created.

What Kiwi refuses: an empty file, `.exe` in a name, more than a request may hold, and any file that contains one of
`REFUSED_WORDS`.

Beware: a name becomes part of a header that Kiwi writes to itself, unescaped: a quote would end it there, and a line
break would begin another header. So only names that Kiwi keeps are sent.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress

from typing_extensions import override

from migrator.errors import ConfigError, GoneError, OutcomeUnknownError, RejectedError, RetriableError
from migrator.model import Attachment, Draft, EntityDraft, EntityRef
from migrator.ports import Body, Target
from migrator.trackers.kiwi.api import MethodError
from migrator.trackers.kiwi.client import CASE, Kiwi, Options, owner_of
from migrator.trackers.name_lookup import NameLookup
from migrator.trackers.strict import digits, number_in, object_in
from migrator.wire import HttpClient

MAX_TITLE_CHARACTERS = 255
REFUSALS = (
    "it refuses empty files, names with `.exe`, and every file that contains `onload=` or one of 23 HTML tags "
    "(`<html`, `<script`, `<link`, `<rt` ...), even by chance; `load --dry-run` names these files"
)
RENAMES = (
    "letters, digits and `-_.` are all that a name may have; of two files with one name on an entity, the second gets "
    "another name, which is reported as altered"
)

_ILLEGAL = re.compile(r"[^-\w.]")


class KiwiTarget(Kiwi, Target):
    """Kiwi TCMS as a target."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self._product = NameLookup("target.options.create_product", options.create_product, self.products)

    @override
    async def oddities(self) -> tuple[str, ...]:
        limit = self.capabilities.max_attachment_bytes
        largest = f"it takes files of at most {limit} bytes, if it is configured as shipped (see options.max_bytes)"
        return (REFUSALS, RENAMES, *([largest] if limit else []))

    @override
    def legal_name(self, name: str) -> str:
        """Kiwi drops what it doesn't like, and turns blanks into `_`."""
        if name and not _ILLEGAL.search(name) and name not in {".", ".."}:
            return name
        legal = _ILLEGAL.sub("_", unicodedata.normalize("NFC", name))
        return legal if legal.strip(".") else "_"

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        """Also for its name. Its content is not known here."""
        if ".exe" in draft.name:
            return "Kiwi takes no file with `.exe` in its name"
        return await super().refuses(owner, draft)

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        """Always None: Kiwi says no more than that it has the file."""
        kind, number = owner_of(owner)
        if reason := await self.refuses(owner, draft):
            raise RejectedError(reason)
        try:
            await self.api.attach(kind, number, draft.name, body)
        except OutcomeUnknownError as error:
            if error.finished:
                with suppress(RetriableError):
                    await self.api.require(kind, number)
            raise
        return None

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        """Does nothing: files of a Kiwi have no description."""

    @override
    async def delete(self, remote: Attachment) -> None:
        """The list decides: without the right to delete the files of others, Kiwi deletes nothing and says it did."""
        failure: MethodError | None = None
        try:
            await self.api.call("Attachment.remove_attachment", int(digits(remote.id)))
        except MethodError as error:
            failure = error
        if any(file.id == remote.id for file in await self.find_attachments(remote.owner)):
            kept = f"{remote.owner}: Kiwi still lists the file; may this account delete what others attached?"
            raise failure or RejectedError(kept)
        if failure:
            raise GoneError(f"file {remote.id} does not exist")

    @override
    async def require_creating(self) -> None:
        if not self._options.create_product:
            raise ConfigError("target.options.create_product is needed to create test cases: a product's name")
        await self._product.number()

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """Always a test case, in the first category of the product, with the first priority and state."""
        await self.require_creating()
        product = await self._product.number()
        values = {
            "summary": " ".join(draft.title.split())[:MAX_TITLE_CHARACTERS].strip() or "untitled",
            "text": draft.marked,
            "product": product,
            "category": await self._first("Category", product=product),
            "priority": await self._first("Priority", is_active=True),
            "case_status": await self._first("TestCaseStatus"),
        }
        return EntityRef(CASE, str(number_in(object_in(await self.api.create(f"{CASE}.create", values)))))

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        marked = [number_in(case) for case in await self.api.find(CASE, text__contains=draft.mark)]
        return EntityRef(CASE, str(min(marked))) if marked else None

    async def _first(self, kind: str, **lookups: object) -> int:
        numbers = [number_in(item) for item in await self.api.find(kind, **lookups)]
        if not numbers:
            raise RejectedError(f"there is no {kind} for a new test case")
        return min(numbers)
