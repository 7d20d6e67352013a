"""How a run reports its progress. The library never prints; it calls a `Progress`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol


class Progress(Protocol):
    """Events of a run. Calls are cheap, come from the event loop's thread, and never fail."""

    @abstractmethod
    def entities(self, count: int) -> None:
        """`count` more entities were seen."""

    @abstractmethod
    def known(self, files: int, size: int) -> None:
        """`files` more files, of `size` bytes in total, are to be transferred."""

    @abstractmethod
    def moved(self, size: int) -> None:
        """`size` more bytes were transferred."""

    @abstractmethod
    def done(self, *, failed: bool = False) -> None:
        """One more file is finished."""

    @abstractmethod
    def note(self, text: str) -> None:
        """A message for the user, shown once."""


class Silent(Progress):
    """Ignores all progress."""

    def entities(self, count: int) -> None:
        """Ignored."""

    def known(self, files: int, size: int) -> None:
        """Ignored."""

    def moved(self, size: int) -> None:
        """Ignored."""

    def done(self, *, failed: bool = False) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""
