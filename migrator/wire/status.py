"""What an HTTP answer means, as pure functions: status to error, the reason in an error body, web pages.

Beware: a web page comes with status 200 as often as with a redirect or an error.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from xml.etree.ElementTree import Element  # a type only

from migrator import errors
from migrator.model import Attachment
from migrator.ports import BodyFacts
from migrator.sniffing import Kind, is_about_licence, is_page, page_in
from migrator.wire.json_codec import read_json
from migrator.wire.waits import LONGEST, remaining, retry_after, until_reset
from migrator.wire.xml_reader import read_xml

_HTML = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_MESSAGE = re.compile(r"<Message>(.*?)</Message>|<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_LOGIN = re.compile(r"(log|sign)[-_]?(in|on)|auth|sso|authenticate|authorize|adfs", re.IGNORECASE)
_PAGES = frozenset({"", "aspx", "asp", "php", "jsp", "do", "html", "htm", "action", "cgi", "pl"})

_ERROR = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:(?:error|errors|errorcode|errormessage|message|exceptionmessage|fault|status|code'
    rb'|detail|reason)"\s*:|success"\s*:\s*false|type"\s*:\s*"(?:about:blank|https?:))',
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(?:^|,)\s*(ntlm|negotiate|kerberos|basic|digest|bearer|apikey|token|wrap)\b", re.IGNORECASE)
_WINDOWS = {"ntlm", "negotiate", "kerberos"}
_REDMINE = 'realm="Redmine API"'
_PASSING = {Kind.MAINTENANCE, Kind.GUARD}
"""Pages that say nothing about what was asked for: the tracker is down, or somebody stands before it."""
_TELLING = {*_PASSING, Kind.SIGN_ON, Kind.LICENCE}

_HTML_NAMES = (".html", ".htm", ".xhtml", ".mht", ".mhtml", ".svg", ".xml")

RETRIABLE = frozenset({408, 423, 425, 429})
SNIFF = 512


def looks_like_html(head: bytes) -> bool:
    """Whether these first bytes begin an HTML page."""
    return _HTML.match(head[:SNIFF]) is not None


def looks_like_login(location: str) -> bool:
    """Whether a redirect leads to a login page, going by the address.

    A file may be named like one (`broken login.png`): a path that ends in a file's extension is a file's.
    """
    host, path = "", location.partition("?")[0].partition("#")[0]
    if "://" in path:
        host, _, path = path.partition("://")[2].partition("/")
    *words, last = path.split("/")
    last, _, extension = last.partition(";")[0].partition(".")
    if extension.lower() not in _PAGES:
        return False
    return any(_LOGIN.fullmatch(word) for word in (*host.split("."), *words, last))


def expects_html(attachment: Attachment) -> bool:
    """Whether a body that is HTML is what this attachment says to be."""
    return "html" in attachment.media_type.lower() or attachment.name.lower().endswith(_HTML_NAMES)


def expects_json(attachment: Attachment) -> bool:
    """Whether a body that is JSON may be what this attachment says to be."""
    return "json" in attachment.media_type.lower() or "json" in attachment.name.lower().rpartition(".")[2]


def looks_like_error(facts: BodyFacts, head: bytes) -> bool:
    """Whether a body begins like an API's error message in JSON, and is not named as a file by the server."""
    return "json" in facts.media_type and not facts.named and _ERROR.match(head[:SNIFF]) is not None


def body_facts(headers: Mapping[str, str]) -> BodyFacts:
    """What the head of an answer tells of its body. The length is one that the wire has found to be a number."""
    media_type, length = headers.get("Content-Type"), headers.get("Content-Length")
    if media_type is not None:
        media_type = media_type.partition(";")[0].strip().lower()
        media_type = media_type if media_type.count("/") == 1 else "application/octet-stream"
    named = "Content-Disposition" in headers
    return BodyFacts(media_type or "", None if length is None else int(length), named)


