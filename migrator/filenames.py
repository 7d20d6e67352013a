"""File names that are legal on every file system (for exports), and names that are legal at a target.

On disk, a name is first made legal, then unique. Names count as equal if any of Linux, macOS and Windows confuses them:
composed or decomposed, upper or lower case, with or without invisible characters. Trailing white space of any kind is
removed, not only what Windows drops, because programs that read a manifest strip each line.

At a target, legal names stay as they are, even if two files of one entity share a name. A name that had to be changed
keeps its extension and must not collide with any other. A limit counts bytes in an encoding; Windows's characters are
two bytes of utf-16-le each.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Container, Iterator
from itertools import count
from pathlib import Path

MAX_PATH_CHARACTERS = 230
"""The longest path inside an export, in characters as Windows counts them; many programs there allow only 260."""
MAX_KIND_CHARACTERS, MAX_FOLDER_CHARACTERS = 40, 80
"""Of those, at most this many for a kind and for an entity's folder, which leaves at least 108 for a name."""
MAX_NAME_BYTES = 255
"""The longest part of a path, in bytes of decomposed UTF-8, as the strictest file system counts."""
MAX_EXTENSION_BYTES = 32
"""What is longer than this is not an extension but part of the name."""

_ILLEGAL = re.compile(r"[<>:\"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]")
UNSAFE_IN_A_BAG = "%\u2028\u2029"
"""Legal everywhere, but BagIt implementations disagree on them: %0A may be a line break, and U+2028 may end a line."""
_TRAILING = re.compile(r"[.\s]+$")
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\s*(?=\.|$)", re.IGNORECASE)


def legal(name: str, limit: int = MAX_NAME_BYTES, otherwise: str = "unnamed", *, avoid: str = "") -> str:
    """The nearest legal name of at most `limit` characters, extension kept; `otherwise` if nothing is left.

    `avoid` are characters to be replaced although they are legal.
    """
    plain = unicodedata.normalize("NFC", name).translate(dict.fromkeys(map(ord, avoid), "_"))
    name = _trimmed(_ILLEGAL.sub("_", plain))
    name = name if fold(name) else otherwise
    if reserved := _RESERVED.match(name):
        name = f"{name[: reserved.end()]}_{name[reserved.end() :]}"
    return _cut(name, "", limit)


def unique(name: str, taken: set[str], limit: int = MAX_NAME_BYTES, *, extension: bool = True) -> str:
    """The (legal) name, numbered if necessary to differ from all in `taken`; its key is added to `taken`.

    Without `extension` the name is that of a folder, so a dot in it starts none.
    """
    stem, ext = split_extension(name) if extension else (name, "")
    candidate, number = name, 2
    while fold(candidate) in taken:
        candidate = _cut(stem + ext, f" ({number})", limit, extension=extension)
        number += 1
    taken.add(fold(candidate))
    return candidate


def fold(name: str) -> str:
    """A key that is equal for names that some file system takes for the same."""
    bare = "".join(char for char in name if unicodedata.category(char) != "Cf")
    folded = unicodedata.normalize("NFD", bare).upper().casefold()
    return unicodedata.normalize("NFD", folded)


def on_disk(path: str) -> str:
    """The same path for system calls: UTF-8 on disk, whatever encoding the locale names."""
    return os.fsdecode(path.encode("utf-8", "surrogateescape"))


def readable(path: Path) -> str:
    """A path as text for any program: bytes on disk are read as UTF-8, whatever encoding the locale names."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def length_on_windows(text: str) -> int:
    """The number of characters as Windows counts them: one above U+FFFF is two."""
    return len(text.encode("utf-16-le")) // 2


def _trimmed(name: str) -> str:
    return _TRAILING.sub("", name).lstrip()


def _cut(name: str, suffix: str, limit: int, *, extension: bool = True) -> str:
    """The name with `suffix` before its extension; the stem is shortened to fit."""
    stem, ext = split_extension(name) if extension else (name, "")
    while stem and not _fits(stem + suffix + ext, limit):
        stem = stem[:-1]
    return _trimmed(stem + suffix + ext) if stem.strip() else "_" + suffix + ext


def _fits(name: str, limit: int) -> bool:
    return length_on_windows(name) <= limit and len(unicodedata.normalize("NFD", name).encode()) <= MAX_NAME_BYTES


# --- at a target


def shorten(name: str, limit: int, encoding: str = "utf-8") -> str:
    """The name in at most `limit` bytes of this encoding: extension kept, no character split."""
    if len(name.encode(encoding)) <= limit:
        return name
    return _with_ending(*split_extension(name), limit, encoding)


def split_extension(name: str) -> tuple[str, str]:
    """`report.tar.gz` -> (`report.tar`, `.gz`). A leading dot starts no extension, and a very long one is none."""
    stem, dot, ext = name.rpartition(".")
    if not stem or not dot or len(ext.encode()) > MAX_EXTENSION_BYTES:
        return name, ""
    return stem, dot + ext


def names_at_target(
    original: str, legal_name: Callable[[str], str], limit: int, encoding: str = "utf-8"
) -> Iterator[str]:
    """The names under which a file may be sent, the best first; `legal_name` as in `Target`.

    If the original is legal it is the only one, whether or not it is taken; otherwise they never end.
    """
    # `legal_name` once more: the shortened name may end in something that no name may end in.
    name = legal_name(shorten(legal_name(original) or "unnamed", limit, encoding)) or "unnamed"
    yield name
    if name != original:
        stem, ext = split_extension(name)
        for number in count(2):
            yield legal_name(_with_ending(stem, f" ({number}){ext}", limit, encoding))


def name_at_target(
    original: str, legal_name: Callable[[str], str], limit: int, taken: Container[str], encoding: str = "utf-8"
) -> str:
    """The name under which to send a file; `taken` are the names in use on the entity."""
    names = names_at_target(original, legal_name, limit, encoding)
    return next((name for name in names if name not in taken), original)


def _with_ending(text: str, ending: str, limit: int, encoding: str) -> str:
    """The text, shortened so that the ending fits behind it."""
    room = max(0, limit - len(ending.encode(encoding)))
    return text.encode(encoding)[:room].decode(encoding, errors="ignore") + ending
