"""Sources that check that a download is the file that was listed.

A body is compared with what the tracker said about it: the listed size, or else the length that the answer announced.
If there is neither, only a second download can show a fault (`ParanoidSource`). A body is judged while it arrives,
because a wrong one usually shows in its first bytes or in the first byte beyond the expected size, and because an
endless one must not fill the disk.

What may come instead, and the reason that `status` gives:

    nothing, though a size was listed           empty: 10 bytes were listed
    less than was listed, and not announced     too short: 9 bytes came, 10 were listed
    more than was listed, and not announced     too long: more than the 10 bytes that were listed
    the file, then another answer's bytes       another answer's bytes follow the 10 that were listed
    a web page                                  a web page instead of the file
    a login page                                a login page instead of the file
    a redirect to a login page                  redirected to a login page
    an error message with status 200            an error message (JSON) instead of the file
    words in place of a picture, of any size    text (text/plain) instead of the file
    compressed in a way that is not undone      compressed (br), although it was requested uncompressed
    a part of it, or a status that is no file   status 206, which is unexpected here
    a refusal by the host of a redirect         redirected to files.example: status 404
    the body ends before its announced end      the body broke off
    nothing for `timeout`                       timed out waiting for data
    a byte now and then                         too slow
    another content the second time             two downloads of it differ

Stored with a warning: a body of another length than listed, if it comes with the announced length each time (see
`verifying_sink`), and a file that is declared as compressed but is the listed one only as it came.
"""

from __future__ import annotations

import hashlib

from typing_extensions import override

from migrator.errors import UnexpectedBodyError
from migrator.layers.forwarding import SourceWrapper
from migrator.layers.verifying_sink import verified_download
from migrator.model import Attachment
from migrator.ports import BodyFacts, Sink


class VerifiedSource(SourceWrapper):
    """Compares each download with what was listed and announced; a mismatch is `UnexpectedBodyError`."""

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        await verified_download(lambda verifying: self._inner.download(attachment, verifying), attachment, sink)


class ParanoidSource(SourceWrapper):
    """Downloads a file twice and compares, where neither the listing nor the answer gives its length."""

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """`UnexpectedBodyError` if the two downloads differ. The second one is only hashed."""
        first = _HashedSink(sink)
        await self._inner.download(attachment, first)
        if attachment.size is not None or first.facts.length is not None:
            return
        second = _HashedSink(None)
        await self._inner.download(attachment, second)
        if first.sha256.digest() != second.sha256.digest():
            raise UnexpectedBodyError("two downloads of it differ")


class _HashedSink(Sink):
    """Hashes the bytes on their way to another sink, or to none."""

    def __init__(self, inner: Sink | None) -> None:
        self._inner = inner
        self.facts, self.sha256 = BodyFacts(), hashlib.sha256()

    @override
    async def start(self, facts: BodyFacts) -> None:
        self.facts = facts
        if self._inner is not None:
            await self._inner.start(facts)

    @override
    async def write(self, chunk: bytes) -> None:
        self.sha256.update(chunk)
        if self._inner is not None:
            await self._inner.write(chunk)

    @override
    def rewind(self) -> None:
        self.sha256 = hashlib.sha256()
        if self._inner is not None:
            self._inner.rewind()

    @override
    def warn(self, text: str) -> None:
        if self._inner is not None:
            self._inner.warn(text)
