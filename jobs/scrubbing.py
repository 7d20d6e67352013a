"""Takes out of what travelled everything that tells something of a user's tracker; the shape of it stays.

A word becomes another one of the same length, the same one everywhere, so that an address that was made of a name still
fits the name. Words that the program itself knows stay: names of fields, kinds, methods. So do numbers and dates, which
say where a listing goes on.

Beware: the words of a text that are also names of fields stay, too; see `vocabulary`.
"""

from __future__ import annotations

import ast
import base64
import binascii
import hashlib
import json
import mimetypes
import random
import re
import secrets
from collections.abc import Iterable, Iterator
from importlib import import_module
from inspect import getsource
from pathlib import Path
from urllib.parse import quote, unquote

from migrator.sandbox import Words
from migrator.wire import spelled

HOST = "tracker.example"
SECRET = "secret"  # noqa: S105 - it stands for each of them
MAX_LITERAL_WORDS = 3
"""A text of the program with more words is a sentence for people, and so is one with blanks but none of OPERATORS."""
OPERATORS = re.compile("[=<>()'&?$]")
MAGIC_BYTES = 4
"""Of a binary file, its beginning stays, which says of what kind it is."""

_OF_EVERY_TRACKER = """
http https www tracker example secret json xml html utf charset application octet stream text plain image png jpeg gif
pdf zip multipart form data boundary attachment inline filename encoding version standalone gzip deflate identity
true false null none gmt utc mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep oct nov dec
amp lt gt quot apos nbsp doctype head body title meta link script style div span img src href alt input type name value
action method post get put patch delete label password submit button table thead tbody tr td th br hr ul ol li strong em
error errors message code status detail id migrator check not found urlencoded expires bearer basic token realm
asc desc and or eq ne gt ge le like in is
"""
_LETTERS = r"[^\W\d_]+"
_NAMES = r"[^\W\d]\w*"
_KEY = re.compile(r"[A-Za-z_@$][\w.@$:/-]{0,59}")
_STRING = re.compile(r'("(?:[^"\\]|\\.)*(?:"|\Z))(\s*:)?', re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]{16,}={0,2}[\r\n]*")
_HEXADECIMAL = re.compile("[0-9a-fA-F-]+")
_PARTS = re.compile(
    r"(?P<ours>migrator-check-[0-9a-f]+)"
    r"|(?<=://)(?P<host>[^\s/\"'<>?#\\]+)"
    r"|(?P<digest>(?<![0-9A-Za-z])[0-9a-fA-F]{32,128}(?![0-9A-Za-z]))"
    r"|(?P<address>(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]))"
    r"|(?P<escaped>(?:\w|%[0-9A-Fa-f]{2})*%[0-9A-Fa-f]{2}(?:\w|%[0-9A-Fa-f]{2})*)"
    rf"|(?P<word>{_NAMES})"
)


