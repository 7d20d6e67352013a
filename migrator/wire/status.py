"""What the status and headers of an HTTP response mean: status to error, the reason in an error body, waits."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from migrator import errors
from migrator.ports import BodyFacts
from migrator.sniffing import PageKind, is_about_licence, is_page, page_in
from migrator.wire.waits import DEFAULT_MAX_WAIT_SECONDS, remaining, retry_after, until_reset

_MESSAGE = re.compile(r"<Message>(.*?)</Message>|<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"(?:^|,)\s*(ntlm|negotiate|kerberos|basic|digest|bearer|apikey|token|wrap)\b", re.IGNORECASE)
_WINDOWS_SCHEMES = {"ntlm", "negotiate", "kerberos"}
_REDMINE_REALM = 'realm="Redmine API"'
_PASSING_PAGES = {PageKind.MAINTENANCE, PageKind.GUARD}
"""Pages that say nothing about the request: the tracker is down, or a guard is in front of it. A retry may help."""
_EXPLAINED_PAGES = {*_PASSING_PAGES, PageKind.SIGN_ON, PageKind.LICENCE}

_RETRIABLE_STATUSES = frozenset({408, 423, 425, 429})


def body_facts(headers: Mapping[str, str]) -> BodyFacts:
    """What the headers say about the body. `Content-Length` is a number, else the transport would have refused it."""
    media_type, length = headers.get("Content-Type"), headers.get("Content-Length")
    if media_type is not None:
        media_type = media_type.partition(";")[0].strip().lower()
        media_type = media_type if media_type.count("/") == 1 else "application/octet-stream"
    named = "Content-Disposition" in headers
    return BodyFacts(media_type or "", None if length is None else int(length), named)


def parse_json_or_none(body: bytes) -> Any:
    """The answer to a write, as JSON; None if it isn't JSON, because the write was done anyway."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def says_too_large(error: errors.RejectedError) -> bool:
    """Whether a refusal certainly means the size, by its status or by the text of a page of ASP.NET or IIS."""
    message = str(error).lower()
    return error.status == 413 or "request length exceeded" in message or "404.13" in message


def error_reason(body: bytes) -> str:
    """The message for people in an error body (JSON, XML or the title of a page), at most 300 characters."""
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
        for key in ("Message", "message", "msg", "errors", "error", "title", "detail"):
            if answer.get(key):
                return _from_json(answer[key])
        return "; ".join(f"{key}: {value}" for key, value in list(answer.items())[:5])
    return "" if answer is None else str(answer)


def _clip(text: str) -> str:
    return " ".join(text.split())[:300].encode("utf-8", "replace").decode()


def error_for_status(status: int, headers: Mapping[str, str], subject: str, body: bytes = b"") -> errors.MigratorError:
    """The error that a status means; decided nowhere else. `subject` is the method and path, for the message."""
    page = page_in(body, read_text=status >= 500) if is_page(body) else None
    reason = str(page) if page and page.kind in _EXPLAINED_PAGES else error_reason(body)
    message = f"{subject}: status {status}" + (f", {reason}" if reason else "")
    wait = wait_of(status, headers)
    if status in {429, 503} or (status == 403 and (wait or remaining(headers) == 0)):
        return errors.ThrottledError(message, retry_after=wait, status=status)
    if status in _RETRIABLE_STATUSES or (status >= 500 and status != 501) or (page and page.kind in _PASSING_PAGES):
        return errors.RetriableError(message, retry_after=wait, status=status)
    if status == 401:
        return errors.AuthError(f"{subject}: {_unauthorized(headers, reason)}")
    if status == 407:
        return proxy_refusal(subject)
    if is_about_licence(reason):
        return errors.RejectedError(message, status=status)
    return _rejection(status, message)


def proxy_refusal(subject: str) -> errors.AuthError:
    """The error for a 407, whether it answers a request or a CONNECT."""
    return errors.AuthError(f"{subject}: the proxy refused its credentials (status 407); see `proxy_auth`")


def _rejection(status: int, message: str) -> errors.RejectedError:
    if status == 403:
        return errors.ForbiddenError(message, status=status)
    if status in {404, 410}:
        return errors.GoneError(message, status=status)
    return errors.RejectedError(message, status=status)


def wait_of(status: int, headers: Mapping[str, str], max_wait: float = DEFAULT_MAX_WAIT_SECONDS) -> float | None:
    """Seconds that a refusal asks to wait, at most `max_wait`; None if it doesn't ask."""
    wait = retry_after(headers, max_wait=max_wait)
    return until_reset(headers, max_wait=max_wait) if wait is None and status in {403, 429, 503} else wait


def _unauthorized(headers: Mapping[str, str], reason: str) -> str:
    """The message for a 401. It names the remedy if the server wants a Windows login, or has its API switched off."""
    challenges = [value for name, value in headers.items() if name.lower() == "www-authenticate"]
    schemes = {word.lower() for value in challenges for word in _SCHEME.findall(value)}
    message = f"the tracker refused the credentials (status 401{reason and ', '}{reason})"
    if schemes and not schemes - _WINDOWS_SCHEMES:
        return (
            f"{message}: it wants a Windows login (NTLM or Kerberos), which migrator can't do; create an API token, or "
            "let the address of the API take Basic or anonymous access, with the tracker's own login behind it"
        )
    if any(_REDMINE_REALM in value for value in challenges):
        return f"{message}; a Redmine before 4.1 says so, too, while its REST API is off: Administration, Settings, API"
    return message
