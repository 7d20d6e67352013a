"""The whole way with a real Kiwi TCMS at both ends, and into one with files that Kiwi alters or refuses.

The programs run as a user runs them; what the server has is read without the adapter. Run it with
`.ci/with-tracker kiwi`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from migrator.trackers.kiwi.client import MAX_NAME_CHARACTERS
from tests.support.program import Finished, catalog, kill, run_process, start, until
from tests.support.real_kiwi import PASSWORD, URL, USER, Kiwi
from tests.trackers.fake_redmine import KEY, FakeRedmine

pytestmark = [
    pytest.mark.kiwi,
    pytest.mark.skipif(not URL, reason="MIGRATOR_KIWI_URL is not set"),
    pytest.mark.timeout(400),
]

T = TypeVar("T")
Ref = tuple[str, str]
Files = dict[Ref, Counter[tuple[str, str]]]
"""For each test case or plan, the names and hashes of its files."""

MIB = 1024 * 1024
ENV = {"TEST_PASSWORD": PASSWORD, "TEST_KEY": KEY}
ODD = {
    "Prüfbericht_Übersicht.txt": "Grüße".encode(),
    "a b & c.txt": b"blanks",
    "folder/inside.txt": b"a slash",
    "議事録.pdf": b"%PDF-",
    "flask 🧪.png": b"no picture",
    "latin1.txt": "Grüße".encode("latin-1"),
    "utf16.txt": "text".encode("utf-16"),
    "crlf.txt": b"one\r\ntwo\r\n",
    "nul.log": b"a\0b\n",
    "unpacked.gz": bytes.fromhex("1f8b0800000000000003") + b"no real gzip",
    "error.json": b'{"jsonrpc": "2.0", "error": {"code": -32603, "message": "no"}}',
    ".hidden": b"h",
    "L" * 80 + ".bin": b"a long name",
}
"""Names and contents that Kiwi takes; it alters some of the names."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def random_bytes(size: int, seed: int) -> bytes:
    """Random bytes without `<`, which Kiwi would take for a tag now and then."""
    return random.Random(seed).randbytes(size).replace(b"<", b".")


def with_kiwi(work: Callable[[Kiwi], Awaitable[T]]) -> T:
    """Some work at the server, in a product of its own."""

    async def session() -> T:
        async with Kiwi() as kiwi:
            await kiwi.product()
            return await work(kiwi)

    return asyncio.run(session())


async def owners(kiwi: Kiwi) -> list[Ref]:
    cases = [("TestCase", await kiwi.case(f"Case {n} – <b>äöü</b> & so on")) for n in range(26)]
    return cases + [("TestPlan", await kiwi.plan(f"Plan {n}")) for n in range(4)]


async def files_of(kiwi: Kiwi, refs: list[Ref]) -> Files:
    return {ref: Counter((name, digest(content)) for _, name, content in await kiwi.listed(*ref)) for ref in refs}