def is_login_form(head: bytes) -> bool:
    """Whether a web page asks somebody to log in."""
    return page_in(head).kind is Kind.LOGIN


def page_instead(head: bytes) -> str:
    """What to say of a web page that came in place of a file."""
    page = page_in(head)
    if page.kind in {Kind.LOGIN, Kind.OTHER}:
        name = "login" if page.kind is Kind.LOGIN else "web"
        title = f' ("{page.title}")' if page.title else ""
        return f"a {name} page instead of the file{title}; are these credentials good for files?"
    return f"{page}; it came instead of the file"


def is_error_page(facts: BodyFacts, head: bytes, *, html_expected: bool) -> bool:
    """Whether a body that should be a file is a web page made for a person.

    A file that is HTML itself is taken for one when the server names it as a file (Content-Disposition).
    """
    if not looks_like_html(head) or facts.named:
        return False
    return not html_expected and facts.media_type in {"text/html", "application/xhtml+xml", ""}


class Answered(Protocol):
    """The whole answer to `what`, a method and a path."""

    @property
    def status(self) -> int:
        """As the server says."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in any case."""

    @property
    def body(self) -> bytes:
        """All of it."""

    @property
    def what(self) -> str:
        """For messages; may be empty."""


def json_in(answer: Answered, replaced: Callable[[int], None] = lambda _: None) -> Any:
    """An answer's body as JSON; `UnexpectedBodyError`, or what a page in its place means.

    `replaced` is told how many characters were no text and became U+FFFD.
    """
    try:
        return read_json(answer.body, _charset(answer.headers), replaced)
    except (ValueError, RecursionError) as error:
        where = f" (at character {error.pos} of {len(error.doc)})" if isinstance(error, json.JSONDecodeError) else ""
        raise _not_read(answer, "JSON", where) from None


def xml_in(answer: Answered, replaced: Callable[[int], None] = lambda _: None) -> Element:
    """The same for XML: its root. A DTD or entities of its own are `UnexpectedBodyError`."""
    try:
        root = read_xml(answer.body, _charset(answer.headers), replaced)
    except ValueError as error:
        where = f" ({error})" if str(error).startswith("line ") else ", or not of the harmless kind"
        raise _not_read(answer, "XML", where) from None
    if root.tag.rpartition("}")[2].lower() == "html":
        raise _not_read(answer, "XML", "")
    return root


def _charset(headers: Mapping[str, str]) -> str:
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", headers.get("Content-Type", ""), re.IGNORECASE)
    return found[1] if found else ""


def _not_read(answer: Answered, form: str, where: str) -> errors.MigratorError:
    """Why what came in place of an API's answer is none. After a write always `UnexpectedBodyError`.

    It may have been done.
    """
    place = f"{answer.what}: status {answer.status}, but".removeprefix(": ")
    if not answer.body.strip():
        return errors.UnexpectedBodyError(f"{place} the answer is empty where {form} should be")
    if not is_page(answer.body):
        return errors.UnexpectedBodyError(f"{place} the answer is not {form}{where}")
    page = page_in(answer.body)
    message = f"{place} the answer is not {form}: {page}"
    if page.kind in {Kind.LOGIN, Kind.SIGN_ON}:
        return errors.LoginPageError(message)
    if page.kind is Kind.OTHER or not answer.what.startswith("GET "):
        return errors.UnexpectedBodyError(message)
    return errors.RetriableError(
        message, retry_after=retry_after(answer.headers, longest=LONGEST), status=answer.status
    )


def expect_no_page(answer: Answered) -> None:
    """What a page for people in place of the answer to a write says, as an error; one that says nothing is none.

    The login and the sign-on are `LoginPageError`; the licence is a definite no; everything else may pass.
    """
    page = page_in(answer.body) if is_page(answer.body) else None
    if page is None or page.kind is Kind.OTHER:
        return
    message = f"{answer.what}: status {answer.status}, but what came is {page}"
    if page.kind in {Kind.LOGIN, Kind.SIGN_ON}:
        raise errors.LoginPageError(message, status=answer.status)
    if page.kind is Kind.LICENCE:
        raise errors.RejectedError(message, status=answer.status)
    raise errors.RetriableError(message, status=answer.status)


