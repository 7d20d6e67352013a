"""One file of 1 GB goes through Issuetrak both ways, and the program stays small: `MIGRATOR_SLOW=1 pytest -m slow`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = 1_000_000_000
RSS_LIMIT = 200_000_000  # bytes
ROOT = Path(__file__).resolve().parents[2]

SERVE = f"""
import asyncio, json
from migrator.sandbox.issuetrak.app import IssuetrakSandbox
from migrator.sandbox.world.model import World

async def main():
    world = World.generate(entities=20, seed=3, median_bytes=500, large_bytes={SIZE}, attachments=60)
    big = next(file for file in world.attachments if file.size == {SIZE})
    async with IssuetrakSandbox(world) as source, IssuetrakSandbox(world.without_attachments()) as target:
        print(json.dumps([source.url, target.url, [e.id for e in world.entities]]), flush=True)
        await asyncio.to_thread(input)
        found = [f for f in target.state.files_of(world.owner_of(big)) if f.size == {SIZE}]
        print(json.dumps([[f.sha256 for f in found], source.state.sha256_of(big)]), flush=True)

asyncio.run(main())
"""

CONFIG = """
archive = "archive"
[source]
tracker = "issuetrak"
url = "{source}"
[source.auth]
api_key = {{ env = "ISSUETRAK_KEY" }}
[target]
tracker = "issuetrak"
url = "{target}"
[target.auth]
api_key = {{ env = "ISSUETRAK_KEY" }}
[target.options]
created_by = "APIUser"
[mapping]
file = "mapping.csv"
"""


@pytest.fixture
def served() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.kill()


def rss_of(*command: str, config: Path) -> int:
    """Run a command of the program to its good end; the most memory it held, in bytes."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "ISSUETRAK_KEY": "wV4JA/59PUf6XjiMF1om+Eg+D4rQlE8WGRTybNIkdrs=",
    }
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "migrator", "--json", *command, str(config)],
        cwd=config.parent,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as answer:
        summary = json.loads(answer.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, summary["status"]) == (0, "complete"), summary
    return usage.ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.skipif("MIGRATOR_SLOW" not in os.environ, reason="takes a minute and 5 GB of disk: MIGRATOR_SLOW=1")
@pytest.mark.timeout(1200)
def test_file_of_1_gb_goes_both_ways_in_less_than_200_mb(served, tmp_path):
    source, target, numbers = json.loads(served.stdout.readline())
    config = tmp_path / "migration.toml"
    config.write_text(CONFIG.format(source=source, target=target))
    rows = "".join(f"Issue,{number},Issue,{number}\n" for number in numbers)
    (tmp_path / "mapping.csv").write_text("source_kind,source_id,target_kind,target_id\n" + rows)
    backup = rss_of("backup", config=config)
    load = rss_of("load", config=config)
    print(f"backup {backup / 1e6:.0f} MB, load {load / 1e6:.0f} MB")  # noqa: T201 - what `pytest -s` shows
    served.stdin.write("\n")
    served.stdin.flush()
    arrived, sent = json.loads(served.stdout.readline())
    assert arrived == [sent]
    assert backup < RSS_LIMIT
    assert load < RSS_LIMIT
