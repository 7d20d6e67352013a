"""File names: legal on every file system, for the tree that an export writes; and legal at a target.

On disk: a name is made legal first and unique afterwards, by a key under which names are equal if any of the
three systems takes them for one: composed or not, upper or lower case, with or without invisible characters.
Beware: white space at the end counts as well, not only what Windows drops: programs that read a manifest strip
each line.

At a target: names that are legal stay as they are, even if two files of one entity share one. A name that had to be
changed keeps its extension and must not collide with any other. A limit counts bytes of an encoding: Windows'
characters are two bytes of utf-16-le each.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Container
from pathlib import Path

PATH = 230
"""Characters of a whole path below the export, in UTF-16 as Windows counts (260 are what many programs there bear)."""
KIND, FOLDER = 40, 80
"""Of those, so many at most for a kind and for an entity: a name keeps 108 at least."""
BYTES = 255
"""Of one part of a path in UTF-8, decomposed, as the strictest file system counts."""

_ILLEGAL = re.compile(r"[<>:\"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]")
IN_A_BAG = "%\u2028\u2029"
"""Legal everywhere; but implementations of BagIt disagree on them: some read %0A as a line break, some count lines."""
_END = re.compile(r"[.\s]+$")
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\s*(?=\.|$)", re.IGNORECASE)


def legal(name: str, limit: int = BYTES, otherwise: str = "unnamed", *, avoid: str = "") -> str:
    """The nearest legal name of at most `limit` characters, its extension kept; `otherwise` where nothing is left.

    `avoid`: characters that it must not have, legal or not.
    """
    plain = unicodedata.normalize("NFC", name).translate(dict.fromkeys(map(ord, avoid), "_"))
    name = _trimmed(_ILLEGAL.sub("_", plain))
    name = name if fold(name) else otherwise
    if reserved := _RESERVED.match(name):
        name = f"{name[: reserved.end()]}_{name[reserved.end() :]}"
    return _cut(name, "", limit)


def unique(name: str, taken: set[str], limit: int = BYTES, *, extension: bool = True) -> str:
    """The (legal) name, numbered if need be so that it differs from all in `taken`, which its key is added to."""
    stem, ext = split_extension(name) if extension else (name, "")
    found, number = name, 2
    while fold(found) in taken:
        found = _cut(stem + ext, f" ({number})", limit, extension=extension)
        number += 1
    taken.add(fold(found))
    return found


def fold(name: str) -> str:
    """The key under which names are equal: whoever keeps these apart keeps apart what any file system confuses."""
    bare = "".join(char for char in name if unicodedata.category(char) != "Cf")
    folded = unicodedata.normalize("NFD", bare).upper().casefold()
    return unicodedata.normalize("NFD", folded)


def on_disk(path: str) -> str:
    """The same path for calls of the system: UTF-8 on the disk, whatever the locale says that file names are."""
    return os.fsdecode(path.encode("utf-8", "surrogateescape"))


def readable(path: Path) -> str:
    """A path as text that any program takes: what is UTF-8 on the disk is read so, whatever the locale says."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def length(text: str) -> int:
    """Characters as Windows counts them."""
    return len(text.encode("utf-16-le")) // 2


def _trimmed(name: str) -> str:
    return _END.sub("", name).lstrip()


def _cut(name: str, mark: str, limit: int, *, extension: bool = True) -> str:
    """The name with the mark before its extension, cut before that."""
    stem, ext = split_extension(name) if extension else (name, "")
    while stem and not _fits(stem + mark + ext, limit):
        stem = stem[:-1]
    return _trimmed(stem + mark + ext) if stem.strip() else "_" + mark + ext


def _fits(name: str, limit: int) -> bool:
    return length(name) <= limit and len(unicodedata.normalize("NFD", name).encode()) <= BYTES


# --- at a target


def shorten(name: str, limit: int, encoding: str = "utf-8") -> str:
    """At most `limit` bytes in this encoding, cut before the extension, never inside a character."""
    if len(name.encode(encoding)) <= limit:
        return name
    return _with_ending(*split_extension(name), limit, encoding)


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
        name = _with_ending(stem, f" ({number}){ext}", limit, encoding)
        number += 1
    return name


def _with_ending(text: str, ending: str, limit: int, encoding: str) -> str:
    """The text, cut so that the ending fits behind it."""
    room = max(0, limit - len(ending.encode(encoding)))
    return text.encode(encoding)[:room].decode(encoding, errors="ignore") + ending
