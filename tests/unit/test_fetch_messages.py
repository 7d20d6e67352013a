"""What a run and its fetch workers say to each other arrives as it was sent."""

from __future__ import annotations

import pickle

import pytest

from migrator import errors
from migrator.jobs.fetching.messages import Fetch, Results
from migrator.layers import verifying_sink
from migrator.model import Attachment, Blob, EntityRef
from migrator.pipeline.fetch_place import Fetched

assert verifying_sink, "has errors of its own"


def every(kind: type[errors.MigratorError]) -> list[type[errors.MigratorError]]:
    """An error and all that derive from it."""
    return [kind, *(below for child in kind.__subclasses__() for below in every(child))]


@pytest.mark.parametrize("kind", every(errors.MigratorError), ids=lambda kind: kind.__name__)
def test_every_error_arrives_with_all_that_it_says(kind):
    error = kind("GET /files/1: refused")
    error.__cause__ = OSError("a socket")
    for name in vars(error):
        setattr(error, name, 7)
    (arrived,) = pickle.loads(pickle.dumps(Results.of(3, [Fetched("1", error=error)]))).fetched()
    assert type(arrived.error) is kind
    assert (str(arrived.error), vars(arrived.error)) == (str(error), vars(error))


def test_blobs_and_warnings_arrive():
    results = [Fetched("1", Blob("a" * 64, 5), warning="odd"), Fetched("2", Blob("b" * 64, 0))]
    assert Results.of(3, results).fetched() == results


def test_what_a_download_needs_arrives():
    listed = Attachment("1", EntityRef("Bug", "7"), "x.png", 5, "12", "image/png", locator="/files/1")
    assert Fetch.of(3, [listed]).attachments() == [listed]
