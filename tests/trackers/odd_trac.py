"""A sandbox Trac that is filled ticket by ticket, and that a test makes wrong in ways of its own."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.trac import TracSandbox
from migrator.sandbox.trac.methods import OPEN_ONLY, Methods, refusal
from migrator.sandbox.world import World

USER, PASSWORD = TracSandbox.user, TracSandbox.password


class OddMethods(Methods):
    """`refused` are errors by method; of a range of tickets, the first `lists_fewer` are missing."""

    refused: Mapping[str, RefusedError] = {}
    lists_fewer = 0

    def answer(self, call: Mapping[str, Any]) -> dict[str, Any]:
        error = self.refused.get(call["method"])
        return refusal(error, call.get("id")) if error else super().answer(call)

    def query(self, qstr: str = OPEN_ONLY) -> list[int]:
        found = super().query(qstr)
        return found[self.lists_fewer :] if "id=" in qstr.replace("order=id", "") else found


class OddTrac(TracSandbox):
    """A Trac without tickets."""

    def __init__(self) -> None:
        super().__init__(World(1, ()), base_path="/t")
        self.methods: OddMethods = OddMethods(self, self.quirks, self.records)

    def ticket(self, summary: str, status: str = "new") -> int:
        """A new ticket."""
        number = self.methods.create(summary, "")
        self.records.given[number]["status"] = status
        return number

    def put(self, number: int, name: str, description: str, content: bytes, *, replace: bool = True) -> str:
        """The name under which a file is kept."""
        data = {"__jsonclass__": ["binary", base64.b64encode(content).decode()]}
        return self.methods.putAttachment(number, name, description, data, replace)

    def of(self, number: int) -> list[tuple[str, int, str, str]]:
        """Name, size, hash and description of the files of a ticket."""
        return [(file.name, file.size, file.sha256, file.description or "") for file in self.state.files_of(number)]
