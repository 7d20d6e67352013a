"""Addresses that trackers write: encoded so that they can be sent, and which of them are the tracker's own.

What is already percent-encoded is left exactly as it is, because a signature may cover it. Everything else that is not
allowed in an address is encoded, including a `%` that begins no escape (RFC 3986, 2.4; WHATWG URL, percent-encode
sets).

Beware: servers put raw bytes into `Location`, in UTF-8 or any other encoding. Each byte is sent as it came.
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
    """A path, with whatever is not encoded yet encoded."""
    return path if _PLAIN.fullmatch(path) else _spelled(path, _PATH)


def spelled_query(query: str) -> str:
    """The part after `?`, without a fragment, with whatever is not encoded yet encoded."""
    return query if _PLAIN.fullmatch(query) else _spelled(query, _QUERY)


def place(written: str, scheme_there: str = "http") -> URL:
    """An address, absolute or relative, as a tracker wrote it, ready to be sent; `ValueError` if it is not an address.

    International host names are converted for DNS, and a fragment is dropped. `scheme_there` is the scheme of the page
    that contains the address: it decides the default port where none is given.
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
    """Whether requests for `home`, with its credentials, may go to `other`.

    They may at the same origin. They also may where a tracker configured with `http` redirects to `https` on the same
    host, both on default ports: what was sent in the clear may be sent encrypted, but never the other way round.
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
