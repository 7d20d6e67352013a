"""Doors of packages whose modules are imported when one of their names is used, because few commands need all of them.

Beware: the door lists its names twice, here and for type checkers, as imports under `TYPE_CHECKING`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def imported_on_first_use(door: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a door (PEP 562); `homes` has the module of each name, below that of the door."""

    def __getattr__(name: str) -> object:  # noqa: N807
        if name in homes:
            return getattr(import_module(f"{door}.{homes[name]}"), name)
        raise AttributeError(f"module {door!r} has no attribute {name!r}")

    return __getattr__
