"""The nights of several configurations: one after the other, or some at a time. One that fails stops no other."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from pathlib import Path

from jobs.nightly.night import Night
from jobs.nightly.severity import status_of, worst
from jobs.output import Output
from migrator.config import read_configuration
from migrator.errors import ConfigError
from migrator.filenames import readable
from migrator.pipeline.summary import NightlySummary, StepError


async def run_nights(paths: list[Path], parallel: int, output: Output, stop: asyncio.Event) -> NightlySummary:
    """All of them, in the given order, at most `parallel` at a time."""
    began = time.monotonic()
    seats, archives = asyncio.Semaphore(parallel), defaultdict[Path, asyncio.Lock](asyncio.Lock)

    async def take_turn(path: Path) -> Night:
        async with seats:
            name = readable(path)
            part = output.part(name if len(paths) > 1 else "", bars=min(parallel, len(paths)) == 1)
            night = Night(name, part, stop)
            await _spend(night, path, archives)
            return night

    nights = await asyncio.gather(*map(take_turn, paths))
    return _summary(nights, time.monotonic() - began)


async def _spend(night: Night, path: Path, archives: dict[Path, asyncio.Lock]) -> None:
    if night.stop.is_set():
        night.interrupted = True
        return
    try:
        configuration = read_configuration(path)
    except ConfigError as error:
        night.failed("configuration", error)
        return
    async with archives[configuration.archive]:  # two configurations of one archive would refuse each other
        await night.run(configuration)


def _summary(nights: list[Night], seconds: float) -> NightlySummary:
    """The status is that of the worst; so is the error, with the configuration's name if there are several."""
    code = worst(night.code for night in nights)
    results = tuple(night.result() for night in nights)
    error = next((night.error for night in results if night.error and night.error.code == code), None)
    if error and len(results) > 1:
        of = next(night.config for night in results if night.error == error)
        error = StepError(error.code, f"{of}: {error.message}")
    return NightlySummary(status=status_of(code), error=error, seconds=seconds, results=results)
