"""Rechecks by the command line: content that changed at equal size and date, on a tracker that shows it nowhere."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.world.model import World
from tests.support.parts import rows
from tests.support.program import configure, run

WORLD = World.generate(entities=15, seed=5, attachments=30, median_bytes=500, large_bytes=2000)
OWNED = [file for file in WORLD.attachments if WORLD.owner_of(file) is not None]


@pytest.fixture
async def source():
    async with SquashSandbox(WORLD) as sandbox:
        yield sandbox


def alter(source: SquashSandbox) -> tuple[str, str]:
    """Give a file other content of equal size, name and date; its id and its hash now."""
    world = source.state.world
    file = next(file for file in world.attachments if file.size > 50)
    altered = replace(file, content_seed=file.content_seed + 10**6)
    files = tuple(altered if other.id == file.id else other for other in world.attachments)
    source.state.world = replace(world, attachments=files)
    assert world.content(altered) != world.content(file)
    return str(file.id), hashlib.sha256(world.content(altered)).hexdigest()


async def test_a_full_backup_finds_what_a_plain_one_can_not(tmp_path, source):
    config = configure(tmp_path, source)
    assert (await run("backup", config)).code == 0
    id_, sha256 = alter(source)
    plain = (await run("--json", "backup", config)).document
    assert (plain["changes"]["replaced"], "rechecked" in plain) == (0, False)
    done = (await run("--json", "backup", config, "--full")).document
    assert done["status"] == "complete"
    assert (done["rechecked"], done["changes"]["replaced"]) == ({"files": len(OWNED), "replaced": 1, "failed": 0}, 1)
    query = f"SELECT sha256 FROM attachments WHERE attachment_id = '{id_}'"
    assert rows(tmp_path / "archive", query) == [(sha256,)]
    compared = (await run("--json", "diff", config)).document
    assert [(row["change"], row["attachment"]) for row in compared["changes"]] == [("replaced", id_)]
    before = tmp_path / "before"
    assert (await run("export", config, before, "--format", "tree", "--at", "1")).code == 0
    assert (await run("verify", config)).code == 0


async def test_a_share_of_the_files_is_fetched_again_in_each_run(tmp_path, source):
    config = configure(tmp_path, source)
    assert (await run("backup", config)).code == 0
    alter(source)
    runs = [(await run("--json", "backup", config, "--recheck", "25%")).document for _ in range(4)]
    counts = [document["rechecked"] for document in runs]
    assert sum(count["files"] for count in counts) >= len(OWNED)
    assert sum(count["replaced"] for count in counts) == 1
    people = await run("backup", config, "--recheck", "25%")
    assert "fetched again and compared: " in people.out
    assert " had other content, 0 failed" in people.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--full", "--recheck", "1%"), "--full rechecks every file"),
        (("--recheck", "1"), "not a share"),
        (("--recheck", "0%"), "not a share"),
    ],
)
async def test_a_recheck_that_makes_no_sense_is_refused(tmp_path, source, options, said):
    refused = await run("backup", configure(tmp_path, source), *options)
    assert (refused.code, said in refused.err) == (2, True), refused.err
    assert not (tmp_path / "archive").exists()
