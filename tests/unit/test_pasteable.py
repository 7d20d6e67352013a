"""Hints can be run as they are: they have the file or archive that the command was given in place of CONFIG."""

from __future__ import annotations

from contextlib import closing

import pytest

from migrator.jobs.given import pasteable
from migrator.jobs.nightly.message import News, message
from migrator.model import RunStatus
from migrator.pipeline.summary import NightResult, StepError
from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.world.model import World
from migrator.store import Catalog
from tests.support.parts import overwrite
from tests.support.program import configure, run

WORLD = World.generate(entities=4, seed=3, attachments=4, median_bytes=200)
BACKUP, REBUILD = "run `migrator backup CONFIG --accept-gone`; if not", "`migrator rebuild ARCHIVE` rebuilds it"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "archive").mkdir()
    with closing(Catalog(tmp_path / "archive")):
        pass
    return tmp_path


def write(path, archive: str = "archive") -> str:
    path.write_text(f'archive = "{archive}"\n[source]\ntracker = "memory"\nurl = "http://127.0.0.1:9"\n')
    return path.name


def test_a_hint_has_the_configuration_that_was_given_quoted_for_a_shell(folder):
    config = write(folder / "to be.toml")
    assert pasteable(BACKUP, config) == "run `migrator backup 'to be.toml' --accept-gone`; if not"
    assert pasteable(REBUILD, config) == "`migrator rebuild 'to be.toml'` rebuilds it"


def test_an_archive_stands_for_its_configuration_only_if_it_has_one(folder):
    assert pasteable(REBUILD, "archive") == "`migrator rebuild archive` rebuilds it"
    assert pasteable(BACKUP, "archive") == BACKUP
    write(folder / "one.toml")
    assert pasteable(BACKUP, "archive") == "run `migrator backup archive --accept-gone`; if not"
    write(folder / "two.toml")
    assert pasteable(BACKUP, "archive") == BACKUP


def test_an_address_stays_as_it_is_and_stands_for_no_configuration(folder):
    assert pasteable(REBUILD, "s3://bucket/prefix") == "`migrator rebuild s3://bucket/prefix` rebuilds it"
    assert pasteable(BACKUP, "s3://bucket/prefix") == BACKUP


@pytest.mark.parametrize("text", ["CONFIG", "`migrator backup CONFIGURATION`", "migrator backup CONFIG"])
def test_what_is_no_hint_is_left_alone(folder, text):
    assert pasteable(text, write(folder / "one.toml")) == text
    assert pasteable(BACKUP, None) == BACKUP


async def test_what_commands_say_has_the_file_that_they_were_given(tmp_path):
    async with SquashSandbox(WORLD) as source:
        config = configure(tmp_path, source)
        assert (await run("backup", config)).code == 0
    blob = next((tmp_path / "archive" / "blobs").glob("*/*"))
    overwrite(blob, b"damaged")
    for given in (config, tmp_path / "archive"):
        assert f"next: `migrator backup {given}` fetches these" in (await run("verify", given)).out
    night = NightResult(config=str(config), status=RunStatus.FAILED, error=StepError(5, f"backup: {REBUILD}"))
    body = message(night, 5, config, News((), (), 0, None, reminder=False)).body
    assert f"`migrator rebuild {config}` rebuilds it" in body
