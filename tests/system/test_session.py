"""The recorded session is a migration by the README: the same commands, and they still print what was recorded."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.support.parts import only_in_full
from tests.support.program import run
from tests.support.screen import drawn, text_of
from tests.support.session import COLUMNS, PICTURE, PROMPT, RECORDING, ROOT, alike, place, readme_commands


def recorded() -> tuple[dict, list]:
    """The header and the events."""
    header, *events = map(json.loads, RECORDING.read_text(encoding="utf-8").splitlines())
    return header, events


def played_back() -> dict[str, str]:
    """What stands on the terminal after each command."""
    _, events = recorded()
    text = text_of(drawn("".join(data for _, _, data in events).encode(), COLUMNS))
    first, *rest = re.split(rf"^{re.escape(PROMPT)}", text, flags=re.MULTILINE)
    assert first == ""
    return dict(command.split("\n", 1) for command in rest)


def test_the_recording_is_one_that_asciinema_plays():
    header, events = recorded()
    assert (header["version"], header["width"]) == (2, COLUMNS)
    times = [at for at, _, _ in events]
    assert times == sorted(times)
    assert {kind for _, kind, _ in events} == {"o"}
    assert times[-1] < 90


def test_the_recording_has_the_commands_of_the_readme_in_their_order():
    assert [*played_back()] == readme_commands()


@only_in_full
@pytest.mark.timeout(300)
async def test_the_recorded_commands_still_print_what_they_printed(tmp_path, monkeypatch):
    """Line breaks aside, since the recording was made on a terminal: a table breaks its cells there, so of `map` each
    word is looked for by itself.
    """
    monkeypatch.chdir(tmp_path)
    shown = played_back()
    async with place(tmp_path) as trackers:
        for command in readme_commands():
            finished = await run(*shlex.split(command)[1:])
            assert finished.code == 0, finished
            printed = trackers.plain(finished.out)
            headline, _, rest = printed.partition("\n")
            parts = [headline, *rest.split()] if " map " in command else [printed]
            assert [part for part in parts if alike(part) not in alike(shown[command])] == [], command


def test_the_picture_is_in_the_readme_and_shows_commands_of_the_recording():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"]({PICTURE.relative_to(ROOT)})" in readme
    lines = [line.replace("&#160;", " ") for line in re.findall(r">([^<>]*)</text>", PICTURE.read_text())]
    text = "".join(lines)
    for command in ("check", "backup", "load"):
        assert f"{PROMPT}migrator {command} targetprocess-to-teampulse.toml" in text
    assert re.search(r"\d+ of \d+ files, ", text), "a bar under way"


def test_the_picture_asks_no_other_host_for_anything():
    svg = PICTURE.read_text(encoding="utf-8")
    assert {*re.findall(r"url\((.)", svg)} == {"#"}
    assert not re.search(r"@import|@font-face|href|<script|<image", svg)
