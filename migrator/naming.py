"""File names at a target: legal there, unique on their entity, as near to the original as can be.

Names that are legal stay as they are, even if two files of one entity share one. A name that had to be changed keeps
its extension and must not collide with any other.
"""

from __future__ import annotations

from collections.abc import Callable, Container


def shorten(name: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, cut before the extension, never inside a character."""
    if len(name.encode()) <= limit:
        return name
    stem, ext = split_extension(name)
    return _cut(stem, limit - len(ext.encode())) + ext


def split_extension(name: str) -> tuple[str, str]:
    """`report.tar.gz` -> (`report.tar`, `.gz`); a leading dot begins no extension, nor does a long one count."""
    stem, dot, ext = name.rpartition(".")
    if not stem or not dot or len(ext.encode()) > 32:
        return name, ""
    return stem, dot + ext


def name_at_target(original: str, legal: Callable[[str], str], limit: int, taken: Container[str]) -> str:
    """The name under which to send a file; `taken` are the names in use on the entity."""
    name = shorten(legal(original) or "unnamed", limit)
    if name == original:
        return name
    stem, ext = split_extension(name)
    number = 2
    while name in taken:
        mark = f" ({number})"
        name = _cut(stem, limit - len((mark + ext).encode())) + mark + ext
        number += 1
    return name


def _cut(text: str, limit: int) -> str:
    return text.encode()[: max(0, limit)].decode(errors="ignore")
