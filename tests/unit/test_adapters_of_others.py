"""Adapters of other distributions: found by an entry point, checked before they are used."""

from __future__ import annotations

import importlib
import sys

import pytest

from migrator.errors import ConfigError
from migrator.trackers import PORT_VERSION, TRACKERS, adapter, tracker_names

MAJOR, MINOR = PORT_VERSION
ADAPTER = """
from dataclasses import replace
from migrator.trackers.squash import ADAPTER as OURS
ADAPTER = replace(OURS, port={port})
"""


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Installs a distribution whose module offers an adapter under a name."""

    def install(distribution: str, name: str, module: str = ADAPTER.format(port=PORT_VERSION)) -> None:
        package = distribution.replace("-", "_")
        (tmp_path / f"{package}.py").write_text(module)
        info = tmp_path / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[migrator.trackers]\n{name} = {package}:ADAPTER\n")
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(tmp_path)
    return install


def test_an_adapter_of_another_distribution_is_used_like_ours(offer):
    offer("acme-desk", "desk")
    assert adapter("desk").capabilities == adapter("squash").capabilities
    assert tracker_names() == sorted([*TRACKERS, "desk"])


def test_it_cannot_take_the_place_of_one_of_ours(offer):
    offer("acme-squash", "squash", "raise AssertionError('imported')")
    assert adapter("squash").port is None
    assert tracker_names() == sorted(TRACKERS)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import nowhere", "can't be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        ("OTHER = 1", "can't be loaded: AttributeError"),
        ("ADAPTER = 'squash'", "acme_desk:ADAPTER is not a migrator.trackers.Adapter"),
        (
            ADAPTER.format(port=None),
            f"doesn't say for which version of the port it was written: port=({MAJOR}, {MINOR})",
        ),
        (ADAPTER.format(port=(MAJOR + 1, 0)), f"written for version {MAJOR + 1}.0 of the port, and this migrator has"),
        (ADAPTER.format(port=(MAJOR, MINOR + 1)), f"written for version {MAJOR}.{MINOR + 1} of the port"),
    ],
)
def test_one_that_does_not_fit_is_refused_with_its_reason(offer, monkeypatch, module, reason):
    offer("acme-desk", "desk", module)
    monkeypatch.delitem(sys.modules, "acme_desk", raising=False)
    with pytest.raises(ConfigError, match=r"the adapter 'desk' of acme-desk 1\.2") as raised:
        adapter("desk")
    assert reason in str(raised.value)


def test_two_of_the_same_name_are_refused(offer):
    offer("acme-desk", "desk")
    offer("other-desk", "desk")
    with pytest.raises(ConfigError, match=r"offered by (acme|other)-desk 1\.2 and (acme|other)-desk 1\.2;"):
        adapter("desk")


def test_an_unknown_name_is_refused_with_all_known_ones(offer):
    offer("acme-desk", "desk")
    with pytest.raises(ConfigError, match="unknown tracker 'dsek'; choose from desk, issuetrak, kiwi, redmine"):
        adapter("dsek")
