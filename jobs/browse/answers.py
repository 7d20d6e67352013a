"""What a page is answered with: a template with its values, or the bytes of a file."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from migrator.printable import printable

DOWNLOADED = "application/octet-stream"
"""The media type of each download: none that a browser would show."""


@dataclass(frozen=True)
class Page:
    """A template of ours, and the values for it."""

    template: str
    values: Mapping[str, object]
    status: int = 200


@dataclass(frozen=True)
class FileAnswer:
    """The bytes of a file. It is a download, unless it is `inline` as an image whose type was found in its content."""

    body: AsyncIterable[bytes]
    size: int
    name: str
    media_type: str = DOWNLOADED
    inline: bool = False

    def headers(self) -> dict[str, str]:
        """The headers that let a browser show nothing but an image, and run nothing at all."""
        return {
            "content-type": self.media_type,
            "content-length": str(self.size),
            "content-disposition": disposition(self.name, "inline" if self.inline else "attachment"),
            "content-security-policy": "sandbox; default-src 'none'",
        }


def error_page(status: int, message: str) -> Page:
    """A page that says why there is nothing to show."""
    return Page("archive_error.html", {"message": message}, status)


def disposition(name: str, kind: str = "attachment") -> str:
    """Content-Disposition with any name: in ASCII, and whole as RFC 5987 has it."""
    shown = printable(name).replace("/", "_").replace("\\", "_") or "file"
    plain = "".join(char if char.isascii() and char not in '"%;' else "_" for char in shown)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe='', errors='replace')}"
