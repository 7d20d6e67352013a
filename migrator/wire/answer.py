"""The whole answer to an API call, and how its body is read.

An API may answer with a web page in place of JSON or XML, often with status 200. What that means depends on the page,
and on whether the request was a read or a write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migrator import errors
from migrator.sniffing import PageKind, is_page, page_in
from migrator.wire.json_codec import read_json
from migrator.wire.waits import DEFAULT_MAX_WAIT_SECONDS, retry_after

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element  # a type only


def _ignore(subject: str, count: int) -> None:
    """Does nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and the whole body of an API call. `subject` is its method and path; it may be empty.

    `on_replaced` is called with `subject` and the number of characters that were no text and became U+FFFD.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    subject: str = ""
    on_replaced: Callable[[str, int], None] = _ignore

    def json(self) -> Any:
        """The body as JSON; if it isn't, `UnexpectedBodyError` or what a page in its place means."""
        if self.status in {204, 205}:
            raise errors.UnexpectedBodyError(
                f"{self.subject}: the answer says that there is no content (status {self.status})"
            )
        try:
            return read_json(self.body, _charset(self.headers), self._report_replaced)
        except (ValueError, RecursionError) as error:
            where = (
                f" (at character {error.pos} of {len(error.doc)})" if isinstance(error, json.JSONDecodeError) else ""
            )
            raise self._not_read("JSON", where) from None

    def xml(self) -> Element:
        """The root of the body as XML; errors as for `json`. A DTD or entities of its own are refused, too."""
        from migrator.wire.xml_reader import read_xml  # most trackers answer in JSON

        try:
            root = read_xml(self.body, _charset(self.headers), self._report_replaced)
        except ValueError as error:
            where = f" ({error})" if str(error).startswith("line ") else ", or has parts that are not allowed"
            raise self._not_read("XML", where) from None
        if root.tag.rpartition("}")[2].lower() == "html":
            raise self._not_read("XML", "")
        return root

    def require_no_page(self) -> None:
        """Raise the error that a page in the answer to a write means; a page of an unknown kind means nothing.

        A login page is `LoginPageError`, an expired licence `RejectedError`; after the others the write may go well.
        """
        page = page_in(self.body) if is_page(self.body) else None
        if page is None or page.kind is PageKind.OTHER:
            return
        message = f"{self.subject}: status {self.status}, but what came is {page}"
        if page.asks_for_login:
            raise errors.LoginPageError(message, status=self.status)
        if page.kind is PageKind.LICENCE:
            raise errors.RejectedError(message, status=self.status)
        raise errors.RetriableError(message, status=self.status)

    def _not_read(self, form: str, where: str) -> errors.MigratorError:
        """The error for a body that is not of this form.

        After a write a page is `UnexpectedBodyError` unless it asks for a login, because the write may have been done.
        """
        beginning = f"{self.subject}: status {self.status}, but".removeprefix(": ")
        if not self.body.strip():
            return errors.UnexpectedBodyError(f"{beginning} the answer is empty where {form} should be")
        if not is_page(self.body):
            return errors.UnexpectedBodyError(f"{beginning} the answer is not {form}{where}")
        page = page_in(self.body)
        message = f"{beginning} the answer is not {form}: {page}"
        if page.asks_for_login:
            return errors.LoginPageError(message)
        if page.kind is PageKind.OTHER or not self.subject.startswith("GET "):
            return errors.UnexpectedBodyError(message)
        wait = retry_after(self.headers, max_wait=DEFAULT_MAX_WAIT_SECONDS)
        return errors.RetriableError(message, retry_after=wait, status=self.status)

    def _report_replaced(self, count: int) -> None:
        self.on_replaced(self.subject, count)


def _charset(headers: Mapping[str, str]) -> str:
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", headers.get("Content-Type", ""), re.IGNORECASE)
    return charset[1] if charset else ""
