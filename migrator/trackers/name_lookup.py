"""Finds what an option names by id or by name, such as the project in which entities are created.

Beware: names are not unique everywhere. A name of two things is an error that lists their ids.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from migrator.errors import ConfigError

Known = Callable[[], Awaitable[Iterable[tuple[int, str]]]]
"""Asks the tracker for the numbers and names of all things."""
MAX_SHOWN = 20
"""The most things that an error lists."""


class NameLookup:
    """One such option. A number is used directly; a name is looked up once, when it is needed."""

    def __init__(self, option: str, wanted: str, known: Known) -> None:
        self._option, self._wanted, self._known = option, wanted, known
        self._number: int | None = None

    async def number(self) -> int:
        """The number; `ConfigError` with the known things, if the name fits none or more than one of them."""
        if self._number is None:
            self._number = await self._looked_up()
        return self._number

    async def _looked_up(self) -> int:
        if self._wanted.isascii() and self._wanted.isdecimal():
            return int(self._wanted)
        things = list(await self._known())
        matching = [number for number, name in things if self._wanted and name == self._wanted]
        if len(matching) > 1:
            numbers = ", ".join(map(str, matching[:MAX_SHOWN]))
            raise ConfigError(f"{self._option}: {self._wanted!r} is ambiguous: it matches {numbers}; write the number")
        if not matching:
            known = ", ".join(f"{name} ({number})" for number, name in things[:MAX_SHOWN])
            raise ConfigError(f"{self._option}: nothing is called {self._wanted!r}; there are {known or 'none'}")
        return matching[0]
