"""Certificates and proxies, against real TLS servers and a real proxy on loopback."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientOSError, web

from migrator import errors
from migrator.config.settings import read_configuration
from migrator.jobs.wiring import wire_source
from migrator.testing import MemorySink, nowhere
from migrator.wire.auth import HeaderAuth
from migrator.wire.client import HttpClient
from migrator.wire.failures import translate_error
from migrator.wire.route import DEFAULT_ROUTE, Route, TlsFiles
from migrator.wire.route import Proxy as Through
from tests.support.program import ROOT, run
from tests.support.tls import Certificates, Proxy, served

SECRET = "s3cr3t-token"


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


async def ok(request: web.Request) -> web.Response:
    return web.json_response(dict(request.headers))


async def asked(base: str, route: Route = DEFAULT_ROUTE) -> dict[str, Any]:
    """The headers that the server saw."""
    client = HttpClient(base, HeaderAuth("X-Key", SECRET), route=route)
    try:
        return (await client.get("a")).json()
    finally:
        await client.close()


def route(**files: Any) -> Route:
    return Route(*TlsFiles("source.tls", **files).contexts())


async def test_certificate_of_an_own_authority_is_trusted_when_it_is_named(certificates):
    async with served(ok, certificates.server()) as base:
        assert (await asked(base, route(ca_file=certificates.ca)))["X-Key"] == SECRET


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ({}, "unable to get local issuer certificate|self-signed certificate"),
        ({"expired": True}, "certificate has expired"),
        ({"host": "other.example"}, "not valid for '127.0.0.1'"),
    ],
    ids=["unknown authority", "expired", "another host"],
)
async def test_invalid_certificate_gets_no_credentials_and_the_reason_is_told(certificates, shown, why):
    seen: list[web.Request] = []

    async def answer(request):
        seen.append(request)
        return web.Response()

    trusted = route(ca_file=certificates.ca) if shown else DEFAULT_ROUTE
    async with served(answer, certificates.server(**shown)) as base:
        with pytest.raises(errors.ConnectError, match=f"not trusted: .*({why})"):
            await asked(base, trusted)
    assert seen == []


async def test_verify_false_takes_any_certificate(certificates):
    async with served(ok, certificates.server(host="other.example", expired=True)) as base:
        assert await asked(base, route(verify=False))


async def test_client_certificate_is_shown_and_its_lack_is_told(certificates):
    certificate, key = certificates.client()
    async with served(ok, certificates.server(demands=True)) as base:
        assert await asked(base, route(ca_file=certificates.ca, client_cert=certificate, client_key=key))
        with pytest.raises(errors.RetriableError):
            await asked(base, route(ca_file=certificates.ca))


def test_alert_that_asks_for_a_certificate_is_told_as_such():
    alert = ssl.SSLError(1, "alert")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"  # what OpenSSL calls it
    for error in (alert, ClientOSError(1, "broken")):
        error.__cause__ = None if error is alert else alert
        assert "tls.client_cert" in str(translate_error(error, "GET a"))


async def test_another_host_of_a_file_sees_no_client_certificate_and_is_verified(certificates):
    shown = []
    other = Certificates(certificates.folder)
    certificate, key = certificates.client()

    async def elsewhere(request):
        shown.append(request.transport.get_extra_info("peercert"))
        return web.Response(body=b"the file")

    asks = certificates.server()
    asks.verify_mode = ssl.CERT_OPTIONAL
    certificates.authority.configure_trust(asks)
    ours = route(ca_file=certificates.ca, client_cert=certificate, client_key=key, verify=False)
    for context, fine in ((asks, True), (other.server(), False)):
        async with served(elsewhere, context) as store:

            async def answer(request, store=store):
                raise web.HTTPFound(store + "/file")

            async with served(answer, certificates.server()) as base:
                client, bucket = HttpClient(base, HeaderAuth("X-Key", SECRET), route=ours), MemorySink()
                if fine:
                    await client.download("a", bucket)
                    assert bucket.content == b"the file"
                else:
                    with pytest.raises(errors.RetriableError, match="not trusted") as caught:
                        await client.download("a", bucket)
                    assert not isinstance(caught.value, errors.ConnectError), "that would be the tracker"
                await client.close()
    assert shown in ([None], [{}])


# --- what is wrong with a configuration


def trouble(folder: Path) -> dict[str, tuple[dict[str, Any], str]]:
    made = Certificates(folder)
    certificate, key = made.client()
    _, strange = made.client("other")
    nonsense, locked = folder / "nonsense.pem", folder / "locked.key"
    nonsense.write_bytes(b"\x00\xff no PEM")
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    broken = folder / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return {
        "ca missing": ({"ca_file": folder / "none.pem"}, "source.tls.ca_file: .*none.pem can't be read: No such file"),
        "ca a folder": ({"ca_file": folder}, "source.tls.ca_file: .* can't be read: Is a directory"),
        "ca no PEM": ({"ca_file": nonsense}, "source.tls.ca_file: .* has no certificate in PEM format"),
        "ca broken": ({"ca_file": broken}, "source.tls.ca_file: .* has no certificate in PEM format"),
        "cert missing": ({"client_cert": folder / "none.pem"}, "source.tls.client_cert: .* can't be read"),
        "cert no PEM": ({"client_cert": nonsense}, "source.tls.client_cert: .* has no certificate in PEM format"),
        "cert broken": ({"client_cert": broken, "client_key": key}, "source.tls.client_key: .* can't be used with"),
        "key alone": ({"client_key": key}, "source.tls.client_key has no effect without client_cert"),
        "no key": ({"client_cert": certificate}, "source.tls.client_cert: .* has no private key in PEM format"),
        "key missing": (
            {"client_cert": certificate, "client_key": folder / "none.key"},
            "source.tls.client_key: .* can't be read",
        ),
        "key of another": (
            {"client_cert": certificate, "client_key": strange},
            "source.tls.client_key: .* is not the key of client_cert",
        ),
        "key encrypted": ({"client_cert": certificate, "client_key": locked}, "source.tls.client_key: .* encrypted"),
    }


@pytest.mark.parametrize(
    "which",
    [
        "ca missing",
        "ca a folder",
        "ca no PEM",
        "ca broken",
        "cert missing",
        "cert no PEM",
        "cert broken",
        "key alone",
        "no key",
        "key missing",
        "key of another",
        "key encrypted",
    ],
)
def test_file_that_is_not_usable_is_named_with_its_key(tmp_path, which):
    files, message = trouble(tmp_path)[which]
    with pytest.raises(errors.ConfigError, match=message):
        route(**files)


def config(folder: Path, url: str, lines: str = "", key: str = SECRET) -> Path:
    """`[source]` for a Redmine; `lines` follow within and behind it."""
    (folder / "key").write_text(key)
    path = folder / "migration.toml"
    text = f'[source]\ntracker = "redmine"\nurl = "{url}"\n{lines}\n[source.auth]\napi_key = {{ file = "key" }}\n'
    path.write_text(text + '[limits]\nretries = 0\nbackoff = "0.01 s"\n')
    return path


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('[source.tls]\nca_file = "none.pem"', "source.tls.ca_file"),
        ('[source.tls]\nca = "x.pem"', r"unknown key source.tls.ca; choose from ca_file, client_cert"),
        ('[source.tls]\nverify = "no"', "source.tls.verify"),
        ('proxy = "https://proxy:1"', "source.proxy: a proxy is written like"),
        ('proxy = "http://ann:pass@proxy:1"', "source.proxy: .*credentials go into `proxy_auth`"),
        ('[source.proxy_auth]\nusername = "u"\npassword = "p"', "source.proxy_auth has no effect without source.proxy"),
        ('proxy = "http://p:1"\n[source.proxy_auth]\nusername = "u"', "source.proxy_auth. needs username and password"),
    ],
)
def test_key_that_is_wrong_is_named(tmp_path, lines, message):
    with pytest.raises(errors.ConfigError, match=message) as caught:
        wire_source(read_configuration(config(tmp_path, "https://tracker.example", lines)))
    assert "pass" not in str(caught.value).replace("password", "")


async def test_certificate_file_that_is_missing_is_status_2(tmp_path):
    path = config(tmp_path, "https://127.0.0.1:1", '[source.tls]\nca_file = "none.pem"')
    finished = await run("--json", "backup", path)
    assert (finished.code, finished.document["error"]["code"]) == (2, 2)
    assert "source.tls.ca_file" in finished.err
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("command", ["backup", "check"])
async def test_verify_false_is_warned_of_in_each_run_however_quiet(tmp_path, command):
    path = config(tmp_path, nowhere().replace("http:", "https:"), "[source.tls]\nverify = false")
    for _ in range(2 if command == "check" else 1):
        finished = await run("-q", command, path)
        assert finished.code == 4
        assert finished.err.startswith("warning: source.tls.verify = false: the server at")


# --- proxies

PASSWORD = "pr0xy-p4ss"
PAIR = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()


async def test_https_goes_through_a_tunnel_and_hides_credentials_from_the_proxy(certificates):
    async with served(ok, certificates.server()) as base, Proxy("ann", PASSWORD) as proxy:
        home, abroad = TlsFiles("source.tls", ca_file=certificates.ca).contexts()
        seen = await asked(base, Route(home, abroad, Through(proxy.url, "ann", PASSWORD)))
    assert seen["X-Key"] == SECRET
    assert not [name for name in seen if name.lower().startswith("proxy-")]
    [head] = proxy.heads
    assert head.startswith(f"CONNECT {base.removeprefix('https://')} ")
    assert PAIR in head
    assert SECRET not in head
    assert SECRET.encode() not in proxy.through
    assert PASSWORD.encode() not in proxy.through


async def test_http_goes_through_a_proxy_too_and_its_credentials_end_there():
    async with served(ok) as base, Proxy("ann", PASSWORD) as proxy:
        seen = await asked(base, Route(proxy=Through(proxy.url, "ann", PASSWORD)))
    assert seen["X-Key"] == SECRET
    assert PAIR not in str(seen)
    assert proxy.heads[0].startswith(f"GET {base}/a ")


@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
async def test_proxy_that_refuses_its_credentials_is_told_from_the_tracker(certificates, secure):
    async with served(ok, certificates.server() if secure else None) as base, Proxy("ann", PASSWORD) as proxy:
        home, abroad = TlsFiles("source.tls", ca_file=certificates.ca).contexts()
        with pytest.raises(errors.AuthError, match="the proxy refused its credentials") as caught:
            await asked(base, Route(home, abroad, Through(proxy.url, "ann", "wrong-one")))
    assert "wrong-one" not in str(caught.value)


async def test_proxy_that_is_not_there_is_a_failed_connection():
    with pytest.raises(errors.ConnectError):
        await asked("https://tracker.example", Route(proxy=Through(nowhere())))


async def test_proxy_of_the_environment_is_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, nowhere())
        monkeypatch.setenv(name.lower(), nowhere())
    async with served(ok) as base:
        assert (await asked(base))["X-Key"] == SECRET


def test_password_of_a_proxy_is_in_no_text_of_its_settings():
    assert PASSWORD not in repr(Route(proxy=Through("http://p:1", "ann", PASSWORD)))


def test_http_through_a_proxy_brings_a_warning(tmp_path):
    wired = wire_source(read_configuration(config(tmp_path, "http://tracker.example", 'proxy = "http://p:1"')))
    assert [warning for warning in wired.warnings if "the proxy sees the tracker's credentials" in warning]


def test_sample_with_certificates_and_a_proxy_is_wired(tmp_path, monkeypatch):
    made = Certificates(tmp_path)
    for name, path in zip(("client.pem", "client.key"), made.client(), strict=True):
        assert path.name == name
    assert made.ca.name == "ca.pem"
    sample = (ROOT / "sample_configs" / "behind-a-proxy.toml").read_text(encoding="utf-8")
    (tmp_path / "sample.toml").write_text(sample, encoding="utf-8")
    monkeypatch.setenv("REDMINE_KEY", SECRET)
    monkeypatch.setenv("PROXY_PASSWORD", PASSWORD)
    assert wire_source(read_configuration(tmp_path / "sample.toml")).warnings == []


@pytest.mark.parametrize("secure", [True, False], ids=["another port", "downgrade to http"])
async def test_same_host_with_another_port_or_scheme_gets_no_credentials(certificates, secure):
    seen = []

    async def elsewhere(request):
        seen.append(str(request.headers))
        return web.Response(body=b"the file")

    async with served(elsewhere, certificates.server() if secure else None) as store:

        async def answer(request):
            raise web.HTTPFound(store + "/file")

        async with served(answer, certificates.server()) as base:
            bucket = MemorySink()
            client = HttpClient(base, HeaderAuth("X-Key", SECRET), route=route(ca_file=certificates.ca))
            await client.download("a", bucket)
            await client.close()
    assert bucket.content == b"the file"
    assert [headers for headers in seen if SECRET in headers or "X-Key" in headers] == []
    assert len(seen) == 1
