"""Uploads: a load into an embedded Squash TM, against curl sending the same files to the same addresses.

The one trap: the embedded tracker is written in Python, so it caps both; what counts is the CPU of the program. And
a load does more than send: it looks at each entity before, and reads its list again after.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.bench.measure import Rival, in_turns, table

FILES = 1_000
OF_ENTITY = 5
WRITES = 2
"""What the adapter takes a Squash TM to bear at once; curl gets as many."""
SERVER = [sys.executable, "-m", "tests.bench.trackers"]
MIGRATOR = [sys.executable, "-m", "migrator", "--json", "-q"]


class Trackers:
    """Source and target in a process of their own, fresh for each run."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._process: subprocess.Popen[str] | None = None

    def start(self, place: Path) -> None:
        """Serve, with `migration.toml` and `mapping.csv` in the place and what curl needs in `target.json`."""
        command = [*SERVER, str(place), str(self._count), str(OF_ENTITY)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        if not self._process.stdout.readline():
            raise SystemExit("the embedded trackers did not start")

    def stop(self) -> None:
        """End them."""
        if self._process:
            self._process.terminate()
            self._process.communicate()


def upload(_: str, options: argparse.Namespace, work: Path) -> list[str]:
    """One backup of the embedded source, then loads and curl in turns."""
    trackers = Trackers(max(OF_ENTITY, round(FILES * options.scale)))
    first = work / "first"
    first.mkdir()
    trackers.start(first)
    subprocess.run([*MIGRATOR, "backup", str(first / "migration.toml")], check=True, stdout=subprocess.DEVNULL)
    trackers.stop()
    with sqlite3.connect(first / "archive" / "catalog.db") as catalog:
        count, size = catalog.execute(
            "SELECT count(*), sum(b.size) FROM attachments JOIN blobs b USING (sha256)"
        ).fetchone()

    def prepare(place: Path) -> None:
        trackers.start(place)
        subprocess.run(["cp", "-a", first / "archive", place], check=True)
        _name_source_of(first / "migration.toml", place / "migration.toml")
        _write_curl(place)

    def check(place: Path) -> None:
        trackers.stop()
        line = (work / "log").read_text().splitlines()[-1]
        if line.startswith("{") and json.loads(line).get("uploads", {"uploaded": count})["uploaded"] != count:
            raise SystemExit(f"not all were uploaded: {line}")

    curl = ["curl", "-sS", "--fail", "--parallel", "--parallel-max", str(WRITES)]
    rivals = [
        Rival("migrator load", lambda place: [*MIGRATOR, "load", str(place / "migration.toml")], check, prepare),
        Rival(f"curl -F, {WRITES}", lambda place: [*curl, "-K", str(place / "curl")], check, prepare),
    ]
    costs = in_turns(rivals, options.pairs, work)
    what = (
        f"{count:,} files of 2-20 KB to {count // OF_ENTITY:,} entities of an embedded Squash TM, {WRITES} at a time;"
        f" medians of {options.pairs} rounds. A load also looks at each entity before and after."
    )
    return [what, "", *table(costs, count, size)]


def _name_source_of(first: Path, config: Path) -> None:
    """The archive is of the first source, whose port was another one; a load refuses the archive of another source."""
    urls = [tomllib.loads(path.read_text())["source"]["url"] for path in (config, first)]
    config.write_text(config.read_text().replace(*urls))


def _write_curl(place: Path) -> None:
    target = json.loads((place / "target.json").read_text())
    with sqlite3.connect(place / "archive" / "catalog.db") as catalog:
        files = catalog.execute("SELECT entity_id, name, sha256 FROM attachments").fetchall()
    parts = [
        f'url = "{target["urls"][entity]}"\nheader = "{target["header"]}"\noutput = "/dev/null"\n'
        f'form = "files=@{place}/archive/blobs/{sha256[:2]}/{sha256};filename={name}"\n'
        for entity, name, sha256 in files
    ]
    (place / "curl").write_text("next\n".join(parts))
