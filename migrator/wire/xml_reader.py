"""XML as trackers send it: DTDs and custom entities are refused, and malformed text is repaired and parsed again.

An answer goes straight to the parser. If the parser refuses it, characters that XML forbids become U+FFFD, whether raw
or written as a reference, and HTML entities that XML lacks (`&nbsp;`) become their characters.

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

_DECLARED_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")
_DECLARATION = re.compile(r"<\?xml\b[^>]*>")
_PIECE = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)"
    "|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    r"|&(?:#([0-9]{1,9}|x[0-9a-fA-F]{1,8});|([A-Za-z][A-Za-z0-9]*;))?",
    re.DOTALL,
)
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML_ENTITIES = {"amp;", "lt;", "gt;", "quot;", "apos;"}
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


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
    return _read_repaired(body, charset, replaced)


def _is_mislabelled(body: bytes) -> bool:
    """Whether a body declares a single-byte encoding but is UTF-8; real Latin-1 is hardly ever valid UTF-8."""
    declared = _DECLARED_ENCODING.match(body[:200])
    if declared is None or declared[1].lower().startswith((b"utf", b"ucs", b"us-ascii")) or body.isascii():
        return False
    with suppress(ValueError):
        body.decode()
        return True
    return False


def _read_repaired(body: bytes, charset: str, replaced: Callable[[int], None]) -> Element:
    declared = _DECLARED_ENCODING.match(body[:200])
    text, count = decoded(body, _detected_encoding(body), charset or (declared[1].decode() if declared else ""))
    text = text.strip("\ufeff \t\r\n\0")
    declaration = _DECLARATION.match(text)
    text, more = _repaired(text[declaration.end() :] if declaration else text)
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except ParseError as error:
        raise ValueError(f"line {error.position[0]}, column {error.position[1]}") from None
    if count + more:
        replaced(count + more)
    return root


def _detected_encoding(body: bytes) -> str:
    """The encoding, judged by the first bytes."""
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if body.startswith(mark):
            return encoding
    return {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(body[:2], "utf-8")


def _repaired(text: str) -> tuple[str, int]:
    """The text, in which U+FFFD replaces what XML forbids, and how many characters were replaced."""
    lost = 0

    def piece(match: re.Match[str]) -> str:
        nonlocal lost
        part, number, name = match[0], match[1], match[2]
        if part.startswith("<"):
            part, count = _ILLEGAL.subn("\ufffd", part)
            lost += count
            return part
        if number:
            legal = _is_legal(int(number[1:], 16) if number[0] == "x" else int(number))
            lost += not legal
            return part if legal else "\ufffd"
        if name:
            known = "".join(f"&#{ord(char)};" for char in html5.get(name, ""))
            return part if name in _XML_ENTITIES else known or "&amp;" + name
        lost += part != "&"
        return "&amp;" if part == "&" else "\ufffd"

    return _PIECE.sub(piece, text), lost


def _is_legal(code: int) -> bool:
    return code < 0x110000 and not _ILLEGAL.match(chr(code))
