"""Records a migration by the README on a terminal, and makes the picture of it that the README shows.

Run it when the README's commands or what they print has changed: `python -m tests.support.record_session`.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import shlex
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.support.screen import drawn, on_terminal
from tests.support.session import COLUMNS, CONFIG, PICTURE, PROMPT, RECORDING, ROWS, Place, place, readme_commands

KEY_SECONDS, READING_SECONDS = 0.04, 1.5
"""Time for each key, and between two commands."""
LATENCY_SECONDS = 0.05
"""Time that the trackers take for an answer, so that there is some progress to be seen."""
PICTURED = ("check", "backup", "status")
"""Commands in the picture, before the load under way; the recording has all of them."""
SKIPPED_ROWS = re.compile(r"^(unchanged|skipped|gone|failed|unmapped|already there) +0$")

Event = tuple[float, str]


async def record(place: Place, command: str, began: float) -> list[Event]:
    """A command that is typed and run: what appears, and when."""
    events, now = [(began, PROMPT)], began
    for key in command:
        now += KEY_SECONDS
        events.append((now, key))
    events.append((now, "\r\n"))
    env = {"TZ": "UTC", "TERM": "xterm"}
    terminal = await on_terminal(shlex.split(command)[1:], COLUMNS, env=env, cwd=place.folder)
    code = await terminal.ended()
    if code:
        raise SystemExit(f"{command} ended with status {code}:\n{terminal.text}")
    return [*events, *((now + after, place.plain(piece.decode())) for after, piece in terminal.written)]


async def session(folder: Path) -> dict[str, list[Event]]:
    """All commands of the README's migration, one after the other."""
    recorded, now = {}, 0.0
    async with place(folder) as trackers:
        trackers.source.faults.latency = trackers.target.faults.latency = LATENCY_SECONDS
        for command in readme_commands():
            recorded[command] = await record(trackers, command, now)
            now = recorded[command][-1][0] + READING_SECONDS
    return recorded


def cast(recorded: dict[str, list[Event]]) -> str:
    """The recording in asciinema's format: a header, and a line of JSON for each event."""
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "migrator: a migration by the README"}
    events = [[round(at, 3), "o", text] for piece in recorded.values() for at, text in piece]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (header, *events))


def picture(recorded: dict[str, list[Event]]) -> str:
    """What stands on the terminal after some of the commands and in the middle of the load, as an SVG.

    It asks no other host for anything, such as a font.
    """
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    for command, events in recorded.items():
        if shlex.split(command)[1] in PICTURED:
            _print_screen(console, events)
        elif command.endswith(f"load {CONFIG}"):
            middle = (events[0][0] + events[-1][0]) / 2
            _print_screen(console, [event for event in events if event[0] <= middle])
    svg = console.export_svg(title="a migration by the README", theme=MONOKAI, unique_id="session")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def _print_screen(console: Console, events: list[Event]) -> None:
    screen = drawn("".join(text for _, text in events).encode(), COLUMNS)
    for row in range(screen.lines):
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        line = Text.assemble(*((cell.data, _style(cell.fg, bold=cell.bold)) for cell in cells))
        line.rstrip()
        if line.plain and not SKIPPED_ROWS.match(line.plain):
            console.print(line, soft_wrap=True)


def _style(colour: str, *, bold: bool) -> str:
    names = {"default": "", "brown": "yellow", "brightblack": "bright_black"}
    return " ".join(filter(None, ("bold" if bold else "", names.get(colour, colour))))


async def main() -> None:
    """Record it anew."""
    with tempfile.TemporaryDirectory() as folder:
        recorded = await session(Path(folder))
    RECORDING.write_text(cast(recorded), encoding="utf-8")
    PICTURE.write_text(picture(recorded), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
