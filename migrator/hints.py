"""What to say about an unknown word: which known one is meant, or else which are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

MIN_SIMILARITY = 0.5
"""The least similarity of a word that is suggested, from 0 to 1: two words of five letters may differ in two."""


def did_you_mean(
    word: str, known: Iterable[str], otherwise: str = "choose from", shown: Callable[[str], str] = str
) -> str:
    """`did you mean X?` with the most similar known word, or all of them after `otherwise`, in the order given.

    Upper and lower case count as equal. `shown` spells the suggestion, for example in quotes.
    """
    known = list(known)
    if (near := _nearest(word, known)) is not None:
        return f"did you mean {shown(near)}?"
    return f"{otherwise} {', '.join(known)}" if known else "there are none"


def _nearest(word: str, known: list[str]) -> str | None:
    """The most similar known word, or one with which this word begins; None if there is neither."""
    spelling_of = {name.casefold(): name for name in reversed(known)}
    wanted = word.casefold()
    similar = get_close_matches(wanted, spelling_of, n=1, cutoff=MIN_SIMILARITY)
    similar = similar or [name for name in spelling_of if name and wanted.startswith(name)]
    return spelling_of[similar[0]] if similar else None
