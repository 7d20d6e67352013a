"""`migrator backup` and `migrator load` by the name of the adapter, as a user runs them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fake_helpdesk import TOKEN, FakeHelpdesk
from real_helpdesk import KEY, URL, RealHelpdesk, real

CONFIG = """
archive = "archive"

[source]
tracker = "helpdesk"
url = "{url}"

[source.auth]
token = {{ env = "HELPDESK_TOKEN" }}

[target]
tracker = "helpdesk"
url = "{url}"

[target.auth]
token = {{ env = "HELPDESK_TOKEN" }}

[mapping]
file = "mapping.csv"
"""
FILES = {"notes.txt": b"two lines\nof text\n", "\u00dcbersicht \u2116 7.bin": bytes(range(256)) * 500}


async def migrator(folder: Path, token: str, *arguments: str) -> dict[str, Any]:
    """One command and its document."""
    command = (sys.executable, "-m", "migrator", "--json", *arguments)
    environment = {**os.environ, "HELPDESK_TOKEN": token}
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdout=pipe, stderr=pipe)
    stdout, stderr = await program.communicate()
    assert program.returncode == 0, (stdout + stderr).decode()
    return json.loads(stdout)


async def migrate_within(folder: Path, url: str, token: str, old: int, new: int) -> None:
    """Back up all tickets, and load the files of one into another, twice."""
    (folder / "migrator.toml").write_text(CONFIG.format(url=url))
    (folder / "mapping.csv").write_text(f"source_kind,source_id,target_kind,target_id\nticket,{old},ticket,{new}\n")
    backup = await migrator(folder, token, "backup", "migrator.toml")
    assert backup["attachments"]["stored"] == len(FILES)
    load = await migrator(folder, token, "load", "migrator.toml")
    assert load["uploads"]["uploaded"] == len(FILES)
    again = await migrator(folder, token, "load", "migrator.toml")
    assert again["uploads"]["uploaded"] == 0


async def arrives(of: Callable[[int], Awaitable[list[tuple[str, int, str, str]]]], old: int, new: int) -> None:
    assert sorted(await of(new)) == sorted(await of(old))
    assert len(await of(new)) == len(FILES)


async def test_a_load_brings_what_a_backup_took(tmp_path):
    async with FakeHelpdesk().running() as fake:
        old, new = fake.ticket("old"), fake.ticket("new")
        for name, content in FILES.items():
            fake.attach(fake.follow_up(old, "a file")["id"], name, content, "text/plain")
        await migrate_within(tmp_path, fake.url, TOKEN, old, new)

        async def of(number: int) -> list[tuple[str, int, str, str]]:
            return fake.of(number)

        await arrives(of, old, new)


class TestReal:
    pytestmark = real

    async def test_a_load_brings_what_a_backup_took(self, tmp_path):
        async with RealHelpdesk(URL, KEY) as helpdesk:
            await helpdesk.empty()
            old, new = await helpdesk.ticket("old"), await helpdesk.ticket("new")
            for name, content in FILES.items():
                await helpdesk.attach(old, name, content, "text/plain")
            await migrate_within(tmp_path, URL, KEY, old, new)
            await arrives(helpdesk.truth_of, old, new)
