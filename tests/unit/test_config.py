"""The configuration: what the contract lists is read, everything else is an error that names the key, never a value."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.config.secrets import credentials, known_secrets
from migrator.config.settings import options_of, read_configuration, read_notify
from migrator.errors import ConfigError
from migrator.jobs.wiring import wire_source, wire_target
from migrator.trackers import TRACKERS, adapter
from tests.support.program import ROOT, run
from tests.support.tls import Certificates

WHOLE = """
archive = "kept/here"

[source]
tracker = "targetprocess"
url = "https://acme.tpondemand.com/tp/"
kinds = ["UserStory", "Bug"]
allow_forbidden = true

[source.auth]
username = "System"
password = { env = "TP_PASSWORD" }

[source.download_auth]
cookie = { file = "cookie.txt" }

[source.options]
page_size = 100

[target]
tracker = "teampulse"
url = "https://pulse.example.org"
provenance = false

[target.auth]
username = "ann"
password = { keyring = "pulse" }

[target.options]
upload_type = "Feedback"

[mapping]
file = "rows/mapping.csv"

[limits]
downloads = 32
uploads = 8
requests_per_second = 12.5
bandwidth = "20 MB/s"
retries = 3
backoff = "250 ms"
backoff_max = "2 min"
timeout = 90

[nightly]
verify = "5%"
recheck = "1%"
report = "out/report.html"
metrics = "migrator.prom"

