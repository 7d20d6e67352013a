"""`[nightly] full_every` by the command line, on trackers that are asked for the files of each entity by itself."""

from __future__ import annotations

import asyncio

import pytest

from migrator.sandbox.issuetrak.app import IssuetrakSandbox
from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.world.model import World
from tests.support.attached import attach
from tests.support.parts import rows
from tests.support.program import configure, run

WORLD = World.generate(entities=48, seed=5, attachments=60, median_bytes=500, large_bytes=2000)
DATE_FIELD = "LastModifiedDate"


@pytest.fixture
async def squash():
    async with SquashSandbox(WORLD) as sandbox:
        yield sandbox


@pytest.fixture
async def issuetrak():
    async with IssuetrakSandbox(WORLD, change_date=DATE_FIELD) as sandbox:
        yield sandbox


def nightly_of(folder, sandbox, **options):
    return configure(folder, sandbox, source__options=options, nightly={"full_every": "7 days"})


async def night(config):
    finished = await run("--json", "nightly", config)
    assert finished.code == 0, finished.err
    return finished.document["results"][0]["backup"]


async def test_a_night_leaves_out_issues_that_were_not_changed(tmp_path, issuetrak):
    config = nightly_of(tmp_path, issuetrak, change_date=DATE_FIELD)
    first = await night(config)
    assert "not_asked" not in first
    second = await night(config)
    assert second["not_asked"]["of"] == 48
    assert second["not_asked"]["entities"] > 40
    counts = second["attachments"]
    assert (counts["listed"], counts["unchanged"]) == (first["attachments"]["listed"],) * 2
    attach(issuetrak, WORLD.entities[20].id)
    assert (await night(config))["changes"]["added"] == 1
    said = await run("nightly", config)
    assert " of 48 entities unchanged since, not asked; everything is asked again from 20" in said.out
    plain = (await run("--json", "backup", config)).document
    assert "not_asked" not in plain


async def test_a_night_leaves_out_owners_of_squash_that_have_dates(tmp_path, squash):
    config = nightly_of(tmp_path, squash, change_dates=True)
    await night(config)
    dated = sum(len(squash.tree.kinds[kind]) for kind in ("test-cases", "campaigns"))
    second = await night(config)
    assert 0 < second["not_asked"]["entities"] <= dated + len(squash.tree.kinds["requirement-versions"])
    case = squash.tree.kinds["test-cases"][0]
    attach(squash, case.entity_id)
    assert (await night(config))["changes"]["added"] == 1


async def test_a_tracker_that_does_not_date_a_new_file_is_found_out_in_time(tmp_path, squash):
    config = nightly_of(tmp_path, squash, change_dates=True)
    await night(config)
    squash.state.dates_files = False
    attach(squash, squash.tree.kinds["test-cases"][0].entity_id)
    assert (await night(config))["changes"]["added"] == 0
    config.write_text(config.read_text().replace("7 days", "1 s"))
    await asyncio.sleep(2)  # dates of runs are precise to a second
    assert (await night(config))["changes"]["added"] == 1


async def test_without_the_option_each_night_asks_everything(tmp_path, squash):
    config = nightly_of(tmp_path, squash)
    for _ in range(2):
        assert "not_asked" not in await night(config)
    assert rows(tmp_path / "archive", "SELECT 1 FROM settings WHERE key = 'full_crawl'") == []


async def test_check_says_whether_a_night_can_leave_something_out(tmp_path, squash, issuetrak):
    said = {}
    for name, sandbox, options in (
        ("squash", squash, {}),
        ("dated squash", squash, {"change_dates": True}),
        ("issuetrak", issuetrak, {}),
        ("dated issuetrak", issuetrak, {"change_date": DATE_FIELD}),
    ):
        config = nightly_of(tmp_path / name, sandbox, **options)
        checks = (await run("--json", "check", config)).document["source"]["checks"]
        [said[name]] = [check for check in checks if check["check"] == "full_every"]
    for name in ("squash", "issuetrak"):
        assert said[name]["warning"] is True
        assert "each is asked for its files every night" in said[name]["detail"]
        assert "warning" not in said[f"dated {name}"]
    assert (
        said["dated issuetrak"]["detail"] == "48 of 48 entities on the first pages have the date of their last change"
    )


async def test_check_is_silent_about_dates_where_none_are_needed(tmp_path, squash):
    checks = (await run("--json", "check", configure(tmp_path, squash))).document["source"]["checks"]
    assert "full_every" not in {check["check"] for check in checks}


@pytest.mark.parametrize("value", ["0 s", "-1 days", "weekly"])
async def test_a_full_every_that_is_no_time_is_refused(tmp_path, squash, value):
    config = configure(tmp_path, squash, nightly={"full_every": value})
    refused = await run("nightly", config)
    assert (refused.code, "nightly.full_every" in refused.err) == (2, True), refused.err
