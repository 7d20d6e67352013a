"""What an HTTP answer means, as pure functions: status to error, Retry-After, the reason in an error body, login pages.

The one trap: a login page comes with status 200 as often as with a redirect.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from migrator import errors
from migrator.model import Attachment
from migrator.ports import BodyFacts

_HTML = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_MESSAGE = re.compile(r"<Message>(.*?)</Message>|<title>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_LOGIN = re.compile(r"(log|sign)[-_]?(in|on)|auth|sso|authenticate|authorize|adfs", re.IGNORECASE)
_PAGES = frozenset({"", "aspx", "asp", "php", "jsp", "do", "html", "htm", "action", "cgi", "pl"})

_ERROR = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:error|errors|errorcode|errormessage|message|exceptionmessage|fault|status)"\s*:',
    re.IGNORECASE,
)
_LOGIN_FORM = re.compile(
    rb"type=.?password|<title>[^<]*\b(?:log|sign)[ -]?(?:in|on)\b|/(?:log|sign)[-_]?(?:in|on)\b", re.IGNORECASE
)

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


def facts_of(headers: Mapping[str, str]) -> BodyFacts:
    """What the head of an answer tells of its body. The length is one that the wire has found to be a number."""
    media_type, length = headers.get("Content-Type"), headers.get("Content-Length")
    if media_type is not None:
        media_type = media_type.partition(";")[0].strip().lower()
        media_type = media_type if media_type.count("/") == 1 else "application/octet-stream"
    named = "Content-Disposition" in headers
    return BodyFacts(media_type or "", None if length is None else int(length), named)


def is_login_form(head: bytes) -> bool:
    """Whether a web page asks somebody to log in."""
    return _LOGIN_FORM.search(head) is not None


def page_instead(head: bytes) -> str:
    """What to say of a web page that came in place of a file."""
    return (
        f"a {'login' if is_login_form(head) else 'web'} page instead of the file; are these credentials good for files?"
    )


def is_error_page(facts: BodyFacts, head: bytes, *, html_expected: bool) -> bool:
    """Whether a body that should be a file is a web page made for a person.

    A file that is HTML itself is taken for one when the server names it as a file (Content-Disposition).
    """
    if not looks_like_html(head) or facts.named:
        return False
    return not html_expected and facts.media_type in {"text/html", "application/xhtml+xml", ""}


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait, from a Retry-After in seconds or as a date; None where there is none to be understood."""
    value = headers.get("Retry-After", "").strip()
    with contextlib.suppress(ValueError, OverflowError):
        if value:
            return max(0.0, min(float(value), 86_400.0))
    with contextlib.suppress(ValueError, TypeError):
        when = parsedate_to_datetime(value)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, min((when - (now or datetime.now(UTC))).total_seconds(), 86_400.0))
    return None


def told_in(body: bytes) -> Any:
    """What a write was answered with, as JSON; None for what is none: it was done all the same."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def says_too_large(error: errors.Rejected) -> bool:
    """Whether a refusal surely means the size: by its status, or by what ASP.NET and IIS write into their pages."""
    told = str(error).lower()
    return error.status == 413 or "request length exceeded" in told or "404.13" in told


def reason_in(body: bytes) -> str:
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


def error_for(status: int, headers: Mapping[str, str], what: str, body: bytes = b"") -> errors.MigratorError:
    """The one place where a status becomes an error. `what` is method and path."""
    reason = reason_in(body)
    message = f"{what}: status {status}" + (f", {reason}" if reason else "")
    if status == 401:
        return errors.AuthRefused(f"{what}: the tracker refused the credentials (status 401)")
    if status == 407:
        return errors.AuthRefused(f"{what}: the proxy refused its credentials (status 407); see `proxy_auth`")
    if status == 403:
        return errors.Forbidden(message, status=status)
    if status in {404, 410}:
        return errors.Gone(message, status=status)
    if status in {429, 503}:
        return errors.Throttled(message, retry_after=retry_after(headers), status=status)
    if status in RETRIABLE or (status >= 500 and status != 501):
        return errors.Retriable(message, retry_after=retry_after(headers), status=status)
    return errors.Rejected(message, status=status)
