"""What migrator is held against: other programs, and the scripts that most people would write.

`python -m tests.bench.peers requests|aiofiles|httpx LIST FOLDER` runs one of those scripts; LIST has an address and a
name on each line.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from tests.bench.measure import Rival
from tests.bench.served import Served


def rivals(served: Served, work: Path) -> list[Rival]:
    """Those that are installed. None of them crawls, hashes or records; only aria2c makes files safe on disk."""
    pairs, tall = list(served.urls()), work / "lists"
    tall.mkdir()
    (tall / "curl").write_text("".join(f'url = "{url}"\noutput = "{name}"\n' for url, name in pairs))
    (tall / "aria2").write_text("".join(f"{url}\n out={name}\n" for url, name in pairs))
    (tall / "plain").write_text("".join(f"{url} {name}\n" for url, name in pairs))
    (tall / "wget").write_text("".join(f"{url}\n" for url, _ in pairs))
    python, script = sys.executable, ["-m", "tests.bench.peers"]
    authority = [f"--ca-certificate={served.ca}"] if served.ca else []
    lines: dict[str, tuple[str, object]] = {
        "curl --parallel, 16": (
            "curl",
            lambda to: [
                *("curl", "-sS", "--parallel", "--parallel-max", "16", "--output-dir", to, "-K", tall / "curl"),
                *(["--cacert", served.ca] if served.ca else []),
            ],
        ),
        "aria2c -j16": ("aria2c", lambda to: ["aria2c", "-j16", "-q", "-d", to, "-i", tall / "aria2", *authority]),
        "rclone copy, 16": (
            "rclone",
            lambda to: [
                *("rclone", "copy", "-q", "--transfers=16", "--checkers=16", "--config="),
                *(f"--http-url={served.files}", ":http:", to),
                *([f"--ca-cert={served.ca}"] if served.ca else []),
            ],
        ),
        "wget2, 16": (
            "wget2",
            lambda to: ["wget2", "-q", "--max-threads=16", "-P", to, "-i", tall / "wget", *authority],
        ),
        "requests, a session": ("requests", lambda to: [python, *script, "requests", tall / "plain", to]),
        "aiohttp + aiofiles, 16": ("aiofiles", lambda to: [python, *script, "aiofiles", tall / "plain", to]),
        "httpx + aiofiles, 16": ("httpx", lambda to: [python, *script, "httpx", tall / "plain", to]),
    }
    if served.ca:  # the scripts would only show what their libraries cost here, too
        lines = {name: line for name, line in lines.items() if line[0] in {"curl", "aria2c", "rclone", "wget2"}}
    there = {name: line for name, (what, line) in lines.items() if which(what) or find_spec(what)}
    return [Rival(name, _as_text(line), lambda to: expect_all(to, served)) for name, line in there.items()]


def _as_text(line: object) -> object:
    return lambda to: [str(word) for word in line(to)]


def expect_all(folder: Path, served: Served) -> None:
    """All of them are there, by number and size together."""
    found = [path.stat().st_size for path in folder.iterdir()]
    if (len(found), sum(found)) != (served.count, served.size):
        raise SystemExit(f"{len(found)} files of {sum(found)} bytes came, not {served.count} of {served.size}")


def _with_requests(pairs: list[list[str]], folder: Path) -> None:
    import requests

    session = requests.Session()
    for url, name in pairs:
        with session.get(url, stream=True, timeout=60) as answer, (folder / name).open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_content(65536):
                file.write(chunk)


async def _with_aiofiles(pairs: list[list[str]], folder: Path) -> None:
    import aiofiles
    import aiohttp

    async def worker(session: aiohttp.ClientSession) -> None:
        while pairs:
            url, name = pairs.pop()
            async with session.get(url) as answer:
                answer.raise_for_status()
                async with aiofiles.open(folder / name, "wb") as file:
                    async for chunk in answer.content.iter_chunked(65536):
                        await file.write(chunk)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(worker(session) for _ in range(16)))


async def _with_httpx(pairs: list[list[str]], folder: Path) -> None:
    import aiofiles
    import httpx

    async def worker(client: httpx.AsyncClient) -> None:
        while pairs:
            url, name = pairs.pop()
            async with client.stream("GET", url) as answer:
                answer.raise_for_status()
                async with aiofiles.open(folder / name, "wb") as file:
                    async for chunk in answer.aiter_bytes(65536):
                        await file.write(chunk)

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(worker(client) for _ in range(16)))


if __name__ == "__main__":
    todo = [line.split() for line in Path(sys.argv[2]).read_text().splitlines()]
    if sys.argv[1] == "requests":
        _with_requests(todo, Path(sys.argv[3]))
    elif sys.argv[1] == "httpx":
        asyncio.run(_with_httpx(todo, Path(sys.argv[3])))
    else:
        asyncio.run(_with_aiofiles(todo, Path(sys.argv[3])))
