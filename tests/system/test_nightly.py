"""`migrator nightly`: one command for each night of several configurations, whatever happens to some of them."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from migrator.jobs.nightly.severity import WORST_FIRST, status_of, worst
from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from migrator.store import ArchiveLock
from tests.support.parts import overwrite, rows
from tests.support.program import configure, ended, run, start, until

WORLD = World.generate(entities=15, seed=5, attachments=30, median_bytes=500, large_bytes=2000)
FILES = sum(WORLD.owner_of(file) is not None for file in WORLD.attachments)


@pytest.fixture
async def source():
    async with SquashSandbox(WORLD) as sandbox:
        yield sandbox


@pytest.fixture
async def other():
    async with TeamPulseSandbox(WORLD) as sandbox:
        yield sandbox


def fail_for_ever(source, count: int = 1) -> None:
    """These files can't be had."""
    source.faults.broken |= {file.id for file in list(source.state.attachments())[:count]}


async def one_night(*configs: Path, options: tuple[str, ...] = ()):
    finished = await run("--json", "nightly", *options, *configs)
    return finished, finished.document


def blobs(folder: Path) -> list[Path]:
    return sorted((folder / "archive" / "blobs").glob("*/*"))


async def test_a_night_backs_up_verifies_prunes_and_reports(tmp_path, source):
    nightly = {"verify": "50%", "report": "out.html"}
    config = configure(tmp_path, source, nightly=nightly, retention={"keep_last": 1})
    finished, document = await one_night(config)
    assert finished.code == 0, finished.err
    assert (document["command"], document["status"]) == ("nightly", "complete")
    [night] = document["results"]
    assert (night["config"], night["status"], night["notified"]) == (str(config), "complete", [])
    assert night["backup"]["attachments"]["stored"] == FILES
    assert 0 < night["verify"]["blobs"] < night["verify"]["of"]
    assert night["report"]["out"] == str(tmp_path / "out.html")
    assert (tmp_path / "out.html").stat().st_size > 1000
    deleted = next(file for file in source.state.attachments() if file.entity_id is not None)
    source.state.delete(deleted.id)
    before = len(blobs(tmp_path))
    finished, document = await one_night(config)
    assert document["results"][0]["prune"]["snapshots"]["removed"] == [1]
    assert len(blobs(tmp_path)) == before - 1
    again = await run("nightly", config)
    assert again.code == 0
    assert f"backup complete: {FILES - 1} files listed, 0 stored (0 B), 0 failed; nothing changed" in again.out


async def test_a_night_fetches_its_share_of_the_stored_files_again(tmp_path, source):
    config = configure(tmp_path, source, nightly={"recheck": "50%"})
    nights = [(await run("--json", "nightly", config)).document["results"][0]["backup"] for _ in range(3)]
    counts = [backup["rechecked"] for backup in nights]
    assert [count["files"] for count in counts[:1]] == [0], "what was just fetched is not fetched twice"
    listed = nights[0]["attachments"]["listed"]
    assert listed <= sum(count["files"] for count in counts[1:]) <= listed + 1
    assert sum(count["replaced"] + count["failed"] for count in counts) == 0


async def test_a_night_says_that_an_archive_is_new_and_nobody_can_be_told(tmp_path, source):
    config = configure(tmp_path, source)
    with config.open("a") as file:
        file.write('[notify]\nurls = [{ env = "NO_SUCH_URL" }]\n')
    first, second = await run("-q", "nightly", config), await run("-q", "nightly", config)
    assert (first.code, second.code) == (0, 0)
    assert "warning: found no archive at " in first.err
    assert "is its disk mounted?" in first.err
    assert "found no archive" not in second.err
    for night in (first, second):
        assert "warning: failures can't be reported: notify.urls[0]" in night.err


async def test_an_archive_that_vanished_between_two_nights_is_a_failure(tmp_path, source):
    config = configure(tmp_path, source, nightly={"report": "out.html"})
    assert (await run("-q", "nightly", config)).code == 0
    (tmp_path / "archive").rename(tmp_path / "away")
    finished, document = await one_night(config)
    [night] = document["results"]
    assert (finished.code, night["error"]["code"]) == (5, 5)
    assert "is its disk mounted? An earlier night has left " in night["error"]["message"]
    assert night["backup"]["attachments"]["stored"] == FILES, "what can be saved is saved"
    assert (await run("-q", "nightly", config)).code == 0


