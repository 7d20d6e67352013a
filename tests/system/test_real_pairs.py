"""Each of five real trackers loaded into each of the others: twenty pairs, byte for byte.

The programs run as a user runs them; what the servers have is read without the adapters. Run it with
`.ci/with-trackers`, or with servers that misbehave: `.ci/with-trackers --faulty`. At the end there is a table.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.program import catalog, kill, run_process, start, until
from tests.support.real_redmine import Sent, digest
from tests.support.real_servers import CUT, REACHABLE, SECRETS, SERVERS, Place, Truth, refusal, url_and_auth

pytestmark = [
    pytest.mark.pairs,
    pytest.mark.skipif(not REACHABLE, reason="not all of the five servers are named, see .ci/with-trackers"),
    pytest.mark.timeout(400),
]

T = TypeVar("T")
PAIRS = [(source, target) for source in SERVERS for target in SERVERS if source != target]
CREATED = 2
"""The last entities have no row in the mapping: a load creates them."""
KILLED_AFTER = 5
"""Uploads after which a load is killed."""
NAMES = [
    "Prüfbericht – Übersicht № 7.txt",
    "flask 🧪 and family 👩‍👩‍👧.png",
    "folder/inside.txt",
    "back\\slash.txt",
    'it\'s "quoted".txt',
    "<b>bold</b> & so on?.txt",
    "percent%41%2F.txt",
    ".hidden",
    "..",
    "setup.exe",
    "L" * 120 + ".bin",
]
CONTENTS = [
    Sent("empty.bin", b""),
    Sent("page.html", b"<!doctype html><title>t</title><script>1</script>\n", "", "text/html"),
    Sent("not found.json", b'{"error": {"status": 404, "msg": "not found"}}', "", "application/json"),
    Sent("latin1.txt", "Grüße".encode("latin-1"), "", "text/plain"),
    Sent("utf16.csv", "Grüße".encode("utf-16"), "", "text/csv"),
    Sent("crlf.txt", b"one\r\ntwo\r\n", "", "text/plain"),
    Sent("nul.log", b"a\0b\n", "", "text/plain"),
    Sent("same.txt", b"one", "", "text/plain"),
    Sent("same.txt", b"two", "", "text/plain"),
    Sent("same.txt", b"two", "", "text/plain"),
]
FILES = [
    [Sent(name, f"content of {name[:20]}".replace("<", "").encode(), "", "text/plain") for name in NAMES],
    CONTENTS,
    [Sent("random.bin", random.Random(7).randbytes(300_000).replace(b"<", b"."))],
    [],
    [Sent("later.txt", b"an entity that a load creates", "", "text/plain"), Sent("empty.txt", b"")],
    [Sent(f"{number}.bin", random.Random(number).randbytes(2_000).replace(b"<", b".")) for number in range(6)],
]
"""For each entity of a source, its files."""


async def at(name: str, work: Callable[[Any], Awaitable[T]]) -> T:
    """Some work at a server."""
    async with SERVERS[name]() as server:
        return await work(server)


async def truths_of(server: Any, entities: Iterable[str]) -> dict[str, Counter[Truth]]:
    return {entity: Counter(await server.files_on(entity)) for entity in entities}


async def migrator(*words: object, statuses: Iterable[int] = (0,)) -> dict[str, Any]:
    """Run the program to its end, and give the one document it prints."""
    finished = await run_process("--json", *words, env=SECRETS, within=300)
    assert finished.code in statuses, finished.out + finished.err
    assert not any(secret in finished.out + finished.err for secret in SECRETS.values())
    return finished.document


def configured(path: Path, source: tuple[str, Place], target: tuple[str, Place], limits: str = "") -> Path:
    """A configuration as a user writes it."""
    lines = ['archive = "archive"']
    for section, (name, place) in (("source", source), ("target", target)):
        url, auth = url_and_auth(name)
        lines += [f"[{section}]", f'tracker = "{name}"', f'url = "{url}"', auth]
        options = place.source if section == "source" else place.target
        lines += [f"options.{key} = {json.dumps(value)}" for key, value in options.items()]
    path.write_text("\n".join([*lines, "[mapping]", "create_missing = true", "[limits]", limits]) + "\n")
    return path


@dataclass(frozen=True)
class Origin:
    """A seeded server and the archive of a backup of it.

    `word` is in the titles of its entities, and `truths` is what each of them has, in order.
    """

    name: str
    word: str
    place: Place
    truths: dict[str, Counter[Truth]]
    archive: Path

    def files(self) -> dict[str, tuple[str, str, str]]:
        """For each file in the archive its entity, name and hash."""
        statement = "SELECT attachment_id, entity_id, name, sha256 FROM attachments WHERE status = 'stored'"
        return {
            attachment: (entity, name, sha256) for attachment, entity, name, sha256 in catalog(self.archive, statement)
        }

    def content(self, sha256: str) -> bytes:
        return (self.archive / "blobs" / sha256[:2] / sha256).read_bytes()


async def seeded(server: Any, word: str, each: list[list[Sent]]) -> tuple[Place, dict[str, Counter[Truth]]]:
    """Make a place with an entity for each list of files; gives what the server then hands out."""
    place = await server.place()
    entities = [await server.entity(place, f"entity {number} of {word}") for number in range(len(each))]
    for entity, files in zip(entities, each, strict=True):
        await server.fill(entity, files)
    return place, await truths_of(server, entities)


async def backed_up(name: str, folder: Path) -> Origin:
    word = f"source{secrets.token_hex(4)}"
    place, truths = await at(name, lambda server: seeded(server, word, FILES))
    config = configured(folder / "backup.toml", (name, place), (name, place))
    only = [] if place.id else [word for entity in truths for word in ("--entity", entity)]
    summary = await migrator("backup", config, *only)
    assert summary["status"] == "complete"
    return Origin(name, word, place, truths, folder / "archive")


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Origin]:
    """Gives the origin of a name, made when it is first asked for."""
    made: dict[str, Origin] = {}

    def origin(name: str) -> Origin:
        if name not in made:
            made[name] = asyncio.run(backed_up(name, tmp_path_factory.mktemp(name)))
        return made[name]

    return origin


@pytest.mark.parametrize("name", SERVERS)
def test_backup_holds_every_byte_of_odd_files_as_the_server_gives_them(origins, name):
    origin = origins(name)
    held: dict[str, Counter[Truth]] = {entity: Counter() for entity in origin.truths}
    for entity, file, sha256 in origin.files().values():
        content = origin.content(sha256)
        assert digest(content) == sha256
        held[entity][file, len(content), sha256] += 1
    assert held == origin.truths
    assert sum(map(Counter.total, held.values())) > 15


@dataclass(frozen=True)
class Load:
    """A load of an origin into another server: its archive, and where each entity went."""

    origin: Origin
    target: str
    place: Place
    config: Path
    mapped: Mapping[str, str]

    @property
    def archive(self) -> Path:
        return self.config.parent / "archive"

    def uploads(self) -> dict[str, tuple[str, str, str]]:
        """For each file that the catalog says is there: the entity it is on, its name there, and what was altered."""
        statement = (
            "SELECT attachment_id, target_id, name, altered FROM uploads WHERE status IN ('uploaded', 'already_there')"
        )
        return {
            attachment: (entity, name, altered)
            for attachment, entity, name, altered in catalog(self.archive, statement)
        }

    def refusals(self) -> dict[str, str]:
        """A word of the reason for each file that the target has to refuse."""
        found = {}
        for attachment, (_, name, sha256) in self.origin.files().items():
            if word := refusal(self.target, Sent(name, self.origin.content(sha256))):
                found[attachment] = word
        return found

    async def at_server(self) -> tuple[int, dict[str, Counter[Truth]]]:
        """How many entities the load created, and the files of those that files went to."""
        entities = {*self.mapped.values(), *(entity for entity, _, _ in self.uploads().values())}

        async def look(server: Any) -> tuple[int, dict[str, Counter[Truth]]]:
            return await server.named(self.origin.word), await truths_of(server, sorted(entities))

        return await at(self.target, look)


async def prepared(origin: Origin, target: str, folder: Path) -> Load:
    """Copy the archive, make the target's entities, and map all but the last to them."""
    rows = [*origin.truths][:-CREATED]

    async def work(server: Any) -> tuple[Place, list[str]]:
        place = await server.place()
        return place, [await server.entity(place, f"entity {number} of a target") for number in range(len(rows))]

    place, entities = await at(target, work)
    shutil.copytree(origin.archive, folder / "archive")
    mapped, kinds = dict(zip(rows, entities, strict=True)), (SERVERS[origin.name].kind, SERVERS[target].kind)
    lines = [f"{kinds[0]},{one},{kinds[1]},{other}\n" for one, other in mapped.items()]
    (folder / "mapping.csv").write_text("source_kind,source_id,target_kind,target_id\n" + "".join(lines))
    config = configured(folder / "pair.toml", (origin.name, origin.place), (target, place))
    return Load(origin, target, place, config, mapped)


