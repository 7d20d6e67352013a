"""Archives in an object store: backups into a real S3 server on the loopback interface, plain, encrypted, and fetched
by one and by two workers of a Dask cluster, against programs that copy the same files there.

The one trap: the server (rclone) needs more processor than any of the programs, so that on two cores it caps them all;
what a program costs by itself is in the column of its CPU.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import Rival, in_turns, table
from tests.bench.served import Served, free_port, served, wait_for

BUCKET, KEY = "bench", "AKIABENCH"
RCLONE = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
MIGRATOR = [sys.executable, "-m", "migrator", "--json", "-q"]
CONFIG = """
archive = "s3://{bucket}/{place}"
[source]
tracker = "targetprocess"
url = "{url}"
auth = {{ username = "ann", password = "secret" }}
options = {{ cross_check = "off" }}
[storage]
local = "local"
endpoint = "{endpoint}"
region = "us-east-1"
access_key = "{key}"
secret_key = {{ file = "s3-secret" }}
allow_http = true
"""
SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
WORKER = "from distributed.cli.dask_worker import main; main()"


@dataclass(frozen=True)
class Store:
    """A bucket of a running server; `folder` is what it holds."""

    url: str
    folder: Path
    secret: str

    def config(self, of: Served, place: Path, more: str) -> None:
        """Write a configuration into the place, that backs up into the bucket's folder of that name."""
        text = CONFIG.format(bucket=BUCKET, place=place.name, url=of.url, endpoint=self.url, key=KEY)
        (place / "backup.toml").write_text(text + more)
        (place / "s3-secret").write_text(self.secret)

    def expect_all(self, place: Path, of: Served, *, longer: bool = False) -> None:
        """All files are in the bucket's folder of that name, by number and size together."""
        folder = self.folder / place.name
        blobs = folder / "blobs" if (folder / "blobs").is_dir() else folder
        found = [path.stat().st_size for path in blobs.rglob("*") if path.is_file()]
        if len(found) != of.count or not (sum(found) == of.size or (longer and sum(found) > of.size)):
            raise SystemExit(f"{len(found)} files of {sum(found)} bytes came, not {of.count} of {of.size}")


@contextmanager
def store(work: Path) -> Iterator[Store]:
    """An S3 server with an empty bucket."""
    data, port, secret = work / "s3" / BUCKET, free_port(), secrets.token_hex(10)
    data.mkdir(parents=True)
    (work / "rclone.conf").touch()
    words = [RCLONE, "serve", "s3", str(data.parent), "--addr", f"127.0.0.1:{port}", "--config", f"{work}/rclone.conf"]
    server = subprocess.Popen(
        [*words, "--cache-dir", f"{work}/cache"],
        env={**os.environ, "RCLONE_AUTH_KEY": f'"{KEY},{secret}"'},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield Store(f"http://127.0.0.1:{port}", data, secret)
    finally:
        server.kill()
        server.wait()


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The address of a Dask scheduler that has so many workers of one thread."""
    port, started = free_port(), []
    address = f"tcp://127.0.0.1:{port}"
    words = [["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]]
    words += [[address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]] * workers
    try:
        for program, each in zip([SCHEDULER] + [WORKER] * workers, words, strict=True):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            started.append(subprocess.Popen([sys.executable, "-c", program, *each], **quiet))
            wait_for(port)
        _joined(address, workers)
        yield address
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def _joined(address: str, workers: int) -> None:
    """Wait, in a process of its own, until they have joined."""
    code = f"from distributed import Client; Client({address!r}).wait_for_workers({workers}, 60)"
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)


def bucket(what: str, options: argparse.Namespace, work: Path) -> list[str]:
    """A set into the bucket by all programs, then what one and two workers of a cluster do."""
    lines = []
    for name in ("small", "mixed"):
        place = work / name
        place.mkdir()
        with served(place, name, options.scale) as of, store(place) as to:
            costs = in_turns([*_ours(of, to), *_others(of, to, place)], options.pairs, place)
            lines += [f"`{name}`, {of.count:,} files:", "", *table(costs, of.count, of.size), ""]
    return [f"{what}: backups into rclone's S3 server; medians of {options.pairs} rounds.", "", *lines]


def dask(what: str, options: argparse.Namespace, work: Path) -> list[str]:
    """`small` into the bucket, fetched in the process itself and by workers of two clusters."""
    with ExitStack() as stack:
        of, to = stack.enter_context(served(work, "small", options.scale)), stack.enter_context(store(work))
        rivals = [
            _backup(f"{count} Dask worker{'s' if count > 1 else ''}", of, to, f'[workers]\ndask = "{address}"\n')
            for count in (2, 1)
            for address in [stack.enter_context(cluster(count))]
        ]
        costs = in_turns(rivals, options.pairs, work)
        head = f"{what}: {of.count:,} small files into rclone's S3 server; the CPU is the coordinator's; medians of"
        return [f"{head} {options.pairs} rounds.", "", *table(costs, of.count, of.size)]


def _ours(of: Served, to: Store) -> list[Rival]:
    import pyrage

    recipient = pyrage.x25519.Identity.generate().to_public()
    return [
        _backup("migrator backup", of, to, ""),
        _backup("migrator backup, encrypted", of, to, f'[encryption]\nrecipients = ["{recipient}"]\n'),
    ]


def _backup(name: str, of: Served, to: Store, more: str) -> Rival:
    return Rival(
        name,
        lambda place: [*MIGRATOR, "backup", str(place / "backup.toml")],
        lambda place: to.expect_all(place, of, longer="encryption" in more),
        lambda place: to.config(of, place, more),
    )


def _others(of: Served, to: Store, work: Path) -> list[Rival]:
    """rclone copies from the web server; s5cmd only sends what lies in a folder already."""
    remote = f":s3,provider=Rclone,endpoint='{to.url}',access_key_id={KEY},secret_access_key={to.secret}:{BUCKET}"
    rclone = ["env", "-u", "AWS_CA_BUNDLE", RCLONE, "copy", "-q", "--transfers=16", "--checkers=16", "--config="]
    rclone += [f"--http-url={of.files}", ":http:"]
    s5cmd = ["--endpoint-url", to.url, "--numworkers", "16", "cp", f"{work}/files/*"]
    env = ["env", f"AWS_ACCESS_KEY_ID={KEY}", f"AWS_SECRET_ACCESS_KEY={to.secret}", "AWS_REGION=us-east-1"]
    rivals = [
        Rival("rclone copy, 16", lambda place: [*rclone, f"{remote}/{place.name}"], lambda at: to.expect_all(at, of))
    ]
    if program := shutil.which("s5cmd", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"):
        rivals.append(
            Rival(
                "s5cmd cp, 16 (from a folder)",
                lambda place: [*env, program, *s5cmd, f"s3://{BUCKET}/{place.name}/"],
                lambda at: to.expect_all(at, of),
            )
        )
    return rivals
