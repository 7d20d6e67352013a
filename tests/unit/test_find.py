"""`find` and `get`: one file by what somebody remembers of it, whole or not at all."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shlex
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from migrator.errors import RejectedError
from migrator.model import NOBODY
from migrator.pipeline import find as finding
from migrator.store.catalog.searching import folded, glob, trigram_query
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import overwrite, run_backup
from tests.support.program import Finished, run, start

ARCHIVES = Path(__file__).parents[1] / "fixtures"
BIG = random.Random(1).randbytes(3_000_000)


@pytest.fixture
async def archive(tmp_path) -> tuple[MemoryTracker, Path]:
    tracker = MemoryTracker()
    login, other = tracker.add("Bug", "119", title="Login page broken"), tracker.add("Story", "12", title="Ärger [1]")
    tracker.attach(login, "saved page.html", b"<p>", created_at="2024-01-31T10:00:00+01:00", description="by Łukasz")
    tracker.attach(login, "Größe.TXT", "Größe\n".encode())
    tracker.attach(other, "report 50%.pdf", BIG)
    tracker.attach(other, "twice.txt", b"first")
    tracker.attach(other, "twice.txt", b"second")
    tracker.attach(tracker.add("Bug", "12"), "[draft]*.txt", b"")
    root = tmp_path / "archive"
    await run_backup(tracker, root)
    return tracker, root


async def found(root: Path, *texts: str) -> list[str]:
    return [file["name"] for file in (await run("--json", "find", root, *texts)).document["files"]]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["PAGE.H"], ["saved page.html"]),
        (["login"], ["Größe.TXT", "saved page.html"]),
        (["grosse"], ["Größe.TXT"]),
        (["GRO\u0308ßE"], ["Größe.TXT"]),
        (["arger"], ["report 50%.pdf", "twice.txt", "twice.txt"]),
        (["łukasz"], ["saved page.html"]),
        (["login", ".txt"], ["Größe.TXT"]),
        (["page saved"], []),
        (["s*d p?ge"], ["saved page.html"]),
        (["[draft]*"], ["[draft]*.txt"]),
        (["50%"], ["report 50%.pdf"]),
        (["119"], ["Größe.TXT", "saved page.html"]),
        (["bug:12"], ["[draft]*.txt"]),
        (["bug:1*"], ["[draft]*.txt", "Größe.TXT", "saved page.html"]),
        (["11"], []),
        (["nowhere"], []),
    ],
)
async def test_files_are_found_by_any_part_and_by_whole_ids(archive, texts, names):
    assert await found(archive[1], *texts) == names


@given(st.text(max_size=6), st.text(max_size=3), st.text(max_size=3))
@settings(max_examples=300)
def test_any_text_is_found_as_it_is_written(text, before, after):
    """With and without the index of `browse`; a text that has no wildcard means just itself."""
    assume("\0" not in text + before + after)
    with closing(sqlite3.connect(":memory:")) as db:
        row = folded(f"{before}{text}{after}")
        assert db.execute("SELECT ? GLOB ?", [row, f"*{glob(text)}*"]).fetchone() == (1,)
        if not {*"*?"} & {*text}:
            other = (folded(before), f"*{glob(text)}*")
            assert db.execute("SELECT ? GLOB ?", other).fetchone() == (folded(text) in other[0],)
        if query := trigram_query([text]):
            db.execute("CREATE VIRTUAL TABLE words USING fts5 (search, tokenize='trigram')")
            db.execute("INSERT INTO words VALUES (?)", [row])
            assert db.execute("SELECT rowid FROM words WHERE words MATCH ?", [query]).fetchall() == [(1,)]


async def test_a_line_tells_where_a_file_is_and_what_is_wrong_with_it(archive, tmp_path):
    tracker, root = archive

    async def refuse(verb: str, about: str) -> None:
        if about == refused.id:
            raise RejectedError("no")

    refused = tracker.attach(next(iter(tracker.entities)), "refused\x1b[31m.txt", b"12345")
    tracker.on_call = refuse
    await run_backup(tracker, root)
    shown = (await run("find", root, "119")).out.splitlines()
    assert re.fullmatch(r"Bug:119 \d+", shown[0].split("  ")[0])
    assert re.fullmatch(r"Bug:119 \d+ +saved page.html +3 B, 2024-01-31  Login page broken", shown[2])
    assert "refused\ufffd[31m.txt" in shown[1]
    assert "5 B, failed" in shown[1]
    assert shown[3].startswith("3 files, ")
    assert (await run("find", root, "nowhere")).out == "nothing was found\n"
    got = await run("get", root, "Bug:119", "refused")
    assert (got.code, got.out) == (2, "")
    assert "does not hold" in got.err


async def test_an_earlier_snapshot_is_searched_and_taken_from(archive, tmp_path):
    tracker, root = archive
    page = next(file for file in tracker.files.values() if file.name == "saved page.html")
    tracker.files[page.id] = replace(page, name="renamed.html")
    tracker.content[page.id] = b"<p>other"
    tracker.files[page.id] = replace(tracker.files[page.id], size=8)
    await run_backup(tracker, root)
    assert await found(root, "saved") == []
    assert await found(root, "saved", "--at", "1") == ["saved page.html"]
    assert (await run("get", root, "119", "renamed")).out == "<p>other"
    assert (await run("get", root, "119", "saved", "--at", "1")).out == "<p>"


@pytest.mark.parametrize("name", ["archive-1", "archive-1-before-manifests"])
async def test_an_archive_of_an_earlier_version_can_be_searched(tmp_path, name):
    root = tmp_path / "archive"
    shutil.copytree(ARCHIVES / name, root)
    document = (await run("--json", "find", root, "*")).document
    file = next(file for file in document["files"] if file["sha256"])
    assert (await run("find", root, file["attachment"])).code == 0


def with_id(tracker: MemoryTracker, words: list[str]) -> list[str]:
    """The words, with the attachment id of a file that shares its name with another in place of ID."""
    last = max(int(file.id) for file in tracker.files.values() if file.name == "twice.txt")
    return [str(last) if word == "ID" else word for word in words]


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (["Bug:119", "saved page.html"], b"<p>"),
        (["119", "PAGE"], b"<p>"),
        (["119", "gross"], "Größe\n".encode()),
        (["Bug:12"], b""),
        (["Bug:12", "[draft]"], b""),
        (["Story:12", "ID"], b"second"),
        (["ID"], b"second"),
        (["Story:12", "rep*pdf", "-o", "-"], BIG),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_one_file_goes_to_standard_output(archive, tmp_path, words, content):
    process = await start("get", archive[1], *with_id(archive[0], words))
    out, err = await process.communicate()
    assert (process.returncode, out) == (0, content), err


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["12"], ["[draft]*.txt", "report 50%.pdf", "twice.txt", "twice.txt"]),
        (["Story:12", "twice"], ["twice.txt", "twice.txt"]),
        (["Bug:119", "nothing"], ["Größe.TXT", "saved page.html"]),
    ],
)
async def test_what_is_not_one_file_is_listed_and_nothing_written(archive, tmp_path, words, candidates):
    got = await run("get", archive[1], *words, "-o", tmp_path / "out")
    assert (got.code, got.out) == (2, "")
    ids = {file.id: file.name for file in archive[0].files.values()}
    listed = re.findall(r"^  \w+:\d+ (\d+)  (.*) \(([\d.]+ \w+)(?:, ([\d-]+))?\)$", got.err, re.MULTILINE)
    assert [name for _, name, *_ in listed] == candidates
    assert all(ids[id_] == name for id_, name, *_ in listed)
    facts = {name: (size, date) for _, name, size, date in listed}
    assert facts.get("saved page.html", ("3 B", "2024-01-31")) == ("3 B", "2024-01-31")
    assert facts.get("report 50%.pdf", ("3.0 MB", ""))[0] == "3.0 MB"
    assert not (tmp_path / "out").exists()


async def test_what_find_lists_is_got_by_copy_and_paste(archive, tmp_path):
    tracker, root = archive
    odd = tracker.add("A kind", "it's 7")
    first = tracker.attach(odd, "one.txt", b"the first")
    tracker.attach(odd, first.id, b"a file whose name is the id of another")
    tracker.attach(odd, "a  b.txt", b"two spaces")
    await run_backup(tracker, root)
    found = await run("find", root, "*")
    *lines, total = found.out.splitlines()
    assert total.startswith(f"{len(tracker.files)} files, ")
    for line in lines:
        entity, id_ = shlex.split(line.partition("  ")[0])
        got = await run("get", root, entity, id_, "-o", tmp_path / "got", "--force")
        assert (got.code, (tmp_path / "got").read_bytes()) == (0, tracker.content[id_]), line
    step = next(line for line in found.err.splitlines() if line.startswith("next: "))
    _, program, command, *words = shlex.split(step)
    assert (program, command, words[0], words[-2:]) == ("migrator", "get", str(root), ["-o", "."])
    at = (await run("find", root, "*", "--at", "1")).err
    assert f"next: migrator get {root} Bug:12 " in at
    assert " --at 1 -o ." in at
    assert "next:" not in (await run("find", root, "nowhere")).err


async def test_equal_files_are_one_for_who_wants_the_content(archive):
    tracker, root = archive
    owner = tracker.add("Bug", "77")
    for _ in range(2):
        tracker.attach(owner, "same.txt", b"same")
    await run_backup(tracker, root)
    assert (await run("get", root, "Bug:77")).out == "same"


async def test_an_unknown_entity_is_a_wrong_call(archive):
    got = await run("--json", "get", archive[1], "Bug:4711", "-o", "x")
    assert (got.code, got.document["error"]["code"]) == (2, 2)
    assert "no file of 'Bug:4711'" in got.err


async def test_files_without_an_owner_can_be_taken_out(archive):
    tracker, root = archive
    tracker.attach(NOBODY, "loose.txt", b"loose")
    await run_backup(tracker, root)
    assert (await run("get", root, "Unlinked:", "loose")).out == "loose"
    assert (await run("get", root, "Unlinked")).out == "loose"


async def test_a_file_is_written_whole_dated_and_private(archive, tmp_path):
    out = tmp_path / "page.html"
    got = await run("--json", "get", archive[1], "119", "saved", "-o", out)
    assert (got.document["out"], got.document["file"]["name"]) == (str(out), "saved page.html")
    assert out.read_bytes() == b"<p>"
    assert out.stat().st_mtime == 1706691600
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    (tmp_path / "folder").mkdir()
    assert (await run("get", archive[1], "Bug:12", "-o", tmp_path / "folder")).code == 0
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["[draft]_.txt"]


async def test_an_existing_file_stays_unless_it_is_to_be_replaced(archive, tmp_path):
    out = tmp_path / "out"
    out.write_text("mine")
    got = await run("get", archive[1], "119", "saved", "-o", out)
    assert (got.code, out.read_text()) == (2, "mine")
    assert "--force" in got.err
    assert (await run("get", archive[1], "119", "saved", "-o", out, "--force")).code == 0
    assert out.read_text() == "<p>"
    assert [path.name for path in tmp_path.iterdir() if path.name not in {"archive", "out"}] == []


async def test_nothing_but_a_file_is_ever_replaced(archive, tmp_path):
    root = archive[1]
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "nowhere" / "x")
    for out in (pipe, root / "blobs" / "x", root / "catalog.db", tmp_path / "no folder" / "x", link):
        got = await run("get", root, "119", "saved", "-o", out, "--force")
        assert got.code == 2, got.err
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("to_file", [False, True])
@pytest.mark.parametrize("damage", ["changed", "missing"])
async def test_a_damaged_file_is_never_handed_out(archive, tmp_path, damage, to_file):
    root, out = archive[1], tmp_path / "out"
    blob = next(path for path in root.glob("blobs/*/*") if path.stat().st_size == len(BIG))
    if damage == "missing":
        blob.unlink()
    else:
        overwrite(blob, BIG[:-1] + bytes([BIG[-1] ^ 1]))
    got = await run("get", root, "Story:12", "report", *(["-o", out] if to_file else []))
    assert (got.code, got.out) == (5, "")
    assert blob.name in got.err
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


async def test_a_file_that_is_cut_off_has_no_name(archive, tmp_path, monkeypatch):
    """The disk is full in the middle of the copy."""

    def full(*_: object) -> None:
        partial = next(tmp_path.glob(".migrator-get.*"))
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(finding, "copy_blob", lambda blob, path, partial, *_: (partial.touch(), full()))
    got = await run("get", archive[1], "Story:12", "report", "-o", tmp_path / "out")
    assert got.code == 7
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


async def test_a_content_that_was_replaced_at_the_source_comes_with_a_word(archive):
    tracker, root = archive

    async def refuse(verb: str, about: str) -> None:
        if verb == "download" and about == page.id:
            raise RejectedError("no")

    page = next(file for file in tracker.files.values() if file.name == "saved page.html")
    tracker.content[page.id], tracker.files[page.id] = b"<p>other", replace(page, size=8)
    tracker.on_call = refuse
    await run_backup(tracker, root)
    got = await run("get", root, "119", "saved")
    assert (got.code, got.out) == (0, "<p>")
    assert "has changed at the source" in got.err


async def test_a_reader_that_leaves_early_is_no_error(archive):
    process = await start("get", archive[1], "Story:12", "report")
    await process.stdout.read(10)
    process.stdout._transport.close()
    assert await asyncio.wait_for(process.wait(), 30) == 0, await process.stderr.read()


async def in_a_terminal(*arguments: object) -> tuple[int, bytes]:
    """Exit status, and what a terminal shows."""
    ours, theirs = os.openpty()
    process = await start(*arguments, stdout=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := await asyncio.to_thread(os.read, ours, 10_000):
            shown += chunk
    except OSError:
        pass
    finally:
        os.close(ours)
    return await process.wait(), shown


async def test_a_terminal_gets_text_and_nothing_else(archive):
    tracker, root = archive
    tracker.attach(tracker.add("Bug", "78"), "bell.txt", b"\x1b[2J\x07")
    await run_backup(tracker, root)
    assert await in_a_terminal("get", root, "119", "gross") == (0, "Größe\r\n".encode())
    for words in (["Story:12", "report"], ["Bug:78"]):
        code, shown = await in_a_terminal("get", root, *words)
        assert (code, shown) == (2, b"")


@pytest.mark.parametrize("words", [["--json", "get"], ["get", "--force"]])
async def test_options_that_need_a_file_say_so(archive, words):
    got: Finished = await run(*words, archive[1], "119", "saved")
    assert got.code == 2
    assert "needs -o FILE" in got.err


async def test_a_running_backup_holds_nobody_up(archive):
    tracker, root = archive
    waiting, going_on = asyncio.Event(), asyncio.Event()

    async def wait(verb: str, about: str) -> None:
        waiting.set()
        await going_on.wait()

    tracker.on_call = wait
    backup = asyncio.ensure_future(run_backup(tracker, root))
    await waiting.wait()
    assert (await run("get", root, "119", "saved")).out == "<p>"
    assert await found(root, "saved") == ["saved page.html"]
    going_on.set()
    await backup
