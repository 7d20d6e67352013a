"""File names at a target: legal there, unique on their entity, as near to the original as can be.

Names that are legal stay as they are, even if two files of one entity share one. A name that had to be changed keeps
its extension and must not collide with any other. A limit counts bytes of an encoding: Windows' characters are two
bytes of utf-16-le each.
"""

from __future__ import annotations

from collections.abc import Callable, Container


def shorten(name: str, limit: int, encoding: str = "utf-8") -> str:
    """At most `limit` bytes in this encoding, cut before the extension, never inside a character."""
    if len(name.encode(encoding)) <= limit:
        return name
    return _cut(*split_extension(name), limit, encoding)


def split_extension(name: str) -> tuple[str, str]:
    """`report.tar.gz` -> (`report.tar`, `.gz`); a leading dot begins no extension, nor does a long one count."""
    stem, dot, ext = name.rpartition(".")
    if not stem or not dot or len(ext.encode()) > 32:
        return name, ""
    return stem, dot + ext


def name_at_target(
    original: str, legal: Callable[[str], str], limit: int, taken: Container[str], encoding: str = "utf-8"
) -> str:
    """The name under which to send a file; `taken` are the names in use on the entity."""
    # Once more after it was cut: where it was cut it may end in what no name may end in.
    name = legal(shorten(legal(original) or "unnamed", limit, encoding)) or "unnamed"
    if name == original:
        return name
    stem, ext = split_extension(name)
    number = 2
    while name in taken:
        name = _cut(stem, f" ({number}){ext}", limit, encoding)
        number += 1
    return name


def _cut(text: str, ending: str, limit: int, encoding: str) -> str:
    """The text, cut so that the ending fits behind it."""
    room = max(0, limit - len(ending.encode(encoding)))
    return text.encode(encoding)[:room].decode(encoding, errors="ignore") + ending
