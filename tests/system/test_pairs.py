"""Any source into any target, each file there exactly once, by name, bytes and description.

Trackers lose answers and fail uploads meanwhile. What is there at the end is asked of the target's sandbox, not of its
adapter. With MIGRATOR_SLOW=1 each pair's load is also killed ten times with SIGKILL.
"""

from __future__ import annotations

import asyncio
import csv
import os
import random
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from migrator.config.settings import read_configuration
from migrator.jobs.output import Output
from migrator.jobs.wiring import wire_target
from migrator.model import EntityRef
from migrator.pipeline.load import LoadSettings
from migrator.sandbox import SANDBOXES
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world.model import World
from migrator.trackers import adapter
from tests.support.program import configure, kill, run, start
from tests.system.test_sigkill import look

FOUR = ("issuetrak", "squash", "targetprocess", "teampulse")
PAIRS = [(source, target) for source in FOUR for target in FOUR]
PAIRS += [("redmine", "redmine"), ("redmine", "squash"), ("teampulse", "redmine")]
PAIRS += [("rt", "squash"), ("rt", "trac"), ("trac", "rt"), ("targetprocess", "rt"), ("squash", "trac")]
PAIRS += [("kiwi", "squash"), ("roundup", "kiwi"), ("kiwi", "roundup")]
OPTIONS = {"targetprocess": {"inline_images": "skip"}, "issuetrak": {"created_by": "APIUser"}}
# What carries files in a Squash, and is plenty there; elsewhere everything does.
TAKES = {"squash": "test-cases"}
# What a target refuses of the odd files: by its name, or for the HTML in it.
REFUSES = {"kiwi": {"invoice_\u202egpj.exe", "saved page.html"}}


def worlds() -> tuple[World, World]:
    """A source of sixty odd files, and a target of the same entities without any."""
    world = World.generate(entities=40, attachments=60, median_bytes=800, large_bytes=400_000)
    return world, world.without_attachments()


def mapped(root: Path, target: Sandbox) -> list[tuple[EntityRef, EntityRef]]:
    """Each entity of the archive that has files, and one of the target's for it, in turn."""
    owners = look(
        root / "archive", "SELECT DISTINCT kind, entity_id FROM attachments WHERE status = 'stored' ORDER BY 1, 2"
    )
    kind = TAKES.get(target.tracker)
    ids = [entity.id for entity in target.world.entities if kind in {None, target.kind_of(entity.id)}]
    refs = [EntityRef(target.kind_of(number), str(number)) for number in ids]
    return [(EntityRef(*owner), refs[number % len(refs)]) for number, owner in enumerate(owners)]


