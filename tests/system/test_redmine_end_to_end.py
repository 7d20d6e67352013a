"""The whole way with a real Redmine at both ends: backup, verify, load, killed and run again, byte for byte.

The programs run as a user runs them, as processes of their own; source and result are read through Redmine's own API.
Run it with `.ci/with-tracker redmine`, or set MIGRATOR_REDMINE_URL and MIGRATOR_REDMINE_API_KEY.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.parts import FULL, only_in_full
from tests.support.real_redmine import (
    KEY,
    PASSWORD,
    URL,
    Redmine,
    Sent,
    ServerFile,
    api_switched_off,
    comparable,
    digest,
    field_for_files,
)

pytestmark = [
    pytest.mark.redmine,
    pytest.mark.skipif(not (URL and KEY), reason="MIGRATOR_REDMINE_URL and MIGRATOR_REDMINE_API_KEY are not set"),
    pytest.mark.timeout(400),
]

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
ISSUES = 80 if FULL else 10
MIB = 1024 * 1024
LOGIN_PAGE = (
    b'<!DOCTYPE html><title>Sign in</title><form action="/login"><input type="password" name="password"></form>'
)

KEPT = [
    "plain.txt",
    "Prüfbericht – Übersicht № 7.txt",
    "議事録 二〇二六年.pdf",
    "שלום עולם.txt",
    "de\u0301compose\u0301.txt",
    "décomposé.txt",
    "flask 🧪 and family 👩‍👩‍👧.png",
    "  spaces around  .txt",
    "two  spaces.txt",
    "a+b & c=d;e,f#g.csv",
    "[brackets] {braces} (parens) ~ ^ $ ! @.txt",
    "..",
    ".hidden",
    "trailing dot.",
    "CON",
    "nul.txt",
    "Case.TXT",
    "case.txt",
    "no_extension",
    "L" * 251 + ".bin",
    "ü" * 125 + ".txt",
]
"""Names that Redmine keeps as they are."""

CHANGED = [
    "../../../evil.txt",
    "C:\\temp\\report.doc",
    "percent%41%2F.txt",
    'it\'s "quoted".txt',
    "<b>bold</b>?.txt",
    "pipe|colon:star*.txt",
    "line\nbreak.txt",
]
"""Names that Redmine changes when it takes them; what it then says is the name."""


def odd_files() -> list[Sent]:
    """One issue's worth of what tools trip over: names, contents, descriptions."""
    files = [Sent(name, f"content of {name!r}".encode(), f"about {name}"[:200]) for name in [*KEPT, *CHANGED]]
    twins = [Sent("same.txt", b"one"), Sent("same.txt", b"two"), Sent("same.txt", b"two"), Sent("same.txt", b"three")]
    pages = [
        Sent("page.html", b"<!doctype html><title>t</title><script>1</script>\n", "a page", "text/html"),
        Sent("saved login.html", LOGIN_PAGE, "a login page that somebody attached", "text/html"),
        Sent("not found.json", b'{"errors": ["not found"]}', "", "application/json"),
    ]
    contents = [
        Sent("empty.bin", b"", "nothing in it"),
        Sent("nul.log", b"a\0b\n", "", "text/plain"),
        Sent("crlf.txt", b"one\r\ntwo\r\n", "", "text/plain"),
        Sent("latin1.txt", "Grüße".encode("latin-1"), "", "text/plain"),
        Sent("compressed.gz", bytes.fromhex("1f8b0800000000000003") + b"no real gzip", "", "application/gzip"),
        Sent("described.txt", b"d", "ä" * 254 + "!", "text/plain"),
        Sent("marked up.txt", b"m", 'two <b>words</b> & "quotes" \\ 🧪', "text/plain"),
    ]
    return files + twins + pages + contents


def files_of_issue(number: int, rnd: random.Random) -> list[Sent]:
    if number == 0:
        return odd_files()
    if number == 1:
        return [Sent("limit.bin", rnd.randbytes(5 * MIB)), Sent("large.bin", rnd.randbytes(4 * MIB + 1), "4 MiB and 1")]
    files = [Sent(f"{number}-{n}.bin", rnd.randbytes(rnd.randrange(1, 40_000)), f"file {n}") for n in range(number % 7)]
    return files + [Sent("screenshot.png", rnd.randbytes(3 * MIB))] * (number % 40 == 11)


