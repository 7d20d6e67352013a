"""Deterministic simulation testing, with fault injection: real pipelines, layers, archive and catalog in one process.

A seed decides everything: what the tracker holds, when tasks take turns, which calls fail, where a run is killed and
what a power cut takes from the disk. The same seed gives the same run, in any process, on any machine.

    loop.py       an event loop with its own clock, and without threads: a seed gives the same run each time
    faults.py     the crash points, where the program touches the world, and which faults a seed injects there
    disk.py       a disk that forgets at a power cut what was not synced
    story.py      one seed: disturbed runs, then one without faults, and what has to hold after each
    nights.py     one seed of the other kind: nights with prune, restore, accept, rechecks and reads of snapshots
    model.py      what the archive must hold after some nights, said by the contract alone
    in_bucket.py  one seed of the third kind: backups into a bucket, by two machines
    turns.py      one seed of the fourth kind: every job in a bucket, by machines in turns, while the source changes
    stores.py     their store: in memory, with conditional writes, and answers that are lost
    over_http.py  the same over HTTP: real adapters against the sandboxes of the trackers
    mutants.py    defects that the simulation has to find
    __main__.py   many seeds at once

Thousands of seeds, on all cores (a failing one is printed, and `--seeds N` replays it):

    .venv/bin/python -m tests.simulation --seeds 0-9999
    .venv/bin/python -m tests.simulation --seeds 0-9999 --nights
    .venv/bin/python -m tests.simulation --seeds 0-9999 --bucket

How to read a failing seed
--------------------------

1. Replay it alone: `python -m tests.simulation --seeds N`, with the option of its kind (`--nights`, ...). It must fail
   in the same way; if it does not, something outside of the seed decides (a clock, a thread, the order of a set),
   and that is the first defect to find.
2. Read the last line of the traceback. A `ViolationError` names the rule that was broken, and the entity, upload or
   blob that broke it. Any other error escaped from the program: begin where its traceback ends.
3. Read the log of the runs, which follows the violation: a line for each run with its job, where it was killed ("killed
   at crash point 41, after rename"), the faults, and how it ended. The violation belongs to the last line, its cause
   usually to the one before: what was in progress there, and what did the next run make of it?
4. Look at the crash point. `story.traces` has the crash points of each run in order; number 41 is the 41st of them.
   "before" means that nothing had taken effect yet, "after" that the effect is there and the program does not know it.
5. Make it small: take faults out of the plan until it holds. What is left is the test to write, in `tests/unit` or
   `test_kill.py`; then add the seed to `FOUND` in `test_simulation.py`, so that it is played in every run.

Beware: any change of what is drawn from the seed, even of the order, makes every seed another story. A seed proves
something only at the commit where it failed.
"""
