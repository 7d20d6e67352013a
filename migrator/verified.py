"""Nothing passes as a file that isn't: sizes compared, pages and error messages refused, on demand fetched twice.

The one idea: a body is judged by what the tracker itself told: the size that was listed, else the length that the
answer announced. Where neither was told, only a second download can tell (`ParanoidSource`).
The one trap: what is wrong is often told by the first bytes too many or the first bytes at all, so a body is judged
while it comes: an endless one must not fill the disk.

What may come, and the reason that `status` gives then:

    nothing, though a size was listed           empty: 10 bytes were listed
    less than was listed                        too short: 9 bytes came, 10 were listed
    more than was listed                        too long: more than the 10 bytes that were listed
    the file, then another answer's bytes       another answer's bytes follow the 10 that were listed
    a web page                                  a web page instead of the file
    a login page                                a login page instead of the file
    a redirect to a login page                  redirected to a login page
    an error message with status 200            an error message (JSON) instead of the file
    compressed                                  compressed, though it was asked for as it is
    the body ends before its announced end      the body broke off
    nothing for `timeout`                       nothing came for too long
    a byte now and then (see `bodies.SLOWEST`)  too slow
    another content the second time             two downloads of it differ
"""

from __future__ import annotations

import hashlib

from migrator.answers import (
    SNIFF,
    expects_html,
    expects_json,
    is_error_page,
    looks_like_error,
    looks_like_html,
    page_instead,
)
from migrator.errors import LoginPage, WrongBody
from migrator.model import Attachment, Cursor, Entity, Page
from migrator.ports import BodyFacts, Sink, Source


class _Around:
    """A source whose downloads alone are watched."""

    def __init__(self, inner: Source) -> None:
        self._inner = inner
        self.capabilities = inner.capabilities

    async def check(self) -> str:
        """See `Tracker`."""
        return await self._inner.check()

    async def oddities(self) -> tuple[str, ...]:
        """See `Tracker`."""
        return await self._inner.oddities()

    async def close(self) -> None:
        """See `Tracker`."""
        await self._inner.close()

    async def still_lists(self, attachment: Attachment) -> bool:
        """See `Source`."""
        return await self._inner.still_lists(attachment)

    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """See `Source`."""
        return await self._inner.read(stream, cursor)

    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """See `Source`."""
        return await self._inner.attachments_of(entity)


class VerifiedSource(_Around):
    """What comes is compared with what was listed and announced."""

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`; `WrongBody` where what came is not what was listed."""
        checked = CheckedSink(sink, attachment)
        await self._inner.download(attachment, checked)
        checked.judge()


class ParanoidSource(_Around):
    """Downloads a file twice where neither the listing nor the answer tells how long it is, and compares."""

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """See `Source`; `WrongBody` where two downloads differ. The second one is hashed and dropped."""
        first = _HashedSink(sink)
        await self._inner.download(attachment, first)
        if attachment.size is not None or first.facts.length is not None:
            return
        second = _HashedSink(None)
        await self._inner.download(attachment, second)
        if first.sha256.digest() != second.sha256.digest():
            raise WrongBody("two downloads of it differ")


class _HashedSink:
    """Hashes what passes; without another sink behind it, that is all."""

    def __init__(self, inner: Sink | None) -> None:
        self._inner = inner
        self.facts, self.sha256 = BodyFacts(), hashlib.sha256()

    async def start(self, facts: BodyFacts) -> None:
        self.facts = facts
        if self._inner is not None:
            await self._inner.start(facts)

    async def write(self, chunk: bytes) -> None:
        self.sha256.update(chunk)
        if self._inner is not None:
            await self._inner.write(chunk)

    def rewind(self) -> None:
        self.sha256 = hashlib.sha256()
        if self._inner is not None:
            self._inner.rewind()

    def warn(self, text: str) -> None:
        if self._inner is not None:
            self._inner.warn(text)


class CheckedSink:
    """Counts what passes, keeps its beginning, and ends a body that is longer than the attachment was listed."""

    def __init__(self, inner: Sink, attachment: Attachment) -> None:
        self._inner, self._of = inner, attachment
        self._facts = BodyFacts()
        self._size = 0
        self._head = self._excess = b""

    async def start(self, facts: BodyFacts) -> None:
        """See `Sink`."""
        self._facts = facts
        await self._inner.start(facts)

    async def write(self, chunk: bytes) -> None:
        """See `Sink`; bytes beyond the listed size go nowhere, and soon end it: `WrongBody`."""
        if len(self._head) < SNIFF:
            self._head += chunk[: SNIFF - len(self._head)]
        before, self._size = self._size, self._size + len(chunk)
        if self._of.size is None or self._size <= self._of.size:
            await self._inner.write(chunk)
            return
        self._excess += chunk[max(0, self._of.size - before) :][:SNIFF]
        if len(self._excess) >= SNIFF:  # until then it may turn out to be a page
            self._refuse_excess()

    def rewind(self) -> None:
        """See `Sink`."""
        self._size, self._head, self._excess = 0, b"", b""
        self._inner.rewind()

    def warn(self, text: str) -> None:
        """See `Sink`."""
        self._inner.warn(text)

    def judge(self) -> None:
        """The whole body came: `WrongBody` or `LoginPage` where it is not the file."""
        size, facts, listed = self._size, self._facts, self._of.size
        if self._excess:
            self._refuse_excess()
        if listed is None or size != listed:
            self._refuse_message()
        if listed is not None and size != listed:
            if not size:
                raise WrongBody(f"empty: {listed} bytes were listed")
            raise WrongBody(f"too short: {size} bytes came{self._page()}, {listed} were listed")
        if facts.length is not None and size != facts.length:
            raise WrongBody(f"{size} bytes came, {facts.length} were announced")
        if is_error_page(facts, self._head, html_expected=expects_html(self._of)):
            raise LoginPage(page_instead(self._head))

    def _refuse_excess(self) -> None:
        self._refuse_message()
        if self._excess.startswith(b"HTTP/1."):
            raise WrongBody(f"another answer's bytes follow the {self._of.size} that were listed")
        raise WrongBody(f"too long: more than the {self._of.size} bytes that were listed{self._page()}")

    def _refuse_message(self) -> None:
        if looks_like_error(self._facts, self._head) and not expects_json(self._of):
            raise WrongBody("an error message (JSON) instead of the file")

    def _page(self) -> str:
        return " (a web page)" if looks_like_html(self._head) and not expects_html(self._of) else ""