def run(work: Callable[[Redmine], Awaitable[T]]) -> T:
    """Some work at the server, from a test that is not asynchronous."""

    async def session() -> T:
        async with Redmine() as redmine:
            return await work(redmine)

    return asyncio.run(session())


@dataclass(frozen=True)
class Project:
    """A project of the server; `sent` is what each issue was given, in the order of the issues."""

    name: str
    sent: dict[str, list[Sent]]

    def files(self) -> dict[str, list[ServerFile]]:
        return run(lambda redmine: redmine.files_in(self.name))


async def seed(redmine: Redmine, issues: int) -> Project:
    """Issues with files from the start, files that came with notes, some closed, some without any."""
    rnd, project, sent = random.Random(7), await redmine.project(), {}
    for number in range(issues):
        files = files_of_issue(number, rnd)
        issue = await redmine.issue(project, f"Issue {number} – <b>äöü</b> & so on", files)
        if number % 6 == 5:
            noted = [Sent("note.txt", b"came with a note %d" % number), Sent("note.txt", b"a twin of it")]
            await redmine.note(issue, "see the files", noted)
            files += noted
        if number % 4 == 3:
            await redmine.close(issue)
        sent[issue] = files
    return Project(project, sent)


async def empty_twin(redmine: Redmine, issues: int) -> Project:
    project = await redmine.project()
    return Project(project, {await redmine.issue(project, f"target {n}"): [] for n in range(issues)})


@pytest.fixture(scope="module")
def projects() -> Iterator[list[Project]]:
    """Projects made by this module; gone when it ends."""
    made: list[Project] = []
    yield made
    for project in made:
        run(lambda redmine, name=project.name: redmine.delete(name))


@pytest.fixture(scope="module")
def origin(projects: list[Project]) -> Project:
    projects.append(run(lambda redmine: seed(redmine, ISSUES)))
    return projects[-1]


def twin_for(projects: list[Project], issues: int) -> Project:
    projects.append(run(lambda redmine: empty_twin(redmine, issues)))
    return projects[-1]


def configure(folder: Path, source: str, *, uploads: int = 4, **target: Any) -> Path:
    """A configuration as a user writes it."""
    lines = [f'[source]\ntracker = "redmine"\nurl = "{URL}"', '[source.auth]\napi_key = { env = "TEST_KEY" }']
    lines += [f'[source.options]\nproject = "{source}"', f'[target]\ntracker = "redmine"\nurl = "{URL}"']
    lines += [f"{key} = {json.dumps(value)}" for key, value in target.items()]
    lines += ['[target.auth]\napi_key = { env = "TEST_KEY" }', '[mapping]\nfile = "mapping.csv"']
    lines += [f"[limits]\nuploads = {uploads}"]
    path = folder / "redmine.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def map_all(config: Path, source: Project, target: Project) -> dict[str, str]:
    """A mapping file, issue by issue in order; the target's list may be shorter."""
    pairs = dict(zip(source.sent, target.sent, strict=False))
    rows = [f"Issue,{one},,{other}\n" for one, other in pairs.items()]
    (config.parent / "mapping.csv").write_text("source_kind,source_id,target_kind,target_id\n" + "".join(rows))
    return pairs


def started(*words: str | Path, key: str = KEY) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "migrator", "--json", *map(str, words)]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "TEST_KEY": key}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


def migrator(*words: str | Path, status: int = 0, key: str = KEY) -> dict[str, Any]:
    """Run the program to its end, and give the one document it prints."""
    process = started(*words, key=key)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert KEY not in out + err
    return json.loads(out)


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    """SIGKILL as soon as something is so; it must come about before the process ends by itself."""
    try:
        while not reached():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL


def rows(archive: Path, statement: str) -> list[tuple[Any, ...]]:
    """What another program reads from the catalog; nothing while it is not there yet."""
    try:
        with closing(sqlite3.connect(f"file:{archive / 'catalog.db'}?mode=ro", uri=True)) as catalog:
            return catalog.execute(statement).fetchall()
    except sqlite3.OperationalError:
        return []


