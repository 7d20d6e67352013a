"""A login that fails names side, tracker, address, account and key, and what to do, each cause in its own words."""

from __future__ import annotations

import socket

import pytest

from migrator.errors import AuthError, ForbiddenError, LoginPageError, RetriableError, TrackerUnreachableError
from migrator.jobs.starting import section
from migrator.layers import Login
from migrator.sandbox import SANDBOXES
from migrator.sandbox.world import World
from tests.support.program import config_of, run
from tests.support.terminal import on_terminal

WORLD = World.generate(entities=4, seed=3, attachments=4, median_bytes=200)
BRIEF = {"retries": 0}


async def failed(config, *words: str, side: str = "source", command: str = "check") -> str:
    """The message of a command that can't log in; it begins with the side and has all these words."""
    finished = await run("--json", command, config)
    message = finished.document["error"]["message"]
    assert finished.code == 4
    assert finished.err.removesuffix("target: the login works\n") == f"error: {message}\n"
    assert message.startswith(f"{side} ("), message
    for word in words:
        assert word in message
    return message


async def test_a_wrong_password_names_the_account_and_its_keys(tmp_path, source, target):
    config = config_of(tmp_path, source, target, limits=BRIEF)
    (tmp_path / "source-password").write_text("wrong")
    message = await failed(config, f"source (Targetprocess, {source.url}): user {source.user}: wrong name or password")
    assert "correct source.auth.username and source.auth.password" in message
    await failed(config, "source.auth.password", command="backup")
    (tmp_path / "source-password").write_text(source.password)
    (tmp_path / "target-password").write_text("wrong")
    await failed(config, f"target (TeamPulse, {target.url}): ", "target.auth.password", side="target")
    assert (await run("backup", config)).code == 0
    await failed(config, "target.auth.password", side="target", command="load")


async def test_a_wrong_key_names_the_key(tmp_path):
    async with SANDBOXES["issuetrak"](WORLD) as issuetrak:
        config = config_of(tmp_path, issuetrak, limits=BRIEF, source__options={})
        (tmp_path / "source-api_key").write_text("wrong")
        await failed(config, "source (Issuetrak, ", "source.auth.api_key")


async def test_a_server_that_is_down_is_said_to_refuse_connections(tmp_path, source):
    config = config_of(tmp_path, source, limits=BRIEF)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config.write_text(config.read_text().replace(source.url, f"http://127.0.0.1:{port}"))
    await failed(config, f"127.0.0.1:{port} (connection refused", "is source.url right, and does the server run?")


async def test_an_address_with_https_where_there_is_no_tls_says_so(tmp_path, source):
    config = config_of(tmp_path, source, limits=BRIEF)
    config.write_text(config.read_text().replace("http://", "https://"))
    await failed(config, "it doesn't speak TLS there; is it http:// instead of https://?", "correct source.url")


async def test_a_name_that_does_not_resolve_says_so(tmp_path, source):
    config = config_of(tmp_path, source, limits=BRIEF)
    config.write_text(config.read_text().replace(source.url, "http://tracker.invalid"))
    await failed(config, "the host doesn't exist", "is the host in source.url spelled right?")


@pytest.mark.parametrize(
    ("there", "wanted", "name"),
    [
        ("teampulse", "targetprocess", "Targetprocess"),
        ("targetprocess", "teampulse", "TeamPulse"),
        ("targetprocess", "redmine", "Redmine"),
        ("targetprocess", "squash", "Squash TM"),
    ],
)
async def test_another_product_at_the_address_is_named(tmp_path, there, wanted, name):
    async with SANDBOXES[there](WORLD) as sandbox:
        config = config_of(tmp_path, sandbox, limits=BRIEF, source__options={})
        text = config.read_text().replace(f'tracker = "{there}"', f'tracker = "{wanted}"')
        config.write_text(text)
        message = await failed(config, f"source ({name}, {sandbox.url}): ", "source.url")
    assert f"this is not {name}; is source.url right?" in message or wanted in {"redmine", "squash"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LoginPageError("GET x: a login page"), "are source.url and source.auth.token right?"),
        (ForbiddenError("GET x: status 403"), "may this account use the API?"),
        (RetriableError("GET x: status 500", status=500), "GET x: status 500"),
        (AuthError("GET x: the proxy refused its credentials; see `proxy_auth`"), "see source.proxy_auth"),
        (AuthError("the REST API is switched off"), "this account was refused; see source.auth.token"),
        (TrackerUnreachableError("is `url` right?"), "is source.url right?"),
        (TrackerUnreachableError("see tls.client_cert"), "see source.tls.client_cert"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_failure_of_a_login_has_its_own_words(error, words):
    explained = Login("source", "Redmine", "https://x.example", ("token",)).failure(error)
    assert str(explained).startswith("source (Redmine, https://x.example): ")
    assert words in str(explained)
    assert isinstance(explained, AuthError) == isinstance(error, AuthError)


def test_a_proxy_that_is_not_reached_is_named_as_the_proxy():
    from migrator.errors import ConnectError

    login = Login("target", "Redmine", "https://x.example", proxied=True)
    away = ConnectError("GET x: no connection to proxy.example:3128 (refused)", remedy="is `url` right?")
    assert str(login.failure(away)).endswith("; is target.proxy right?")
    there = ConnectError("GET x: no connection to x.example:443 (refused)", remedy="is `url` right?")
    assert str(login.failure(there)).endswith("; is target.url right?")


@pytest.mark.parametrize(
    ("terminal", "red"),
    [({"TERM": "xterm", "NO_COLOR": ""}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
async def test_errors_are_red_and_warnings_yellow_where_that_is_wanted(tmp_path, terminal, red):
    config = tmp_path / "try.toml"
    lines = ["[limits]", "retries = 0", section("source", "redmine", "http://127.0.0.1:9", {"api_key": "k"})]
    config.write_text("\n".join(lines))
    _, shown = await on_terminal("check", config, env=terminal)
    warning, error = ("\x1b[33mwarning: \x1b[0m", "\x1b[31merror: \x1b[0m") if red else ("warning: ", "error: ")
    assert f"{warning}source.auth.api_key is in the configuration" in shown
    assert f"{error}source (Redmine, http://127.0.0.1:9): " in shown
    assert ("\x1b" in shown) == red


async def test_wrong_usage_is_one_error_with_the_usage_behind_it():
    finished = await run("backup", "--fast", "x.toml")
    assert finished.err.splitlines() == [
        "error: No such option '--fast'.",
        "Usage: migrator backup [OPTIONS] CONFIG",
        "migrator backup -h has all options",
    ]
