"""File names at a target: legal there, unique on their entity, as near to the original as can be.

Names that are legal stay as they are, even if two files of one entity share one. A name that had to be changed keeps
its extension and must not collide with any other.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a name may be: so many bytes in this encoding. Windows' characters are two bytes of utf-16-le each."""

    size: int
    encoding: str = "utf-8"

    def fits(self, name: str) -> bool:
        """Whether a name is short enough."""
        return len(name.encode(self.encoding)) <= self.size

    def cut(self, text: str, ending: str) -> str:
        """The text, cut so that the ending fits behind it; never inside a character."""
        room = max(0, self.size - len(ending.encode(self.encoding)))
        return text.encode(self.encoding)[:room].decode(self.encoding, errors="ignore") + ending


def shorten(name: str, limit: Limit) -> str:
    """A name within the limit, cut before the extension."""
    return name if limit.fits(name) else limit.cut(*split_extension(name))


def split_extension(name: str) -> tuple[str, str]:
    """`report.tar.gz` -> (`report.tar`, `.gz`); a leading dot begins no extension, nor does a long one count."""
    stem, dot, ext = name.rpartition(".")
    if not stem or not dot or len(ext.encode()) > 32:
        return name, ""
    return stem, dot + ext


def name_at_target(original: str, legal: Callable[[str], str], limit: Limit, taken: Container[str]) -> str:
    """The name under which to send a file; `taken` are the names in use on the entity."""
    # Once more after it was cut: where it was cut it may end in what no name may end in.
    name = legal(shorten(legal(original) or "unnamed", limit))
    if name == original:
        return name
    stem, ext = split_extension(name)
    number = 2
    while name in taken:
        name = limit.cut(stem, f" ({number}){ext}")
        number += 1
    return name
