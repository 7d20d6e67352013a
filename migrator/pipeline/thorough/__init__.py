"""Thorough check: what the program relies on, tried at a tracker of a user's own, in about two minutes.

The source is only read. At a target, files with odd names and contents are sent to one entity that the user names, read
back, compared, and deleted again where that is possible.

What is found is told twice: in sentences, and in numbers and words without names, ids or contents (`Check.facts`),
which a user can send to us.
"""

from migrator.pipeline.thorough.probing import report_of
from migrator.pipeline.thorough.samples import SAMPLE_CONTENTS
from migrator.pipeline.thorough.source import probe_source
from migrator.pipeline.thorough.target import LEFTOVER, probe_target

__all__ = ["LEFTOVER", "SAMPLE_CONTENTS", "probe_source", "probe_target", "report_of"]
