"""The nights of several configurations on the workers of a Dask cluster, one task for each.

Dask does a task again elsewhere if its worker dies; the lock of the archive keeps the two apart. All nights are on the
cluster at once, other than those of one archive.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

from migrator.config import Configuration, is_address, plain_secrets, read_configuration
from migrator.errors import ConfigError
from migrator.filenames import readable
from migrator.jobs.fetching import Cluster, ClusterLostError, build, cluster_at
from migrator.jobs.nightly import elsewhere
from migrator.jobs.nightly.metrics import READABLE_BY_ALL
from migrator.jobs.nightly.nights import NightEnd, run_night, summary_of
from migrator.jobs.nightly.severity import status_of
from migrator.jobs.output import Output
from migrator.jobs.terminal import tell
from migrator.pipeline.summary import NightlySummary, NightResult, StepError
from migrator.printable import LINES, printable
from migrator.whole_file import whole_file

CLUSTER_GONE = "the cluster lost this night: whether it was done is not known; the next night continues"
STOP_SECONDS = 9.0
"""How long after a stop nights are waited for; 15 s are promised."""
OWNER_ONLY = 0o600
_LEVELS = {"warning: ": "warning", "error: ": "error", "": "info"}


async def spread_nights(paths: list[Path], parallel: int, output: Output, stop: asyncio.Event) -> NightlySummary:
    """All of them, at most `parallel` at a time. `ConfigError` if they don't name one cluster that can be used.

    A configuration that can't be read, or can't be used there, fails alone.
    """
    began = time.monotonic()
    readable_ones: dict[Path, Configuration] = {}
    for path in paths:
        try:
            readable_ones[path] = read_configuration(path)
        except ConfigError:
            continue  # its night says so
    async with cluster_at(_address_of([*readable_ones.values()]), stop) as cluster:
        nights = _Spread(cluster, readable_ones, output, stop, asyncio.Semaphore(parallel))
        return summary_of(await nights.run(paths), time.monotonic() - began)


def _address_of(configurations: list[Configuration]) -> str:
    addresses = {configuration.dask for configuration in configurations}
    if len(addresses) != 1 or None in addresses:
        raise ConfigError("--on dask: each configuration has to name the same cluster in [workers] dask")
    return f"{addresses.pop()}"


def require_fit(configuration: Configuration) -> None:
    """`ConfigError` if the night of this configuration can't be done by a worker that only has its text."""
    if not is_address(configuration.settings.archive):
        raise ConfigError('--on dask: a worker has no folder of this machine: name an archive in a bucket ("s3://...")')
    if plain := plain_secrets(configuration):
        raise ConfigError(
            f"--on dask: {plain[0]} is in the configuration in plain text, and would travel through the cluster; "
            "write { env = ... }, and set that in the environment of the workers"
        )


@dataclass(slots=True)
class _Spread:
    cluster: Cluster
    configurations: dict[Path, Configuration]
    output: Output
    stop: asyncio.Event
    seats: asyncio.Semaphore
    names: dict[Path, str] = field(default_factory=dict)
    archives: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def run(self, paths: list[Path]) -> list[NightEnd]:
        stopping = asyncio.create_task(self._end_all())
        try:
            return await asyncio.gather(*map(self._night_of, paths))
        finally:
            stopping.cancel()

    async def _night_of(self, path: Path) -> NightEnd:
        configuration = self.configurations.get(path)
        output = self.output.part(readable(path), bars=False)
        if configuration is None:
            return await run_night(path, self.output, self.stop)
        try:
            require_fit(configuration)
            self._require_own_files(path, configuration)
        except ConfigError as error:
            output.error(str(error))
            return _failed(path, 2, str(error))
        async with self.seats, self.archives[configuration.settings.archive]:
            return await self._done(path, configuration, output)

    def _require_own_files(self, path: Path, configuration: Configuration) -> None:
        """`ConfigError` if another configuration brings a file to the same place."""
        mine = {configuration.resolve(name) for name in elsewhere.brought_home(configuration)}
        for other, theirs in self.configurations.items():
            both = mine & {theirs.resolve(name) for name in elsewhere.brought_home(theirs)}
            if other != path and both:
                raise ConfigError(
                    f"--on dask: {readable(other)} writes {readable(both.pop())}, too: each needs its own"
                )

    async def _done(self, path: Path, configuration: Configuration, output: Output) -> NightEnd:
        if self.stop.is_set():
            return _failed(path, 130)
        name = self.names[path] = uuid4().hex
        text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        verbose = logging.getLogger("migrator").isEnabledFor(logging.INFO)
        order = elsewhere.Order(readable(path), text, verbose, build())
        began = time.monotonic()
        try:
            body = await self.cluster.perform(
                elsewhere.night, name, json.dumps(asdict(order)).encode(), title=f"night of {path.name}"
            )
        except ClusterLostError as error:
            if self.stop.is_set():
                return _failed(path, 130)
            output.error(f"{CLUSTER_GONE} ({error})")
            return _failed(path, 4, CLUSTER_GONE, time.monotonic() - began)
        return self._ended(path, configuration, output, body)

    def _ended(self, path: Path, configuration: Configuration, output: Output, body: bytes) -> NightEnd:
        if not body.startswith(b"\x80"):  # no pickle
            message = f"--on dask: a worker can't be used: {body.decode()}"
            output.error(message)
            return _failed(path, 2, message)
        done: elsewhere.Done = pickle.loads(body)  # noqa: S301 - our own worker
        for line in done.said.splitlines():
            mark = next(mark for mark in _LEVELS if line.startswith(mark))
            tell(printable(f"{output.prefix}{line.removeprefix(mark)}", LINES), _LEVELS[mark], mark)
        for name, content in done.files:
            mode = READABLE_BY_ALL if name == configuration.settings.nightly.metrics else OWNER_ONLY
            with whole_file(configuration.resolve(name), mode) as file:
                file.write(content.decode())
        if done.end is None:
            return _failed(path, 130 if done.code in {130, -15} else 1, f"the night's process ended with {done.code}")
        if done.end.code == ConfigError.exit_code:
            output.warn("a worker did this night: variables, files and addresses are those of its machine")
        return done.end

    async def _end_all(self) -> None:
        """After a stop: end what is at work there, as Ctrl-C would, and what has not begun."""
        await self.stop.wait()
        await self.cluster.tell_all(elsewhere.end, [*self.names.values()])
        await asyncio.sleep(STOP_SECONDS)
        await self.cluster.forget([*self.names.values()])


def _failed(path: Path, code: int, message: str = "", seconds: float = 0.0) -> NightEnd:
    error = StepError(code, message) if message and code != 130 else None
    return NightEnd(code, NightResult(config=readable(path), status=status_of(code), error=error, seconds=seconds))
