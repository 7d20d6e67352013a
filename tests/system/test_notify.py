"""Who hears of a night, when, and of what: real mail, webhooks and pings on the loopback interface."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.jobs.nightly.memory import recall, remember
from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.world.model import World
from migrator.store import ArchiveLock
from tests.support.parts import overwrite
from tests.support.program import configure, ended, run, start, until
from tests.support.receivers import mail_receiver, web_receiver

WORLD = World.generate(entities=15, seed=5, attachments=30, median_bytes=500, large_bytes=2000)
WEEK = 7 * 86_400


@pytest.fixture
async def source():
    async with SquashSandbox(WORLD) as sandbox:
        yield sandbox


@pytest.fixture
async def web():
    async with web_receiver() as receiver:
        yield receiver


@pytest.fixture
async def mail():
    async with mail_receiver() as receiver:
        yield receiver


def notified(folder: Path, source, *urls: str, on: str = "failure", ping: str = "", **sections) -> Path:
    """A configuration that tells these addresses, which stand in files."""
    config = configure(folder, source, **sections)
    lines, places = ["[notify]", f'on = "{on}"'], []
    for number, url in enumerate(urls):
        (folder / f"url-{number}").write_text(url)
        places.append(f'{{ file = "url-{number}" }}')
    lines.append(f"urls = [{', '.join(places)}]")
    if ping:
        (folder / "ping").write_text(ping)
        lines.append('ping = { file = "ping" }')
    config.write_text(config.read_text() + "\n".join(lines) + "\n")
    return config


def hook(web) -> str:
    return web.url.replace("http://", "json://") + "/hook-token"


def break_files(source, count: int) -> None:
    source.faults.broken |= {file.id for file in list(source.state.attachments())[:count]}


def forbid_an_entity(source) -> None:
    """The files of the last entity can't be listed."""
    source.faults.forbidden_entities.add([file.entity_id for file in source.state.attachments() if file.entity_id][-1])


async def night(config: Path):
    finished = await run("--json", "nightly", config)
    [result] = finished.document["results"]
    return finished, result


def grow_older(folder: Path, seconds: float) -> None:
    """As if the last message had been sent that much earlier."""
    memory = recall(folder / "archive").memory
    remember(folder / "archive", replace(memory, reported_at=memory.reported_at - seconds))


async def test_a_mail_says_what_failed_and_which_command_to_run_next(tmp_path, source, mail):
    url = f"mailto://{mail.host}?from=migrator@example.org&to=admin@example.org&mode=insecure"
    config = notified(tmp_path, source, url)
    assert (await run("nightly", config)).code == 0
    assert mail.mails == []
    await source.__aexit__(None, None, None)
    finished, result = await night(config)
    assert finished.code == 4
    assert result["notified"] == [{"to": "notify.urls[0]", "sent": True}]
    [message] = mail.mails
    assert message["Subject"] == "migrator: migration.toml: failed: 1 failure, 1 new"
    body = next(part for part in message.walk() if not part.is_multipart()).get_payload(decode=True).decode()
    assert "backup: " in body
    assert f"next: migrator check {config}" in body
    assert len(body) < 1500


async def test_a_failure_is_told_once_and_again_after_a_week(tmp_path, source, web):
    config = notified(tmp_path, source, hook(web))
    break_files(source, 2)
    finished, _ = await night(config)
    assert finished.code == 3
    [first] = web.messages
    assert first["type"] == "failure"
    assert first["title"] == "migrator: migration.toml: incomplete: 2 failures, 2 new"
    assert first["message"].count("\n- ") == 2
    for _ in range(2):
        _, result = await night(config)
        assert result["notified"] == []
    assert len(web.messages) == 1
    forbid_an_entity(source)
    await night(config)
    assert web.messages[1]["title"].endswith("incomplete: 3 failures, 1 new")
    assert web.messages[1]["message"].count("\n- ") == 1
    assert "2 earlier failures still stand (last message: 20" in web.messages[1]["message"]
    grow_older(tmp_path, WEEK - 2 * 86_400)
    await night(config)
    assert len(web.messages) == 2
    grow_older(tmp_path, 2 * 86_400)
    await night(config)
    assert web.messages[2]["title"] == "migrator: migration.toml: reminder: 3 failures, 0 new"
    assert web.messages[2]["message"].count("\n- ") == 3
    await night(config)
    assert len(web.messages) == 3


