"""The whole way with a real Roundup or Trac at both ends: backup, load, killed and run again, rolled back.

The programs run as a user runs them; what the server has is read without the adapters. Run it with
`.ci/with-tracker roundup` and `.ci/with-tracker trac`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.real_redmine import Sent, digest
from tests.support.real_roundup import Roundup
from tests.support.real_trac import Trac

ROOT = Path(__file__).parents[2]
ISSUES = 30
MIB = 1024 * 1024
LOGIN = b'<!DOCTYPE html><title>Sign in</title><form action="/login"><input type="password" name="password"></form>'
NAMES = [
    "Prüfbericht – Übersicht № 7.txt",
    "議事録 二〇二六年.pdf",
    "flask 🧪 and family 👩‍👩‍👧.png",
    "../../evil.txt",
    "C:\\temp\\report.doc",
    "percent%41%2F.txt",
    'it\'s "quoted".txt',
    "<b>bold</b> & so on?.txt",
    "a+b & c=d;e,f#g.csv",
    "line\nbreak.txt",
    ".hidden",
    "..",
    "L" * 251 + ".bin",
]
CONTENTS = [
    Sent("page.html", b"<!doctype html><title>t</title><script>1</script>\n", "", "text/html"),
    Sent("saved login.html", LOGIN, "a login page that somebody attached", "text/html"),
    Sent("not found.json", b'{"error": {"status": 404, "msg": "not found"}}', "", "application/json"),
    Sent("latin1.txt", "Grüße".encode("latin-1"), "", "text/plain"),
    Sent("crlf.txt", b"one\r\ntwo\r\n", "", "text/plain"),
    Sent("nul.log", b"a\0b\n", "", "text/plain"),
    Sent("unpacked.gz", bytes.fromhex("1f8b0800000000000003") + b"no real gzip", "", "application/gzip"),
    Sent("described.txt", b"d", 'two <b>words</b> & "quotes" 🧪', "text/plain"),
    Sent("same.txt", b"one", "", "text/plain"),
    Sent("same.txt", b"two", "", "text/plain"),
]


@dataclass(frozen=True)
class Server:
    """One real server. `keeps` says which files the server takes, `renames` what it calls a second file of a name."""

    name: str
    kind: str
    session: Callable[[], Any]
    keeps: Callable[[Sent], bool] = lambda _: True
    renames: Mapping[str, str] = field(default_factory=dict)


ROUNDUP = Server("roundup", "issue", Roundup, keeps=lambda file: bool(file.content))
TRAC = Server("trac", "ticket", Trac, renames={"same.txt": "same.2.txt"})
SERVERS = [pytest.param(ROUNDUP, marks=pytest.mark.roundup), pytest.param(TRAC, marks=pytest.mark.trac)]


def setting(server: Server, name: str) -> str:
    return os.environ.get(f"MIGRATOR_{server.name.upper()}_{name}", "")


def run(server: Server, work: Callable[[Any], Any]) -> Any:
    """Some work at the server, from a test that is not asynchronous."""

    async def session() -> Any:
        async with server.session() as opened:
            return await work(opened)

    return asyncio.run(session())


def files_of_issue(number: int, rnd: random.Random) -> list[Sent]:
    if number == 0:
        odd = [Sent(name, f"content of {name!r}".encode(), "", "text/plain") for name in NAMES]
        return [*odd, *CONTENTS, Sent("empty.txt", b"", "", "text/plain")]
    if number == 1:
        return [Sent("large.bin", rnd.randbytes(2 * MIB))]
    return [Sent(f"{number}-{n}.bin", rnd.randbytes(rnd.randrange(1, 20_000))) for n in range(number % 4)]


async def seeded(server: Server, session: Any) -> list[str]:
    rnd, issues = random.Random(7), []
    for number in range(ISSUES):
        issue = await session.issue(f"Issue {number} – <b>äöü</b> & so on")
        for file in filter(server.keeps, files_of_issue(number, rnd)):
            await session.attach(issue, file)
        if number % 4 == 3:
            await session.close_issue(issue)
        issues.append(issue)
    return issues


async def empty_issues(session: Any) -> list[str]:
    return [await session.issue(f"target {number}") for number in range(ISSUES)]


@dataclass
class Case:
    """A server with its seeded issues, and the archive of a backup of it."""

    server: Server
    issues: list[str]
    truth: dict[str, Counter[tuple[str, int, str, str]]]
    config: Path
    summary: dict[str, Any]

    @property
    def archive(self) -> Path:
        return self.config.parent / "archive"

    def files(self, issues: list[str]) -> dict[str, Counter[tuple[str, int, str, str]]]:
        return run(self.server, lambda session: listed(session, issues))

    def map_to(self, targets: list[str]) -> None:
        kind = self.server.kind
        rows = [f"{kind},{one},,{other}\n" for one, other in zip(self.issues, targets, strict=True)]
        (self.config.parent / "mapping.csv").write_text("source_kind,source_id,target_kind,target_id\n" + "".join(rows))

    def renamed(self, targets: list[str]) -> dict[str, Counter[tuple[str, int, str, str]]]:
        """What has to be on the targets."""
        return {other: self.truth[one] for one, other in zip(self.issues, targets, strict=True)}


async def listed(session: Any, issues: list[str]) -> dict[str, Counter[tuple[str, int, str, str]]]:
    """The files of each issue as the server itself gives them: name, size, hash, description."""
    return {issue: Counter(await session.truth_of(issue)) for issue in issues}


def configured(server: Server, folder: Path) -> Path:
    url, user = setting(server, "URL"), setting(server, "USER")
    auth = f'username = "{user}"\npassword = {{ env = "TEST_PASSWORD" }}'
    lines = [f'archive = "archive"\n[source]\ntracker = "{server.name}"\nurl = "{url}"', f"[source.auth]\n{auth}"]
    lines += [f'[target]\ntracker = "{server.name}"\nurl = "{url}"\nprovenance = false', f"[target.auth]\n{auth}"]
    path = folder / "real.toml"
    path.write_text("\n".join([*lines, '[mapping]\nfile = "mapping.csv"']) + "\n")
    return path


def started(server: Server, *words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "migrator", "--json", *map(str, words)]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "TEST_PASSWORD": setting(server, "PASSWORD")}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


def migrator(server: Server, *words: str | Path, status: int = 0) -> dict[str, Any]:
    """Run the program to its end, and give the one document it prints."""
    process = started(server, *words)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, out + err
    assert setting(server, "PASSWORD") not in out + err
    return json.loads(out)


def rows(archive: Path, statement: str) -> list[tuple[Any, ...]]:
    """What another program reads from the catalog; nothing while it is not there yet."""
    try:
        with closing(sqlite3.connect(f"file:{archive / 'catalog.db'}?mode=ro", uri=True)) as catalog:
            return catalog.execute(statement).fetchall()
    except sqlite3.OperationalError:
        return []


@pytest.fixture(scope="module", params=SERVERS, ids=lambda server: server.name)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    server: Server = request.param
    if not setting(server, "URL"):
        pytest.skip(f"MIGRATOR_{server.name.upper()}_URL is not set")
    issues = run(server, lambda session: seeded(server, session))
    truth = run(server, lambda session: listed(session, issues))
    config = configured(server, tmp_path_factory.mktemp(server.name))
    return Case(server, issues, truth, config, migrator(server, "backup", config))


pytestmark = pytest.mark.timeout(400)


def test_backup_holds_every_byte_as_the_server_gives_it(case):
    held: dict[str, Counter[Any]] = {issue: Counter() for issue in case.issues}
    statement = "SELECT kind, entity_id, name, sha256, description FROM attachments WHERE status = 'stored'"
    for kind, issue, name, sha256, description in rows(case.archive, statement):
        content = (case.archive / "blobs" / sha256[:2] / sha256).read_bytes()
        assert digest(content) == sha256
        if kind == case.server.kind and issue in held:
            held[issue][name, len(content), sha256, description] += 1
    assert held == case.truth
    assert case.summary["status"] == "complete"
    assert sum(sum(files.values()) for files in held.values()) > 50


def test_what_was_sent_is_what_the_server_gives(case):
    """What this server alters shows here: nothing but the names of twins."""
    rnd = random.Random(7)
    for number, issue in enumerate(case.issues):
        sent, names = [*filter(case.server.keeps, files_of_issue(number, rnd))], set()
        expected: Counter[tuple[str, str]] = Counter()
        for file in sent:
            name = case.server.renames.get(file.name, file.name) if file.name in names else file.name
            expected[name, digest(file.content)] += 1
            names.add(file.name)
        assert expected == Counter({(name, sha256): n for (name, _, sha256, _), n in case.truth[issue].items()})


def test_second_backup_fetches_nothing(case):
    again = migrator(case.server, "backup", case.config)
    assert (again["bytes"], again["attachments"]["stored"]) == (0, 0)
    assert again["attachments"]["unchanged"] >= case.summary["attachments"]["stored"]


def test_load_puts_every_file_there_once_and_rollback_takes_it_back(case):
    targets = run(case.server, empty_issues)
    case.map_to(targets)
    loaded = migrator(case.server, "load", case.config)
    count = sum(sum(files.values()) for files in case.truth.values())
    assert (loaded["uploads"]["uploaded"], loaded["uploads"]["failed"]) == (count, 0)
    assert case.files(targets) == case.renamed(targets)
    again = migrator(case.server, "load", case.config)
    assert (again["bytes"], again["uploads"]["uploaded"], again["uploads"]["already_there"]) == (0, 0, count)
    assert case.files(targets) == case.renamed(targets)
    undone = migrator(case.server, "rollback", case.config, "--yes")
    assert undone["deletions"]["deleted"] == count
    assert not any(case.files(targets).values())


def test_load_killed_twice_puts_every_file_there_exactly_once(case):
    targets = run(case.server, empty_issues)
    case.map_to(targets)
    statement = "SELECT COUNT(*) FROM uploads WHERE status = 'uploaded'"
    for count in (8, 25):
        process = started(case.server, "load", case.config)
        try:
            while not (done := rows(case.archive, statement)) or done[0][0] < count:
                assert process.poll() is None, process.communicate()
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    summary = migrator(case.server, "load", case.config)
    assert summary["status"] == "complete"
    assert summary["uploads"]["uploaded"] > 0
    assert case.files(targets) == case.renamed(targets)