async def test_a_night_leaves_no_trace_in_the_archive_of_another_tracker(tmp_path, source, other):
    config = configure(tmp_path, source, nightly={"verify": "100%", "report": "out.html"})
    assert (await run("-q", "nightly", config)).code == 0
    before = rows(tmp_path / "archive", "SELECT * FROM runs"), (tmp_path / "out.html").read_bytes()
    wrong = configure(tmp_path / "wrong", other, nightly={"verify": "100%", "report": str(tmp_path / "out.html")})
    wrong.write_text(wrong.read_text().replace('archive = "archive"', f'archive = "{tmp_path}/archive"'))
    finished = await run("-q", "nightly", wrong)
    assert (finished.code, source.url in finished.err) == (2, True), finished.err
    assert before == (rows(tmp_path / "archive", "SELECT * FROM runs"), (tmp_path / "out.html").read_bytes())


async def test_two_nights_cannot_have_the_same_report(tmp_path, source, other):
    one, two = (
        configure(tmp_path / name, each, nightly={"report": str(tmp_path / "out.html")})
        for name, each in (("a", source), ("b", other))
    )
    refused = await run("-q", "nightly", one, two)
    assert (refused.code, "nightly.report" in refused.err, str(two) in refused.err) == (2, True, True)
    assert not (tmp_path / "a" / "archive").exists()


async def test_a_quiet_night_says_something_only_if_not_all_was_well(tmp_path, source):
    config = configure(tmp_path, source)
    assert (await run("nightly", config)).code == 0
    quiet, told = await run("-q", "nightly", config), await run("-q", "--json", "nightly", config)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert told.document["status"] == "complete"
    fail_for_ever(source)
    failed = await run("-q", "nightly", configure(tmp_path, source, nightly={"recheck": "100%"}))
    assert failed.code == 3
    assert "1 failed" in failed.out


async def test_a_night_says_what_it_repaired_in_the_archive(tmp_path, source):
    config = configure(tmp_path, source)
    await one_night(config)
    blobs(tmp_path)[0].unlink()
    finished = await run("-q", "nightly", config)
    assert finished.code == 0
    assert "warning: 1 blob is damaged or missing in the archive; " in finished.err
    assert "fetched again. Is the disk, or the store, failing?" in finished.err


async def test_without_rules_a_night_prunes_nothing(tmp_path, source):
    config = configure(tmp_path, source, nightly={"verify": "0%"})
    _, document = await one_night(config)
    [night] = document["results"]
    assert (night["verify"], night["prune"], night["report"]) == ({}, {}, {})


async def test_a_configuration_that_fails_stops_no_other(tmp_path, source, other):
    bad = tmp_path / "bad.toml"
    bad.write_text("[source]\ntracker = 3\n")
    good, away = configure(tmp_path / "good", source), configure(tmp_path / "away", other)
    await other.__aexit__(None, None, None)
    finished, document = await one_night(bad, away, good, tmp_path / "nowhere.toml")
    assert [night["status"] for night in document["results"]] == ["failed", "failed", "complete", "failed"]
    assert [night.get("error", {}).get("code") for night in document["results"]] == [2, 4, None, 2]
    assert document["error"]["code"] == finished.code == 2
    assert str(bad) in document["error"]["message"]
    assert len(blobs(tmp_path / "good")) > 0


async def test_nothing_is_pruned_after_a_backup_that_was_not_complete(tmp_path, source):
    config = configure(tmp_path, source, retention={"keep_last": 1})
    for _ in range(2):
        assert (await run("backup", config)).code == 0
    source.faults.forbidden_entities.add(next(file.entity_id for file in source.state.attachments() if file.entity_id))
    finished, document = await one_night(config)
    [night] = document["results"]
    assert (finished.code, night["status"], night["backup"]["status"]) == (3, "incomplete", "incomplete")
    assert (night["verify"]["status"], night["prune"]) == ("complete", {})
    assert len((await run("--json", "snapshots", config)).document["snapshots"]) == 2