async def seed(kiwi: Kiwi) -> tuple[str, list[Ref], Files]:
    """A product whose first test case has the odd files, and the second 2 MiB, which only the form takes."""
    refs = await owners(kiwi)
    for name, content in ODD.items():
        await kiwi.attach_by_form(refs[0][1], name, content)
    await kiwi.attach_by_form(refs[1][1], "large.bin", random_bytes(2 * MIB, 1))
    for number, ref in enumerate(refs[2:]):
        for copy in range(number % 4):
            await kiwi.attach(*ref, "same.txt", b"%d-%d" % (number, copy // 2))
        await kiwi.attach(*ref, f"{number}.bin", random_bytes(5000 * number, number))
    return (await kiwi.product())["name"], refs, await files_of(kiwi, refs)


def configured(folder: Path, source: str) -> Path:
    """A configuration as a user writes it; `source` is what its section says."""
    auth = f'username = "{USER}"\npassword = {{ env = "TEST_PASSWORD" }}\n'
    target = f'[target]\ntracker = "kiwi"\nurl = "{URL}"\n[target.auth]\n{auth}'
    path = folder / "kiwi.toml"
    path.write_text(f'archive = "archive"\n{source}\n{target}[mapping]\nfile = "mapping.csv"\n')
    return path


def assert_same(there: Files, wanted: Files) -> None:
    """The same contents under the same names, but for names that are too long there: Kiwi cuts and ends them anew."""
    assert there.keys() == wanted.keys()
    for ref in wanted:
        found, sent = (sorted(files[ref].elements(), key=lambda file: file[::-1]) for files in (there, wanted))
        assert [sha256 for _, sha256 in found] == [sha256 for _, sha256 in sent], ref
        limit = MAX_NAME_CHARACTERS + 1 - len(ref[1])
        for (name, _), (original, _) in zip(found, sent, strict=True):
            begins_and_ends = (original[: limit // 2], Path(original).suffix)
            assert name == original or (
                len(name) <= limit < len(original) and (name[: limit // 2], Path(name).suffix) == begins_and_ends
            ), (ref, name, original)


def map_to(config: Path, pairs: dict[Ref, Ref]) -> None:
    rows = [",".join((*one, *other)) + "\n" for one, other in pairs.items()]
    (config.parent / "mapping.csv").write_text("source_kind,source_id,target_kind,target_id\n" + "".join(rows))


def document(finished: Finished, status: int = 0) -> dict[str, Any]:
    assert finished.code == status, finished.out + finished.err
    assert PASSWORD not in finished.out + finished.err
    return finished.document


def migrator(*words: object, status: int = 0) -> dict[str, Any]:
    return document(asyncio.run(run_process("--json", *words, within=200, env=ENV)), status)


@dataclass(frozen=True)
class Case:
    config: Path
    refs: list[Ref]
    truth: Files
    summary: dict[str, Any]

    @property
    def archive(self) -> Path:
        return self.config.parent / "archive"

    def wanted(self, pairs: dict[Ref, Ref]) -> Files:
        """What has to be on each target entity: all files but the one of 2 MiB."""
        large = Counter([("large.bin", digest(random_bytes(2 * MIB, 1)))])
        return {other: self.truth[one] - large for one, other in pairs.items()}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    product, refs, truth = with_kiwi(seed)
    auth = f'[source.auth]\nusername = "{USER}"\npassword = {{ env = "TEST_PASSWORD" }}'
    source = f'[source]\ntracker = "kiwi"\nurl = "{URL}"\n{auth}\n[source.options]\nproduct = {json.dumps(product)}'
    config = configured(tmp_path_factory.mktemp("kiwi"), source)
    return Case(config, refs, truth, migrator("backup", config))


def loaded_into(case: Case) -> tuple[dict[Ref, Ref], Callable[[], Files]]:
    """A product with an entity for each, mapped; and what is on them now."""
    targets = with_kiwi(owners)
    pairs = dict(zip(case.refs, targets, strict=True))
    map_to(case.config, pairs)
    return pairs, lambda: with_kiwi(lambda kiwi: files_of(kiwi, targets))


def test_backup_holds_every_byte_that_kiwi_gives_and_a_second_none(case):
    held: Files = {ref: Counter() for ref in case.refs}
    for kind, number, name, sha256 in catalog(case.archive, "SELECT kind, entity_id, name, sha256 FROM attachments"):
        assert digest((case.archive / "blobs" / sha256[:2] / sha256).read_bytes()) == sha256
        held[kind, number][name, sha256] += 1
    assert held == case.truth
    assert sum(map(len, held.values())) > 70
    assert case.summary["status"] == "complete"
    again = migrator("backup", case.config)
    assert (again["bytes"], again["attachments"]["stored"]) == (0, 0)


def test_load_puts_every_file_there_once_and_rollback_takes_it_back(case):
    pairs, there = loaded_into(case)
    loaded = migrator("load", case.config, status=3)
    [failure] = loaded["failures"]
    assert (failure["name"], loaded["uploads"]["failed"]) == ("large.bin", 1)
    assert "too large: 2,097,152 bytes" in failure["reason"]
    before = there()
    assert_same(before, case.wanted(pairs))
    again = migrator("load", case.config, status=3)
    assert (again["bytes"], again["uploads"]["uploaded"]) == (0, 0)
    assert there() == before
    undone = migrator("rollback", case.config, "--yes")
    assert undone["deletions"]["deleted"] == loaded["uploads"]["uploaded"] > 70
    assert not any(there().values())


def test_load_killed_twice_puts_every_file_there_exactly_once(case):
    pairs, there = loaded_into(case)

    def uploaded() -> int:
        with suppress(Exception):
            return catalog(case.archive, "SELECT COUNT(*) FROM uploads WHERE status = 'uploaded'")[0][0]
        return 0

    async def killed_at(count: int) -> None:
        process = await start("--json", "load", case.config, env=ENV)
        await until(lambda: uploaded() >= count or process.returncode is not None, within=60)
        assert await kill(process)

    for count in (10, 40):
        asyncio.run(killed_at(count))
    summary = migrator("load", case.config, status=3)
    assert summary["uploads"]["failed"] == 1, "the large one"
    assert_same(there(), case.wanted(pairs))


# --- from elsewhere

REFUSED = {
    "empty.bin": b"",
    "page.html": b"<!doctype html><HTML><p>a page</p>",
    "drawing.svg": b"<svg onload='x'>",
    "setup.exe": b"MZ",
    "chance.bin": random_bytes(100_000, 3) + b"<rT" + random_bytes(100_000, 4),
    "large.bin": bytes(2 * MIB),
}
"""What Kiwi refuses, each for another reason."""
TAKEN = {**ODD, 'it\'s "quoted".txt': b"quotes", "percent%41.txt": b"percent", "..": b"dots", "almost <r": b"a <r t"}


async def test_a_dry_run_names_what_kiwi_refuses_and_nothing_else_fails(tmp_path):
    async with FakeRedmine().running() as redmine, Kiwi() as kiwi:
        issue = redmine.issue("odd files")
        for name, content in {**TAKEN, **REFUSED}.items():
            redmine.file(issue, "x", content).filename = name
        twins = redmine.issue("twins")
        for content in (b"one", b"two", b"two"):
            redmine.file(twins, "same.txt", content)
        target, other = [("TestCase", await kiwi.case(f"odd files {n}")) for n in range(2)]
        source = (
            f'[source]\ntracker = "redmine"\nurl = "{redmine.url}"\n[source.auth]\napi_key = {{ env = "TEST_KEY" }}'
        )
        config = configured(tmp_path, f"{source}\n[source.options]\nalso = []")
        document(await run_process("--json", "backup", config, env=ENV))
        map_to(config, {("Issue", str(issue)): target, ("Issue", str(twins)): other})
        rehearsed = document(await run_process("--json", "load", "--dry-run", config, env=ENV), 3)
        assert {failure["name"] for failure in rehearsed["failures"]} == REFUSED.keys()
        named = {row["name"]: row["name_at_target"] for row in rehearsed["rehearsal"] if row["what"] == "upload"}
        loaded = document(await run_process("--json", "load", config, env=ENV), 3)
        assert {failure["name"] for failure in loaded["failures"]} == REFUSED.keys()
        altered = {(row["target_id"], row["how"]["name"]["found"]): row["name"] for row in loaded["altered"]}
        there = [(name, digest(content)) for _, name, content in await kiwi.listed(*target)]
        original = {named[name] or name: name for name in TAKEN}
        assert Counter((altered.get((target[1], name)) or original[name], sha256) for name, sha256 in there) == Counter(
            (name, digest(content)) for name, content in TAKEN.items()
        )
        assert named["a b & c.txt"] == "a_b___c.txt"
        twins_there = await kiwi.listed(*other)
        assert sorted(content for _, _, content in twins_there) == [b"one", b"two", b"two"]
        assert sum(name != "same.txt" and altered[other[1], name] == "same.txt" for _, name, _ in twins_there) == 2
        checked = document(await run_process("--json", "check", config, env=ENV))
        said = " ".join(check["detail"] for check in checked["target"]["checks"])
        assert all(word in said for word in ("empty files", ".exe", "<html", "1965312 bytes"))