[notify]
on = "change"
urls = [{ env = "NOTIFY_URL" }, "json://plain.example"]
ping = { env = "PING_URL" }
"""
SOURCE = '[source]\ntracker = "targetprocess"\nurl = "https://x.example"\n'
PLAIN = SOURCE + '[source.auth]\nusername = "u"\npassword = "pa$$w0rd-in-plain"\n'


def read(folder: Path, content: str):
    path = folder / "migration.toml"
    path.write_text(content, encoding="utf-8")
    return read_configuration(path)


def refusal(folder: Path, content: str) -> str:
    """What is said of a configuration that is refused; nothing is looked up, nothing is asked."""
    with pytest.raises(ConfigError) as error:
        wire_source(read(folder, content))
    assert error.value.exit_code == 2
    return str(error.value)


# What the contract lists


def test_every_key_of_the_contract_is_read(tmp_path):
    found = read(tmp_path, WHOLE)
    source, target, limits = found.settings.source, found.settings.target, found.settings.limits
    assert found.archive == tmp_path / "kept/here"
    assert (source.tracker, source.url) == ("targetprocess", "https://acme.tpondemand.com/tp")
    assert (source.kinds, source.allow_forbidden) == (("UserStory", "Bug"), True)
    assert source.auth == {"username": "System", "password": {"env": "TP_PASSWORD"}}
    assert source.download_auth == {"cookie": {"file": "cookie.txt"}}
    assert source.options == {"page_size": 100}
    assert (target.tracker, target.url, target.provenance) == ("teampulse", "https://pulse.example.org", False)
    assert target.options == {"upload_type": "Feedback"}
    assert found.mapping_file == tmp_path / "rows/mapping.csv"
    assert (limits.downloads, limits.uploads, limits.requests_per_second) == (32, 8, 12.5)
    assert (limits.bandwidth, limits.retries) == (20_000_000, 3)
    assert (limits.backoff, limits.backoff_max, limits.timeout) == (0.25, 120, 90)
    nightly, notify = found.settings.nightly, found.settings.notify
    assert (nightly.verify, nightly.recheck) == (0.05, 0.01)
    assert (nightly.report, nightly.metrics) == ("out/report.html", "migrator.prom")
    assert (notify.on, notify.ping) == ("change", {"env": "PING_URL"})
    assert notify.urls == ({"env": "NOTIFY_URL"}, "json://plain.example")


def test_what_is_left_out_has_the_values_that_the_contract_shows(tmp_path):
    found = read(tmp_path, SOURCE)
    limits = found.settings.limits
    assert (limits.downloads, limits.uploads, limits.retries) == (16, 4, 8)
    assert (limits.backoff, limits.backoff_max, limits.timeout) == (0.5, 60, 60)
    assert (limits.requests_per_second, limits.bandwidth) == (0, 0), "no limit"
    assert (found.archive, found.mapping_file) == (tmp_path / "archive", tmp_path / "mapping.csv")
    assert found.settings.target is None
    assert found.settings.source.allow_forbidden is False
    assert found.settings.source.kinds == ()
    nightly, notify = found.settings.nightly, found.settings.notify
    assert (nightly.verify, nightly.recheck, nightly.report, nightly.metrics) == (0.02, 0, None, None)
    assert (notify.on, notify.urls, notify.ping) == ("failure", (), None)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('[nightly]\nverfy = "2%"', "unknown key nightly.verfy; did you mean nightly.verify?"),
        ("[nightly]\nverify = 2", "nightly.verify: not a share"),
        ('[nightly]\nreport = "report.txt"', "nightly.report: a report is a page (.html)"),
        ('[notify]\nurl = ["json://x"]', "unknown key notify.url; did you mean notify.urls?"),
        ('[notify]\non = "never"', "notify.on: must be 'failure', 'change' or 'always'"),
        ('[notify]\nurls = "json://user:hidden@x"', "notify.urls: "),
        ("[retention]\nkeep_dayly = 3", "unknown key retention.keep_dayly; did you mean retention.keep_daily?"),
    ],
)
def test_a_slip_in_what_a_night_does_names_the_key(tmp_path, lines, says):
    said = refusal(tmp_path, SOURCE + lines)
    assert says in said
    assert "hidden" not in said


def test_notify_is_read_from_a_file_that_is_wrong_elsewhere(tmp_path):
    (tmp_path / "a.toml").write_text('[source]\nwrong = 1\n[notify]\non = "always"\n')
    (tmp_path / "b.toml").write_text("[notify")
    assert read_notify(tmp_path / "a.toml").on == "always"
    assert [read_notify(tmp_path / name).urls for name in ("b.toml", "c.toml")] == [(), ()]


def test_all_secrets_that_can_be_had_are_known(tmp_path, monkeypatch):
    monkeypatch.setenv("TP_PASSWORD", "first")
    monkeypatch.setenv("NOTIFY_URL", "mailto://second")
    monkeypatch.delenv("PING_URL", raising=False)
    (tmp_path / "cookie.txt").write_text("name=third")
    assert known_secrets(read(tmp_path, WHOLE)) >= {"first", "mailto://second", "name=third", "json://plain.example"}


def test_paths_are_relative_to_the_configuration_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    read(tmp_path / "conf", SOURCE)
    monkeypatch.chdir(tmp_path)
    found = read_configuration(Path("conf/migration.toml"))
    assert found.archive == tmp_path / "conf" / "archive"
    assert read(tmp_path, f'archive = "/elsewhere"\n{SOURCE}').archive == Path("/elsewhere")
    assert read(tmp_path, f'archive = "~/elsewhere"\n{SOURCE}').archive == Path.home() / "elsewhere"


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ('bandwidth = "fast"', "bandwidth"), ('bandwidth = "20 MB/h"', "bandwidth"), ('bandwidth = "20 s"', "20 MB/s"),
        ('bandwidth = "-1 MB/s"', "bandwidth"), ("bandwidth = -1", "bandwidth"), ("bandwidth = true", "bandwidth"),
        ('bandwidth = "٣ MB/s"', "bandwidth"), ("bandwidth = inf", "bandwidth"), ("bandwidth = nan", "bandwidth"),
        ('timeout = "20 MB"', "0.5 s"), ('timeout = "1 s/s"', "timeout"), ("timeout = 0", "timeout"),
        ('timeout = ""', "timeout"), ("timeout = inf", "timeout"), ("timeout = nan", "timeout"),
        ('backoff = "1 moon"', "backoff"), ("backoff = [1]", "backoff"), ("backoff_max = -3", "backoff_max"),
        ("workers = -1", "from 0 to 64"), ("workers = true", "from 0 to 64"), ('workers = "many"', 'or "auto"'),
        ("downloads = 0", "downloads"), ("downloads = 1000", "downloads"), ("downloads = 2.5", "downloads"),
        ('downloads = "many"', "downloads"), ("downloads = true", "downloads"), ("uploads = 0", "uploads"),
        ("uploads = -1", "uploads"), ("retries = -1", "retries"), ("retries = 1e9", "retries"),
        ("requests_per_second = -1", "requests_per_second"), ('requests_per_second = "x"', "requests_per_second"),
        ("requests_per_second = inf", "requests_per_second"), ("requests_per_second = nan", "requests_per_second"),
    ],
)  # fmt: skip
def test_a_limit_that_makes_no_sense_is_an_error_that_names_it(tmp_path, limit, says):
    said = refusal(tmp_path, f"{PLAIN}[limits]\n{limit}\n")
    assert "limits." + limit.partition(" ")[0] in said
    assert says in said


# What is not known


@pytest.mark.parametrize(
    ("content", "key", "near"),
    [
        ('archiv = "x"\n' + PLAIN, "archiv", "archive"),
        (PLAIN.replace("[source", "[sorce"), "sorce", "source"),
        (SOURCE + "kind = []\n", "source.kind", "source.kinds"),
        (SOURCE + "provenance = true\n", "source.provenance", None),
        (SOURCE + "strict = true\n", "source.strict", None),
        ("str = 1\n" + PLAIN, "str", "storage"),
        (SOURCE + '[source.authentication]\nusername = "u"\n', "source.authentication", "source.auth"),
        (SOURCE + '[target]\ntraker = "teampulse"\nurl = "https://x.example"\n', "target.traker", "target.tracker"),
        (PLAIN + '[mapping]\nfiel = "x"\n', "mapping.fiel", "mapping.file"),
        (PLAIN + "[limits]\ndownload = 3\n", "limits.download", "limits.downloads"),
        (PLAIN + "[limits]\nzzz = 3\n", "limits.zzz", None),
        (PLAIN + "[retention]\nkeep_lst = 3\n", "retention.keep_lst", "retention.keep_last"),
        (PLAIN + "[source.tls]\nca_fil = 3\n", "source.tls.ca_fil", "source.tls.ca_file"),
        (PLAIN.replace("username", "user_name"), "source.auth.user_name", "source.auth.username"),
        (PLAIN + '[source.download_auth]\ncookis = ""\n', "source.download_auth.cookis", "source.download_auth.cookie"),
        (PLAIN + "[source.options]\npagesize = 3\n", "source.options.pagesize", "source.options.page_size"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path, content, key, near):
    said = refusal(tmp_path, content)
    assert f"unknown key {key}" in said
    assert (f"did you mean {near}?" if near else "choose from") in said


def test_several_mistakes_are_told_at_once(tmp_path):
    said = refusal(tmp_path, SOURCE + "kind = []\n[limits]\nuploads = 0\n[mapping]\nfile = 3\n")
    for key in "source.kind", "limits.uploads", "mapping.file":
        assert key in said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "the key source is missing"),
        ("[source]\n", "the key source.tracker is missing"),
        ('[source]\ntracker = "redmine"\n', "the key source.url is missing"),
        (SOURCE, "[source.auth] needs username and password, or access_token"),
        ("source = 3\n", "source"),
        ("source = []\n", "source"),
        (SOURCE + 'kinds = "Bug"\n', "source.kinds"),
        (SOURCE + "kinds = [1]\n", "source.kinds"),
        (SOURCE + 'allow_forbidden = "perhaps"\n', "source.allow_forbidden"),
        (SOURCE + "[source.auth]\nusername = 3\n", "source.auth.username: "),
        (SOURCE + "auth = 3\n", "source.auth"),
        (SOURCE + "options = 3\n", "source.options"),
        ("archive = 3\n" + PLAIN, "archive"),
        ('archive = ""\n' + PLAIN, "archive"),
        ('archive = "a\\u0000b"\n' + PLAIN, "archive"),
        (PLAIN + '[mapping]\nfile = ""\n', "mapping.file"),
        (PLAIN + "[target]\n", "target.tracker"),
        (PLAIN + '[source.options]\npage_size = "many"\n', "source.options.page_size"),
        (PLAIN + '[source.options]\nformat = "yaml"\n', "source.options.format"),
        (PLAIN.replace("targetprocess", "jira"), "targetprocess"),
        ("[source\n", "not valid TOML"),
        ('archive = "x"\narchive = "y"\n', "not valid TOML"),
    ],
)
def test_what_is_missing_or_of_the_wrong_type_is_named(tmp_path, content, says):
    assert says in refusal(tmp_path, content)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@x.example", "https://user@x.example", "https://x.example/?token=hunter2",
        "https://x.example/#hunter2", "ftp://hunter2.example", "hunter2.example", "https://", "", "https://x:port/",
        "file:///etc/hunter2", "https://[::1", "https://x.example:99999/",
    ],
)  # fmt: skip
def test_a_wrong_address_or_one_with_credentials_is_refused_unrepeated(tmp_path, url):
    said = refusal(tmp_path, PLAIN.replace("https://x.example", url))
    assert "source.url" in said
    assert "hunter2" not in said


def test_a_file_that_can_not_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        read_configuration(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b'archive = "K\xfche"\n')
    with pytest.raises(ConfigError, match=r"latin\.toml is not UTF-8"):
        read_configuration(tmp_path / "latin.toml")
    with pytest.raises(ConfigError, match=re.escape(tmp_path.name)):
        read_configuration(tmp_path)


def test_the_home_folder_of_nobody_is_an_error_of_the_configuration(tmp_path):
    found = read(tmp_path, 'archive = "~nobody-of-this-name/archive"\n' + PLAIN)
    with pytest.raises(ConfigError, match="this home folder doesn't exist"):
        assert found.archive
    home = PLAIN.replace('"pa$$w0rd-in-plain"', '{ file = "~nobody-of-this-name/x" }')
    assert "this home folder doesn't exist" in refusal(tmp_path, home)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    assert read(tmp_path, "\ufeff" + PLAIN).settings.source.tracker == "targetprocess"


# Secrets


def test_a_secret_from_the_environment_or_a_file_brings_no_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("TP_PASSWORD", "from the environment")
    (tmp_path / "secret.txt").write_text("from a file\n")
    alternatives = (("username", "password"),)
    for given_, found in ({"env": "TP_PASSWORD"}, "from the environment"), ({"file": "secret.txt"}, "from a file"):
        values, warnings = credentials({"username": "u", "password": given_}, alternatives, "source.auth", tmp_path)
        assert (values, warnings) == ({"username": "u", "password": found}, [])


def test_a_secret_in_plain_text_works_with_a_warning_that_does_not_say_it(tmp_path):
    wired = wire_source(read(tmp_path, PLAIN))
    [warning] = wired.warnings
    assert "source.auth.password" in warning
    assert "plain text" in warning
    assert "pa$$w0rd" not in warning


def test_a_secret_from_the_keyring(tmp_path):
    keyring = pytest.importorskip("keyring", reason="the keyring extra is not installed")
    from keyring.backend import KeyringBackend

    class Fake(KeyringBackend):
        priority = 1

        def get_password(self, service, username):
            return {("pulse", "password"): "from the keyring"}.get((service, username))

        def set_password(self, service, username, password):
            raise AssertionError

        def delete_password(self, service, username):
            raise AssertionError

    before = keyring.get_keyring()
    keyring.set_keyring(Fake())
    try:
        values, _ = credentials({"password": {"keyring": "pulse"}}, (("password",),), "target.auth", tmp_path)
        assert values == {"password": "from the keyring"}
        with pytest.raises(ConfigError, match=r"target\.auth\.password: the keyring has no entry for 'other'"):
            credentials({"password": {"keyring": "other"}}, (("password",),), "target.auth", tmp_path)
    finally:
        keyring.set_keyring(before)


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ('{ env = "MIGRATOR_TEST_UNSET" }', "MIGRATOR_TEST_UNSET is not set"),
        ('{ env = "MIGRATOR_TEST_EMPTY" }', "empty"),
        ('{ env = "A=B" }', "A=B"),
        ('{ env = "A\\u0000B" }', "not set"),
        ('{ env = "" }', "not set"),
        ('{ file = "no-such-file" }', "no-such-file"),
        ('{ file = "." }', "can't be read"),
        ('{ file = "a\\u0000b" }', "can't be read"),
        ('{ file = "empty.txt" }', "empty"),
        ('{ file = "two lines.txt" }', "characters"),
        ('{ vault = "x" }', "{ env }, { file } or { keyring }"),
        ('{ env = "A", file = "B" }', "{ env }, { file } or { keyring }"),
        ("{ }", "{ env }, { file } or { keyring }"),
        ("{ env = 3 }", ""),
        ("3", ""),
        ('["hunter2"]', ""),
        ('""', "empty"),
        ('"hunter2\\u0007"', "characters"),
    ],
)
def test_a_secret_that_can_not_be_had_is_named_by_its_key(tmp_path, monkeypatch, secret, says):
    monkeypatch.delenv("MIGRATOR_TEST_UNSET", raising=False)
    monkeypatch.setenv("MIGRATOR_TEST_EMPTY", "")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "two lines.txt").write_text("hunter2\nhunter3\n")
    said = refusal(tmp_path, PLAIN.replace('"pa$$w0rd-in-plain"', secret))
    assert "source.auth.password" in said
    assert says in said
    assert "hunter" not in said


def test_a_backup_needs_no_target_password_and_a_load_names_what_it_needs(tmp_path):
    target = '[target]\ntracker = "teampulse"\nurl = "https://y.example"\n[target.auth]\n'
    found = read(tmp_path, PLAIN + target + 'username = "a"\npassword = { env = "MIGRATOR_TEST_UNSET" }\n')
    wire_source(found)
    with pytest.raises(ConfigError, match=r"target\.auth\.password.*MIGRATOR_TEST_UNSET"):
        wire_target(found)
    with pytest.raises(ConfigError, match=r"no \[target\]"):
        wire_target(read(tmp_path, PLAIN))


@pytest.mark.parametrize("tracker", sorted(TRACKERS))
def test_each_way_to_log_in_works_alone_and_not_mixed_or_in_part(tmp_path, tracker):
    alternatives = adapter(tracker).auth
    for keys in alternatives:
        values, _ = credentials({key: f"{key}=x" for key in keys}, alternatives, "source.auth", tmp_path)
        assert set(values) == set(keys)
        adapter(tracker).signer(values)
        if len(keys) > 1:
            with pytest.raises(ConfigError, match=rf"\[source\.auth\] needs .*{keys[1]}.*it has {keys[0]}"):
                credentials({keys[0]: "x"}, alternatives, "source.auth", tmp_path)
    everything = {key: "x" for keys in alternatives for key in keys}
    if len(alternatives) > 1:
        with pytest.raises(ConfigError, match=r"needs .*, or "):
            credentials(everything, alternatives, "source.auth", tmp_path)
    with pytest.raises(ConfigError, match="it has nothing"):
        credentials({}, alternatives, "source.auth", tmp_path)


async def test_the_program_says_it_in_one_line_and_never_says_a_secret(tmp_path):
    for content in PLAIN + "[limits]\ndownlods = 3\n", PLAIN.replace("password =", "pasword ="), PLAIN + "[x\n":
        path = tmp_path / "migration.toml"
        path.write_text(content)
        finished = await run("-v", "backup", path)
        assert finished.code == 2
        assert len(finished.err.strip().splitlines()) == 1
        assert "pa$$w0rd" not in finished.err + finished.out


@pytest.mark.parametrize(
    "mistake", ['"hunter2', "'hunter2", "hunter2", '{ env = "hunter2"', '"""hunter2', '"hunter2\\q"', "[hunter2"]
)
def test_a_slip_in_the_line_of_a_secret_does_not_say_it(tmp_path, mistake):
    said = refusal(tmp_path, PLAIN.replace('"pa$$w0rd-in-plain"', mistake))
    assert "not valid TOML" in said
    assert "hunter2" not in said