async def test_nothing_is_pruned_after_a_verify_that_found_damage(tmp_path, source):
    config = configure(tmp_path, source, retention={"keep_last": 1}, nightly={"verify": "100%"})
    for _ in range(2):
        assert (await run("backup", config)).code == 0
    [largest] = sorted(blobs(tmp_path), key=lambda path: path.stat().st_size)[-1:]
    overwrite(largest, b"x" * largest.stat().st_size)
    finished, document = await one_night(config)
    [night] = document["results"]
    assert (finished.code, night["status"], night["backup"]["status"]) == (5, "damaged", "complete")
    assert night["prune"] == {}
    assert len((await run("--json", "snapshots", config)).document["snapshots"]) == 3


async def test_damage_that_nothing_can_repair_stands_and_nothing_is_pruned(tmp_path, source):
    config = configure(tmp_path, source, retention={"keep_last": 1}, nightly={"verify": "0%"})
    assert (await run("backup", config)).code == 0
    largest = max(blobs(tmp_path), key=lambda path: path.stat().st_size)
    for (held,) in rows(tmp_path / "archive", f"SELECT attachment_id FROM attachments WHERE sha256 = '{largest.name}'"):
        source.state.delete(int(held))
    overwrite(largest, b"x" * largest.stat().st_size)
    assert (await run("verify", config)).code == 5
    for _ in range(2):
        finished, document = await one_night(config)
        [night] = document["results"]
        assert (finished.code, night["status"], night["backup"]["status"]) == (5, "damaged", "complete")
        assert (night["verify"], night["prune"], night["problems"][0]["sha256"]) == ({}, {}, largest.name)
    assert "damaged since earlier: 1 blob" in (await run("nightly", config)).out
    assert (await run("prune", config)).code == 0
    assert (await one_night(config))[0].code == 0


async def test_while_the_tracker_is_away_what_is_kept_is_verified(tmp_path, source):
    config = configure(tmp_path, source, retention={"keep_last": 1}, nightly={"verify": "100%", "report": "r.csv"})
    for _ in range(2):
        assert (await run("backup", config)).code == 0
    await source.__aexit__(None, None, None)
    overwrite(blobs(tmp_path)[0], b"rotten")
    finished, document = await one_night(config)
    [night] = document["results"]
    assert finished.code == 5
    assert night["error"]["code"] == 4
    assert night["error"]["message"].startswith("backup: ")
    assert night["verify"]["problems"][0]["code"] == "E04"
    assert (night["prune"], night["report"]["attachments"]) == ({}, FILES)


async def test_an_archive_that_another_run_holds_is_named_with_its_holder(tmp_path, source):
    config = configure(tmp_path, source, nightly={"report": "r.csv"})
    assert (await run("backup", config)).code == 0
    with ArchiveLock(tmp_path / "archive", "backup"):
        finished, document = await one_night(config)
    assert document["error"]["code"] == finished.code == 6
    assert "is held by `backup` (process " in document["error"]["message"]
    assert ", since 20" in document["error"]["message"]
    assert document["results"][0]["verify"] == document["results"][0]["report"] == {}


async def test_several_configurations_work_at_the_same_time(tmp_path, source, other):
    slow = configure(tmp_path / "a", source, limits={"backoff": "600 s", "backoff_max": "600 s"})
    quick = configure(tmp_path / "b", other, nightly={"report": "r.csv"})
    fail_for_ever(source)
    process = await start("--json", "nightly", "--parallel", "2", slow, quick)
    await until((tmp_path / "b" / "r.csv").exists)
    process.send_signal(signal.SIGTERM)
    finished = await ended(process)
    first, second = finished.document["results"]
    assert (first["config"], first["status"], second["config"]) == (str(slow), "interrupted", str(quick))
    assert f"{quick}: backup: " in finished.err


async def test_two_configurations_of_one_archive_wait_for_each_other(tmp_path, source):
    config = configure(tmp_path, source)
    finished, document = await one_night(config, config, options=("--parallel", "2"))
    assert finished.code == 0, finished.err
    assert [night["backup"]["attachments"]["stored"] for night in document["results"]] == [FILES, 0]


