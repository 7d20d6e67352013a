"""What a Kiwi source and target share: options, capabilities, login, the lists of files, downloads."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from typing_extensions import override

from migrator.errors import GoneError, LoginPageError, RejectedError, TrackerUnreachableError, UnexpectedBodyError
from migrator.model import Attachment, EntityRef
from migrator.ports import BodyFacts, Capabilities, Sink
from migrator.trackers.base import HttpTracker
from migrator.trackers.kiwi.api import Api, MethodError
from migrator.trackers.lenient import iso_date, raw_json, text
from migrator.trackers.strict import digits, number_in, objects_in
from migrator.wire import HttpClient

CASE, PLAN = "TestCase", "TestPlan"
KINDS = (CASE, PLAN)
MAX_DIGITS = 18
"""Databases refuse to look for larger numbers."""
MAX_REQUEST_FILE_BYTES = (2_621_440 - 1024) // 4 * 3
"""The largest file in a request of 2.5 MiB, which is as much as Kiwi reads unless it is configured otherwise."""

_TAGS = (
    "applet audio bgsound body canvas embed frame frameset head html iframe link meta object param source script ruby "
    "rt title track video xmp"
)
REFUSED_WORDS = (*(f"<{tag}".encode() for tag in _TAGS.split()), b"onload=")
"""What no file may contain (kiwi_attachments/validators.py). `<rt` is short enough to be in a large file by chance."""

MAX_NAME_CHARACTERS = 67
"""The path of a file has at most 100 characters, of which the folder of a test case takes 32 and its number.

So this is the limit for numbers of one digit. Kiwi cuts what is too long for a larger number, and keeps the extension.
"""
CAPABILITIES = Capabilities(
    streams=KINDS,
    kinds=KINDS,
    max_connections=8,
    max_name_bytes=4 * MAX_NAME_CHARACTERS,
    name_encoding="utf-32-le",
    reports_size=False,
    sets_description=False,
    creates=True,
    deletes=True,
    refuses_empty=True,
    refused_words=REFUSED_WORDS,
)


@dataclass(frozen=True, slots=True)
class Options:
    """[source.options] and [target.options].

    product          number or name of a product: only its test cases and plans are read, or proposed by `map`
    page_size        source: test cases or plans on a page, by the distance of their numbers
    max_bytes        target: the largest file that the server accepts; left out: as much as one that is configured as
                     shipped does (1,965,312); 0 if unknown
    create_product   target: number or name of the product in which test cases are created, see [mapping] create_missing
    """

    product: str = ""
    page_size: int = 100
    max_bytes: int = MAX_REQUEST_FILE_BYTES
    create_product: str = ""


def plain(value: object) -> str:
    """A string of an answer, without the escapes that Kiwi adds."""
    return html.unescape(text(value))


def attachment_in(record: Mapping[str, Any], owner: EntityRef, http: HttpClient) -> Attachment:
    """One file; `UnexpectedBodyError` if it has no number or no address. Its name is the last part of the address."""
    number, path = number_in(record, "pk"), http.path_of(plain(record.get("url")))
    name = unquote(path.partition("?")[0].rpartition("/")[2])
    if not name:
        raise UnexpectedBodyError(f"file {number} has no address")
    date, author = iso_date(record.get("date")), plain(record.get("owner_username"))
    return Attachment(str(number), owner, name, created_at=date, created_by=author, locator=path, raw=raw_json(record))


class Kiwi(HttpTracker[Options]):
    """What source and target share."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options, replace(CAPABILITIES, max_attachment_bytes=options.max_bytes or None))
        self.api = Api(http)

    async def products(self) -> Iterable[tuple[int, str]]:
        """The numbers and names of all products."""
        return [(number_in(product), plain(product.get("name"))) for product in await self.api.find("Product")]

    @override
    async def check(self) -> str:
        try:
            version = text(await self.api.call("KiwiTCMS.version"))
        except LoginPageError:  # an UnexpectedBodyError too, but it says what is wrong
            raise
        except (GoneError, UnexpectedBodyError):
            raise TrackerUnreachableError("no Kiwi TCMS answers at this address; is `url` right?") from None
        return f"logged in to Kiwi TCMS {version}"

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        """`GoneError` only if the list fails and the search for the entity finds nothing."""
        kind, number = owner_of(owner)
        try:
            records = objects_in(await self.api.call(f"{kind}.list_attachments", number))
        except MethodError:
            await self.api.require(kind, number)
            raise
        return tuple(attachment_in(record, owner, self._http) for record in records)

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """From the address that was listed, or if that isn't known, from the one that is listed now."""
        locator = attachment.locator
        if not locator:
            listed = {file.id: file.locator for file in await self.find_attachments(attachment.owner)}
            if attachment.id not in listed:
                raise GoneError(f"file {attachment.id} is not listed")
            locator = listed[attachment.id]
        await self._stream(attachment, locator, _Untyped(sink))


def owner_of(owner: EntityRef) -> tuple[str, int]:
    """The kind and number of a test case or plan; `RejectedError` for any other kind, `GoneError` for no number."""
    if owner.kind not in KINDS:
        raise RejectedError(f"{owner}: in Kiwi TCMS, files can be added to test cases and test plans only")
    number = digits(owner.id)
    if len(number) > MAX_DIGITS:
        raise GoneError(f"{owner.kind} {number[:40]} does not exist")
    return owner.kind, int(number)


class _Untyped(Sink):
    """Drops the media type `text/plain`, which Kiwi states for every file, so a picture is not refused as a text.

    Kiwi takes no empty files and lists no sizes, so an empty answer is an error.
    """

    def __init__(self, inner: Sink) -> None:
        self._inner = inner

    @override
    async def start(self, facts: BodyFacts) -> None:
        if facts.length == 0:
            raise UnexpectedBodyError("empty, although Kiwi takes no empty files")
        says_nothing = facts.media_type == "text/plain"
        await self._inner.start(replace(facts, media_type="application/octet-stream") if says_nothing else facts)

    @override
    async def write(self, chunk: bytes) -> None:
        await self._inner.write(chunk)

    @override
    def rewind(self) -> None:
        self._inner.rewind()

    @override
    def warn(self, text: str) -> None:
        self._inner.warn(text)
