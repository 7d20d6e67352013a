"""Archives that were written once and are never written anew: what every later version has to read, and to judge alike.

`fixtures/archive-1` is as this version wrote it, `archive-1-before-manifests` as those before it. Each recipe of
`fixtures/damage.json` damages the former, and its name begins with the code that verify gives for it, for ever.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migrator.pipeline.rebuild import rebuild
from migrator.pipeline.verify import CODES
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.repair.auditing import audit
from tests.support.parts import overwrite, rows, run_verify

FIXTURES = Path(__file__).parents[1] / "fixtures"
RECIPES = json.loads((FIXTURES / "damage.json").read_text(encoding="utf-8"))
ARCHIVES = ("archive-1", "archive-1-before-manifests")
FILES = [
    ("Bug", "1", "a.txt", 24),
    ("Bug", "1", "b.txt", 7),
    ("Story", "2", "a.txt", 24),
    ("Unlinked", "", "loose.txt", 9),
]


def fixture(name: str, root: Path) -> Path:
    """A copy, as a command finds it when it holds the archive."""
    shutil.copytree(FIXTURES / name, root, dirs_exist_ok=True)
    Archive(root).prepare()
    return root


def damage(root: Path, step: dict[str, str | int]) -> None:
    match step:
        case {"write": path, "at": int(at), "hex": str(content)}:
            old = (root / path).read_bytes() if (root / path).exists() else b""
            new = bytes.fromhex(content)
            overwrite(root / path, old[:at] + new + old[at + len(new) :])
        case {"truncate": path, "to": int(length)}:
            overwrite(root / path, (root / path).read_bytes()[:length])
        case {"remove": path}:
            (root / path).unlink()
        case {"copy": path, "to": to}:
            shutil.copyfile(root / path, root / to)
        case {"link": path, "to": to}:
            (root / path).unlink()
            (root / path).symlink_to(to)
        case {"folder": path}:
            (root / path).unlink()
            (root / path).mkdir()
        case {"sql": statement}:
            with closing(sqlite3.connect(root / "catalog.db")) as db, db:
                db.execute(str(statement))


def test_every_code_has_a_recipe():
    assert {name.partition("-")[0] for name in RECIPES} == set(CODES)


@pytest.mark.parametrize("name", RECIPES)
async def test_damage_has_its_code_for_ever(tmp_path, name):
    root = fixture("archive-1", tmp_path)
    for step in RECIPES[name]:
        damage(root, step)
    found = await run_verify(root)
    assert found["status"] == "damaged"
    assert {problem["code"] for problem in found["problems"]} == {name.partition("-")[0]}


@pytest.mark.parametrize("name", [name for name in RECIPES if name > "E1"])
async def test_what_is_wrong_with_catalog_or_manifest_is_mended_by_a_rebuild(tmp_path, name):
    root = fixture("archive-1", tmp_path)
    for step in RECIPES[name]:
        damage(root, step)
    assert rebuild(Archive(root)).as_json()["status"] == "complete"
    assert (await run_verify(root))["problems"] == []
    assert files_of(root) == FILES


@pytest.mark.parametrize("name", ARCHIVES)
async def test_an_archive_of_then_is_sound_today(tmp_path, name):
    root = fixture(name, tmp_path)
    assert audit(root) == []
    assert (await run_verify(root))["problems"] == []
    assert files_of(root) == FILES


@pytest.mark.parametrize("name", ARCHIVES)
async def test_an_archive_of_then_is_sound_between_its_first_opening_and_a_run(tmp_path, name):
    """As a first run leaves it that was killed before it wrote the new manifest."""
    root = fixture(name, tmp_path)
    Catalog(root).close()
    assert audit(root) == []
    assert (await run_verify(root))["problems"] == []
    assert files_of(root) == FILES


@pytest.mark.parametrize("name", ARCHIVES)
async def test_an_archive_of_then_is_rebuilt_today(tmp_path, name):
    root = fixture(name, tmp_path)
    uploads = rows(root, "SELECT target_id, remote_id, status FROM uploads ORDER BY 1, 2")
    rebuild(Archive(root))  # writes a manifest where there is none
    (root / "catalog.db").unlink()
    assert rebuild(Archive(root)).as_json()["problems"] == []
    assert files_of(root) == FILES
    assert rows(root, "SELECT target_id, remote_id, status FROM uploads ORDER BY 1, 2") == uploads
    assert uploads


def files_of(root: Path) -> list[tuple[str, str, str, int]]:
    return rows(
        root,
        "SELECT kind, entity_id, name, b.size FROM attachments JOIN blobs b USING (sha256) "
        "WHERE status = 'stored' ORDER BY 1, 2, 3",
    )