def archived(archive: Path) -> dict[str, list[ServerFile]]:
    """The files of each issue as the archive holds them, read without the program."""
    found: dict[str, list[ServerFile]] = {issue: [] for (issue,) in rows(archive, "SELECT entity_id FROM entities")}
    statement = "SELECT entity_id, attachment_id, name, size, sha256, description FROM attachments"
    for issue, *file in rows(archive, statement):
        sha256 = file[3]
        content = (archive / "blobs" / sha256[:2] / sha256).read_bytes()
        assert (len(content), digest(content)) == (file[2], sha256)
        found[issue].append(ServerFile(*file))
    return found


@pytest.fixture(scope="module")
def truth(origin: Project) -> dict[str, list[ServerFile]]:
    """What the server gives for the source; nothing changes it."""
    return origin.files()


@pytest.fixture(scope="module")
def backed_up(origin: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    # A server of one thread is several times slower with four connections; four are tried where the load is killed.
    config = configure(tmp_path_factory.mktemp("whole"), origin.name, uploads=1, provenance=False)
    return config, migrator("backup", config)


@pytest.fixture(scope="module")
def loaded(backed_up, origin: Project, projects: list[Project]) -> tuple[Project, dict[str, str], dict[str, Any]]:
    target = twin_for(projects, ISSUES)
    pairs = map_all(backed_up[0], origin, target)
    return target, pairs, migrator("load", backed_up[0])


def copied(backed_up: tuple[Path, Any], folder: Path, source: Project, **target: Any) -> Path:
    """The archive as the backup left it and another configuration, in a folder of its own."""
    shutil.copytree(backed_up[0].parent / "archive", folder / "archive")
    with closing(sqlite3.connect(folder / "archive" / "catalog.db")) as catalog, catalog:
        catalog.execute("DELETE FROM uploads")
    return configure(folder, source.name, **target)


def by_id(files: dict[str, list[ServerFile]]) -> dict[str, set[ServerFile]]:
    return {issue: set(found) for issue, found in files.items()}


def test_backup_holds_every_file_as_the_server_gives_it(backed_up, truth):
    config, summary = backed_up
    count = sum(map(len, truth.values()))
    assert count > 3 * ISSUES
    assert summary["status"] == "complete"
    assert summary["entities"] == ISSUES
    zero = {"unchanged": 0, "skipped": 0, "gone": 0, "failed": 0}
    assert summary["attachments"] == {"listed": count, "stored": count, **zero}
    assert by_id(archived(config.parent / "archive")) == by_id(truth)


def test_backup_holds_every_file_as_it_was_sent(backed_up, origin):
    for issue, files in archived(backed_up[0].parent / "archive").items():
        sent = origin.sent[issue]
        assert Counter(file.sha256 for file in files) == Counter(digest(file.content) for file in sent)
        assert Counter(file.description for file in files) == Counter(file.description for file in sent)
        changed = {digest(file.content) for file in sent if file.name in CHANGED}
        kept = Counter(file.name for file in files if file.sha256 not in changed)
        assert kept == Counter(file.name for file in sent if file.name not in CHANGED)


def test_archive_of_redmine_verifies(backed_up):
    summary = migrator("verify", backed_up[0].parent / "archive")
    distinct = {digest(path.read_bytes()) for path in (backed_up[0].parent / "archive" / "blobs").glob("*/*")}
    assert (summary["status"], summary["problems"], summary["blobs"]) == ("complete", [], len(distinct))


def test_second_backup_fetches_nothing(backed_up):
    config, first = backed_up
    before = by_id(archived(config.parent / "archive"))
    again = migrator("backup", config)
    listed = first["attachments"]["listed"]
    assert again["attachments"] == {**first["attachments"], "stored": 0, "unchanged": listed}
    assert again["bytes"] == 0
    assert by_id(archived(config.parent / "archive")) == before


def test_load_puts_every_file_there_with_its_name_bytes_and_description(backed_up, truth, loaded):
    target, pairs, summary = loaded
    assert summary["status"] == "complete"
    count = backed_up[1]["attachments"]["listed"]
    zero = {"already_there": 0, "unmapped": 0, "skipped": 0, "failed": 0}
    assert summary["uploads"] == {"planned": count, "uploaded": count, **zero}
    there = target.files()
    assert set(there) == set(pairs.values())
    for issue, other in pairs.items():
        assert comparable(there[other]) == comparable(truth[issue]), issue


def test_second_load_uploads_nothing(backed_up, loaded):
    target, _, first = loaded
    before = by_id(target.files())
    again = migrator("load", backed_up[0])
    planned = first["uploads"]["planned"]
    assert again["uploads"] == {**first["uploads"], "uploaded": 0, "already_there": planned}
    assert again["bytes"] == 0
    assert by_id(target.files()) == before


def test_load_without_its_catalogs_memory_finds_every_file_there(backed_up, origin, loaded, tmp_path):
    """Another archive of the same source, which knows nothing of the first load."""
    target, pairs, _ = loaded
    config = copied(backed_up, tmp_path, origin, provenance=False)
    few = Project(target.name, {issue: [] for issue in list(pairs.values())[:12]})
    map_all(config, origin, few)
    before = by_id(target.files())
    summary = migrator("load", config)
    assert summary["uploads"]["uploaded"] == 0
    assert summary["uploads"]["already_there"] == summary["uploads"]["planned"] > 50
    assert by_id(target.files()) == before


@only_in_full
def test_killed_load_goes_on_and_puts_every_file_there_exactly_once(backed_up, origin, truth, projects, tmp_path):
    target = twin_for(projects, 12)
    config = copied(backed_up, tmp_path, origin, provenance=False)
    pairs = map_all(config, origin, target)
    archive, uploaded = tmp_path / "archive", "SELECT 1 FROM uploads WHERE status = 'uploaded'"
    for count in (10, 30):
        kill_when(started("load", config), lambda count=count: len(rows(archive, uploaded)) >= count)
    summary = migrator("load", config)
    assert summary["status"] == "complete"
    assert summary["uploads"]["uploaded"] > 0
    there = target.files()
    for issue, other in pairs.items():
        assert comparable(there[other]) == comparable(truth[issue]), issue


def test_provenance_is_a_line_after_the_description(backed_up, origin, truth, projects, tmp_path):
    target = twin_for(projects, 1)
    config = copied(backed_up, tmp_path, origin)
    issue = list(origin.sent)[8]
    small = Project(origin.name, {issue: origin.sent[issue]})
    [other] = map_all(config, small, target).values()
    assert migrator("load", config)["uploads"]["uploaded"] == 1
    [file], [original] = target.files()[other], truth[issue]
    assert (file.name, file.sha256) == (original.name, original.sha256)
    assert re.fullmatch(
        r"file 0\r?\n\[first attached by Redmine Admin on \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\]", file.description
    )


def test_killed_backup_goes_on_and_holds_every_file(backed_up, origin, truth, tmp_path):
    config = configure(tmp_path, origin.name)
    archive = tmp_path / "archive"
    stored = "SELECT 1 FROM attachments WHERE status = 'stored'"
    kill_when(started("backup", config), lambda: len(rows(archive, stored)) >= 60)
    survived = rows(archive, stored)
    summary = migrator("backup", config)
    assert summary["attachments"]["unchanged"] >= len(survived) >= 60
    assert summary["attachments"]["listed"] == backed_up[1]["attachments"]["listed"]
    assert by_id(archived(archive)) == by_id(truth)
    assert migrator("verify", archive)["problems"] == []


def test_later_backup_fetches_only_what_is_new(projects, tmp_path):
    projects.append(run(lambda redmine: seed(redmine, 0)))
    project = projects[-1]
    issue = run(lambda redmine: redmine.issue(project.name, "an issue", [Sent("old.txt", b"old")]))
    config = configure(tmp_path, project.name)
    migrator("backup", config)

    async def goes_on(redmine: Redmine) -> None:
        await redmine.note(issue, "one more", [Sent("new.txt", b"new")])
        await redmine.close(issue)
        await redmine.issue(project.name, "another", [Sent("other.txt", b"other")])

    run(goes_on)
    again = migrator("backup", config)
    assert (again["attachments"]["stored"], again["attachments"]["unchanged"], again["bytes"]) == (2, 1, 8)
    assert by_id(archived(tmp_path / "archive")) == by_id(project.files())


needs_password = pytest.mark.skipif(
    not PASSWORD, reason="MIGRATOR_REDMINE_USER and MIGRATOR_REDMINE_PASSWORD are not set"
)


@dataclass(frozen=True)
class Whole:
    """A project with all that may carry files, and what was put there: (kind, name) -> content."""

    name: str
    sent: dict[tuple[str, str], bytes]


async def seed_whole(redmine: Redmine, field: str, made: list[Project]) -> Whole:
    modules = ("issue_tracking", "wiki", "news", "files", "documents", "boards")
    name = await redmine.project(modules)
    made.append(Project(name, {}))
    sent: dict[tuple[str, str], bytes] = {}

    def file(kind: str, name: str) -> Sent:
        sent[kind, name] = f"{kind} {name}".encode() * 3_000
        return Sent(name, sent[kind, name], f"on a {kind}")

    issue = await redmine.issue(name, "an issue", [file("Issue", "on the issue.bin")])
    if field:
        await redmine.file_field(issue, field, file("Issue", "in a custom field.bin"))
    for page, title in enumerate(("Start", "Größe_(mehr)_&_so", "100%")):
        await redmine.wiki_page(name, title, [file("WikiPage", f"of page {page} {n}.bin") for n in (1, 2)])
    await redmine.news(name, "News", [file("News", "news Prüfung.bin")])
    await redmine.news(name, "News without a file", [])
    await redmine.project_file(name, file("Project", "files module.bin"))
    await redmine.project_file(name, file("Version", "of 1.0.bin"), await redmine.version(name, "1.0"))
    below = await redmine.project(("files", "news"), below=name)
    await redmine.project_file(below, file("Project", "of the project below.bin"))
    await redmine.news(below, "Old news", [file("News", "of a closed project.bin")])
    await redmine.close_project(below)
    return Whole(name, sent)


def test_backup_holds_whatever_has_files_byte_by_byte(projects, tmp_path):
    async def seeded(redmine: Redmine) -> Whole:
        return await seed_whole(redmine, "", projects)

    whole = run(seeded)
    expect_whole(whole, tmp_path)


@needs_password
def test_backup_holds_files_in_custom_fields_byte_by_byte(projects, tmp_path):
    async def seeded(redmine: Redmine) -> None:
        async with field_for_files() as field:
            whole = await seed_whole(redmine, field, projects)
            await asyncio.to_thread(expect_whole, whole, tmp_path)

    run(seeded)


def expect_whole(whole: Whole, folder: Path) -> None:
    """Backed up twice: all of it, then nothing new."""
    config = configure(folder, whole.name)
    first, second = migrator("backup", config), migrator("backup", config)
    count = len(whole.sent)
    assert (first["status"], first["attachments"]["stored"], first["failures"]) == ("complete", count, [])
    assert (second["attachments"]["unchanged"], second["bytes"]) == (count, 0)
    found = rows(folder / "archive", "SELECT kind, name, sha256 FROM attachments")
    assert {(kind, name): sha256 for kind, name, sha256 in found} == {
        place: digest(content) for place, content in whole.sent.items()
    }
    for _, _, sha256 in found:
        assert digest((folder / "archive" / "blobs" / sha256[:2] / sha256).read_bytes()) == sha256


@needs_password
@pytest.mark.parametrize("command", ["check", "backup"])
def test_switched_off_rest_api_is_called_that(origin, tmp_path, command):
    config = configure(tmp_path, origin.name)

    async def tried() -> dict[str, Any]:
        async with api_switched_off():
            return await asyncio.to_thread(migrator, command, config, status=4)

    assert "the REST API of this Redmine is switched off" in asyncio.run(tried())["error"]["message"]


def test_wrong_key_is_status_4_and_never_an_empty_complete_archive(origin, tmp_path):
    """Redmine answers 200 and an empty list to a wrong key."""
    config = configure(tmp_path, origin.name)
    document = migrator("backup", config, status=4, key="0" * 40)
    assert (document["status"], document["error"]["code"]) == ("failed", 4)


def test_check_says_what_will_work(backed_up, loaded):
    document = migrator("check", backed_up[0])
    assert document["status"] == "complete", document