def write_mapping(path: Path, pairs: list[tuple[EntityRef, EntityRef]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["source_kind", "source_id", "target_kind", "target_id"])
        rows.writerows((of.kind, of.id, to.kind, to.id) for of, to in pairs)


def assert_there_once(root: Path, target: Sandbox, pairs: list[tuple[EntityRef, EntityRef]], describes: bool) -> int:
    """Names as they were sent, bytes, and descriptions where the target has any; gives the number of files."""
    wanted: dict[str, Counter[tuple[str, str]]] = {}
    texts: dict[str, list[str]] = {}
    into = {(of.kind, of.id): to.id for of, to in pairs}
    for kind, entity, name, sha256, text in look(
        root / "archive",
        "SELECT a.kind, a.entity_id, u.name, a.sha256, a.description "
        "FROM uploads u JOIN attachments a USING (attachment_id) WHERE u.status IN ('uploaded', 'already_there')",
    ):
        wanted.setdefault(into[kind, entity], Counter())[name, sha256] += 1
        texts.setdefault(into[kind, entity], []).append(text)
    for entity in {to.id for _, to in pairs}:
        files = target.state.files_of(int(entity))
        assert Counter((file.name, file.sha256) for file in files) == wanted[entity], entity
        if describes:
            found = [file.description or "" for file in files]
            assert all(any(words.startswith(text) for words in found) for text in texts[entity])
    return sum(counter.total() for counter in wanted.values())


@pytest.mark.parametrize(("source_name", "target_name"), PAIRS)
async def test_any_source_loads_into_any_target_exactly_once(tmp_path, monkeypatch, source_name, target_name):
    from migrator.jobs.commands.backup import run_backup
    from migrator.jobs.commands.load import run_load
    from migrator.jobs.commands.rollback import run_rollback

    monkeypatch.setattr("migrator.pipeline.load.LoadSettings", partial(LoadSettings, look_again=0.02))
    world, empty = worlds()
    faults = Faults(lose_upload_answers=2, fail_uploads=2)
    async with SANDBOXES[source_name](world) as source, SANDBOXES[target_name](empty) as target:
        path = configure(tmp_path, source, target, **sections(source_name, target_name))
        configuration, output, stop = read_configuration(path), Output(), asyncio.Event()
        output.configure(as_json=True, quiet=True, verbose=False)
        backup = (await run_backup(configuration, output, stop)).as_json()
        assert backup["status"] == "complete", backup["failures"]
        pairs = mapped(tmp_path, target)
        write_mapping(tmp_path / "mapping.csv", pairs)
        target.faults = faults
        first = (await run_load(configuration, output, stop)).as_json()
        again = (await run_load(configuration, output, stop)).as_json()
        describes = wire_target(configuration).tracker.capabilities.sets_description
        count = assert_there_once(tmp_path, target, pairs, describes)
        undone = (await run_rollback(configuration, output, stop)).as_json()
        left = sum(len(target.state.files_of(int(to.id))) for to in {to for _, to in pairs})
    deletes = target_name not in {"issuetrak", "rt"}  # their APIs can't
    assert (undone["deletions"]["deleted"], undone["deletions"]["impossible"]) == (
        (count, 0) if deletes else (0, count)
    )
    assert left == (0 if deletes else count), "the target is as it was before"
    assert faults.injected["lose_upload_answers"] == faults.injected["fail_uploads"] == 2
    refused = REFUSES.get(target_name, set())
    assert {failure["name"] for failure in first["failures"]} == refused
    assert first["status"] == ("incomplete" if refused else "complete")
    assert first["uploads"]["planned"] == count + len(refused) == backup["attachments"]["stored"]
    assert (again["uploads"]["uploaded"], again["uploads"]["already_there"]) == (0, count)


@pytest.mark.slow
@pytest.mark.skipif("MIGRATOR_SLOW" not in os.environ, reason="takes minutes: MIGRATOR_SLOW=1 pytest -m slow")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("source_name", "target_name"), PAIRS)
async def test_any_pair_killed_ten_times_ends_exactly_once(tmp_path, source_name, target_name):
    world, empty = worlds()
    rng = random.Random(f"{source_name} {target_name}")
    async with SANDBOXES[source_name](world) as source, SANDBOXES[target_name](empty) as target:
        path = configure(tmp_path, source, target, **sections(source_name, target_name))
        assert (await run("-q", "backup", path)).code == 0
        pairs = mapped(tmp_path, target)
        write_mapping(tmp_path / "mapping.csv", pairs)
        target.faults = Faults(upload_delay_after_accept=0.05)
        kills = 0
        while kills < 10:
            before, process = len(target.state.uploads), await start("-q", "load", path)
            while process.returncode is None and len(target.state.uploads) < before + rng.randrange(1, 6):
                await asyncio.sleep(0.002)
            await asyncio.sleep(rng.uniform(0, 0.08))
            if process.returncode is not None:
                break
            kills += await kill(process)
        target.faults = Faults()
        assert (await run("-q", "load", path)).code == 0
        describes = wire_target(read_configuration(path)).tracker.capabilities.sets_description
        assert assert_there_once(tmp_path, target, pairs, describes) > 20
    assert kills == 10


def sections(source_name: str, target_name: str) -> dict[str, dict[str, object]]:
    """Options that the pair needs."""
    found = {}
    for section, name in (("source__options", source_name), ("target__options", target_name)):
        known = adapter(name).options.__dataclass_fields__
        found[section] = {key: value for key, value in OPTIONS.get(name, {}).items() if key in known}
    return found
