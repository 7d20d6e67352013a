"""The pages: a start page with the verdict, the search, an entity, a file, its image and its download.

A page reads the copy of the catalog, and blobs of the archive itself: one that a prune has deleted meanwhile, or that
is damaged, gets a page that says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from urllib.parse import urlencode

from migrator.errors import StorageError
from migrator.jobs.browse.answers import FileAnswer, Page, error_page
from migrator.jobs.browse.contents import HEAD_BYTES, MAX_IMAGE_BYTES, PREVIEW_BYTES, image_type, text_preview
from migrator.jobs.browse.queries import Found, Queries, Row, blob_of
from migrator.model import EntityRef
from migrator.pipeline.summary import Failure, StatusSummary
from migrator.store import PRESENT, Archive, Snapshot

Answer = Page | FileAnswer
Parameters = Mapping[str, str]
CHECKED_BYTES = 16 * 1000 * 1000
"""A larger file is hashed while it is sent, and the transfer breaks off if it is damaged."""
FAILURES_PER_PAGE = 100
FAILURES_AT_START = 10
MAX_PAGE = 1_000_000
_DAMAGED = (
    "This file is damaged or missing in the archive. `migrator verify` says more; the next backup fetches it again."
)


class UnknownError(Exception):
    """There is no such snapshot, entity or file; its text says which."""


class Pages:
    """The pages of one archive, as `summary` and `snapshots` describe it."""

    def __init__(
        self, archive: Archive, summary: StatusSummary, snapshots: Sequence[Snapshot], queries: Queries
    ) -> None:
        self._archive, self._summary, self._queries = archive, summary, queries
        self._snapshots = list(reversed(snapshots))
        self.routes: dict[str, Callable[[Parameters], Awaitable[Answer]]] = {
            r"^/$": self.start,
            r"^/search$": self.search,
            r"^/failures$": self.failures,
            r"^/entity$": self.entity,
            r"^/file$": self.file,
            r"^/image$": self.image,
            r"^/download$": self.download,
        }

    async def answer(self, view: Callable[[Parameters], Awaitable[Answer]], parameters: Parameters) -> Answer:
        """The answer of a page; a page with status 404 if what it is about is unknown, 503 if the store refuses."""
        try:
            answer = await view(parameters)
        except UnknownError as error:
            answer = error_page(404, str(error))
        except StorageError as error:
            answer = error_page(503, str(error))
        if isinstance(answer, FileAnswer):
            return answer
        known = parameters.get("at", "") in self._names()
        frame = {
            "archive": self._summary.archive,
            "snapshots": self._snapshots,
            "at": parameters.get("at", "") if known else "",
            "q": parameters.get("q", ""),
            "link": link,
        }
        return Page(answer.template, frame | dict(answer.values), answer.status)

    async def start(self, parameters: Parameters) -> Answer:
        """Is the backup fine, what is there, what failed."""
        run = self._run(parameters)
        failures = self._summary.failures
        return Page(
            "archive_start.html",
            {
                "summary": self._summary,
                "viewed": next((taken for taken in self._snapshots if taken.run == run), None),
                "failures": failures[:FAILURES_AT_START],
                "failure_count": len(failures),
                "entities": (await self._queries.entities("", run, 0)).rows[:FAILURES_AT_START],
            },
        )

    async def search(self, parameters: Parameters) -> Answer:
        """Entities and files with the words that were typed, or all."""
        run, number, text = self._run(parameters), _page_number(parameters), parameters.get("q", "").strip()
        entities, files = await asyncio.gather(
            self._queries.entities(text, run, number), self._queries.files(text, run, number)
        )
        values = {"entities": entities, "more": entities.more or files.more, "page": number, "text": text}
        return Page("archive_search.html", values | await self._with_images(files))

    async def failures(self, parameters: Parameters) -> Answer:
        """What failed and why, and what a person has accepted."""
        self._run(parameters)
        number = _page_number(parameters)
        rows: list[Failure] = [*self._summary.failures, *(self._summary.accepted or ())]
        first = number * FAILURES_PER_PAGE
        return Page(
            "archive_failures.html",
            {
                "failures": list(islice(rows, first, first + FAILURES_PER_PAGE)),
                "failure_count": len(rows),
                "problems": self._summary.problems[:FAILURES_PER_PAGE],
                "problem_count": len(self._summary.problems),
                "more": len(rows) > first + FAILURES_PER_PAGE,
                "page": number,
            },
        )

    async def entity(self, parameters: Parameters) -> Answer:
        """One entity and its files."""
        run, number = self._run(parameters), _page_number(parameters)
        owner = EntityRef(parameters.get("kind", ""), parameters.get("id", ""))
        row = await self._queries.entity(owner, run)
        files = await self._queries.files_of(owner, run, number)
        if row is None and not files.rows:
            raise UnknownError("There is no such entity in this state of the archive.")
        values = {"owner": owner, "entity": row, "web_address": web_address(row["url"]) if row else ""}
        return Page(
            "archive_entity.html", values | {"more": files.more, "page": number} | await self._with_images(files)
        )

    async def file(self, parameters: Parameters) -> Answer:
        """One file: what is known of it, and what it looks like."""
        row = await self._file(parameters)
        blob = blob_of(row)
        head: bytes | None = None
        if blob and not row["problem"]:
            head = await asyncio.to_thread(self._archive.head, blob, PREVIEW_BYTES)
        image = image_type(head or b"") if blob and blob.size <= MAX_IMAGE_BYTES else None
        owner = await self._queries.entity(EntityRef(row["kind"], row["entity_id"]), self._run(parameters))
        values = {
            "file": row,
            "owner": owner,
            "damaged": _DAMAGED if blob and head is None else "",
            "image": image,
            "text": text_preview(head) if head and not image else None,
            "cut": blob is not None and blob.size > PREVIEW_BYTES,
        }
        return Page("archive_file.html", values, 410 if blob and head is None else 200)

    async def image(self, parameters: Parameters) -> Answer:
        """The file itself, shown as an image, if its content is one."""
        row = await self._file(parameters)
        blob = blob_of(row)
        if blob is None or blob.size > MAX_IMAGE_BYTES:
            raise UnknownError("There is no image to show.")
        body = await asyncio.to_thread(self._archive.body, blob)
        if body is None:
            return error_page(410, _DAMAGED)
        head = await asyncio.to_thread(self._archive.head, blob, HEAD_BYTES)
        kind = image_type(head or b"")
        if kind is None:
            raise UnknownError("This file is not an image that can be shown.")
        return FileAnswer(body, blob.size, row["name"], kind, inline=True)

    async def download(self, parameters: Parameters) -> Answer:
        """The file itself, for the disk."""
        row = await self._file(parameters)
        blob = blob_of(row)
        if blob is None:
            raise UnknownError("This file is not in the archive.")
        opened = self._archive.body if blob.size <= CHECKED_BYTES else self._archive.stream
        body = await asyncio.to_thread(opened, blob)
        return FileAnswer(body, blob.size, row["name"]) if body else error_page(410, _DAMAGED)

    async def _file(self, parameters: Parameters) -> Row:
        row = await self._queries.file(parameters.get("id", ""), self._run(parameters))
        if row is None:
            raise UnknownError("There is no such file in this state of the archive.")
        return row

    async def _with_images(self, files: Found) -> dict[str, object]:
        """The files of a list, and the ids of those that have a thumbnail."""

        def ids() -> set[str]:
            return {row["attachment_id"] for row in files.rows if self._is_image(row)}

        return {"files": files, "images": await asyncio.to_thread(ids)}

    def _is_image(self, row: Row) -> bool:
        blob = blob_of(row)
        if blob is None or row["problem"] or blob.size > MAX_IMAGE_BYTES:
            return False
        return image_type(self._archive.head(blob, HEAD_BYTES) or b"") is not None

    def _names(self) -> set[str]:
        return {str(taken.run) for taken in self._snapshots}

    def _run(self, parameters: Parameters) -> int:
        """The run of the snapshot that is looked at."""
        at = parameters.get("at", "")
        if at and at not in self._names():
            raise UnknownError("There is no such snapshot.")
        return int(at) if at else PRESENT


def _page_number(parameters: Parameters) -> int:
    """The number of a page of a list; the first is 0."""
    given = parameters.get("page", "")
    return min(int(given), MAX_PAGE) if given.isascii() and given.isdigit() and len(given) < 10 else 0


def link(path: str, at: str, **parameters: object) -> str:
    """An address of ours that stays at the snapshot that is looked at."""
    query = urlencode({**parameters, **({"at": at} if at else {})}, errors="replace")
    return f"{path}?{query}" if query else path


def web_address(url: str) -> str:
    """The address if it is http or https, and nothing if it is another, such as `javascript:`."""
    return url if url.isprintable() and url.lower().startswith(("http://", "https://")) else ""
