"""`migrator check --thorough --record DIR`: the exchanges with each tracker, scrubbed, as tests play them again.

For each exchange there are four files, as curl would have left them: `NN-case.request.txt`, the command line;
`.headers.txt`, the head of the answer; `.body.json`, `.txt`, or `.first2000` if it was cut; `.result.txt`, status,
seconds (0), bytes, media type and SHA-256 of the body. `about.json` says how the tracker was configured.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from migrator import __version__
from migrator.config import Configuration, SourceSection, TargetSection, credentials, known_secrets
from migrator.jobs.scrubbing import Scrubber, field_names, vocabulary
from migrator.pipeline.thorough import SAMPLE_CONTENTS
from migrator.trackers import adapter
from migrator.wire import DECODABLE, ContentDecoder, KeptBody, KeptExchange, Recorder

KEPT_HEADERS = {
    "accept-ranges",
    "allow",
    "connection",
    "content-disposition",
    "content-range",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
    "server",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-count-total",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
}
"""Headers of answers that say something; the values of all others are left out."""
_SENT_HEADERS = {"accept", "content-type", "if-match", "x-requested-with"}
_IN_BODIES = re.compile(
    rb'(?i)(?:token|secret|passw(?:or)?d|api_?key|session(?:_?id)?)"?\s*[=:]\s*"?([^\s"&;,<>{}\[\]]{8,})'
)
_AS_TEXT = ("application/json", "application/x-www-form-urlencoded", "text/xml", "application/xml")
_MAX_CURL_BYTES = 20_000
"""A larger body is named by its size."""


class Recording:
    """A folder to be, and what is recorded for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.source, self.target = Recorder(), Recorder()

    def write(self, configuration: Configuration) -> None:
        """Write what was recorded, a folder for each tracker."""
        settings, hidden = configuration.settings, known_secrets(configuration)
        self._write(configuration, settings.source, "source", self.source, hidden)
        if settings.target is not None:
            self._write(configuration, settings.target, "target", self.target, hidden)

    def _write(
        self,
        configuration: Configuration,
        section: SourceSection | TargetSection,
        side: str,
        recorder: Recorder,
        hidden: Iterable[str],
    ) -> None:
        folder = self._folder / (section.tracker if side == "source" else f"{section.tracker}-target")
        folder.mkdir(parents=True)
        parts = adapter(section.tracker)
        keys, _ = credentials(section.auth, parts.auth, f"{side}.auth", configuration.folder)
        user = keys.get("username", "")
        pairs = {b64encode(f"{user}:{word}".encode()).decode() for word in hidden}
        scrubber = Scrubber(
            vocabulary(parts.options.__module__.rpartition(".")[0] or parts.options.__module__)
            | field_names(one.received.content for one in recorder.exchanges if not one.file),
            {*hidden, *pairs, user, *(one for one in secrets_in(recorder.exchanges) if "migrator-check-" not in one)},
            places_of(section.url),
            SAMPLE_CONTENTS,
        )
        exchanges = [exchange for exchange in recorder.exchanges if exchange.status]
        for number, exchange in enumerate(exchanges, 1):
            case = re.sub("[^a-z0-9]+", "-", exchange.case.lower())
            name = f"{number:0{len(str(len(exchanges)))}}-{case}"
            _Written(folder, name, section.url, scrubber).write(exchange)
        about = {
            "migrator": __version__,
            "tracker": section.tracker,
            "side": side,
            "path": "",
            "auth": {key: scrubber.text(value) for key, value in keys.items()},
            "options": json.loads(scrubber.json(json.dumps(section.options, ensure_ascii=False))),
            "unanswered": len(recorder.exchanges) - len(exchanges),
        }
        (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def places_of(url: str) -> set[str]:
    """The spellings of a tracker's address."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return {url.rstrip("/"), origin, parts.netloc, parts.hostname or ""}


def secrets_in(exchanges: Iterable[KeptExchange]) -> Iterator[str]:
    """What was sent to be let in, and what was given for that."""
    for exchange in exchanges:
        for name, value in [*exchange.headers.items(), *exchange.answered]:
            if name.lower() in {"cookie", "set-cookie"}:
                yield from (pair.partition("=")[2].strip() for pair in value.split(";") if len(pair.strip()) > 12)
            elif name.lower() in {"authorization", "x-redmine-api-key"}:
                yield from (value, *(word for word in value.split() if len(word) > 8))
        for body in (exchange.sent, exchange.received):
            if not exchange.file:
                yield from (match.decode(errors="replace") for match in _IN_BODIES.findall(body.content))


class _Written:
    """The four files of one exchange."""

    def __init__(self, folder: Path, name: str, url: str, scrubber: Scrubber) -> None:
        self._path, self._scrubber, self._base = folder / name, scrubber, url.rstrip("/")

    def write(self, exchange: KeptExchange) -> None:
        headers = {name.lower(): value for name, value in exchange.answered}
        received = _decoded(exchange.received, headers)
        body = self._scrubber.body(received.content, file=exchange.file)
        body_size = received.size if received.cut else len(body)
        media_type = headers.get("content-type", "")
        form = "first2000" if received.cut else "json" if "json" in media_type else "txt"
        self._part("request").write_text(f"{self._curl(exchange)}\n", encoding="utf-8")
        self._part("headers").write_text(self._head(exchange, body_size), encoding="utf-8", newline="")
        self._path.with_name(f"{self._path.name}.body.{form}").write_bytes(body)
        digest = hashlib.sha256(body).hexdigest()
        result = f"status_time_size_type: {exchange.status} 0 {body_size} {self._scrubber.text(media_type)}\n"
        self._part("result").write_text(f"{result}sha256: {digest}\n", encoding="utf-8")

    def _part(self, name: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{name}.txt")

    def _curl(self, exchange: KeptExchange) -> str:
        words = ["curl"]
        if exchange.method != "GET":
            words += ["-X", exchange.method]
        for name, value in exchange.headers.items():
            if name.lower() in _SENT_HEADERS:
                words += ["-H", shlex.quote(f"{name}: {self._scrubber.text(value)}")]
        media_type = str({name.lower(): value for name, value in exchange.headers.items()}.get("content-type", ""))
        if exchange.sent.size and (not media_type.startswith(_AS_TEXT) or exchange.sent.size > _MAX_CURL_BYTES):
            words += ["--data-binary", f"'@$F/{exchange.sent.size}-bytes'"]
        elif exchange.sent.size:
            words += ["-d", shlex.quote(self._scrubber.body(exchange.sent.content, file=False).decode())]
        own = exchange.url.startswith(self._base)
        rest = exchange.url.removeprefix(self._base) if own else exchange.url
        words.append(
            f'"$URL"{shlex.quote(self._scrubber.text(rest))}' if own else shlex.quote(self._scrubber.text(rest))
        )
        return " ".join(words)

    def _head(self, exchange: KeptExchange, size: int) -> str:
        lines = [f"HTTP/1.1 {exchange.status} Recorded"]
        for name, value in exchange.answered:
            lower = name.lower()
            if lower == "set-cookie":
                lines.append(f"{name}: {value.partition('=')[0]}=blank; Path=/")
            elif lower in {"content-length", "content-encoding"}:
                continue
            elif lower == "date":
                lines.append(f"{name}: {value}")
            else:
                lines.append(f"{name}: {self._scrubber.text(value) if lower in KEPT_HEADERS else '...'}")
        return "\r\n".join([*lines, f"Content-Length: {size}", "", ""])


def _decoded(body: KeptBody, headers: Mapping[str, str]) -> KeptBody:
    """The body without its coding, if it is whole."""
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in DECODABLE or body.cut:
        return body
    try:
        content = b"".join(ContentDecoder(coding).decode(body.content))
    except ValueError:
        return body
    return KeptBody(body.limit, content, len(content))
