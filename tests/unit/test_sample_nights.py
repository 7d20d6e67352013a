"""The samples that start a night: systemd, cron, containers. Each is read by the tool it is for, or like it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from migrator.jobs.cli import COMMANDS, _group_options_first, group
from migrator.jobs.output import Output
from tests.support.program import ROOT

SAMPLES = ROOT / "sample_configs"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="this machine has no systemd-analyze")


def understood(words: list[str]) -> str:
    """The command's name, after its options and arguments were understood; nothing is run."""
    words = _group_options_first(words)
    [place] = [place for place, word in enumerate(words) if word in COMMANDS]
    context = group.make_context("migrator", words[: place + 1], obj=Output())
    group.get_command(context, words[place]).make_context(words[place], words[place + 1 :], parent=context)
    return words[place]


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """A unit's sections, each with its keys, which may stand there more than once."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in (SAMPLES / name).read_text().splitlines():
        if line.startswith("["):
            keys = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            keys.setdefault(key, []).append(value)
    return sections


def logged(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ANALYZE, *words], capture_output=True, text=True, timeout=60)


def test_the_service_runs_a_night_that_the_program_understands():
    service = unit("migrator-nightly.service")["Service"]
    [start] = service["ExecStart"]
    program, *words = shlex.split(start)
    assert (Path(program).name, understood(words)) == ("migrator", "nightly")
    assert service["User"] == ["migrator"]
    assert int(service["TimeoutStopSec"][0]) > 15, "a stop takes up to 15 seconds"


def test_the_timer_is_one_that_makes_up_for_missed_nights():
    timer = unit("migrator-nightly.timer")
    assert timer["Timer"]["Persistent"] == ["yes"] or timer["Timer"]["Persistent"] == ["true"]
    assert timer["Install"]["WantedBy"] == ["timers.target"]


@needs_systemd
def test_systemd_takes_service_and_timer(tmp_path):
    for name in ("migrator-nightly.service", "migrator-nightly.timer"):
        text = (SAMPLES / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/migrator/bin/migrator", sys.executable))
    checked = logged("verify", *map(str, tmp_path.iterdir()))
    said = [line for line in (checked.stdout + checked.stderr).splitlines() if "migrator-nightly" in line]
    assert (checked.returncode, said) == (0, [])


@needs_systemd
def test_systemd_calls_the_service_well_shut_in():
    checked = logged(
        "security", "--offline=true", "--no-pager", "--threshold=20", str(SAMPLES / "migrator-nightly.service")
    )
    if "Unknown option" in checked.stderr or "unrecognized option" in checked.stderr:
        pytest.skip("this systemd-analyze can't judge a unit offline")
    assert checked.returncode == 0, checked.stdout[-300:]
    assert re.search(r"exposure level for migrator-nightly.service: [01]\.\d OK", checked.stdout)


@needs_systemd
def test_systemd_understands_when_the_timer_runs():
    [when] = unit("migrator-nightly.timer")["Timer"]["OnCalendar"]
    checked = logged("calendar", when)
    assert checked.returncode == 0, checked.stderr


def test_the_crontab_has_one_night_and_no_lock_of_its_own():
    lines = [line for line in (SAMPLES / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    jobs = [line for line in lines if not re.match(r"[A-Z]+=", line)]
    assert len(jobs) == 1
    *when, command = jobs[0].split(maxsplit=5)
    assert all(re.fullmatch(r"\*|\d+", field) for field in when)
    call = command.partition(" > ")[0]
    assert understood(shlex.split(call)[1:]) == "nightly"
    assert "flock" not in command
    assert "%" not in command, "cron reads that as a line break"


def test_the_image_is_made_of_files_that_are_there_and_runs_as_nobody():
    text = (SAMPLES / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "ARG", "COPY", "RUN", "USER", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in steps} <= known
    copied = [source for name, rest in steps if name == "COPY" and "--from" not in rest for source in rest.split()[:-1]]
    assert copied
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert int(dict(steps)["USER"]) > 1000
    [*_, entry] = [json.loads(rest) for name, rest in steps if name == "ENTRYPOINT"]
    assert entry == ["/opt/migrator/bin/migrator"]


def test_compose_starts_a_night_in_a_container_that_can_do_little_else():
    document = yaml.safe_load((SAMPLES / "compose.yaml").read_text())
    [service] = document["services"].values()
    assert understood(service["command"]) == "nightly"
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert {place.partition(":")[0] for place in service["volumes"]} - {"./conf"} == set(document["volumes"])


def test_kubernetes_starts_one_night_at_a_time_that_can_do_little_else():
    claim, job = yaml.safe_load_all((SAMPLES / "kubernetes-cronjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"], job["spec"]["concurrencyPolicy"]) == ("batch/v1", "CronJob", "Forbid")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert understood(container["args"]) == "nightly"
    assert pod["terminationGracePeriodSeconds"] > 15
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsNonRoot"] is True
    mounted, offered = ({each["name"] for each in some} for some in (container["volumeMounts"], pod["volumes"]))
    assert mounted == offered
    [volume] = [each for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


@pytest.mark.parametrize(
    "name", ["migrator-nightly.service", "crontab", "Dockerfile", "compose.yaml", "kubernetes-cronjob.yaml"]
)
def test_a_sample_says_how_to_install_it(name):
    head = "".join(line for line in (SAMPLES / name).read_text().splitlines(keepends=True) if line.startswith("#"))
    assert re.search(r"^#  {4,}\S", head, re.MULTILINE), "commands to copy"