# Whatever comes

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates().map(str)
WORDS = """archive source target mapping limits tracker url auth download_auth options kinds file env keyring username
password cookie page_size downloads bandwidth timeout backoff provenance"""
keys = st.sampled_from(re.findall(r"\w+", WORDS)) | st.text(max_size=6)
values = st.recursive(
    scalars | st.sampled_from(["targetprocess", "https://x.example", "20 MB/s", "0.5 s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
tables = st.dictionaries(keys, values, max_size=5)
shapes = (
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("source", "target", "limits", "mapping"), values | tables),
    )
    | tables
)
quiet = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(str(key))} = {as_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08X}" if not char.isalnum() else char for char in value) + '"'
    if value is None:
        return '""'
    return str(value).lower() if isinstance(value, bool) else repr(value)


def tried(folder: Path, content: str) -> None:
    with contextlib.suppress(ConfigError):
        wire_source(read(folder, content))


@quiet
@given(shapes)
def test_any_tables_are_a_configuration_or_a_configuration_error(tmp_path, shape):
    content = "\n".join(f"{as_toml(key)} = {as_toml(value)}" for key, value in shape.items())
    tried(tmp_path, content)


@quiet
@given(st.text(st.characters(codec="utf-8"), max_size=120))
def test_any_text_is_a_configuration_or_a_configuration_error(tmp_path, text):
    tried(tmp_path, text)
    tried(tmp_path, PLAIN.replace("pa$$w0rd-in-plain", text))
    tried(tmp_path, PLAIN.replace("https://x.example", text))


