"""The real pipelines, layers, archive and catalog under a seeded scheduler of faults, kills and power cuts.

    loop.py       an event loop with its own clock, and without threads: a seed gives the same run each time
    edges.py      where the program touches the world, and what a seed lets happen there
    disk.py       a disk that forgets at a power cut what was not made safe
    story.py      one seed: disturbed runs, then an undisturbed one, and what has to hold after each
    mutants.py    defects that the story has to find
    __main__.py   many seeds at once

Thousands of seeds, on all cores (a failing one is printed, and `--seeds N` replays it):

    .venv/bin/python -m tests.simulation --seeds 0-9999
"""
