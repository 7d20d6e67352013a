"""A terminal, a cron or a container whose locale is not UTF-8: every command works, and files are named in UTF-8."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import bagit
import pytest

from migrator.filenames import on_disk, readable
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from tests.support.parts import FULL
from tests.support.program import run, run_process
from tests.unit.test_export import index_of

WORLD = World.generate(entities=12, seed=3, attachments=40, median_bytes=300, large_bytes=4000)
LATIN = "en_US.ISO-8859-1"


@pytest.fixture(scope="session")
def latin(tmp_path_factory) -> dict[str, str]:
    """A locale that most machines don't have, made for this test; skipped where it can't be."""
    folder = tmp_path_factory.mktemp("locales")
    if not (compiler := shutil.which("localedef")):
        pytest.skip("needs localedef to make a locale")
    subprocess.run([compiler, "-i", "en_US", "-f", "ISO-8859-1", folder / LATIN], capture_output=True, check=False)
    made = {"LOCPATH": str(folder), "LC_ALL": LATIN, "PYTHONUTF8": "0"}
    words = [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"]
    found = subprocess.run(words, env={**os.environ, **made}, capture_output=True, text=True, check=True).stdout
    if found.strip() != "iso8859-1":
        pytest.skip(f"no such locale can be made here: file names are {found}")
    return made


ODD = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    "strict": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"},
    "latin": None,
    "plain C": {"LC_ALL": "C"},
}


@pytest.mark.parametrize("name", ODD if FULL else ("latin",))
async def test_every_command_works_in_any_locale_and_names_files_in_utf_8(tmp_path, name, request):
    env = {"COLUMNS": "80", **(ODD[name] or request.getfixturevalue("latin"))}
    folder = tmp_path / "Füße 日本"
    folder.mkdir()
    root = folder / "archiv-ü"
    async with TargetprocessSandbox(WORLD) as source:
        config = folder / "größe.toml"
        (folder / "kennwört").write_text(source.password)
        lines = [
            'archive = "archiv-ü"',
            "[source]",
            'tracker = "targetprocess"',
            f'url = "{source.url}"',
            "[source.auth]",
            f'username = "{source.user}"',
            'password = { file = "kennwört" }',
            "[source.options]",
            'inline_images = "skip"',
        ]
        config.write_text("\n".join(lines), encoding="utf-8")
        done = await run_process("backup", config, env=env)
        assert done.code == 0, done
    names = {file.name for file in WORLD.attachments if not file.name.isascii()}
    assert names, "some names need more than ASCII"
    for shape in ("tree", "bagit", "zip"):
        done = await run_process("--json", "export", root, folder / f"é {shape}", "--format", shape, env=env)
        assert (done.code, done.document["status"], done.err.count("Traceback")) == (0, "complete", 0), done
        assert done.document["destination"] == str(folder / f"é {shape}")
    with zipfile.ZipFile(folder / "é zip") as file:
        file.extractall(folder / "out")
    for top in (folder / "é tree", folder / "é bagit" / "data", folder / "out"):
        index = index_of(top)
        assert {line["name"] for line in index} >= names
        there = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
        assert there == {line["path"] for line in index} | {"index.csv"}
    bagit.Bag(str(folder / "é bagit")).validate()
    for words in (
        ["status", root],
        ["verify", root],
        ["report", root, "--out", folder / "bericht-ü.html"],
        ["report", root, "--out", folder / "bericht-ü.csv"],
        ["rebuild", root],
    ):
        done = await run_process(*words, env=env)
        assert (done.code, "Traceback" in done.err) == (0, False), done
    again = await run_process("export", root, folder / "é tree", "--format", "tree", env=env)
    assert (again.code, "Traceback" in again.err) == (2, False), again


async def test_a_destination_that_is_no_text_at_all_is_exported_to(tmp_path):
    async with TargetprocessSandbox(WORLD) as source:
        config = tmp_path / "c.toml"
        config.write_text(
            f'archive = "archive"\n[source]\ntracker = "targetprocess"\nurl = "{source.url}"\n[source.auth]\n'
            f'username = "{source.user}"\npassword = "{source.password}"\n[source.options]\ninline_images = "skip"\n'
        )
        assert (await run("-q", "backup", config)).code == 0
    dest = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    done = await run("-q", "--json", "export", tmp_path / "archive", dest, "--format", "tree")
    assert (done.code, done.document["destination"]) == (0, f"{tmp_path}/\\xff\\xfe")
    assert (dest / "index.csv").is_file()


def test_a_path_is_the_same_on_the_disk_and_back():
    for text in ("plain", "ü 日本 😀", "a/b.txt"):
        assert on_disk(text) == text
        assert readable(Path(text)) == text
