"""Finds what an option gives by id or by name, such as the project in which entities are created.

Beware: names are not unique everywhere. One that matches two things is an error that lists their ids.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from migrator.errors import ConfigError

Known = Callable[[], Awaitable[Iterable[tuple[int, str]]]]
"""Asks the tracker for what there is: numbers and names."""
MAX_SHOWN = 20


class NameLookup:
    """One such option: a number is used directly, a name is looked up once, when it is needed."""

    def __init__(self, option: str, wanted: str, known: Known) -> None:
        self._option, self._wanted, self._known = option, wanted, known
        self._number: int | None = None

    async def number(self) -> int:
        """The number; `ConfigError` with what there is, where the name fits nothing or more than one thing."""
        if self._number is None:
            self._number = await self._looked_up()
        return self._number

    async def _looked_up(self) -> int:
        if self._wanted.isascii() and self._wanted.isdecimal():
            return int(self._wanted)
        there = list(await self._known())
        found = [number for number, name in there if self._wanted and name == self._wanted]
        if len(found) != 1:
            known = ", ".join(f"{name} ({number})" for number, name in there[:MAX_SHOWN])
            raise ConfigError(f"{self._option}: {self._wanted!r} names no one thing; there are {known or 'none'}")
        return found[0]
