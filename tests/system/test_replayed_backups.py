"""Whole backups of five real trackers, played again from recordings, and with any answer spoiled.

They are recorded anew beside the real ones by `MIGRATOR_RECORD=1 .ci/with-trackers tests/run THIS_FILE`. A Roundup and
a Trac should be fresh then, since all that they have is read.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.parts import FULL
from tests.support.program import Finished, catalog, run
from tests.support.real_redmine import digest
from tests.support.real_servers import REACHABLE, SECRETS, SERVERS, url_and_auth
from tests.support.recorded import Exchange, Player, read_recording, recording, write_recording
from tests.system.test_real_pairs import FILES, seeded

RECORDED = Path(__file__).parents[1] / "fixtures" / "recorded"
FEW = [FILES[0], FILES[1], FILES[4]]
AUTH = {"redmine": 'auth.api_key = "secret"', "rt": 'auth.token = "secret"'}
LIMITS = '[limits]\nretries = 1\nbackoff = "0.01 s"\nbackoff_max = "0.02 s"\n'
LOGIN = '<!DOCTYPE html><title>Sign in</title><form action="/login"><input type="password" name="password"></form>'


def configured(folder: Path, name: str, url: str, auth: str, options: dict[str, Any]) -> Path:
    lines = [f'[source]\ntracker = "{name}"\nurl = "{url}"', auth]
    lines += [f"options.{key} = {json.dumps(value)}" for key, value in options.items()]
    path = folder / "replayed.toml"
    path.write_text("\n".join([*lines, LIMITS]), encoding="utf-8")
    return path


def held(archive: Path) -> Counter[tuple[str, str, int, str]]:
    """What the archive holds, by its own bytes."""
    rows = catalog(archive, "SELECT entity_id, name, sha256 FROM attachments WHERE status = 'stored'")
    found: Counter[tuple[str, str, int, str]] = Counter()
    for entity, name, sha256 in rows:
        content = (archive / "blobs" / sha256[:2] / sha256).read_bytes()
        assert digest(content) == sha256
        found[entity, name, len(content), sha256] += 1
    return found


class Recording:
    """A recorded backup: what was asked and answered, with which options, and what the server itself gave."""

    def __init__(self, name: str) -> None:
        facts = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
        self.name, self.path, self.options = name, facts["path"], facts["options"]
        self.truth = Counter({tuple(row): count for *row, count in facts["files"]})
        self.exchanges = read_recording(RECORDED / f"{name}.jsonl")

    async def backed_up(self, folder: Path, player: Player) -> Finished:
        async with player.running() as address:
            auth = AUTH.get(self.name, 'auth.username = "admin"\nauth.password = "secret"')
            config = configured(folder, self.name, address + self.path, auth, self.options)
            return await run("--json", "backup", config)


@pytest.mark.parametrize("name", SERVERS)
async def test_a_replayed_backup_of_a_real_tracker_holds_every_byte(tmp_path, name):
    recorded = Recording(name)
    player = Player(recorded.exchanges)
    finished = await recorded.backed_up(tmp_path, player)
    assert finished.code == 0, finished.out + finished.err + "\n".join(player.unknown)
    assert held(tmp_path / "archive") == recorded.truth
    assert sum(recorded.truth.values()) > 15


STEP = 1 if FULL else 3
"""Not every answer is spoiled in each run outside of continuous integration."""
SPOILED: dict[str, Callable[[Exchange], Exchange]] = {
    "failure": lambda one: replace(one, status=500, text="", binary=""),
    "nothing": lambda one: replace(one, text="", binary=""),
    "login page": lambda one: replace(one, status=200, headers={"Content-Type": "text/html"}, text=LOGIN, binary=""),
    "not found": lambda one: replace(one, status=404, headers={"Content-Type": "text/html"}, text="no", binary=""),
}


@pytest.mark.parametrize("way", SPOILED)
@pytest.mark.parametrize("name", SERVERS)
async def test_a_replayed_backup_with_a_spoiled_answer_records_nothing_false(tmp_path, name, way):
    """Each request in turn is answered in this way, always: what is stored is true, and what is not is a failure."""
    recorded = Recording(name)
    requests = list(dict.fromkeys(exchange.request for exchange in recorded.exchanges))
    if (name, way) == ("roundup", "nothing"):  # a Roundup that got an empty file by mail gives it in this way
        requests = [request for request in requests if not request.endswith("/binary_content")]
    for number, request in enumerate(requests[::STEP]):
        folder = tmp_path / str(number)
        folder.mkdir()

        def spoil(one: Exchange, request: str = request) -> Exchange:
            return SPOILED[way](one) if one.request == request else one

        finished = await recorded.backed_up(folder, Player(recorded.exchanges, spoil))
        assert finished.code in {0, 3, 4}, finished.out + finished.err
        there = held(folder / "archive") if (folder / "archive" / "catalog.db").exists() else Counter()
        assert not there - recorded.truth, request
        if finished.code == 0:
            assert there == recorded.truth, request


@pytest.mark.pairs
@pytest.mark.skipif(
    not (REACHABLE and "MIGRATOR_RECORD" in os.environ), reason="MIGRATOR_RECORD=1 .ci/with-trackers records them anew"
)
@pytest.mark.parametrize("name", SERVERS)
def test_a_backup_of_a_real_tracker_is_recorded(tmp_path, name, monkeypatch):
    for key, secret in SECRETS.items():
        monkeypatch.setenv(key, secret)
    asyncio.run(recorded_anew(tmp_path, name))


async def recorded_anew(folder: Path, name: str) -> None:
    url, auth = url_and_auth(name)
    async with SERVERS[name]() as server:
        place, truths = await seeded(server, f"source{secrets.token_hex(4)}", FEW)
    async with recording(url, SECRETS.values()) as (address, exchanges):
        config = configured(folder, name, address, auth, place.source)
        finished = await run("--json", "backup", config)
    assert finished.code == 0, finished.out + finished.err
    files = [[entity, *truth, count] for entity, found in truths.items() for truth, count in found.items()]
    facts = {"path": urlsplit(url).path, "options": place.source, "files": sorted(files)}
    write_recording(RECORDED / f"{name}.jsonl", exchanges)
    (RECORDED / f"{name}.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