async def test_a_stop_ends_all_nights_with_what_was_finished_kept(tmp_path, source, other):
    slow = configure(tmp_path / "a", source, limits={"backoff": "600 s", "backoff_max": "600 s"})
    fail_for_ever(source)
    late = configure(tmp_path / "b", other)
    process = await start("--json", "nightly", slow, late)
    await until(lambda: len(blobs(tmp_path / "a")) > 5)
    await asyncio.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    finished = await ended(process)
    assert time.monotonic() - began < 15
    assert (finished.code, finished.document["status"]) == (130, "interrupted")
    first, second = finished.document["results"]
    assert (first["status"], first["backup"]["status"]) == ("interrupted", "interrupted")
    assert first["verify"] == {}
    assert (second["status"], second["backup"]) == ("interrupted", {})
    with sqlite3.connect(tmp_path / "a" / "archive" / "catalog.db") as db:
        assert db.execute("SELECT count(*) FROM attachments WHERE status = 'stored'").fetchone()[0] > 5


async def test_a_stop_at_a_login_ends_the_night(tmp_path, source):
    config = configure(tmp_path, source, limits={"backoff": "600 s", "backoff_max": "600 s"})
    source.faults.error_500 = 1.0
    process = await start("--json", "nightly", config)
    await until(lambda: source.faults.injected["error_500"])
    process.send_signal(signal.SIGINT)
    finished = await ended(process)
    assert finished.code == 130
    assert finished.document["results"][0]["status"] == "interrupted"


async def test_a_bug_in_one_night_is_logged_and_the_others_go_on(tmp_path, source, monkeypatch):
    first, second = configure(tmp_path / "a", source), configure(tmp_path / "b", source)

    async def broken(*_, **__):
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr("migrator.jobs.nightly.night.run_backup", broken)
    finished, document = await one_night(first, second)
    assert document["error"]["code"] == finished.code == 1
    assert "ZeroDivisionError" in finished.err
    assert [night["status"] for night in document["results"]] == ["failed", "complete"]


def test_the_worst_exit_status_is_the_one_that_needs_a_person_most():
    for better, worse in pairwise([0, 3, 6, 4, 2, 7, 5, 1, 130]):
        assert worst([0, better, worse, better]) == worse
    assert worst([]) == 0
    assert sorted(WORST_FIRST) == [0, 1, 2, 3, 4, 5, 6, 7, 130]
    assert [str(status_of(code)) for code in (130, 5, 4, 3, 0)] == [
        "interrupted",
        "damaged",
        "failed",
        "incomplete",
        "complete",
    ]


def samples(path: Path) -> dict[str, float]:
    families = text_string_to_metric_families(path.read_text())
    return {sample.name.removeprefix("migrator_"): sample.value for family in families for sample in family.samples}


async def test_metrics_say_how_the_night_went_and_when_all_was_well(tmp_path, source):
    config = configure(tmp_path, source, nightly={"metrics": "out.prom", "verify": "100%"})
    began = time.time()
    assert (await run("nightly", config)).code == 0
    first = samples(tmp_path / "out.prom")
    assert began <= first["last_success_timestamp_seconds"] <= first["last_run_timestamp_seconds"] <= time.time()
    assert (first["last_run_files_listed"], first["last_run_files_stored"]) == (FILES, FILES)
    assert (first["last_run_exit_status"], first["last_run_failures"]) == (0, 0)
    assert first["last_run_bytes_stored"] > 1000
    assert 0 <= first["oldest_unverified_blob_age_seconds"] < 60
    await source.__aexit__(None, None, None)
    assert (await run("nightly", config)).code == 4
    second = samples(tmp_path / "out.prom")
    assert (second["last_run_exit_status"], second["last_run_failures"]) == (4, 1)
    assert second["last_success_timestamp_seconds"] == first["last_success_timestamp_seconds"]
    assert "last_run_files_listed" not in second


async def test_metrics_that_can_not_be_written_are_a_warning(tmp_path, source):
    config = configure(tmp_path, source, nightly={"metrics": "nowhere/out.prom"})
    finished, document = await one_night(config)
    assert finished.code == 0
    assert "the metrics could not be written" in " ".join(document["results"][0]["warnings"])
