"""What a run tells of itself while it works. The library never prints: it calls these."""

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
        """`files` more files, of `size` bytes together, are wanted."""

    @abstractmethod
    def moved(self, size: int) -> None:
        """`size` more bytes came or went."""

    @abstractmethod
    def done(self, *, failed: bool = False) -> None:
        """One more wanted file is settled."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Something a person should see, once."""


class Silent(Progress):
    """Progress that nobody watches."""

    def entities(self, count: int) -> None:
        """Nothing."""

    def known(self, files: int, size: int) -> None:
        """Nothing."""

    def moved(self, size: int) -> None:
        """Nothing."""

    def done(self, *, failed: bool = False) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
