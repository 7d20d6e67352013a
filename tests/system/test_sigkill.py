"""The real program, killed with SIGKILL at random moments: nothing lost, nothing twice, next to nothing again.

The trackers live in this process and outlive the killed ones. Moments are drawn from a seed, which a failure prints:
`SIGKILL_SEED=... pytest tests/system/test_sigkill.py` draws the same again. Fewer of each where `FULL` is not set.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from migrator.pipeline.backup.fetch import MAX_UNRECORDED
from migrator.sandbox.server import Sandbox
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from tests.support.parts import FULL
from tests.support.program import config_of, configure, kill, run, start, until

KILLS = 10 if FULL else 4
FILES = 5_000 if FULL else 2_000
UPLOADS = 400 if FULL else 160
DOWNLOADS = 16
AGAIN = 2 * DOWNLOADS + MAX_UNRECORDED
"""So many files may be fetched again for one kill."""

SEED = int(os.environ.get("SIGKILL_SEED") or random.randrange(10**6))


async def strike(sandbox: Sandbox, done: Callable[[], int], some: int, moment: float, *words: object) -> None:
    """Start the program, let it get so much done, and kill it a moment later."""
    asked, before = sandbox.requests.total(), done()
    process = await start(*words)

    def far_enough() -> bool:
        return process.returncode is not None or (sandbox.requests.total() > asked and done() - before >= some)

    await until(far_enough)
    await asyncio.sleep(moment)
    assert process.returncode is None, "the run was at work when it was killed"
    assert await kill(process), "and died of the signal"


def look(root: Path, statement: str) -> list[tuple]:
    """What the catalog says, without writing to it; nothing if there is none yet."""
    try:
        db = sqlite3.connect(f"file:{root / 'catalog.db'}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return []
    try:
        return db.execute(statement).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error) or "unable to open" in str(error):
            return []
        raise
    finally:
        db.close()


def blobs_on_disk(root: Path) -> set[str]:
    """The names of all blobs; each is what its name says."""
    found = set()
    for path in (root / "blobs").glob("*/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        found.add(path.name)
    return found


@pytest.mark.timeout(300)
async def test_a_backup_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path):
    print(f"SIGKILL_SEED={SEED}")  # noqa: T201 - shown when it fails
    rng = random.Random(SEED)
    world = World.generate(entities=800, seed=7, attachments=FILES, median_bytes=3000, large_bytes=1_000_000)
    files = "SELECT attachment_id, sha256 FROM attachments WHERE status = 'stored'"
    async with TargetprocessSandbox(world) as sandbox:
        options = {"source__options": {"inline_images": "skip"}, "limits": {"downloads": DOWNLOADS}}
        whole = await run("-q", "--json", "backup", configure(tmp_path / "whole", sandbox, **options), within=120)
        assert (whole.code, whole.document["attachments"]["stored"]) == (0, FILES), whole.err
        assert set(sandbox.downloads.values()) == {1}
        sandbox.downloads.clear()

        config, root = configure(tmp_path / "killed", sandbox, **options), tmp_path / "killed" / "archive"
        lost_at = []
        for number in range(KILLS):
            before = Counter(sandbox.downloads)
            some, moment = rng.randrange(FILES // (KILLS + 1)), rng.uniform(0, 0.06)
            await strike(sandbox, sandbox.downloads.total, some, moment, "-q", "backup", config)
            stored = {id_ for (id_, _) in look(root, files)}
            assert len(stored) < FILES, f"kill {number} struck in mid-run"
            lost = {str(id_) for id_ in sandbox.downloads - before} - stored
            assert len(lost) <= AGAIN, f"kill {number}: {len(lost)} files will be fetched again"
            lost_at.append((stored, Counter(sandbox.downloads), len(lost)))

        last = await run("-q", "--json", "backup", config, within=120)
        assert (last.code, last.document["status"]) == (0, "complete"), last.err
        told = [(len(stored), lost) for stored, _, lost in lost_at]
        print("recorded and lost at each kill:", told)  # noqa: T201
        assert any(stored for stored, _, _ in lost_at)
        for stored, then, _ in lost_at:
            again = [id_ for id_ in stored if sandbox.downloads[int(id_)] != then[int(id_)]]
            assert not again, "what was recorded is never fetched again"
        assert sandbox.downloads.total() <= FILES + KILLS * AGAIN
        assert last.document["attachments"]["listed"] == FILES

        truth = {str(file.id): sandbox.state.sha256_of(file) for file in world.attachments}
    assert dict(look(root, files)) == dict(look(tmp_path / "whole" / "archive", files)) == truth
    assert blobs_on_disk(root) == blobs_on_disk(tmp_path / "whole" / "archive") == set(truth.values())
    assert list((root / "incoming").iterdir()) == []
    every = "SELECT kind, entity_id, attachment_id, comment_id, name, size, description FROM attachments ORDER BY 3"
    assert look(root, every) == look(tmp_path / "whole" / "archive", every)
    entities = "SELECT kind, entity_id, title, url, raw FROM entities ORDER BY 1, 2"
    assert look(root, entities) == look(tmp_path / "whole" / "archive", entities)
    verified = await run("-q", "--json", "verify", root)
    assert (verified.code, verified.document["problems"], verified.document["blobs"]) == (
        0,
        [],
        len(set(truth.values())),
    )
    assert {status for (status,) in look(root, "SELECT status FROM runs")} == {"interrupted", "complete"}


@pytest.mark.timeout(300)
async def test_a_load_killed_again_and_again_puts_every_file_there_exactly_once(tmp_path):
    print(f"SIGKILL_SEED={SEED}")  # noqa: T201 - shown when it fails
    rng = random.Random(SEED)
    world = World.generate(entities=100, seed=8, attachments=UPLOADS, median_bytes=3000, large_bytes=1_000_000)
    async with (
        TargetprocessSandbox(world) as source,
        TeamPulseSandbox(world.without_attachments()) as target,
    ):
        config = config_of(tmp_path, source, target)
        root = tmp_path / "archive"
        assert (await run("-q", "backup", config)).code == 0
        target.faults.upload_delay_after_accept = 0.04
        between = 0
        for _ in range(KILLS):
            some, moment = rng.randrange(1, UPLOADS // (KILLS + 3)), rng.uniform(0, 0.1)
            await strike(target, target.state.uploads.__len__, some, moment, "-q", "load", config)
            await asyncio.sleep(0.1)  # the server has taken what it was to take
            between += len(accepted_in_doubt(root, target))
        assert target.faults.injected["upload_delay_after_accept"] >= KILLS
        assert between > 0, "some kill struck between the server's acceptance and our note of it"
        print("accepted by the server and in doubt at a kill:", between)  # noqa: T201
        target.faults.upload_delay_after_accept = 0.0

        last = await run("-q", "--json", "load", config, within=120)
        assert (last.code, last.document["status"]) == (0, "complete"), (last.out, last.err)
        planned = last.document["uploads"]["planned"]
        assert planned == UPLOADS - last.document["uploads"]["unmapped"] == len(mapped(world))
        assert len(target.state.uploads) == planned, "no file is there twice, none is missing"
        for entity in world.entities:
            there = Counter(
                (file.name, file.sha256, file.description or "") for file in target.state.files_of(entity.id)
            )
            assert there == wanted(root, str(entity.id)), entity
        again = await run("-q", "--json", "load", config)
        assert (again.code, again.document["uploads"]["uploaded"]) == (0, 0)
        assert len(target.state.uploads) == planned


def mapped(world: World) -> list[int]:
    """The attachments that belong to an entity."""
    return [file.id for file in world.attachments if world.owner_of(file) is not None]


def accepted_in_doubt(root: Path, target: TeamPulseSandbox) -> list[int]:
    """Uploads that the server has and whose rows stand in doubt, with no id of the server noted."""
    noted = {id_ for (id_,) in look(root, "SELECT remote_id FROM uploads WHERE remote_id IS NOT NULL")}
    open_ = "SELECT target_id, name FROM uploads WHERE status = 'in_doubt' AND remote_id IS NULL"
    doubtful = set(look(root, open_))
    return [
        id_
        for id_, file in target.state.uploads.items()
        if str(id_) not in noted and (str(file.entity_id), file.name) in doubtful
    ]


def wanted(root: Path, entity: str) -> Counter[tuple[str, str, str]]:
    """Name, hash and description of what should be on an entity, by the source's side of the catalog."""
    found: Counter[tuple[str, str, str]] = Counter()
    for name, sent, sha256, description, by, at in look(
        root,
        "SELECT a.name, u.name, a.sha256, description, created_by, created_at FROM attachments a "
        f"JOIN uploads u USING (attachment_id) WHERE entity_id = '{entity}'",
    ):
        illegal = set(name) & set('<>:"/\\|?*') or not name.isprintable() or name[-1] in ". "
        assert illegal or sent == name, "a legal name arrives unchanged"
        assert by
        assert at
        found[sent, sha256, f"{description}\n[first attached by {by} on {at}]".strip()] += 1
    return found