@quiet
@given(st.dictionaries(keys, values, max_size=3))
def test_any_options_are_options_or_a_configuration_error(given_):
    for tracker in TRACKERS:
        with contextlib.suppress(ConfigError):
            options_of(given_, adapter(tracker).options, "source.options")


# The samples

SAMPLES = ROOT / "sample_configs"


def secrets_in(value: object) -> set[str]:
    """The environment variables that a configuration names."""
    if not isinstance(value, dict):
        return set()
    here = {value["env"]} if isinstance(value.get("env"), str) else set()
    return here.union(*(secrets_in(inner) for inner in value.values()))


def test_the_samples_are_found_where_there_is_a_folder_of_them():
    if not SAMPLES.is_dir() or not any(SAMPLES.iterdir()):
        pytest.skip("no samples here")
    assert list(SAMPLES.rglob("*.toml"))


@pytest.mark.parametrize("sample", sorted(SAMPLES.rglob("*.toml")), ids=lambda path: path.name)
def test_each_sample_loads_with_options_and_credentials_of_its_trackers(sample, monkeypatch, tmp_path):
    names = secrets_in(tomllib.loads(sample.read_text(encoding="utf-8")))
    for name in names:
        monkeypatch.setenv(name, "name=value")
    made = Certificates(tmp_path)
    assert {path.name for path in (made.ca, *made.client())} == {"ca.pem", "client.pem", "client.key"}
    found = read_configuration(Path(shutil.copy(sample, tmp_path)))
    assert wire_source(found).warnings == [], "a sample shows no secret in plain text"
    if found.settings.target is not None:
        assert wire_target(found).warnings == []
    assert names, "a sample shows where secrets come from"
    assert not names & {"PATH", "HOME"}
    assert os.fspath(found.archive)