async def test_what_failed_worked_and_fails_again_is_new(tmp_path, source, web):
    config = notified(tmp_path, source, hook(web))
    break_files(source, 1)
    await night(config)
    source.faults.broken.clear()
    finished, _ = await night(config)
    assert (finished.code, len(web.messages)) == (0, 1), "on failure, good news is no message"
    forbid_an_entity(source)
    await night(config)
    source.faults.forbidden_entities.clear()
    await night(config)
    forbid_an_entity(source)
    await night(config)
    assert len(web.messages) == 3


async def test_an_outage_does_not_make_old_failures_new(tmp_path, source, web):
    config = notified(tmp_path, source, hook(web))
    break_files(source, 2)
    await night(config)
    good = config.read_text()
    config.write_text(good.replace(source.url, "http://127.0.0.1:9"))
    for _ in range(2):
        finished, _ = await night(config)
        assert (finished.code, len(web.messages)) == (4, 2)
    config.write_text(good)
    finished, _ = await night(config)
    assert (finished.code, len(web.messages)) == (3, 2)


async def test_on_change_good_news_is_sent_and_always_means_always(tmp_path, source, web):
    config = notified(tmp_path, source, hook(web), on="change")
    break_files(source, 1)
    await night(config)
    source.faults.broken.clear()
    await night(config)
    await night(config)
    assert [message["type"] for message in web.messages] == ["failure", "success"]
    assert web.messages[1]["title"] == "migrator: migration.toml: all is well"
    assert "1 earlier failure is over" in web.messages[1]["message"]
    config.write_text(config.read_text().replace('"change"', '"always"'))
    await night(config)
    await night(config)
    assert len(web.messages) == 4
    assert f"next: migrator snapshots {config}" in web.messages[3]["message"]


async def test_a_message_that_can_not_be_sent_is_a_warning_and_sent_the_next_day(tmp_path, source, web):
    dead = "json://admin:hunter22@127.0.0.1:9/path-token"
    config = notified(tmp_path, source, dead, "nonsense://hunter33", on="failure")
    break_files(source, 1)
    finished, result = await night(config)
    assert finished.code == 3, "the exit status is that of the backup"
    assert [(each["to"], each["sent"]) for each in result["notified"]] == [
        ("notify.urls[0]", False),
        ("notify.urls[1]", False),
    ]
    assert "not an address that Apprise knows" in result["notified"][1]["reason"]
    assert any("notify.urls[0]: not sent: " in warning for warning in result["warnings"])
    everything = finished.out + finished.err
    assert not [secret for secret in ("hunter22", "path-token", "hunter33") if secret in everything]
    (tmp_path / "url-0").write_text(hook(web))
    await night(config)
    assert len(web.messages) == 1


async def test_no_secret_gets_into_a_message(tmp_path, source, web):
    config = notified(tmp_path, source, hook(web), on="always")
    [name] = [path.name for path in tmp_path.glob("source-*") if "username" not in path.name][:1]
    secret = (tmp_path / name).read_text()
    out = f"nowhere-{secret}/report.html"
    config.write_text(config.read_text() + f'[nightly]\nreport = "{out}"\n')
    finished, _ = await night(config)
    assert secret in finished.err, "the error has it, as it stands in the path"
    [message] = web.messages
    assert "nowhere-***" in message["message"]
    assert secret not in json.dumps(message)


async def test_a_switch_is_pinged_before_and_after_each_night(tmp_path, source, web):
    config = notified(tmp_path, source, ping=f"{web.url}/ping/uuid?rid=1")
    _, result = await night(config)
    assert web.pings == [("GET", "/ping/uuid/start?rid=1"), ("GET", "/ping/uuid?rid=1")]
    assert result["notified"] == [{"to": "notify.ping", "sent": True}]
    forbid_an_entity(source)
    finished, _ = await night(config)
    assert finished.code == 3
    assert web.pings[3] == ("POST", "/ping/uuid/fail?rid=1")
    body = web.requests[-1][2]
    assert body.startswith("migrator: migration.toml: incomplete")
    assert f"next: migrator status {config}" in body


async def test_a_ping_that_fails_is_a_warning(tmp_path, source, web):
    web.status = 500
    config = notified(tmp_path, source, ping=f"{web.url}/ping/secret-uuid")
    finished, result = await night(config)
    assert finished.code == 0
    assert result["notified"] == [{"to": "notify.ping", "sent": False, "reason": "status 500"}]
    assert "notify.ping: not sent: status 500" in finished.err
    assert "secret-uuid" not in finished.err + finished.out


