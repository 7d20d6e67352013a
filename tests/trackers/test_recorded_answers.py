"""What the adapters make of each answer that was recorded from a real tracker: parsed values, or an error.

The expectations are in `tests/fixtures/answers`, a line for each answer. An answer without one fails; MIGRATOR_RECORD=1
writes down what is made of it now, to be read before it is kept.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import pytest
from typing_extensions import override

from migrator.errors import MigratorError
from migrator.model import Attachment, EntityRef
from migrator.pipeline.reading import HashSink
from migrator.ports import Source
from migrator.wire import HeaderAuth, HttpClient, Request
from tests.support.answered import OWN_ID, RECORDED, ROOT, Recorded, exchanges_in
from tests.support.readings import Given, parts_of, reading_of

EXPECTED = ROOT / "tests" / "fixtures" / "answers"
NO_TRACKER = {"s3"}
"""What is made of these is in `test_recorded_store`."""
MANY = 4
"""Of a longer list, its length is expected, and its first and last item."""

pytestmark = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="there are no recordings beside the project; MIGRATOR_TRACKERS names their folder"
)
FOLDERS = sorted(folder.name for folder in RECORDED.glob("*") if folder.name not in NO_TRACKER)
EXCHANGES = [one for folder in FOLDERS for one in exchanges_in(RECORDED / folder)]


class WarnedSink(HashSink):
    """Remembers the warnings about a file."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    @override
    def warn(self, text: str) -> None:
        self.warnings.append(text)


def shown(value: Any, address: str) -> Any:
    """A value as it is expected: without what is empty, raw JSON, and the address of the server."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {"ref": str(value)} if isinstance(value, EntityRef) else asdict(value)
    if isinstance(value, Mapping):
        kept = {key: inner for key, inner in value.items() if key != "raw" and inner not in ("", None, (), [])}
        return {str(key): shown(inner, address) for key, inner in kept.items()}
    if isinstance(value, list | tuple):
        if len(value) > MANY:
            value = [value[0], f"... {len(value) - 2} more ...", value[-1]]
        return [shown(inner, address) for inner in value]
    return value.replace(address, "$URL") if isinstance(value, str) else value


async def downloaded(recorded: Recorded, source: Source, http: HttpClient, way: str) -> object:
    sink = WarnedSink()
    if way == "adapter":
        owner, number = EntityRef(source.capabilities.kinds[0], "1"), OWN_ID.search(recorded.body)
        file_id = "1/notes.txt" if owner.kind == "ticket" else number[1].decode() if number else "1"
        await source.download(Attachment(file_id, owner, "file", locator=recorded.path), sink)
    else:
        await http.download(recorded.path, sink)
    return {"bytes": sink.size, "warnings": sink.warnings}


async def made_of(recorded: Recorded, address: str) -> object:
    """What our code makes of an answer, over HTTP."""
    tracker = recorded.folder.name.partition("-")[0]
    parts, reading = parts_of(tracker), reading_of(recorded, tracker)
    http = HttpClient(f"{address}/tracker", HeaderAuth("X-Key", "secret"), timeout=5)
    try:
        if reading.file:
            return await downloaded(recorded, parts.source(http, parts.options()), http, reading.file)
        body = None if recorded.method in {"GET", "HEAD"} else b"{}"
        request = Request("GET" if recorded.method == "HEAD" else recorded.method, recorded.path, body=body)
        answer = await (http.write if reading.write else http.send)(request)
        made = reading.read(Given(recorded, http, answer))
        return shown(await made if inspect.isawaitable(made) else made, address)
    finally:
        await http.close()


async def outcome(recorded: Recorded) -> object:
    async with recorded.answered() as address:
        try:
            return await made_of(recorded, address)
        except MigratorError as error:
            wait = getattr(error, "retry_after", None)
            told = f"{type(error).__name__}: {str(error).replace(address, '$URL')}"
            return {"error": told} | ({"retry after": wait} if wait else {})


@pytest.mark.parametrize("recorded", EXCHANGES, ids=lambda one: f"{one.folder.name}/{one.case}")
async def test_a_recorded_answer_is_read_as_expected(recorded):
    made = json.loads(json.dumps(await outcome(recorded), ensure_ascii=False))
    path = EXPECTED / f"{recorded.folder.name}.json"
    expected = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if "MIGRATOR_RECORD" in os.environ:
        lines = [
            f"{json.dumps(case)}: {json.dumps(value, ensure_ascii=False)}"
            for case, value in sorted({**expected, recorded.case: made}.items())
        ]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    assert recorded.case in expected, "nobody said what is to be made of this answer"
    assert made == expected[recorded.case]


def test_each_expectation_is_of_an_answer_that_was_recorded():
    cases = {(path.stem, case) for path in EXPECTED.glob("*.json") for case in json.loads(path.read_text("utf-8"))}
    assert cases == {(one.folder.name, one.case) for one in EXCHANGES}
