"""`migrator check --thorough --record DIR`: nothing of a tracker's words is in it, and it can be played again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from migrator.sandbox import SANDBOXES, Sandbox
from tests.support.answered import exchanges_in
from tests.support.fetch_workers import world_of
from tests.support.program import configure, ended, run, start
from tests.support.recorded import Player, played
from tests.system.test_secrets import spelled
from tests.system.test_thorough_cli import TARGETS, states

pytestmark = pytest.mark.timeout(300)
WORD = r"[^\W\d_]"
FIELDS = {"roundup": {"messages"}}
"""Words of the made-up world that are names of a tracker's fields, too, and so stay."""


def words_of(sandbox: Sandbox) -> set[str]:
    """The words of all titles, names and people of a sandbox, other than short ones, which may be anywhere."""
    texts = [entity.title for entity in sandbox.state.entities()]
    texts += [text for file in sandbox.state.attachments() for text in (file.name, file.description or "")]
    return {word for text in texts for word in re.findall(f"{WORD}{{6,}}", text)} - FIELDS.get(sandbox.tracker, set())


def secrets_of(sandbox: Sandbox) -> set[bytes]:
    """Every form of the credentials and of what was given for them."""
    given = {*sandbox.credentials.values(), getattr(sandbox, "cookie", "")}
    given |= {*getattr(getattr(sandbox, "login", None), "tokens", ())}
    long = {secret for secret in given if len(secret) > 5}
    assert long
    return spelled(long, {(sandbox.credentials.get("username", ""), secret) for secret in long})


def require_nothing_told(folder: Path, sandbox: Sandbox) -> None:
    """Neither words nor secrets nor the address of a sandbox are in a folder."""
    content = b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    text, words = content.decode(errors="replace"), words_of(sandbox)
    assert len(words) > 20
    assert [word for word in words if re.search(f"(?<!{WORD}){re.escape(word)}(?!{WORD})", text)] == []
    assert [form for form in secrets_of(sandbox) if form in content] == []
    assert sandbox.url.partition("://")[2].partition("/")[0] not in text


@pytest.mark.parametrize("name", sorted(SANDBOXES))
async def test_a_recording_has_no_words_of_the_tracker_and_plays_again(tmp_path, name):
    folder = tmp_path / "recording"
    async with SANDBOXES[name](world_of(12)) as source:
        config = configure(tmp_path, source)
        checked = await ended(await start("--json", "check", "--thorough", "--record", folder, config), within=100)
        assert checked.code == 0, checked.err
        require_nothing_told(folder, source)
    about = json.loads((folder / name / "about.json").read_text())
    player = Player([played(one) for one in exchanges_in(folder / name)])
    async with player.running() as address:
        auth = "".join(f"{key} = {json.dumps(value)}\n" for key, value in about["auth"].items())
        again = tmp_path / "again.toml"
        again.write_text(
            f'[source]\ntracker = "{name}"\nurl = "{address}"\n[source.auth]\n{auth}[limits]\nretries = 1\n'
        )
        replayed = await run("--json", "check", "--thorough", again, within=100)
    assert player.unknown == []
    assert states(replayed.document["source"]) == states(checked.document["source"])


async def test_a_recording_of_both_sides_tells_nothing_of_either(tmp_path):
    world, folder = world_of(12), tmp_path / "recording"
    async with SANDBOXES["teampulse"](world) as source, SANDBOXES["squash"](world) as target:
        config = configure(tmp_path, source, target)
        words = ["check", "--thorough", "--entity", TARGETS["squash"], "--record", folder, config]
        checked = await ended(await start("--json", *words), within=100)
        assert checked.code == 0, checked.err
        require_nothing_told(folder, source)
        require_nothing_told(folder, target)
    assert sorted(path.name for path in folder.iterdir()) == ["squash-target", "teampulse"]
    assert any(one.method == "POST" for one in exchanges_in(folder / "squash-target"))


async def test_a_check_that_ends_early_is_recorded_too(tmp_path):
    async with SANDBOXES["redmine"](world_of(3)) as source:
        config = configure(tmp_path, source, auth={"api_key": "0123456789abcdef"})
        checked = await run("check", "--thorough", "--record", tmp_path / "recording", config)
    assert checked.code == 4
    assert [one.status for one in exchanges_in(tmp_path / "recording" / "redmine")] == [401]