async def killed(load: Load) -> int:
    """Kill a load that is under way, and give how many uploads it had recorded."""
    sides = (load.origin.name, load.origin.place), (load.target, load.place)
    slow = configured(load.config.with_name("slow.toml"), *sides, "requests_per_second = 12")
    process = await start("--json", "load", slow, env=SECRETS)
    await until(lambda: len(load.uploads()) >= KILLED_AFTER or process.returncode is not None, within=120)
    assert await kill(process)
    return len(load.uploads())


def assert_true(load: Load, reasons: Mapping[str, str], there: Mapping[str, Counter[Truth]]) -> None:
    """What the catalog says of the files is what the server has, and each refusal is one of this server."""
    files, uploads, refused = load.origin.files(), load.uploads(), load.refusals()
    assert reasons.keys() == refused.keys()
    assert all(word in reasons[attachment] for attachment, word in refused.items()), reasons
    assert uploads.keys() == files.keys() - reasons.keys()
    went_to = {files[attachment][0]: entity for attachment, (entity, _, _) in uploads.items()}
    assert all(load.mapped.get(one, other) == other for one, other in went_to.items())
    wanted: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for attachment, (_, name, _) in uploads.items():
        wanted[went_to[files[attachment][0]]][name, files[attachment][2]] += 1
    for entity, truths in there.items():
        found = Counter((name, sha256) for name, _, sha256 in truths.elements())
        assert not wanted[entity] - found
        # Request Tracker keeps what it has cut, and nothing can be deleted there.
        assert {name for name, _ in found - wanted[entity]} <= {
            files[attachment][1] for attachment, word in refused.items() if word == CUT
        }


