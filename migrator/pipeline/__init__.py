"""The jobs: a module or package for each, which reads in the order in which things happen.

What they share: `run` begins and ends a run, `stop` stops it, `executor` keeps the catalog in one thread, `workers`
handle items side by side, `summary` is what a job reports, `reading` reads files of a target back.
"""