def parse_json_or_none(body: bytes) -> Any:
    """What a write was answered with, as JSON; None for what is none: it was done all the same."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def says_too_large(error: errors.RejectedError) -> bool:
    """Whether a refusal surely means the size: by its status, or by what ASP.NET and IIS write into their pages."""
    told = str(error).lower()
    return error.status == 413 or "request length exceeded" in told or "404.13" in told


def error_reason(body: bytes) -> str:
    """The sentence for people in an error body: JSON, XML or the title of an HTML page; at most 300 characters."""
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, RecursionError):
        return _clip(_from_json(json.loads(text)))
    if match := _MESSAGE.search(text):
        return _clip(match[1] or match[2] or "")
    return ""


def _from_json(answer: object) -> str:
    if isinstance(answer, list):
        return "; ".join(str(item) for item in answer[:5])
    if isinstance(answer, dict):
        for key in ("Message", "message", "errors", "error", "title"):
            if answer.get(key):
                return _from_json(answer[key])
        return "; ".join(f"{key}: {value}" for key, value in list(answer.items())[:5])
    return "" if answer is None else str(answer)


def _clip(text: str) -> str:
    return " ".join(text.split())[:300].encode("utf-8", "replace").decode()


def error_for_status(status: int, headers: Mapping[str, str], what: str, body: bytes = b"") -> errors.MigratorError:
    """The only place where a status becomes an error. `what` is method and path."""
    page = page_in(body, brief=status >= 500) if is_page(body) else None
    told = str(page) if page and page.kind in _TELLING else error_reason(body)
    message = f"{what}: status {status}" + (f", {told}" if told else "")
    wait = wait_of(status, headers)
    if status in {429, 503} or (status == 403 and (wait or remaining(headers) == 0)):
        return errors.ThrottledError(message, retry_after=wait, status=status)
    if status in RETRIABLE or (status >= 500 and status != 501) or (page and page.kind in _PASSING):
        return errors.RetriableError(message, retry_after=wait, status=status)
    if status == 401:
        return errors.AuthError(f"{what}: {_refusal(headers, told)}")
    if status == 407:
        return errors.AuthError(f"{what}: the proxy refused its credentials (status 407); see `proxy_auth`")
    if is_about_licence(told):
        return errors.RejectedError(message, status=status)
    return _definite(status, message)


def _definite(status: int, message: str) -> errors.RejectedError:
    if status == 403:
        return errors.ForbiddenError(message, status=status)
    if status in {404, 410}:
        return errors.GoneError(message, status=status)
    return errors.RejectedError(message, status=status)


def wait_of(status: int, headers: Mapping[str, str], longest: float = LONGEST) -> float | None:
    """Seconds that a refusal asks to wait, at most `longest`; None where it doesn't."""
    wait = retry_after(headers, longest=longest)
    return until_reset(headers, longest=longest) if wait is None and status in {403, 429, 503} else wait


def _refusal(headers: Mapping[str, str], reason: str) -> str:
    """A 401 in words, with the remedy where the server wants what is not to be had here, or has its API off."""
    asked = [value for name, value in headers.items() if name.lower() == "www-authenticate"]
    schemes = {word.lower() for value in asked for word in _SCHEME.findall(value)}
    message = f"the tracker refused the credentials (status 401{reason and ', '}{reason})"
    if schemes and not schemes - _WINDOWS:
        return (
            f"{message}: it wants a Windows login (NTLM or Kerberos), which migrator can't do; create an API token, or "
            "let the address of the API take Basic or anonymous access, with the tracker's own login behind it"
        )
    if any(_REDMINE in value for value in asked):
        return f"{message}; a Redmine before 4.1 says so, too, while its REST API is off: Administration, Settings, API"
    return message
