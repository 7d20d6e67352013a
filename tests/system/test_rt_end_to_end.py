"""The whole way with a real Request Tracker at both ends: backup, load, killed and run again, byte for byte.

The programs run as a user runs them; source and result are read through RT's own API, without the adapter. Run it with
`.ci/with-tracker rt`. With RT_LONG_ATTACHMENTS=truncate or drop, only the tests of large files run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from tests.support.program import catalog, kill, run_process, start, until
from tests.support.real_rt import TOKEN, URL, Rt, Sent, ServerFile, real
from tests.system.test_sigkill import look

CUTS = os.environ.get("RT_LONG_ATTACHMENTS", "keep")
LIMIT = int(os.environ.get("RT_MAX_ATTACHMENT_BYTES", "1000000"))
keeps = pytest.mark.skipif(CUTS != "keep", reason="this RT cuts large files")
cuts = pytest.mark.skipif(CUTS == "keep", reason="this RT keeps large files; RT_LONG_ATTACHMENTS changes that")
pytestmark = [*real, pytest.mark.timeout(400)]

T = TypeVar("T")
TICKETS = 30
MIB = 1024 * 1024
LOGIN_PAGE = (
    b'<!DOCTYPE html><title>Sign in</title><form action="/login"><input type="password" name="password"></form>'
)
NAMES = [
    "Prüfbericht – Übersicht № 7.txt",
    "議事録 二〇二六年.pdf",
    "flask 🧪 and family 👩‍👩‍👧.png",
    "  spaces around  .txt",
    'it\'s "quoted" and b\\ack.txt',
    "percent%41%2F & <b>bold</b>?.txt",
    "../../evil.txt",
    "line\nbreak.txt",
    "..",
    "CON",
    "L" * 251 + ".bin",
    "ü" * 125 + ".txt",
]
CONTENTS = [
    Sent("empty.bin", b""),
    Sent("page.html", b"<!doctype html><title>t</title><script>1</script>\n", "text/html"),
    Sent("saved login.html", LOGIN_PAGE, "text/html"),
    Sent("not found.json", b'{"message": "Not Found"}', "application/json"),
    Sent("same.txt", b"one", "text/plain"),
    Sent("same.txt", b"two", "text/plain"),
    Sent("same.txt", b"two", "text/plain"),
    Sent("latin1.txt", "Grüße".encode("latin-1"), "text/plain"),
    Sent("latin1.bin", "Grüße".encode("latin-1")),
    Sent("utf16.csv", "Grüße".encode("utf-16"), "text/csv"),
    Sent("crlf.txt", b"one\r\ntwo\r\n", "text/plain"),
    Sent("nul.log", b"a\0b\n", "application/x-log"),
    Sent("message.eml", b"From: a\nSubject: b\n\nbody\n", "message/rfc822"),
    Sent("unpacked.gz", bytes.fromhex("1f8b0800000000000003") + b"no real gzip", "application/gzip"),
]


def files_of_ticket(number: int, rnd: random.Random) -> list[Sent]:
    if number == 0:
        return [Sent(name, f"content of {name!r}".encode()) for name in NAMES] + CONTENTS
    if number == 1:
        return [Sent("large.bin", rnd.randbytes(2 * MIB)), Sent("odd.bin", rnd.randbytes(MIB + 1))]
    return [Sent(f"{number}-{n}.bin", rnd.randbytes(rnd.randrange(1, 40_000))) for n in range(number % 5)]


@dataclass(frozen=True)
class Queue:
    """A queue of the server, and its tickets."""

    name: str
    tickets: list[str]

    def files(self) -> dict[str, list[ServerFile]]:
        async def read(rt: Rt) -> dict[str, list[ServerFile]]:
            return {number: await rt.files_of(number) for number in self.tickets}

        return with_rt(read)


def with_rt(work: Callable[[Rt], Awaitable[T]]) -> T:
    """Some work at the server, from a test that is not asynchronous."""

    async def session() -> T:
        async with Rt() as rt:
            return await work(rt)

    return asyncio.run(session())


async def seeded(rt: Rt) -> Queue:
    """Tickets with files from the start, files of comments and replies, some closed, some without any."""
    rnd, queue = random.Random(7), await rt.queue()
    tickets = []
    for number in range(TICKETS):
        files = files_of_ticket(number, rnd)
        at_first, later = (files, []) if number % 3 else ([], files)
        ticket = await rt.ticket(queue, f"Ticket {number} – <b>äöü</b> & so on", at_first)
        if later:
            await rt.comment(ticket, later, "comment" if number % 2 else "correspond")
        if number % 4 == 3:
            await rt.call("PUT", f"ticket/{ticket}", {"Status": "resolved"})
        tickets.append(ticket)
    return Queue(queue, tickets)


async def empty_queue(rt: Rt, count: int) -> Queue:
    queue = await rt.queue()
    return Queue(queue, [await rt.ticket(queue, f"target {n}") for n in range(count)])


def configure(folder: Path, query: str, **options: Any) -> Path:
    """A configuration as a user writes it."""
    side = f'tracker = "rt"\nurl = "{URL}"\nauth.token = {{ env = "TEST_TOKEN" }}\n'
    wanted = "".join(f"options.{key} = {json.dumps(value)}\n" for key, value in options.items())
    path = folder / "rt.toml"
    path.write_text(f"[source]\n{side}options.query = {json.dumps(query)}\n[target]\n{side}{wanted}")
    return path


def map_all(config: Path, pairs: Iterable[tuple[str, str]], kind: str = "Ticket") -> None:
    rows = "".join(f"{kind},{one},Ticket,{other}\n" for one, other in pairs)
    (config.parent / "mapping.csv").write_text(f"source_kind,source_id,target_kind,target_id\n{rows}")


def migrator(*words: str | Path, status: int = 0) -> dict[str, Any]:
    """Run the program to its end, and give the one document it prints."""
    finished = asyncio.run(run_process("--json", *words, env={"TEST_TOKEN": TOKEN}, within=300))
    assert finished.code == status, finished.err + finished.out
    assert TOKEN not in finished.out + finished.err
    return finished.document


def comparable(files: Iterable[ServerFile]) -> Counter[tuple[str, int, str]]:
    """The files without their ids, counted, to compare two copies of them."""
    return Counter((file.name, file.size, file.sha256) for file in files)


def archived(archive: Path, ticket: str) -> set[ServerFile]:
    """The files of a ticket as the archive holds them."""
    statement = f"SELECT attachment_id, name, size, sha256 FROM attachments WHERE entity_id = '{ticket}'"
    return {ServerFile(*row) for row in catalog(archive, statement)}


@pytest.fixture(scope="module")
def origin() -> Queue:
    return with_rt(seeded)


@pytest.fixture(scope="module")
def backed_up(origin, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    config = configure(tmp_path_factory.mktemp("whole"), f"Queue = '{origin.name}'")
    return config, migrator("backup", config)


@pytest.fixture(scope="module")
def loaded(backed_up, origin) -> tuple[Queue, dict[str, Any]]:
    target = with_rt(lambda rt: empty_queue(rt, TICKETS))
    map_all(backed_up[0], zip(origin.tickets, target.tickets, strict=True))
    return target, migrator("load", backed_up[0])


@keeps
def test_backup_of_rt_holds_every_file_as_the_server_gives_it(backed_up, origin):
    config, summary = backed_up
    there = origin.files()
    assert summary["status"] == "complete"
    assert summary["entities"] == TICKETS
    assert summary["attachments"]["stored"] == sum(map(len, there.values())) > 80
    for ticket, files in there.items():
        assert archived(config.parent / "archive", ticket) == set(files)
    assert migrator("verify", config.parent / "archive")["problems"] == []


@keeps
def test_second_backup_of_rt_takes_only_the_new_file(backed_up, origin):
    config, first = backed_up
    count = first["attachments"]["stored"]
    assert migrator("backup", config)["attachments"]["unchanged"] == count
    added = [Sent("new.txt", b"new", "text/plain")]
    with_rt(lambda rt: rt.comment(origin.tickets[4], added))
    summary = migrator("backup", config)
    assert (summary["attachments"]["stored"], summary["attachments"]["unchanged"]) == (1, count)


@keeps
def test_load_into_rt_puts_every_byte_there_and_a_second_nothing(backed_up, origin, loaded):
    target, summary = loaded
    before, there = origin.files(), target.files()
    assert (summary["status"], summary["failures"]) == ("complete", [])
    assert summary["uploads"]["uploaded"] == sum(map(len, there.values()))
    for one, other in zip(origin.tickets, target.tickets, strict=True):
        assert comparable(there[other]) == comparable(before[one]), one
    again = migrator("load", backed_up[0])
    assert (again["uploads"]["uploaded"], again["bytes"]) == (0, 0)
    assert target.files() == there


@keeps
def test_killed_load_into_rt_goes_on_and_sends_no_file_twice(backed_up, origin, tmp_path):
    target = with_rt(lambda rt: empty_queue(rt, 12))
    config = configure(tmp_path, f"Queue = '{origin.name}'")
    migrator("backup", config)
    pairs = dict(zip(origin.tickets, target.tickets, strict=False))
    map_all(config, pairs.items())

    async def killed_at(count: int) -> None:
        process = await start("load", config, env={"TEST_TOKEN": TOKEN})
        sent = "SELECT 1 FROM uploads WHERE status = 'uploaded'"
        await until(lambda: len(look(tmp_path / "archive", sent)) >= count, within=120)
        assert await kill(process)

    for count in (5, 15):
        asyncio.run(killed_at(count))
    assert migrator("load", config)["status"] == "complete"
    before, there = origin.files(), target.files()
    for one, other in pairs.items():
        assert comparable(there[other]) == comparable(before[one]), one


@keeps
def test_rollback_in_rt_is_impossible_and_lists_every_file(backed_up, loaded):
    target, summary = loaded
    before = target.files()
    document = migrator("rollback", backed_up[0], "--yes", status=3)
    assert document["deletions"]["impossible"] == summary["uploads"]["uploaded"]
    assert target.files() == before


@keeps
def test_missing_tickets_are_created_in_rt_once(backed_up, origin, tmp_path):
    queue = with_rt(lambda rt: rt.queue())
    config = configure(tmp_path, f"id >= {origin.tickets[2]} AND id <= {origin.tickets[4]}", create_queue=queue)
    with config.open("a") as file:
        file.write("[mapping]\ncreate_missing = true\n")
    migrator("backup", config)
    assert migrator("load", config)["status"] == "complete"
    (tmp_path / "mapping.csv").unlink()
    assert migrator("load", config)["uploads"]["uploaded"] == 0
    created = with_rt(lambda rt: rt.tickets(queue))
    assert len(created) == 3
    assert Counter(file.name for files in Queue(queue, created).files().values() for file in files) == Counter(
        file.name for ticket in origin.tickets[2:5] for file in archived(tmp_path / "archive", ticket)
    )


@keeps
def test_check_of_rt_says_what_will_work(backed_up, loaded):
    assert migrator("check", backed_up[0])["status"] == "complete"


# --- an RT that cuts or drops large files


@cuts
def test_file_that_this_rt_cut_is_backed_up_with_a_warning(tmp_path):
    async def one_file(rt: Rt) -> Queue:
        queue = await rt.queue()
        return Queue(
            queue, [await rt.ticket(queue, "large", [Sent("five.bin", random.Random(5).randbytes(LIMIT + 1))])]
        )

    queue = with_rt(one_file)
    config = configure(tmp_path, f"Queue = '{queue.name}'")
    assert migrator("backup", config)["status"] == "complete"
    [[warning]] = catalog(tmp_path / "archive", "SELECT warning FROM attachments")
    assert f"it had {LIMIT + 1} when RT took it" in warning
    [file] = archived(tmp_path / "archive", queue.tickets[0])
    [there] = queue.files()[queue.tickets[0]]
    assert (file.id, file.name, file.sha256) == (there.id, there.name, there.sha256)
    assert there.size < LIMIT
    checks = migrator("check", config)["source"]["checks"]
    assert any("RT cuts or drops large files" in check["detail"] for check in checks)


@cuts
async def test_file_that_this_rt_cuts_fails_once_and_is_not_sent_again(tmp_path):
    async with Rt() as rt:
        queue = await rt.queue()
        number = await rt.ticket(queue, "a ticket")
        world = World.generate(entities=4, attachments=6, median_bytes=4 * LIMIT, large_bytes=0)
        async with TargetprocessSandbox(world) as sandbox:
            config = sandbox_to_rt(tmp_path, sandbox, options="options.max_bytes = 100_000_000\n")
            words = {"env": {"TEST_TOKEN": TOKEN}}
            assert (await run_process("--json", "backup", config, **words)).code == 0
            entities = catalog(tmp_path / "archive", "SELECT kind, entity_id FROM entities")
            rows = "".join(f"{kind},{entity},Ticket,{number}\n" for kind, entity in entities)
            (tmp_path / "mapping.csv").write_text(f"source_kind,source_id,target_kind,target_id\n{rows}")
            first = await run_process("--json", "load", config, **words)
            there = await rt.files_of(number)
            sandbox_to_rt(tmp_path, sandbox)
            again = await run_process("--json", "load", config, **words)
        assert (first.code, again.code) == (3, 3)
        small = "SELECT name, size, sha256 FROM attachments WHERE size <= {LIMIT}"
        arrived = Counter(catalog(tmp_path / "archive", small.format(LIMIT=LIMIT)))
        cut = comparable(there) - arrived
        assert comparable(there) == arrived + cut
        reasons = [failure["reason"] for failure in again.document["failures"]]
        assert cut.total() == sum("bytes were sent" in reason for reason in reasons) == 1
        assert sum("this RT cut or dropped a file of over" in reason for reason in reasons) + cut.total() == len(
            reasons
        )
        assert await rt.files_of(number) == there, "nothing is sent again"


def sandbox_to_rt(folder: Path, sandbox: TargetprocessSandbox, options: str = "") -> Path:
    auth = "".join(f"auth.{key} = {json.dumps(value)}\n" for key, value in sandbox.credentials.items())
    source = f'tracker = "targetprocess"\nurl = "{sandbox.url}"\n{auth}options.inline_images = "skip"\n'
    target = f'tracker = "rt"\nurl = "{URL}"\nauth.token = {{ env = "TEST_TOKEN" }}\n{options}'
    path = folder / "migration.toml"
    path.write_text(f"[source]\n{source}[target]\n{target}")
    return path
