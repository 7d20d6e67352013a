"""`--log-format json`: whatever a command writes to stderr, each line is one JSON object."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta

import pytest

from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.world.model import World
from tests.support.program import Finished, configure, ended, run, start, until

WORLD = World.generate(entities=5, seed=5, attachments=10, median_bytes=500, large_bytes=2000)


@pytest.fixture
async def source():
    async with SquashSandbox(WORLD) as sandbox:
        yield sandbox


def lines(finished: Finished) -> list[dict[str, str]]:
    """Every line of stderr, each an object with a time, a level and a message."""
    found = [json.loads(line) for line in finished.err.splitlines()]
    for line in found:
        assert [*line][:3] == ["time", "level", "message"]
        assert timedelta() <= datetime.now(UTC) - datetime.fromisoformat(line["time"]) < timedelta(minutes=1)
        assert line["level"] in {"info", "warning", "error"}
        assert not line["message"].startswith(("warning: ", "migrator: "))
    return found


@pytest.mark.parametrize("words", [("--log-format", "json"), ("--log-format=json",)], ids=" ".join)
async def test_notes_warnings_and_retries_are_objects(tmp_path, source, words):
    config = configure(tmp_path, source)
    token = (tmp_path / "source-token").read_text()
    config.write_text(config.read_text().replace('{ file = "source-token" }', json.dumps(token)))
    source.faults.error_500 = 0.3
    finished = await run("backup", config, "-v", *words)
    found = lines(finished)
    assert {line["level"] for line in found} == {"info", "warning"}
    assert any("plain text" in line["message"] for line in found if line["level"] == "warning")
    assert any(line["message"].startswith("backup: ") for line in found)
    assert any("500" in line["message"] for line in found)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("backup", "nowhere.toml"), "can't be read"),
        (("backup",), "Missing argument"),
        (("bakup", "x.toml"), "did you mean backup?"),
        (("backup", "x.toml", "--no-such-option"), "--no-such-option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_an_error_is_one_object(words, says):
    finished = await run("--log-format", "json", *words)
    [line] = lines(finished)
    assert (finished.code, line["level"]) == (2, "error")
    assert says in line["message"]


async def test_a_bug_is_one_object_with_its_traceback(tmp_path, source, monkeypatch):
    async def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("migrator.jobs.commands.backup.run_backup", broken)
    finished = await run("--log-format", "json", "backup", configure(tmp_path, source))
    [line] = lines(finished)
    assert (finished.code, line["level"]) == (1, "error")
    assert "ZeroDivisionError" in line["traceback"]


async def test_a_stop_is_an_object_too(tmp_path, source):
    config = configure(tmp_path, source, limits={"backoff": "600 s", "backoff_max": "600 s"})
    source.faults.broken.add(next(iter(source.state.attachments())).id)
    process = await start("--log-format", "json", "--json", "backup", config)
    await until(lambda: source.downloads)
    process.send_signal(signal.SIGTERM)
    finished = await ended(process)
    assert finished.code == 130
    assert any(line["message"].startswith("stopping after ") for line in lines(finished))
    assert finished.document["status"] == "interrupted"


async def test_without_the_option_lines_are_for_people(tmp_path, source):
    finished = await run("--log-format", "text", "backup", configure(tmp_path, source))
    assert finished.err.startswith("source: ")
    again = await run("backup", "nowhere.toml")
    assert again.err.startswith("migrator: the configuration")
    assert (await run("backup", "x.toml", "--log-format", "yaml")).code == 2