async def test_a_receiver_that_says_nothing_holds_up_a_night_for_seconds(tmp_path, source, web, monkeypatch):
    monkeypatch.setattr("migrator.jobs.nightly.sending.PING_SECONDS", 0.3)
    monkeypatch.setattr("migrator.jobs.nightly.sending.MESSAGE_SECONDS", 0.3)
    web.silent = True
    config = notified(tmp_path, source, hook(web), on="always", ping=f"{web.url}/ping")
    began = time.monotonic()
    finished, result = await night(config)
    assert time.monotonic() - began < 10
    assert finished.code == 0
    assert [each["reason"] for each in result["notified"]] == ["not done after 0 s"] * 2


async def test_a_stop_does_not_wait_for_a_ping(tmp_path, source, web):
    for silent_from, status in ((1, "interrupted"), (2, "complete")):
        web.requests.clear()
        web.silent = silent_from == 1
        process = await start("--json", "nightly", notified(tmp_path / status, source, ping=f"{web.url}/ping"))
        await until(lambda: web.requests)
        web.silent = True
        await until(lambda count=silent_from: len(web.requests) == count)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        finished = await ended(process)
        assert time.monotonic() - began < 5
        assert finished.document["results"][0]["status"] == status


async def test_after_a_stop_nothing_is_sent(tmp_path, source, web):
    limits = {"backoff": "600 s", "backoff_max": "600 s"}
    config = notified(tmp_path, source, hook(web), on="always", ping=f"{web.url}/ping", limits=limits)
    late = notified(tmp_path / "late", source, ping=f"{web.url}/ping-late")
    break_files(source, 1)
    process = await start("--json", "nightly", config, late)
    await until(lambda: len([*(tmp_path / "archive" / "blobs").glob("*/*")]) > 5)
    process.send_signal(signal.SIGTERM)
    assert (await ended(process)).code == 130
    assert web.pings == [("GET", "/ping/start")]
    assert web.messages == []


async def test_a_wrong_configuration_is_told_of_as_far_as_notify_can_be_read(tmp_path, source, web):
    config = notified(tmp_path, source, hook(web), ping=f"{web.url}/ping")
    config.write_text(config.read_text().replace("[source]", "[source]\nwrong = 1"))
    finished, result = await night(config)
    assert finished.code == 2
    assert [each["to"] for each in result["notified"]] == ["notify.ping", "notify.urls[0]"]
    assert "unknown key source.wrong" in web.messages[0]["message"]
    assert web.pings == [("POST", "/ping/fail")]


async def test_an_archive_that_is_held_is_told_with_its_holder(tmp_path, source, web):
    config = notified(tmp_path, source, hook(web))
    assert (await run("backup", config)).code == 0
    with ArchiveLock(tmp_path / "archive", "backup"):
        finished, _ = await night(config)
    assert finished.code == 6
    assert "is held by `backup` (process" in web.messages[0]["message"]
    assert f"next: migrator status {config}" in web.messages[0]["message"]


async def test_damage_stands_until_it_is_repaired(tmp_path, source, web):
    config = notified(tmp_path, source, hook(web), nightly={"verify": "100%"})
    assert (await night(config))[0].code == 0
    largest = max((tmp_path / "archive" / "blobs").glob("*/*"), key=lambda path: path.stat().st_size)
    overwrite(largest, b"x" * largest.stat().st_size)
    finished, _ = await night(config)
    assert (finished.code, len(web.messages)) == (5, 1)
    good = config.read_text()
    config.write_text(good.replace("100%", "0%").replace(source.url, "http://127.0.0.1:9"))
    finished, result = await night(config)
    assert (finished.code, result["status"], len(result["problems"])) == (5, "damaged", 1)
    assert web.messages[1]["title"].endswith("damaged: 2 failures, 1 new"), "the tracker is away, and that is new"
    config.write_text(good)
    assert (await night(config))[0].code == 0


async def test_without_apprise_a_warning_says_what_to_install(tmp_path, source, web, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    config = notified(tmp_path, source, hook(web), on="always")
    finished, result = await night(config)
    assert finished.code == 0
    assert "pip install 'tracker-migrator[notify]'" in result["notified"][0]["reason"]


async def test_an_address_in_plain_text_works_with_a_warning(tmp_path, source, web):
    config = configure(tmp_path, source, notify={"urls": [hook(web)], "on": "always"})
    finished, result = await night(config)
    assert len(web.messages) == 1
    assert "notify.urls[0] is in the configuration as plain text" in " ".join(result["warnings"])
    assert "hook-token" not in finished.err
