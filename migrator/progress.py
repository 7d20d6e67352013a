"""How a run reports its progress: the library never prints, but calls a `Progress`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol


class Progress(Protocol):
    """Receives the events of a run. Calls are cheap, come from the thread of the event loop, and never fail."""

    @abstractmethod
    def entities(self, count: int) -> None:
        """`count` more entities were seen."""

    @abstractmethod
    def known(self, files: int, size: int) -> None:
        """`files` more files, of `size` bytes in total, have to be transferred."""

    @abstractmethod
    def all_known(self) -> None:
        """No file will come in addition to those that are `known`."""

    @abstractmethod
    def transferred(self, size: int) -> None:
        """`size` more bytes were transferred."""

    @abstractmethod
    def done(self, *, failed: bool = False, not_transferred: int = 0) -> None:
        """One more file is finished; so many bytes of it did not have to be transferred, or could not be."""

    @abstractmethod
    def note(self, text: str) -> None:
        """A message for the user, shown once."""


class Silent(Progress):
    """Ignores all progress."""

    def entities(self, count: int) -> None:
        """Ignored."""

    def known(self, files: int, size: int) -> None:
        """Ignored."""

    def all_known(self) -> None:
        """Ignored."""

    def transferred(self, size: int) -> None:
        """Ignored."""

    def done(self, *, failed: bool = False, not_transferred: int = 0) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""
