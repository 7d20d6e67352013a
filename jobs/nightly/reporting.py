"""After a night: the dead man's switch, the message if there is something to say, and what is remembered of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from migrator.config import NotifySection
from migrator.jobs.nightly.findings import findings_of, not_looked_at
from migrator.jobs.nightly.memory import Memory
from migrator.jobs.nightly.message import Message, News, message, news
from migrator.jobs.nightly.night import Night
from migrator.jobs.nightly.sending import Notifier
from migrator.jobs.runtime import cancel_on_stop
from migrator.pipeline.summary import Notified
from migrator.wire import without_secrets


@dataclass(frozen=True, slots=True)
class NightReporter:
    """Reports one night. `secrets` gives what must not get into a message; it is called only if there is one."""

    night: Night
    path: Path
    notify: NotifySection
    notifier: Notifier
    secrets: Callable[[], Iterable[str]] = tuple

    async def conclude(self, memory: Memory) -> Memory:
        """Ping and send; the memory with what was reported now.

        After a stop nothing is sent: somebody wanted it, and 15 seconds are short. The switch notices by itself.
        """
        if self.night.interrupted or self.night.stop.is_set():
            return memory
        unknown = not_looked_at(self.night, memory.reported)
        fresh = news(findings_of(self.night), replace(memory, reported=memory.reported - unknown), time.time())
        reported = await self._notify(fresh)
        present = frozenset(finding.fingerprint for finding in fresh.findings)
        if any(each.sent for each in reported):
            return replace(memory, reported=present | unknown, reported_at=time.time())
        return replace(memory, reported=memory.reported & (present | unknown))

    async def _notify(self, fresh: News) -> list[Notified]:
        """Ping, and send if there is news; what was sent."""
        wanted = bool(self.notify.urls) and fresh.to_send(self.notify.on)
        if not wanted and self.notify.ping is None:
            return []
        code = self.night.code
        text = self._redacted(message(self.night.result(), code, self.path, fresh))
        pinged = self.notifier.ping("/fail", text.text) if code else self.notifier.ping()
        notified = await unless_stopped(pinged, self.night.stop)
        sent = await unless_stopped(self.notifier.send(text), self.night.stop) if wanted else []
        self.night.notified = (*notified, *sent)
        return sent

    def _redacted(self, text: Message) -> Message:
        secrets = [*self.secrets()]
        return replace(text, title=without_secrets(text.title, secrets), body=without_secrets(text.body, secrets))


async def unless_stopped(work: Coroutine[Any, Any, list[Notified]], stop: asyncio.Event) -> list[Notified]:
    """What was sent; nothing where a stop came first, which ends it at once."""
    try:
        return await cancel_on_stop(work, stop)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return []
