"""What the status and headers of an HTTP response mean: status to error, the reason in an error body, waits."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from migrator import errors
from migrator.ports import BodyFacts
from migrator.sniffing import Kind, is_about_licence, is_page, page_in
from migrator.wire.waits import DEFAULT_MAX_WAIT_SECONDS, remaining, retry_after, until_reset

_MESSAGE = re.compile(r"<Message>(.*?)</Message>|<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)

_SCHEME = re.compile(r"(?:^|,)\s*(ntlm|negotiate|kerberos|basic|digest|bearer|apikey|token|wrap)\b", re.IGNORECASE)
_WINDOWS = {"ntlm", "negotiate", "kerberos"}
_REDMINE = 'realm="Redmine API"'
_PASSING = {Kind.MAINTENANCE, Kind.GUARD}
"""Pages that say nothing about what was asked for: the tracker is down, or somebody stands before it."""
_TELLING = {*_PASSING, Kind.SIGN_ON, Kind.LICENCE}

RETRIABLE = frozenset({408, 423, 425, 429})


def body_facts(headers: Mapping[str, str]) -> BodyFacts:
    """What the head of an answer tells of its body. The length is one that the wire has found to be a number."""
    media_type, length = headers.get("Content-Type"), headers.get("Content-Length")
    if media_type is not None:
        media_type = media_type.partition(";")[0].strip().lower()
        media_type = media_type if media_type.count("/") == 1 else "application/octet-stream"
    named = "Content-Disposition" in headers
    return BodyFacts(media_type or "", None if length is None else int(length), named)


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


def wait_of(status: int, headers: Mapping[str, str], longest: float = DEFAULT_MAX_WAIT_SECONDS) -> float | None:
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
