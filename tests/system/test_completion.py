"""Shell completion as the README describes it: bash evaluates the script and completes a line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.support.program import ROOT, run

BASH = shutil.which("bash")
README_LINE = re.compile(r'`(eval "\$\(migrator completion bash\)")`')
COMPLETE = """
COMP_WORDS=({words} {begun!r}); COMP_CWORD={number}
compopt() {{ :; }}
_migrator_completion migrator; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(folder, words: str, begun: str) -> set[str]:
    """What bash proposes for the last word, with a `migrator` of its own on the path."""
    program = folder / "migrator"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m migrator "$@"\n')
    program.chmod(0o755)
    [line] = README_LINE.findall((ROOT / "README.md").read_text())
    number = len(words.split())
    script = line + COMPLETE.format(words=words, begun=begun, number=number)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    assert BASH
    done = subprocess.run(
        [BASH, "--norc", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "begun", "expected"),
    [
        ("migrator", "ver", {"verify"}),
        ("migrator prune archive", "--keep-d", {"--keep-daily"}),
        ("migrator export archive dest --format", "ba", {"bagit"}),
    ],
)
def test_bash_completes_commands_options_and_values(tmp_path, words, begun, expected):
    assert completed(tmp_path, words, begun) == expected


@pytest.mark.parametrize(
    ("shell", "words"),
    [("bash", "complete -o nosort -F"), ("zsh", "#compdef migrator"), ("fish", "complete --no-files")],
)
async def test_each_shell_has_its_script(shell, words):
    printed = await run("completion", shell)
    assert (printed.code, words in printed.out) == (0, True), printed
    assert (await run("--json", "completion", shell)).document["script"].strip() == printed.out.strip()