class Scrubber:
    """One recording's other words. `known` words stay, `hidden` texts become SECRET, `places` addresses of HOST.

    Contents whose SHA-256 is in `ours` stay, as the program made them up itself.
    """

    def __init__(self, known: Iterable[str], hidden: Iterable[str], places: Iterable[str], ours: Iterable[str]) -> None:
        self._known, self._ours = {*known, *_of_every_tracker()}, {*ours}
        self._hidden = spelled(hidden)
        self._places = sorted({place for place in places if place}, key=len, reverse=True)
        self._hosts: dict[str, str] = {}
        self._rng = random.Random(secrets.randbits(128))  # noqa: S311 - seeded with a secret
        self._words, self._drawn = Words(self._rng), dict[str, str]()

    def body(self, content: bytes, *, file: bool) -> bytes:
        """A body, which may be cut at its end; a `file` that is not text becomes noise."""
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            if error.end < len(content):
                return self._noise(content)
            text = content[: error.start].decode()
        if file and hashlib.sha256(content).hexdigest() in self._ours:
            return content
        return (self.json(text) if text.lstrip()[:1] in {"{", "[", '"'} else self.value(text)).encode()

    def json(self, text: str) -> str:
        """JSON with other strings; names of fields stay."""
        return _STRING.sub(self._string, text)

    def value(self, text: str) -> str:
        """A text that may be base64."""
        text = self._without_secrets(text)
        plain = "".join(text.split())
        may_be_base64 = _BASE64.fullmatch(text) and len(plain) % 4 == 0 and re.search("[0-9+/=]", plain)
        if not may_be_base64 or _HEXADECIMAL.fullmatch(plain):
            return self.text(text)
        try:
            content = base64.b64decode(plain, validate=True)
        except binascii.Error:
            return self.text(text)
        known = hashlib.sha256(content).hexdigest() in self._ours
        letters = iter(plain if known else base64.b64encode(self._noise(content)).decode())
        return "".join(character if character.isspace() else next(letters) for character in text)

    def text(self, text: str) -> str:
        """Any other text, such as an address, a page or the value of a header."""
        text = self._without_secrets(text)
        for place in self._places:
            text = text.replace(place, f"http://{HOST}" if "://" in place else HOST)
        return _PARTS.sub(self._part, text)

    def _without_secrets(self, text: str) -> str:
        for spelling in self._hidden:
            text = text.replace(spelling, SECRET)
        return text

    def _string(self, match: re.Match[str]) -> str:
        token, colon = match[1], match[2] or ""
        closed = token if len(token) > 1 and token.endswith('"') else f'{token.rstrip(chr(92))}"'
        try:
            plain = json.loads(closed, strict=False)
        except ValueError:
            return self.text(token) + colon
        if colon and _KEY.fullmatch(plain):
            return match[0]
        written = json.dumps(self.value(plain), ensure_ascii="\\u" in token)
        if r"\/" in token:
            written = written.replace("/", r"\/")
        return (written if closed == token else written[:-1]) + colon

    def _part(self, match: re.Match[str]) -> str:
        found = match[0]
        if match["word"]:
            is_suffix = match.string[: match.start()].endswith(".") and f".{found.lower()}" in mimetypes.types_map
            return found if is_suffix or found in self._known else re.sub(_LETTERS, self._word, found)
        if match["escaped"]:
            plain = unquote(found, errors="strict") if _is_utf8(found) else found
            quoted = quote(self.text(plain), safe="") if plain != found else "%41"
            return quoted.lower() if found.islower() and "%" in quoted and plain.islower() else quoted
        if match["digest"]:
            return self._other(found, "0123456789abcdef")
        if match["host"]:
            return found if found == HOST else self._hosts.setdefault(found, f"host{len(self._hosts) + 1}.example")
        if match["address"]:
            return found if found.startswith("127.") else f"192.0.2.{self._other(found, '123456789')[:2]}"
        return found

    def _word(self, match: re.Match[str]) -> str:
        found = match[0]
        is_letter = len(found) == 1 and found.isascii()
        return found if is_letter or found in self._known else self._words.replaced(found)

    def _other(self, text: str, letters: str) -> str:
        if text not in self._drawn:
            self._drawn[text] = "".join(self._rng.choice(letters) for _ in text)
        return self._drawn[text]

    def _noise(self, content: bytes) -> bytes:
        """Other bytes, the same ones for the same content; other words for a text."""
        digest = hashlib.sha256(content).hexdigest()
        if digest in self._ours:
            return content
        noise = random.Random(self._other(digest, "0123456789abcdef"))  # noqa: S311 - seeded with a secret
        return content[:MAGIC_BYTES] + noise.randbytes(max(0, len(content) - MAGIC_BYTES))


def _is_utf8(escaped: str) -> bool:
    try:
        unquote(escaped, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _of_every_tracker() -> Iterator[str]:
    for word in _OF_EVERY_TRACKER.split():
        yield from (word, word.upper(), word.capitalize())


def field_names(bodies: Iterable[bytes]) -> set[str]:
    """The names of fields in these bodies, as far as they are JSON. They stay there, so they have to stay elsewhere."""
    texts = (body.decode(errors="replace") for body in bodies if body.lstrip()[:1] in {b"{", b"["})
    strings = (match for text in texts for match in _STRING.finditer(text) if match[2])
    return {name for match in strings if re.fullmatch(_NAMES, name := match[1].strip('"'))}


def vocabulary(module: str) -> set[str]:
    """The words of an adapter's own texts that a tracker may see: names of fields, kinds and methods, bits of queries.

    `module` is the one that defines the adapter. Sentences and documentation are left out.
    """
    sources = [getsource(import_module(name)) for name in ("migrator.sniffing", "migrator.wire.auth")]
    home = import_module(module)
    path = Path(home.__file__ or "")
    paths = sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]
    sources += [file.read_text(encoding="utf-8") for file in paths]
    return {word for source in sources for word in _words_of(ast.parse(source))}


def _words_of(tree: ast.AST) -> Iterator[str]:
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            words = re.findall(_NAMES, node.value)
            count = len(node.value.split())
            if count == 1 or (count <= MAX_LITERAL_WORDS and OPERATORS.search(node.value)):
                yield from words
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)  # fields of a query
