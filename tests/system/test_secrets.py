"""No secret is in anything that any command says or writes, whether it goes well or fails."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from migrator.jobs.cli import COMMANDS
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from tests.support.program import configure, run
from tests.support.tls import Proxy

PROXY = "pr0xy&p4ss w/ord"
NOTIFY = "n0tify-t0ken"
SHOWS_ITS_OWN = {
    "sandbox": "it serves an embedded tracker, and says how to log in there",
    "init": "it writes a configuration without any secret, and knows none",
    "completion": "it prints a script of the shell",
    "browse": "it serves what the archive holds, and that is searched here; it says its address",
}


def spelled(secrets: set[str], pairs: set[tuple[str, str]]) -> set[bytes]:
    """Every form in which a secret travels."""
    basic = {base64.b64encode(f"{user}:{word}".encode()).decode() for user, word in pairs}
    whole = secrets | {word for _, word in pairs} | basic
    forms = {form for one in whole for form in (one, quote(one), quote(one, safe=""), quote_plus(one))}
    assert all(len(form) > 5 for form in forms), "a short one would be found anywhere"
    return {form.encode() for form in forms}


def written(folder: Path, mine: set[Path]) -> dict[str, bytes]:
    """All that stands in a folder now, other than what the test put there, and the blobs, which are the tracker's."""
    files = [path for path in folder.rglob("*") if path.is_file() and path not in mine]
    return {str(path): path.read_bytes() for path in files if path.parent.parent.name != "blobs"}


@pytest.mark.timeout(300)  # it starts the program 20 times
async def test_no_secret_is_in_what_any_command_says_or_writes(tmp_path):
    world = World.generate(entities=10, seed=3, attachments=14, median_bytes=300, large_bytes=0)
    async with (
        TargetprocessSandbox(world) as source,
        TeamPulseSandbox(world.without_attachments()) as target,
        Proxy("ann", PROXY) as proxy,
    ):
        source.faults.broken.add(world.attachments[3].id)
        config = configure(
            tmp_path,
            source,
            target,
            source__proxy_auth={"username": "ann", "password": PROXY},
            limits={"retries": 1},
        )
        config.write_text(config.read_text().replace("[source.auth]", f'proxy = "{proxy.url}"\n[source.auth]'))
        root = tmp_path / "archive"
        (tmp_path / "wrong").write_text("wr0ng-passw0rd")
        good = config.read_text()
        variants = {
            "refused": good.replace('"source-password"', '"wrong"'),
            "refused by the proxy": good.replace(f'password = "{PROXY}"', 'password = "wr0ng-passw0rd"'),
            "unreachable": good.replace(source.url, source.url + "/elsewhere"),
            "a wrong key": good.replace("[source.auth]", "[source.auth]\npasswort = 'wr0ng-passw0rd'"),
            "no such file": good.replace('"source-password"', '"none"'),
        }
        (tmp_path / "notify").write_text(f"json://ann:{NOTIFY}@127.0.0.1:9/{NOTIFY}")
        (tmp_path / "ping").write_text(f"http://127.0.0.1:9/{NOTIFY}")
        notify = '[notify]\non = "always"\nurls = [{ file = "notify" }]\nping = { file = "ping" }\n'
        (tmp_path / "nightly.toml").write_text(good + notify)
        for name, text in variants.items():
            (tmp_path / f"{name}.toml").write_text(text)
        mine = {path for path in tmp_path.iterdir() if path.is_file()} - {tmp_path / "mapping.csv"}
        calls = [
            ["check", config],
            ["--json", "backup", config],
            ["map", config],
            ["load", config],
            ["migrate", config],
            ["rollback", config],
            ["status", root],
            ["export", root, tmp_path / "tree", "--format", "tree"],
            ["report", root, "--out", tmp_path / "report.html"],
            ["verify", root],
            ["accept", root, "--list"],
            ["rebuild", root],
            ["copy", root, tmp_path / "copy"],
            ["snapshots", root],
            ["diff", root],
            ["find", root, "picture"],
            ["get", root, "101"],
            ["restore", config],
            ["prune", root, "--keep-last", "1"],
            ["nightly", tmp_path / "nightly.toml"],
            ["demo"],
            *(["backup", tmp_path / f"{name}.toml"] for name in variants),
        ]
        assert {word for words in calls for word in words if word in COMMANDS} == set(COMMANDS) - set(SHOWS_ITS_OWN)
        said, codes = {}, set()
        in_turn = [(words, await run("-v", *words)) for words in calls[:6]]
        rest = calls[6:]
        at_once = await asyncio.gather(*(run("-v", *words, within=100) for words in rest))
        for words, finished in [*in_turn, *zip(rest, at_once, strict=True)]:
            codes.add(finished.code)
            assert finished.code != 1, (words, finished.err)
            assert words != ["demo"] or finished.code == 0, finished.out
            said[str(words)] = f"{finished.out}{finished.err}".encode()
        assert {0, 2, 3, 4} <= codes
        issued = {*target.login.tokens, target.login.refresh_token}
        assert issued
        pairs = {("ann", PROXY), ("ann", "wr0ng-passw0rd"), (source.credentials["username"], source.password)}
        secrets = spelled({source.cookie, target.password, NOTIFY} | issued, pairs)
    for where, content in {**said, **written(tmp_path, mine)}.items():
        assert not [form for form in secrets if form in content], where
