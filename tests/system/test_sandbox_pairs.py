"""Each pair of embedded trackers that `sandbox --write` and `init` write is one that a load can use as it is."""

from __future__ import annotations

import asyncio
import json
import signal
import tomllib

import pytest

from migrator.config.settings import read_configuration
from migrator.jobs.starting import add_section, compose, section
from migrator.jobs.wiring import wire_target
from migrator.model import Draft, EntityRef
from migrator.sandbox import SANDBOXES
from migrator.sandbox.world.model import World
from migrator.testing.samples import Bytes
from tests.support.parts import rows
from tests.support.program import ended, run, start

WORLD = World.generate(entities=12, attachments=0, large_bytes=0)
PAIRS = [(source, target) for source in sorted(SANDBOXES) for target in sorted(SANDBOXES)]


@pytest.mark.parametrize(("source", "target"), PAIRS)
async def test_a_written_pair_takes_files_of_authors_it_does_not_know(tmp_path, source, target):
    config, sides = tmp_path / "try.toml", {}
    for where, name in (("source", source), ("target", target)):
        sandbox = sides[where] = SANDBOXES[name](WORLD)
        await sandbox.start()
        options = sandbox.target_options if where == "target" else {}
        add_section(config, where, section(where, name, sandbox.url, sandbox.credentials, options))
    wired = wire_target(read_configuration(config))
    try:
        assert "will fail" not in await wired.tracker.check()
        entity = WORLD.entities[0].id
        owner = EntityRef(sides["target"].kind_of(entity), str(entity))
        draft = Draft("a.txt", "text/plain", "", 2, "2020-02-03T04:05:06+00:00", "Nobody Here")
        await wired.tracker.upload(owner, draft, Bytes(b"hi"))
        assert [file.name for file in sides["target"].state.files_of(entity)] == ["a.txt"]
    finally:
        await wired.tracker.close()
        for sandbox in sides.values():
            await sandbox.stop()


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_configuration_of_init_sets_what_a_load_needs(source, target):
    written = tomllib.loads(compose(source, target, "new.toml").text)
    needed = SANDBOXES[target](WORLD).target_options
    assert needed.items() <= written["target"].get("options", {}).items()


async def test_squash_loads_into_issuetrak_as_the_sandboxes_write_it(tmp_path):
    config, servers = tmp_path / "try.toml", []
    try:
        for tracker, more in (("squash", ()), ("issuetrak", ("--empty",))):
            server = await start("--json", "sandbox", tracker, *more, "--entities", "20", "--write", config)
            servers.append(server)
            shown = json.loads(await asyncio.wait_for(server.stdout.readline(), 30))
            assert shown.get("options", {}) == ({"created_by": "APIUser"} if more else {})
        for command in ("backup", "map", "load"):
            assert (await run(command, config)).code == 0
        assert rows(tmp_path / "archive", "SELECT DISTINCT status FROM uploads") == [("uploaded",)]
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
            await ended(server, within=15)