def row_of(load: Load, *, refused: int, at_kill: int) -> dict[str, object]:
    """What became of a pair, for the table."""
    files, uploads = load.origin.files(), load.uploads()
    return {
        "source": load.origin.name,
        "target": load.target,
        "files": len(files),
        "exact": len(uploads),
        "renamed": sum(name != files[attachment][1] for attachment, (_, name, _) in uploads.items()),
        "by server": sum(json.loads(altered or "{}").keys() == {"name"} for _, _, altered in uploads.values()),
        "refused": refused,
        "at kill": at_kill,
    }


async def outcome(origin: Origin, target: str, folder: Path) -> dict[str, object]:
    """Load into one target, killed once, and once more; what the catalog says is held against the server."""
    load = await prepared(origin, target, folder)
    at_kill = await killed(load)
    summary = await migrator("load", load.config, statuses=(0, 3))
    reasons = {row["attachment"]: row["reason"] for row in summary["failures"]}
    there = await load.at_server()
    assert there[0] == CREATED
    assert_true(load, reasons, there[1])
    again = await migrator("load", load.config, statuses=(0, 3))
    assert (again["uploads"]["uploaded"], again["bytes"]) == (0, 0)
    assert again["uploads"]["failed"] == len(reasons)
    assert await load.at_server() == there
    return row_of(load, refused=len(reasons), at_kill=at_kill)


@pytest.fixture(scope="module")
def outcomes(origins, tmp_path_factory) -> Callable[[str], dict[str, Any]]:
    """Gives what became of a source in each target, loaded into all of them at once when it is first asked for."""
    known: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        if name not in known:
            origin, targets = origins(name), [target for source, target in PAIRS if source == name]
            folders = [tmp_path_factory.mktemp(f"{name}-{target}") for target in targets]
            known[name] = dict(zip(targets, asyncio.run(together(origin, targets, folders)), strict=True))
        return known[name]

    return of


async def together(origin: Origin, targets: list[str], folders: list[Path]) -> list[Any]:
    loads = [outcome(origin, target, folder) for target, folder in zip(targets, folders, strict=True)]
    return await asyncio.gather(*loads, return_exceptions=True)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_pair_of_real_trackers_ends_byte_exact_or_says_why_not(outcomes, record_property, source, target):
    row = outcomes(source)[target]
    if isinstance(row, BaseException):
        raise row
    record_property("pair", row)
