"""Async bulk backup and migration of the attachments of issue trackers.

The rows of the library, lower ones know nothing of higher ones, and pipelines and adapters never meet:

    jobs                           the command line: the only place that knows every module
    pipeline/ adapters/ sandbox    the work; what each tracker means by its answers; embedded trackers
    layers verified http wire lane archive catalog behaviour around the port; the wire; files; SQLite
    tracker listing lookup marks   what adapters share: verbs, the walk of a listing, names of options, created entities
    ports disk scribe tls pacing gate auth paging hal mapping config progress
    model errors fastjson fields required    the words; values of an answer, missing or demanded

Start reading at `ports.py`, then `pipeline/backup.py`.
"""

__version__ = "0.1.0"
