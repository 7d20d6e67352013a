"""Replaces the words of a text and keeps its shape: for names and titles that nobody else should read.

Of a word stays the number of its characters, their case, their script and their size in UTF-8; of a number the count of
its digits. What stands between words stays, because it is what breaks importers: blanks, punctuation, control
characters, combining marks. Kept as well are extensions that everybody uses, and device names of Windows.

The same word always becomes the same one, and different words become different ones, so that equal names stay equal and
names that differ only in case differ only in case. The new letters are drawn; they aren't computed from the old ones.
"""

import mimetypes
import random
import re
import unicodedata
from collections.abc import Iterator
from functools import cache

_TOKENS = re.compile(r"[^\W\d_]+|\d+")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_DEVICES = frozenset({"con", "prn", "aux", "nul", "com", "lpt"})
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}\Z")
_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_BLOCK = 64
"""Characters that have all but the last byte in common."""
_MAX_DRAWS = 10_000


class Words:
    """The words that were replaced so far."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._replacements: dict[str, str] = {}
        self._taken: set[str] = set()

    def replaced(self, text: str) -> str:
        """The text with other words."""
        return "".join(self._parts(text))

    def replaced_name(self, name: str) -> str:
        """The name of a file with other words, and with its extension if that is a usual one."""
        suffix = _SUFFIX.search(name)
        if suffix and suffix[0].lower() in mimetypes.types_map:
            return self.replaced(name[: suffix.start()]) + suffix[0]
        return self.replaced(name)

    def _parts(self, text: str) -> Iterator[str]:
        end = 0
        for escape in _ESCAPE.finditer(text):
            yield _TOKENS.sub(self._word, text[end : escape.start()])
            yield "%41"
            end = escape.end()
        yield _TOKENS.sub(self._word, text[end:])

    def _word(self, match: re.Match[str]) -> str:
        word = match[0]
        if word.lower() in _DEVICES:
            return word
        plain = "".join(map(_lower, word))
        if plain not in self._replacements:
            self._replacements[plain] = self._drawn(plain)
        return "".join(map(_cased, word, self._replacements[plain]))

    def _drawn(self, word: str) -> str:
        for _ in range(_MAX_DRAWS):
            drawn = "".join(self._rng.choice(_alike(character)) for character in word)
            if drawn not in self._taken:
                break
        self._taken.add(drawn)
        return drawn


@cache
def _alike(character: str) -> str:
    """The characters that may stand for one: of its kind, and as long in UTF-8."""
    if character.isascii():
        return _DIGITS if character.isdecimal() else _LETTERS
    kind, start = unicodedata.category(character), ord(character) // _BLOCK * _BLOCK
    return "".join(other for other in map(chr, range(start, start + _BLOCK)) if unicodedata.category(other) == kind)


def _lower(character: str) -> str:
    lower = character.lower()
    return lower if _is_as_long(lower, character) else character


def _cased(original: str, drawn: str) -> str:
    """The drawn character in the case of the original, unless that would be longer or shorter."""
    upper = drawn.upper()
    return upper if original != _lower(original) and _is_as_long(upper, drawn) else drawn


def _is_as_long(one: str, other: str) -> bool:
    return len(one) == 1 and len(one.encode("utf-8", "replace")) == len(other.encode("utf-8", "replace"))
