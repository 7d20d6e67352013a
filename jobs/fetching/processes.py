"""Fetch workers as processes of this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from migrator.jobs.fetching.link import Crew, Employ, ProcessLink

MAX_DEATHS = 3
"""After so many workers have died, the run fetches by itself."""
MAX_MESSAGE_BYTES = 2**20
ENVIRONMENT = re.compile("PATH|HOME|TZ|TMPDIR|LANG|LC_.*|SSL_CERT_(FILE|DIR)|(DY)?LD_LIBRARY_PATH|PYTHON(?!PATH).*")
"""What a worker gets of the environment: nothing that may be a secret."""
CLOUDS = re.compile("AWS_|GOOGLE_|AZURE_")
"""What it gets besides if the blobs go to a bucket: not in its environment, but through the pipe."""

_PACKAGES = str(Path(__file__).absolute().parents[3])

_log = logging.getLogger("migrator.workers")


class ProcessCrew(Crew):
    """`count` processes. They inherit the descriptors `held` of the archive's lock, so that it outlives the run."""

    def __init__(self, count: int, held: Sequence[int]) -> None:
        self._count, self._held = count, held
        self._deaths = 0
        self.environment = {name: value for name, value in os.environ.items() if CLOUDS.match(name)}

    @override
    async def work(self, employ: Employ) -> None:
        await asyncio.gather(*(self._keep_one(employ) for _ in range(self._count)))

    async def _keep_one(self, employ: Employ) -> None:
        """Start a worker and serve it until it is gone, and then another one, unless too many have died."""
        while self._deaths < MAX_DEATHS:
            try:
                link = ProcessLink(await self._start_process())
            except OSError as error:
                _log.warning("a fetch worker can't be started (%s); files are fetched without it", error)
                return
            if not await employ(link):
                return
            self._deaths += 1
            _log.warning("a fetch worker ended by itself; what it had is fetched again")

    async def _start_process(self) -> asyncio.subprocess.Process:
        """Start a worker in a session of its own, so that Ctrl-C doesn't reach it."""
        environment = {name: value for name, value in os.environ.items() if ENVIRONMENT.fullmatch(name)}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "migrator.jobs.fetching.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=self._held,
            start_new_session=True,
            limit=MAX_MESSAGE_BYTES,
            env={**environment, "PYTHONPATH": _PACKAGES},
        )
