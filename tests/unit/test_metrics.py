"""Metrics of a night, read as Prometheus reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from migrator.jobs.nightly.memory import Memory, recall, remember
from migrator.jobs.nightly.metrics import HELP, MetricsFiles, exposition, labels_of
from migrator.model import RunStatus
from migrator.pipeline.summary import VerifySummary
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog

NIGHT = {name: float(number) for number, name in enumerate(HELP, 1)}


def samples(text: str) -> dict[tuple[str, str], float]:
    """All samples, by name and configuration."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        for sample in family.samples:
            found[sample.name, sample.labels["config"]] = sample.value
    return found


def test_prometheus_reads_what_was_written():
    odd = 'we"ird\\\n.toml'
    read = samples(exposition({"a.toml": NIGHT, odd: {**NIGHT, "last_run_bytes_stored": 10**15}}))
    assert read["migrator_last_success_timestamp_seconds", "a.toml"] == 1
    assert read["migrator_last_run_bytes_stored", odd] == 10**15
    assert len(read) == 2 * len(HELP)


def test_what_is_unknown_is_left_out():
    text = exposition({"a.toml": {**NIGHT, "last_run_bytes_stored": None}})
    assert len(samples(text)) == len(HELP) - 1
    assert "bytes_stored" not in text


def test_the_file_is_for_all_to_read_and_is_written_whole(tmp_path, monkeypatch):
    path, files = tmp_path / "migrator.prom", MetricsFiles()
    files.write(path, "a.toml", NIGHT)
    before = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write(path, "b.toml", NIGHT)
    assert path.read_text() == before
    assert [each.name for each in tmp_path.iterdir()] == ["migrator.prom"]


def test_configurations_that_share_a_file_are_all_in_it(tmp_path):
    files = MetricsFiles()
    for name in ("a.toml", "b.toml", "a.toml"):
        files.write(tmp_path / "migrator.prom", name, NIGHT)
    assert len(samples((tmp_path / "migrator.prom").read_text())) == 2 * len(HELP)


def test_a_label_is_the_name_or_the_path_where_two_are_called_the_same(tmp_path):
    paths = [Path("a/tp.toml"), Path("b/tp.toml"), Path("c/rm.toml")]
    assert labels_of(paths)[paths[2]] == "rm.toml"
    assert labels_of(paths)[paths[0]] == str(paths[0].absolute())


def verified(catalog: Catalog, *, complete: bool, blobs: int = 1) -> str:
    """One run of verify; gives its start."""
    run = catalog.runs.begin("verify")
    catalog.db.execute("UPDATE runs SET started_at = ? WHERE run_id = ?", [f"2026-01-01T00:00:{run:02}+00:00", run])
    catalog.db.conn.commit()
    summary = VerifySummary(run=run, blobs=blobs, checked=blobs, of=4, round_complete=complete)
    catalog.runs.end(run, RunStatus.COMPLETE, summary.as_json())
    return str(catalog.runs.latest(1)[0]["started_at"])


@pytest.fixture
def catalog(tmp_path):
    Archive(tmp_path).prepare()
    made = Catalog(tmp_path)
    yield made
    made.close()


def test_each_blob_is_verified_since_the_last_whole_round_began(catalog):
    assert catalog.runs.verified_since() is None
    catalog.runs.begin("backup")
    assert catalog.runs.verified_since() == catalog.runs.latest(1)[0]["started_at"]
    verified(catalog, complete=False)
    verified(catalog, complete=True)
    second = verified(catalog, complete=False)
    verified(catalog, complete=False)
    verified(catalog, complete=True)
    assert catalog.runs.verified_since() == second
    verified(catalog, complete=False)
    assert catalog.runs.verified_since() == second
    whole = verified(catalog, complete=True, blobs=4)
    assert catalog.runs.verified_since() == whole


def test_an_archive_remembers_from_night_to_night(tmp_path, catalog):
    memory = Memory(success=12.5, reported_at=13.0, reported=frozenset({"a", "b"}))
    remember(tmp_path, memory)
    assert recall(tmp_path).memory == memory
    catalog.settings.set("nightly", json.dumps(["from", "another", "version"]))
    assert recall(tmp_path).memory == Memory()
    assert recall(tmp_path / "nowhere").memory == Memory()
