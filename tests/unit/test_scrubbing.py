"""What a scrubber makes of bodies, addresses and headers."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote, unquote

import pytest

from migrator.jobs.scrubbing import Scrubber, vocabulary

KNOWN = {"status", "open", "filename", "files", "download"}
NAME = "Prüfbericht Übersicht.pdf"


@pytest.fixture
def scrubber():
    return Scrubber(KNOWN, {"s3cr3t/w0rd", "ann"}, {"https://bugs.corp.test/redmine", "bugs.corp.test"}, {})


def test_a_name_in_an_address_becomes_the_same_as_in_a_list(scrubber):
    listed = json.loads(scrubber.body(json.dumps({"filename": NAME, "status": "open"}).encode(), file=False))
    assert listed["status"] == "open"
    assert listed["filename"] != NAME
    assert re.fullmatch(r"\w{11} \w{9}\.pdf", listed["filename"])
    address = scrubber.text(f"https://bugs.corp.test/redmine/files/12/download/{quote(NAME)}?status=open")
    assert address == f"http://tracker.example/files/12/download/{quote(listed['filename'])}?status=open"


def test_sizes_of_names_stay_in_utf8(scrubber):
    assert len(scrubber.text(NAME).encode()) == len(NAME.encode())


@pytest.mark.parametrize("spelling", ["s3cr3t/w0rd", "s3cr3t%2Fw0rd", r"s3cr3t\/w0rd"])
def test_a_secret_is_gone_however_it_is_spelled(scrubber, spelling):
    assert "s3cr3t" not in scrubber.body(f'{{"echo": "{spelling}"}}'.encode(), file=False).decode()


def test_numbers_dates_and_names_of_fields_stay(scrubber):
    text = '{"created_on": "2026-11-22T03:56:11Z", "id": 126, "total_count": 51}'
    assert scrubber.json(text) == text


def test_hosts_addresses_and_hashes_become_others(scrubber):
    digest = "6a189be60734206ed8f059d6c862d99ed3b3d01ece3dae4203c7f564f70d662c"
    scrubbed = scrubber.text(f"https://files.corp.test:8443/x 10.1.2.3 {digest}")
    assert "corp" not in scrubbed
    assert "10.1.2.3" not in scrubbed
    assert digest not in scrubbed
    assert re.search("[0-9a-f]{64}", scrubbed)


def test_contents_become_noise_of_their_size_and_kind(scrubber):
    png = bytes.fromhex("89504e470d0a1a0a") + bytes(range(200))
    noise = scrubber.body(png, file=True)
    assert (len(noise), noise[:4]) == (len(png), png[:4])
    assert noise != png
    assert scrubber.body(png, file=True) == noise
    text = base64.b64encode(b"confidential words of a file").decode()
    inside = json.loads(scrubber.json(json.dumps({"files": text})))["files"]
    assert len(base64.b64decode(inside)) == 28
    assert b"confidential" not in base64.b64decode(inside)


def test_json_that_was_cut_in_a_string_is_scrubbed_to_its_end(scrubber):
    cut = scrubber.body(b'{"files": "confiden' + "ü".encode()[:1], file=True).decode()
    assert re.fullmatch(r'\{"files": "[a-z]{8}', cut)
    assert "confiden" not in cut


def test_words_in_pages_become_others_and_the_page_stays_a_page(scrubber):
    page = '<html><head><title>Sign in</title></head><form action="/login"><input type="password"></form></html>'
    scrubbed = scrubber.body(page.encode(), file=True).decode()
    assert "Sign" not in scrubbed
    assert '<input type="password">' in scrubbed


def test_the_words_of_an_adapter_are_what_it_sends_not_what_it_says():
    known = vocabulary("migrator.trackers.redmine")
    assert {"issues", "status_id", "filename", "uploads"} <= known
    assert not {"answers", "listing", "account"} & known


def test_escapes_stay_as_they_were_written(scrubber):
    assert re.fullmatch(r'"\\u00[0-9a-f]{2}[a-z]{5} \\/"', scrubber.json(r'"\u00fcbrige \/"'))
    assert unquote(scrubber.text("a%20b%2Bc")) == "a b+c"
