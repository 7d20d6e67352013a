"""Addresses that trackers write, spelled as they may be sent, and which of them are the tracker's own.

The one idea: what is percent-encoded already is left to the letter (a signature may cover it), and all else that has no
place in an address is encoded, a `%` that begins no escape included (RFC 3986, 2.4; WHATWG URL, percent-encode sets).
The one trap: servers put raw bytes into `Location`, in UTF-8 or in whatever they have; each is sent as the byte it is.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from yarl import URL

_PARTS = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?", re.DOTALL)
_PLAIN = re.compile(r"(?:[A-Za-z0-9/._~!$&'()*+,;=:@-]++|%[0-9A-Fa-f]{2})*")
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PATH = "/~!$&'()*+,;=:@%"
_QUERY = _PATH + "?[]|"


def spelled_path(path: str) -> str:
    """A path, encoded as far as it is not."""
    return path if _PLAIN.fullmatch(path) else _spelled(path, _PATH)


def spelled_query(query: str) -> str:
    """The part behind `?`, encoded as far as it is not; a fragment is no part of it."""
    return query if _PLAIN.fullmatch(query) else _spelled(query, _QUERY)


def place(written: str, scheme_there: str = "http") -> URL:
    """An address, absolute or relative, as a tracker wrote it, ready to be sent; `ValueError` if it is none.

    Names of hosts in any script become what DNS knows; a fragment is dropped. `scheme_there` is that of the page that
    it stands on: it decides what the usual port is where none is told.
    """
    scheme, authority, path, query = _PARTS.match(written.strip(" \t\r\n\0")).groups()  # type: ignore[union-attr]
    origin = ""
    if authority is not None:
        origin = str(URL(f"{scheme or scheme_there}://{authority}"))
        origin = origin.rstrip("/") if scheme else origin.rstrip("/").partition(":")[2]
    elif scheme:
        origin = f"{scheme}:"
    told = "" if query is None else f"?{spelled_query(query)}"
    return URL(f"{origin}{spelled_path(path)}{told}", encoded=True)


def is_same_origin(one: URL, other: URL) -> bool:
    """Whether two addresses have scheme, host and port in common (RFC 6454), however they spell them."""
    return (one.scheme, _host(one), one.port) == (other.scheme, _host(other), other.port)


def is_own(home: URL, other: URL) -> bool:
    """Whether what is for `home` may go there, credentials included.

    That is so at the same origin; and where a tracker that is configured with `http` sends us on to the same host by
    `https`, both at their usual ports: what went there in the open may go there in secret. Never the other way.
    """
    if is_same_origin(home, other):
        return True
    upgraded = (home.scheme, home.port, other.scheme, other.port) == ("http", 80, "https", 443)
    return upgraded and _host(home) == _host(other)


def _host(url: URL) -> str:
    return (url.raw_host or "").lower().rstrip(".")


def _spelled(text: str, safe: str) -> str:
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "replace")
    return quote(_NO_ESCAPE.sub(b"%25", raw), safe=safe)
