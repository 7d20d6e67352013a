"""URLs that trackers write: how they are encoded, and which of them are the tracker's own.

What is percent-encoded already is left as it is, because a signature may cover it. Everything else that a URL must not
contain is encoded, including a `%` that begins no escape (RFC 3986, 2.4; WHATWG URL, percent-encode sets).

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


def encoded_path(path: str) -> str:
    """A path, percent-encoded where it isn't yet."""
    return path if _PLAIN.fullmatch(path) else _encoded(path, _PATH)


def encoded_query(query: str) -> str:
    """A query without its `?`, percent-encoded where it isn't yet."""
    return query if _PLAIN.fullmatch(query) else _encoded(query, _QUERY)


def parsed_url(written: str, page_scheme: str = "http") -> URL:
    """The URL, absolute or relative, that a tracker wrote, encoded; `ValueError` if it isn't one.

    International host names are converted for DNS, and a fragment is dropped. `page_scheme` is the scheme of the page
    that contains the URL: it decides the default port of a URL without a scheme.
    """
    scheme, authority, path, query = _PARTS.match(written.strip(" \t\r\n\0")).groups()  # type: ignore[union-attr]
    origin = ""
    if authority is not None:
        origin = str(URL(f"{scheme or page_scheme}://{authority}"))
        origin = origin.rstrip("/") if scheme else origin.rstrip("/").partition(":")[2]
    elif scheme:
        origin = f"{scheme}:"
    encoded = "" if query is None else f"?{encoded_query(query)}"
    return URL(f"{origin}{encoded_path(path)}{encoded}", encoded=True)


def is_same_origin(url: URL, other: URL) -> bool:
    """Whether two URLs have the same scheme, host and port (RFC 6454), however these are spelled."""
    return (url.scheme, _host(url), url.port) == (other.scheme, _host(other), other.port)


def is_own(home: URL, other: URL) -> bool:
    """Whether requests for `home`, with its credentials, may go to `other`.

    They may go to the same origin, and from `http` to `https` on the same host if both ports are the default: what may
    be sent in the clear may be sent encrypted, but not the other way round.
    """
    if is_same_origin(home, other):
        return True
    upgraded = (home.scheme, home.port, other.scheme, other.port) == ("http", 80, "https", 443)
    return upgraded and _host(home) == _host(other)


def _host(url: URL) -> str:
    return (url.raw_host or "").lower().rstrip(".")


def _encoded(text: str, safe: str) -> str:
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "replace")
    return quote(_NO_ESCAPE.sub(b"%25", raw), safe=safe)
