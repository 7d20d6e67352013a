"""What Request Tracker makes of a file that it takes: of its name, of its text, and of its size.

Found out by sending names and texts to a running RT 5.0.3, and in its source (`RT::I18N`, `RT::Record::_EncodeLOB`).
"""

import re
from dataclasses import dataclass

MAX_NAME_BYTES = 255
DROPPED = b"Large attachment dropped"
"""What stands in the place of a file that was dropped."""

_UP_TO_SLASH = re.compile(r"\A.*/", re.DOTALL)
_ENCODED_WORD = re.compile(r"=\?utf-8\?q\?(.*?)\?=")
_TEXT = re.compile(r"text/(?:plain|html)\b(?!\w)", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*\"?([^\";\s]+)", re.IGNORECASE)
_LAST_TWO = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_NO_CHARACTERS = re.compile(f"[\ud800-\udfff\ufdd0-\ufdef{_LAST_TWO}]")


def kept_name(name: str) -> str:
    """A name as RT keeps it; a file without a name is none."""
    name = re.sub(r"[\n\r\0]", "", _UP_TO_SLASH.sub("", name))
    name = _ENCODED_WORD.sub(r"\1", name)
    name = name[1:-1] if re.fullmatch('".+"', name) else name
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore") if name.strip() else ""


def is_text(media_type: str) -> bool:
    """Whether RT converts the contents of this type."""
    return _TEXT.match(media_type) is not None


def converted(content: bytes, media_type: str) -> bytes:
    """A text in UTF-8. Without a declared character set, RT guesses."""
    if not is_text(media_type):
        return content
    charset = _CHARSET.search(media_type)
    text = content.decode(charset[1], "replace") if charset else _guessed(content)
    return _NO_CHARACTERS.sub("\ufffd", text).encode()


def _guessed(content: bytes) -> str:
    """A text as Perl's `Encode::Guess` reads it: with zero bytes as UTF-16 or UTF-32, else as UTF-8 or Latin-1."""
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return content.decode("utf-16", "replace")
    if b"\0" in content:
        width = 4 if b"\0\0" in content else 2
        whole = content[: len(content) // width * width]
        halves = memoryview(whole).cast("B" if width == 2 else "H").tolist()
        little, big = sum(map(bool, halves[::2])), sum(map(bool, halves[1::2]))
        if little != big:
            return whole.decode(f"utf-{8 * width}-{'be' if big > little else 'le'}", "replace")
    try:
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return content.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of a file: `cut_at` is the limit that it exceeded, `stated` the size that RT says it has."""

    name: str
    media_type: str
    content: bytes
    stated: int
    cut_at: int | None = None


def kept(name: str, media_type: str, content: bytes, limit: int | None, *, drops: bool) -> Kept:
    """A file as RT keeps it: over the limit cut, or dropped for a sentence. With zero bytes in it, the limit is 3/4."""
    name, plain, text = kept_name(name), media_type.partition(";")[0], converted(content, media_type)
    most = None if limit is None else limit * 3 // 4 if b"\0" in text else limit
    if most is None or len(text) <= most:
        return Kept(name, plain, text, len(text))
    if drops:
        return Kept(f"{name.removesuffix('.txt')}.txt", "text/plain", DROPPED, len(text), most)
    return Kept(name, plain, text[:most], len(text), most)
