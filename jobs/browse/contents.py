"""What the first bytes of a file show: an image that a browser may draw, or text.

Neither the name of a file nor the media type that the tracker gives is believed.
"""

from __future__ import annotations

import codecs
import unicodedata

from migrator.printable import LINES, printable

HEAD_BYTES = 16
"""Bytes that name an image."""
PREVIEW_BYTES = 64 * 1024
"""Bytes of a text that are shown."""
MAX_IMAGE_BYTES = 20 * 1000 * 1000
"""The largest image that is shown; a larger one is only a download."""
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def image_type(head: bytes) -> str | None:
    """The media type of a raster image, by its content. SVG is none: it can hold scripts."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _IMAGES if head.startswith(start)), None)


def text_preview(head: bytes) -> str | None:
    """The text that these first bytes are, safe to show; None if they are no text."""
    mark, encoding = next((pair for pair in _MARKS if head.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head[len(mark) :])
    except UnicodeDecodeError:
        return None
    if any(unicodedata.category(char) == "Cc" and char not in "\t\n\r\f" for char in set(text)):
        return None
    return printable(text.replace("\r\n", "\n").replace("\r", "\n"), LINES)
