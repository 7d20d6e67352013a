"""The lines of the guide to nights that a new user copies: from nothing to a message at a local receiver."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests.support.program import ROOT

BASH = shutil.which("bash")
GUIDE = (ROOT / "jobs" / "nightly" / "README.md").read_text(encoding="utf-8")


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_the_lines_to_try_a_night_end_with_a_message(tmp_path):
    [lines] = re.findall(r"^```bash\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    install, _, rest = lines.partition("\n")
    assert "pip install '.[notify]'" in install
    for port in ("8077", "8078"):
        rest = rest.replace(port, free_port())
    program = tmp_path / "bin" / "migrator"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m migrator "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{sys.exec_prefix}/bin:/usr/bin:/bin"
    assert BASH
    done = subprocess.run(
        [BASH, "--norc", "-c", rest],
        cwd=tmp_path,
        env={"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert '"type": "success"' in done.stdout, done
    assert "the backup is fine: " in done.stdout
    assert "ok   notify.urls[0]: the address is understood" in done.stdout
    assert (tmp_path / "archive" / "catalog.db").is_file()
    assert done.returncode == 0
