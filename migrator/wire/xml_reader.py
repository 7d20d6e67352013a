"""XML as trackers send it: DTDs and custom entities are refused, and malformed text is repaired and parsed again.

A good answer goes straight to the parser. In one that the parser refuses, characters that XML forbids become U+FFFD,
whether raw or written as a reference, and HTML entities that XML lacks (`&nbsp;`) become their characters.

Beware: repairing must not weaken the protection. A DTD is refused before and after, and the repaired text goes through
the same parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from html.entities import html5
from xml.etree.ElementTree import Element, ParseError  # types only; what parses is defusedxml

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from migrator.wire.json_codec import decoded

_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
_DECLARATION = re.compile(r"<\?xml\b[^>]*>")
_PIECE = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)"
    "|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    r"|&(?:#([0-9]{1,9}|x[0-9a-fA-F]{1,8});|([A-Za-z][A-Za-z0-9]*;))?",
    re.DOTALL,
)
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OWN = {"amp;", "lt;", "gt;", "quot;", "apos;"}
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_xml(body: bytes, charset: str, replaced: Callable[[int], None]) -> Element:
    """The root element. `ValueError` if the body is not XML, or has a DTD or entities of its own.

    `replaced` is called with the number of characters that became U+FFFD. A body that is not in its declared encoding
    is read as UTF-8, or as `charset`, if the answer names one.
    """
    if not _is_mislabelled(body):
        try:
            root: Element = fromstring(body, forbid_dtd=True)
        except DefusedXmlException:
            raise
        except (ParseError, ValueError, LookupError):
            pass
        else:
            return root
    return _read_all_the_same(body, charset, replaced)


def _is_mislabelled(body: bytes) -> bool:
    """Whether it declares a single-byte encoding such as Latin-1 but is UTF-8; real Latin-1 hardly ever decodes so."""
    said = _DECLARED.match(body[:200])
    if said is None or said[1].lower().startswith((b"utf", b"ucs", b"us-ascii")) or body.isascii():
        return False
    with suppress(ValueError):
        body.decode()
        return True
    return False


def _read_all_the_same(body: bytes, charset: str, replaced: Callable[[int], None]) -> Element:
    said = _DECLARED.match(body[:200])
    text, count = decoded(body, _seems(body), charset or (said[1].decode() if said else ""))
    text = text.strip("\ufeff \t\r\n\0")
    begin = _DECLARATION.match(text)
    text, more = _mended(text[begin.end() :] if begin else text)
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except ParseError as error:
        raise ValueError(f"line {error.position[0]}, column {error.position[1]}") from None
    if count + more:
        replaced(count + more)
    return root


def _seems(body: bytes) -> str:
    """The encoding of a body, going by its first bytes."""
    for mark, encoding in _MARKS.items():
        if body.startswith(mark):
            return encoding
    return {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(body[:2], "utf-8")


def _mended(text: str) -> tuple[str, int]:
    """The text in characters that XML allows, and how many characters were lost."""
    lost = 0

    def piece(match: re.Match[str]) -> str:
        nonlocal lost
        found, number, name = match[0], match[1], match[2]
        if found.startswith("<"):
            found, count = _ILLEGAL.subn("\ufffd", found)
            lost += count
            return found
        if number:
            legal = _is_legal(int(number[1:], 16) if number[0] == "x" else int(number))
            lost += not legal
            return found if legal else "\ufffd"
        if name:
            known = "".join(f"&#{ord(char)};" for char in html5.get(name, ""))
            return found if name in _OWN else known or "&amp;" + name
        lost += found != "&"
        return "&amp;" if found == "&" else "\ufffd"

    return _PIECE.sub(piece, text), lost


def _is_legal(code: int) -> bool:
    return code < 0x110000 and not _ILLEGAL.match(chr(code))
