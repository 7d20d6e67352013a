"""The files that a thorough check sends to a target: each is odd in one way, in its name or its content."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

MIB = 1024 * 1024
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + b"not more than a beginning"


@dataclass(frozen=True, slots=True)
class Sample:
    """A file to be sent. `what` says in a word or two what is odd about it."""

    what: str
    name: str
    content: bytes
    media_type: str = "application/octet-stream"


TEXT = b"one line\nanother line\n"
SAMPLES = (
    Sample("plain", "plain.txt", TEXT, "text/plain"),
    Sample("no text", "picture.png", PNG, "image/png"),
    Sample("accents", "\u00fcbersicht \u0141\u00f3d\u017a.txt", TEXT, "text/plain"),
    Sample("combining accents", "decomposed e\u0301.txt", TEXT, "text/plain"),
    Sample("Hebrew and Chinese", "\u05e9\u05dc\u05d5\u05dd \u6f22\u5b57.txt", TEXT, "text/plain"),
    Sample("emoji", "smile \U0001f600.txt", TEXT, "text/plain"),
    Sample("quotes", 'it\'s "quoted"; really.txt', TEXT, "text/plain"),
    Sample("slashes", "a/b\\c.txt", TEXT, "text/plain"),
    Sample("percent and plus", "100%25 a+b & c#d?.txt", TEXT, "text/plain"),
    Sample("two blanks", "two  blanks .txt", TEXT, "text/plain"),
    Sample("no extension", "no-extension", TEXT, "text/plain"),
    Sample("200 characters", f"{'long ' * 39}x.txt", TEXT, "text/plain"),
    Sample("empty", "empty.bin", b""),
    Sample("HTML", "page.html", b"<html><script>onload = 1</script></html>", "text/html"),
    Sample("Latin-1", "latin1.txt", "Gr\u00fc\u00dfe\r\n".encode("latin-1"), "text/plain"),
    Sample("program", "program.exe", b"MZ" + bytes(range(256))),
    Sample("1 MiB of noise", "noise.bin", random.Random(1).randbytes(MIB)),  # noqa: S311 - no secret
    Sample("same name, first", "same.txt", b"first\n", "text/plain"),
    Sample("same name, second", "same.txt", b"second\n", "text/plain"),
)
SAMPLE_CONTENTS = frozenset(hashlib.sha256(sample.content).hexdigest() for sample in SAMPLES if sample.content)
"""The SHA-256 of each of them."""
