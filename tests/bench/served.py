"""What is downloaded: sets of files, and nginx serving them as a Targetprocess and as plain files."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PAGE = 500
FIRST_ID = 100_000
FILES_OF_ENTITY = 5
COUNTS = {
    "small": 10_000,
    "tls": 10_000,
    "mixed": 2_000,
    "large": 8,
    "far": 2_000,
    "far-long": 20_000,
    "nothing-changed": 100_000,
    "curve": 1,
}
"""How many files each set has; a curve is so many times its scale."""
TINY = ("nothing-changed", "curve")
"""Sets whose files aren't written: nginx answers with the id."""

CONFIG = """
daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/nginx.log; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; default_type application/octet-stream;
    client_body_temp_path {work}/t; proxy_temp_path {work}/t; fastcgi_temp_path {work}/t; uwsgi_temp_path {work}/t;
    scgi_temp_path {work}/t;
    map $arg_where $after {{ default 0; "~(?<number>\\d+)$" $number; }}
    server {{
        listen 127.0.0.1:{port} {tls}; root {work};
        location = /Attachment.aspx {{ {content} }}
        location /files/ {{ autoindex on; }}
        location /api/v1/ {{ default_type application/json; return 200 '{{"Items":[]}}'; }}
        location ~ ^/api/v1/(?<listing>Attachments|Generals)$ {{
            default_type application/json; try_files /pages/$listing-$after =404; }}
    }}
}}
"""


@dataclass(frozen=True)
class Served:
    """Files that nginx serves: how many, how large together, and where."""

    count: int
    size: int
    url: str
    files: str
    ca: Path | None = None

    def urls(self) -> Iterator[tuple[str, str]]:
        """Address and id of each."""
        for number in range(FIRST_ID, FIRST_ID + self.count):
            yield f"{self.url}/Attachment.aspx?AttachmentID={number}", str(number)


def sizes(name: str, scale: float) -> list[int]:
    """How large the files of a set are, in bytes."""
    chance = random.Random(name)
    count = COUNTS[name]
    if name == "large":
        return [int(128 * 2**20 * min(1.0, scale))] * count
    count = max(1, round(count * scale))
    if name == "mixed":
        return [min(20_000_000, int(chance.lognormvariate(11.29, 1.5))) for _ in range(count)]
    if name in TINY:
        return [len(str(FIRST_ID + number)) for number in range(count)]  # nginx answers with the id itself
    return [chance.randrange(2_000, 20_001) for _ in range(count)]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def served(work: Path, name: str, scale: float) -> Iterator[Served]:
    """The set, made in `work` and served while inside."""
    made, port = sizes(name, scale), free_port()
    for folder in ("files", "pages", "t"):
        (work / folder).mkdir()
    plain = name in TINY
    if not plain:
        _write_files(work / "files", made)
    _write_pages(work / "pages", made)
    content = "return 200 $arg_AttachmentID;" if plain else "try_files /files/$arg_AttachmentID =404;"
    user = "user root;" if Path("/proc/self").stat().st_uid == 0 else ""
    ca = _certificate(work) if name == "tls" else None
    tls = f"ssl; ssl_certificate {ca}; ssl_certificate_key {work}/key.pem" if ca else ""
    (work / "nginx.conf").write_text(CONFIG.format(work=work, port=port, content=content, user=user, tls=tls))
    nginx = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", work / "nginx.conf"])
    try:
        wait_for(port)
        with delayed(port) if name.startswith("far") else _as_it_is(port) as open_port:
            url = f"{'https' if ca else 'http'}://127.0.0.1:{open_port}"
            yield Served(len(made), sum(made), url, f"{url}/files/", ca)
    finally:
        nginx.terminate()
        nginx.wait()


def _certificate(work: Path) -> Path:
    """A certificate for this machine, that signs itself; its key lies beside it."""
    path = work / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{work}/key.pem", "-out", str(path)]
    subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
    return path


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    for _ in range(200):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on port {port}")


@contextmanager
def _as_it_is(port: int) -> Iterator[int]:
    yield port


@contextmanager
def delayed(port: int) -> Iterator[int]:
    """The same server 50 ms away."""
    far = free_port()
    proxy = subprocess.Popen([sys.executable, "-m", "tests.bench.far", str(far), str(port)])
    try:
        wait_for(far)
        yield far
    finally:
        proxy.terminate()
        proxy.wait()


def _write_files(folder: Path, made: list[int]) -> None:
    chance = random.Random(1)
    for number, size in enumerate(made, FIRST_ID):
        with (folder / str(number)).open("wb") as file:
            for start in range(0, size, 2**20):
                file.write(chance.randbytes(min(2**20, size - start)))


def _write_pages(folder: Path, made: list[int]) -> None:
    """Pages as Targetprocess answers them; the first after id 0, each further one after the last id before it."""
    kind = {"EntityType": {"ResourceType": "EntityType", "Id": 4, "Name": "UserStory"}}
    for start in range(0, len(made), PAGE):
        items = [
            {
                "ResourceType": "Attachment",
                "Id": number,
                "Name": f"picture {number}.png",
                "Description": f"picture {number}.png",
                "Date": "/Date(1700000000000+0100)/",
                "MimeType": "image/png",
                "Uri": f"http://tracker.example/Attachment.aspx?AttachmentID={number}",
                "Size": size,
                "Owner": {
                    "ResourceType": "GeneralUser",
                    "Id": 1,
                    "FirstName": "Ann",
                    "LastName": "Smith",
                    "Login": "a",
                },
                "General": {"ResourceType": "General", "Id": owner_of(number), "Name": f"story {number}", **kind},
                "Message": None,
            }
            for number, size in enumerate(made[start : start + PAGE], FIRST_ID + start)
        ]
        _write_page(folder, "Attachments", start, FIRST_ID + start - 1, items, more=start + PAGE < len(made))
    _write_page(folder, "Attachments", len(made), FIRST_ID + len(made) - 1, [], more=False)
    entities = [owner_of(number) for number in range(FIRST_ID, FIRST_ID + len(made), FILES_OF_ENTITY)]
    for start in range(0, len(entities), PAGE):
        items = [
            {"ResourceType": "General", "Id": number, "Name": f"story {number}", "Description": "<p>words</p>", **kind}
            for number in entities[start : start + PAGE]
        ]
        _write_page(folder, "Generals", start, items[0]["Id"] - 1, items, more=start + PAGE < len(entities))
    _write_page(folder, "Generals", len(entities), entities[-1], [], more=False)


def owner_of(number: int) -> int:
    """The id of the entity that a file is on."""
    return number // FILES_OF_ENTITY


def _write_page(folder: Path, name: str, start: int, after: int, items: list, *, more: bool) -> None:
    page = {"Prefix": "", "Items": items, **({"Next": "http://tracker.example/next"} if more else {})}
    (folder / f"{name}-{after if start else 0}").write_text(json.dumps(page))
