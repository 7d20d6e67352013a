"""`migrator check --thorough` with the real program, at each embedded tracker and at some that are odd."""

from __future__ import annotations

import json

import pytest

from migrator.sandbox import SANDBOXES
from tests.support.fetch_workers import world_of
from tests.support.parts import FULL
from tests.support.program import configure, ended, run, start

TARGETS = {"targetprocess": "UserStory:101", "teampulse": "Story:101", "issuetrak": "101", "squash": "projects:101"}
TARGETS |= {"rt": "101", "trac": "101"}


def states(side: dict) -> dict[str, str]:
    """How each check of a side came out."""
    return {
        check["check"]: "FAIL" if not check["ok"] else "warn" if check.get("warning") else "ok"
        for check in side["checks"]
    }


@pytest.mark.parametrize("name", sorted(TARGETS) if FULL else ["issuetrak", "trac"])
async def test_each_embedded_tracker_is_what_a_backup_and_a_load_rely_on(tmp_path, name):
    world = world_of(30)
    async with SANDBOXES[name](world) as source, SANDBOXES[name](world) as target:
        config = configure(tmp_path, source, target)
        if name == "issuetrak":
            config.write_text(
                config.read_text().replace("[target.auth]", '[target.options]\ncreated_by = "APIUser"\n[target.auth]')
            )
        before = [file.id for file in target.state.attachments()]
        words = ["check", "--thorough", "--entity", TARGETS[name], "--report", tmp_path / "report.json", config]
        finished = await ended(await start("--json", *map(str, words)))
        assert finished.code == 0, finished.document
        found = states(finished.document["target"])
        assert {found[probe] for probe in ("contents", "two of one name", "largest file")} == {"ok"}
        found = states(finished.document["source"])
        assert {found[probe] for probe in ("listings read again", "files side by side", "wrong credentials")} == {"ok"}
        if name not in {"issuetrak", "rt"}:  # their APIs can't delete files
            assert [file.id for file in target.state.attachments()] == before
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["target"]["checks"][-1]["check"] == "deleting"
    assert "System" not in json.dumps(report)


async def test_files_that_a_tracker_never_delivers_are_found(tmp_path):
    async with SANDBOXES["teampulse"](world_of(5)) as source:
        source.faults.broken.update(file.id for file in source.state.attachments()[:2])
        finished = await ended(await start("--json", "check", "--thorough", str(configure(tmp_path, source))))
        assert source.faults.injected["broken"]
    (found,) = [check for check in finished.document["source"]["checks"] if check["check"] == "sizes and bytes"]
    assert found["warning"]
    assert found["facts"] == {"files": 5, "failed": 2, "differ": 0, "sizes_listed": 5}
    assert "2 of 5 files can't be had" in found["detail"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--entity", "Story:1"], "--entity, --report and --record need --thorough"),
        (["--thorough", "--entity", "Story:1"], "--entity names an entity of [target], and the configuration has none"),
        (["--thorough", "--report", "{config}"], "already exists"),
        (["--thorough", "--record", "{config}"], "already exists"),
        (["--record", "new"], "--entity, --report and --record need --thorough"),
    ],
)
async def test_options_that_make_no_sense_are_status_2(tmp_path, words, reason):
    async with SANDBOXES["teampulse"](world_of(3)) as source:
        config = configure(tmp_path, source)
        finished = await run("check", *[word.format(config=config) for word in words], str(config))
    assert finished.code == 2
    assert reason in " ".join(finished.err.split())
