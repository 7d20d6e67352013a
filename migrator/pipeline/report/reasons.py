"""Reasons of failures in few words, for a reader who did not run the program.

A reason as it is recorded names the request and the remedy, and often differs from file to file. The short one leaves
both out, so that files which failed for the same reason are counted together.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_CHARACTERS = 160

_REQUEST = re.compile(r"(?:(?:GET|POST|PUT|PATCH|DELETE|HEAD) [^\n]*?|redirected to [^\s:]+(?::\d+)?): ")
"""The request, or the host of a redirect, with which a message begins."""
_STATUS = re.compile(r"\(?status (\d{3})\b")
_MEANINGS = {
    401: "the tracker refused the credentials",
    403: "access denied",
    404: "not found",
    408: "timed out",
    410: "not found",
    413: "too large for the tracker",
    415: "this type of file is not allowed",
    429: "the tracker was overloaded",
    502: "the tracker was not available",
    503: "the tracker was not available",
    504: "timed out",
}
_PHRASES = tuple(
    (re.compile(pattern, re.IGNORECASE), words)
    for pattern, words in (
        (r"larger than the server's limit|too large|\d+ bytes; options\.max_bytes", "too large for the tracker"),
        (r"\blogin page\b|single sign-on", "a login page came instead of the file"),
        (r"down for maintenance", "the tracker was down for maintenance"),
        (r"page of a bot protection", "a bot protection was in the way"),
        (r"licen[cs]e or trial is over", "the tracker's licence is over"),
        (r"a web page instead", "a web page came instead of the file"),
        (r"error message \(JSON\) instead", "an error message came instead of the file"),
        (r"^empty: \d", "it came empty"),
        (r"^too short: \d", "it came too short"),
        (r"^too long: ", "it came too long"),
        (r"another answer's bytes", "another file's bytes followed it"),
        (r"\bthe body broke off", "the transfer broke off"),
        (r"timed out waiting", "timed out"),
        (r"\btoo slow\b", "the transfer was too slow"),
        (r"\bno connection\b|the connection broke", "no connection"),
        (r"^arrived as ", "it arrived with another size"),
        (r"its blob is damaged or missing", "damaged or missing in the archive"),
    )
)
_END = re.compile(r"\. (?=[A-Z])|; | \((?=[a-z])")
"""Where the first statement of a message ends; a remedy follows."""


@lru_cache(maxsize=4096)
def short_reason(reason: str) -> str:
    """The reason in few words."""
    stripped = reason
    while match := _REQUEST.match(stripped):
        stripped = stripped[match.end() :]
    for pattern, words in _PHRASES:
        if pattern.search(stripped):
            return words
    if match := _STATUS.search(stripped):
        status = int(match[1])
        meaning = _MEANINGS.get(status, "an error of the tracker" if status >= 500 else "refused by the tracker")
        return f"{meaning} (status {status})"
    end = _END.search(stripped)
    stripped = (stripped[: end.start()] if end else stripped).strip()
    return stripped if len(stripped) <= MAX_CHARACTERS else f"{stripped[: MAX_CHARACTERS - 1].rstrip()}…"
