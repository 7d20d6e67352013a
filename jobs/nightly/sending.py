"""Sends messages by Apprise, and pings a dead man's switch. What can't be sent is a warning and never ends a night.

Addresses are secrets as a whole: tokens stand in their hosts, paths and queries. So they are called by their key.

Beware: Apprise and `urllib` block, and resolving a name can take longer than any timeout. Each call gets a thread that
is left behind when its time is up, and doesn't keep the program from ending.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from typing_extensions import override

from migrator import __version__
from migrator.config import NotifySection, Secret, look_up, warning_of_plain_text
from migrator.errors import ConfigError
from migrator.jobs.nightly.message import Message
from migrator.jobs.output import Output
from migrator.pipeline.summary import Notified

T = TypeVar("T")
MESSAGE_SECONDS = 60.0
PING_SECONDS = 20.0
ANSWER_SECONDS = 8.0
"""How long a pinged server may be silent."""
PING_ATTEMPTS = 2
MIN_SECRET_CHARACTERS = 4
UNKNOWN_ADDRESS = "not an address that Apprise knows"
NO_WEB_ADDRESS = "not an http or https address"
WITHOUT_APPRISE = "Apprise is not installed: pip install 'tracker-migrator[notify]'"


class Notifier:
    """[notify] of one configuration; relative paths of secrets are relative to its `folder`."""

    def __init__(self, notify: NotifySection, folder: Path, output: Output) -> None:
        self._notify, self._folder, self._output = notify, folder, output

    async def send(self, message: Message) -> list[Notified]:
        """Send it to each address."""
        sent = []
        for number, secret in enumerate(self._notify.urls):
            key = f"notify.urls[{number}]"
            sent.append(await self._attempt(key, secret, MESSAGE_SECONDS, lambda url: _send(url, message)))
        return sent

    async def ping(self, suffix: str = "", body: str | None = None) -> list[Notified]:
        """Call the address with this at the end of its path; a body is posted. Does nothing without an address."""
        secret = self._notify.ping
        if secret is None:
            return []
        return [await self._attempt("notify.ping", secret, PING_SECONDS, lambda url: _ping(url, suffix, body))]

    async def _attempt(self, key: str, secret: Secret, seconds: float, work: Callable[[str], str]) -> Notified:
        """Do it in a thread; `work` returns why it failed, or nothing."""
        if isinstance(secret, str) and warning_of_plain_text(key) not in self._output.warnings:
            self._output.warn(warning_of_plain_text(key))
        try:
            url = look_up(secret, key, self._folder)
            reason = await _in_thread(lambda: work(url), seconds)
        except ConfigError as error:
            reason = str(error).removeprefix("configuration: ")
        except TimeoutError:
            reason = f"not done after {seconds:.0f} s"
        except Exception as error:  # noqa: BLE001 - whatever a library raises ends no night
            reason = type(error).__name__  # its text may have the address
        if reason:
            self._output.warn(f"{key}: not sent: {reason}")
        return Notified(key, not reason, reason or None)


def problem_of_address(url: str) -> str:
    """Why Apprise can't send to this address, or nothing. Sends nothing."""
    try:
        from apprise import Apprise
    except ImportError:
        return WITHOUT_APPRISE
    with _Log():
        return "" if Apprise().add(url) else UNKNOWN_ADDRESS


def problem_of_ping(url: str) -> str:
    """Why this address can't be pinged, or nothing. Sends nothing."""
    parts = urlsplit(url)
    return "" if parts.scheme in {"http", "https"} and parts.hostname else NO_WEB_ADDRESS


def _send(url: str, message: Message) -> str:
    try:
        from apprise import Apprise, NotifyFormat, NotifyType
    except ImportError:
        return WITHOUT_APPRISE
    kind = NotifyType.FAILURE if message.failed else NotifyType.SUCCESS
    log = _Log()
    with log:
        receiver = Apprise()
        if not receiver.add(url):
            return UNKNOWN_ADDRESS
        if receiver.notify(body=message.body, title=message.title, notify_type=kind, body_format=NotifyFormat.TEXT):
            return ""
    return _without_parts_of(url, log.last or "Apprise could not send it")


class _Log(logging.Handler):
    """The last warning that Apprise logs in this thread. Its log goes nowhere else, as addresses may stand in it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last, self._thread = "", threading.get_ident()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.last = record.getMessage()

    def __enter__(self) -> None:
        logger = logging.getLogger("apprise")
        logger.propagate = False
        logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)


def _without_parts_of(url: str, text: str) -> str:
    text = re.sub(r"\S+://\S+", "***", text)
    for part in sorted(set(re.split(r"[/@:?&=,]+", url)), key=len, reverse=True):
        if len(part) >= MIN_SECRET_CHARACTERS:
            text = text.replace(part, "***")
    return text


def _ping(url: str, suffix: str, body: str | None) -> str:
    if problem := problem_of_ping(url):
        return problem
    parts = urlsplit(url)
    where = parts._replace(path=parts.path.rstrip("/") + suffix).geturl()
    data = None if body is None else body.encode()
    headers = {"User-Agent": f"migrator/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
    reason = ""
    for _ in range(PING_ATTEMPTS):
        request = urllib.request.Request(where, data, headers)  # noqa: S310 - the scheme was checked
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):  # noqa: S310
                return ""
        except urllib.error.HTTPError as error:
            reason = f"status {error.code}"
            error.close()
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except OSError as error:
            reason = error.strerror or type(error).__name__
    return reason


async def _in_thread(work: Callable[[], T], seconds: float) -> T:
    """The result of work that blocks; `TimeoutError` if it takes longer."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            settle: Callable[[], None] = partial(future.set_exception, error)
        else:
            settle = partial(future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if future.done() else settle())

    threading.Thread(target=run, name="notify", daemon=True).start()
    return await asyncio.wait_for(future, seconds)
