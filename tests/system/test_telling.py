"""What a person hears of a long wait: a warning on stderr, quiet or not, and above the bar while there is one."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import sys

import pytest
from aiohttp import web

from migrator.config import Limits, read_configuration
from migrator.jobs.output import Output
from migrator.jobs.wiring import retry_policy, wire_source
from tests.support.program import run, start
from tests.support.tls import served

CONFIG = """
archive = "archive"
[source]
tracker = "redmine"
url = "{url}"
auth = {{ api_key = "k" }}
[limits]
retries = 1
backoff = "0.01 s"
{limits}
"""


class Terminal(io.StringIO):
    """A stderr that somebody watches."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def the_log_as_it_was():
    """Handlers and level are put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("the_log_as_it_was")
def test_warning_stands_above_the_bar_and_by_itself_without_one(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    output, log = Output(), logging.getLogger("migrator.waits")
    with output.progress("backup"):
        log.warning("the tracker asked to wait [5 min]\x1b[31m")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "backup: warning: the tracker asked to wait [5 min]\ufffd[31m\n" in plain
    log.warning("and again")
    assert terminal.getvalue().endswith("\x1b[33mwarning: \x1b[0mand again\n")


@pytest.mark.parametrize("quiet", [False, True])
async def test_wait_is_told_as_it_begins_and_is_the_longest_that_is_configured(tmp_path, quiet):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "3000"})

    async with served(answer) as base:
        place = tmp_path / "c.toml"
        place.write_text(CONFIG.format(url=base, limits='retry_after_max = "40 min"'))
        process = await start(*(["-q"] if quiet else []), "backup", place, cwd=tmp_path)
        try:
            told = await asyncio.wait_for(told_of(process, b"asked to wait"), 60)
        finally:
            process.kill()
            await process.communicate()
    assert told.startswith("warning: the tracker asked to wait 40 min (429); going on at ")


@pytest.mark.parametrize(("seconds", "expected"), [(0.1, True), (30, False)])
async def test_a_login_without_an_answer_is_said_to_wait_for_one(tmp_path, monkeypatch, seconds, expected):
    monkeypatch.setattr("migrator.wire.waits.LOGIN_SECONDS", seconds)

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.Response(status=401)

    async with served(answer) as base:
        place = tmp_path / "c.toml"
        place.write_text(CONFIG.format(url=base, limits=""))
        finished = await run("-q", "backup", place)
    assert finished.code == 4
    assert ("warning: the tracker has not answered the login for " in finished.err) == expected


async def told_of(process: asyncio.subprocess.Process, words: bytes) -> str:
    """The first line of stderr with these words."""
    assert process.stderr
    async for line in process.stderr:
        if words in line:
            return line.decode()
    raise AssertionError("it ended without a word of it")


@pytest.mark.parametrize(("written", "longest"), [("", 900), ('retry_after_max = "2 h"', 7200)])
def test_longest_wait_is_configured_for_all_that_wait(tmp_path, written, longest):
    place = tmp_path / "c.toml"
    place.write_text(CONFIG.format(url="https://tracker.example", limits=written))
    configuration = read_configuration(place)
    assert configuration.settings.limits.retry_after_max == longest
    assert retry_policy(configuration.settings.limits).max_total_wait >= longest + 60
    wired = wire_source(configuration)
    assert wired.warnings


def test_patience_is_as_it_was_for_waits_that_nobody_asks_for():
    assert retry_policy(Limits(retry_after_max="1 s")).max_total_wait == 900


@pytest.mark.parametrize("written", ['"soon"', "0", "-1", '"5 min/s"', "true"])
async def test_longest_wait_that_is_no_time_is_a_mistake_in_the_configuration(tmp_path, written):
    place = tmp_path / "c.toml"
    place.write_text(CONFIG.format(url="https://tracker.example", limits=f"retry_after_max = {written}"))
    finished = await run("backup", place)
    assert finished.code == 2
    assert "limits.retry_after_max" in finished.err
