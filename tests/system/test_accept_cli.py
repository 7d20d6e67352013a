"""Accepted failures by the command line, with images that Targetprocess never hands out; and what `status` answers."""

from __future__ import annotations

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from tests.support.program import Finished, configure, run

WORLD = World.generate(entities=20, seed=5, attachments=30, median_bytes=500, large_bytes=2000)


@pytest.fixture
async def source():
    async with TargetprocessSandbox(WORLD) as sandbox:
        yield sandbox


async def status(config) -> tuple[Finished, dict]:
    return await run("status", config), (await run("--json", "status", config)).document


async def test_images_that_nobody_hands_out_fail_no_night_once_accepted(tmp_path, source):
    config = configure(tmp_path, source)
    first = await run("--json", "backup", config)
    images = first.document["failures"]
    assert first.code == 3
    assert {failure["attachment"].partition(":")[0] for failure in images} == {"inline"}
    people, document = await status(config)
    assert people.out.startswith("the backup is not fine: there is no complete one yet; ")
    assert (document["health"]["verdict"], document["health"]["failing"]) == ("bad", len(images))

    accepted = await run("--json", "accept", config, "--all")
    assert (accepted.code, accepted.document["changed"], accepted.document["failures"]) == (0, len(images), [])
    second = await run("--json", "backup", config)
    assert (second.code, second.document["status"], second.document["failures"]) == (0, "complete", [])
    assert [failure["attachment"] for failure in second.document["accepted"]] == [each["attachment"] for each in images]
    assert (await run("--json", "snapshots", config)).document["snapshots"][0]["run"] == second.document["run"]
    people, document = await status(config)
    assert (people.code, document["status"], document["failures"]) == (0, "complete", [])
    assert people.out.startswith("the backup is fine: last complete one ")
    assert f"; nothing fails; {len(images)} failures accepted; never verified\n" in people.out
    assert f"{len(images)} failed, and accepted: " in people.out
    assert f"{len(images)} failed, and accepted: " in (await run("backup", config)).out


async def test_what_is_accepted_is_listed_and_taken_back(tmp_path, source):
    config = configure(tmp_path, source)
    images = (await run("--json", "backup", config)).document["failures"]
    one, owner = images[0], images[1]
    done = await run("accept", config, "--attachment", one["attachment"], "--entity", f"Bug:{owner['entity']}")
    if owner["kind"] != "Bug":
        assert (done.code, "nothing fails for entity Bug" in done.err) == (2, True)
        done = await run(
            "accept", config, "--attachment", one["attachment"], "--entity", f"{owner['kind']}:{owner['entity']}"
        )
    assert (done.code, done.out.splitlines()[:2]) == (
        0,
        ["2 failures changed", f"failures: {len(images) - 2} that count, 2 accepted"],
    )
    listed = (await run("--json", "accept", config, "--list")).document
    assert (listed["changed"], len(listed["accepted"]), len(listed["failures"])) == (0, 2, len(images) - 2)
    undone = (await run("--json", "accept", config, "--undo", "--all")).document
    assert (undone["changed"], undone["accepted"]) == (2, [])
    assert (await run("backup", config)).code == 3


@pytest.mark.parametrize("options", [(), ("--list", "--all"), ("--undo",), ("--list", "--undo")])
async def test_without_a_choice_nothing_is_accepted(tmp_path, source, options):
    config = configure(tmp_path, source)
    await run("backup", config)
    refused = await run("accept", config, *options)
    assert (refused.code, "say what to accept" in refused.err) == (2, True)
