"""The example of an adapter in another distribution passes its own tests; `.ci/example` installs it for that.

Here it isn't installed: what pip would write about it is written beside it, so that its entry point is found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example_adapter"
MAX_LINES = 260
"""An adapter takes about 200 lines of code."""


@pytest.fixture
def offered(tmp_path):
    """A copy of the example, with its entry points."""
    copy = shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((copy / "pyproject.toml").read_text())["project"]
    info = copy / f"migrator_helpdesk-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    points = project["entry-points"]["migrator.trackers"]
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[migrator.trackers]", *lines]))
    return copy


def test_the_example_of_an_adapter_passes_its_own_tests(offered):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not helpdesk"]
    path = os.pathsep.join([str(offered), str(ROOT)])
    done = subprocess.run(
        command, cwd=offered, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_example_is_short_and_imports_only_what_is_promised():
    lines = (EXAMPLE / "migrator_helpdesk.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES
    imported = {line.split()[1] for line in lines if line.startswith("from migrator")}
    promised = {"errors", "model", "ports", "wire", "trackers", "trackers.toolbox", "testing"}
    assert imported <= {f"migrator.{name}" for name in promised}
