"""Answers of a Targetprocess, in every spelling that servers have had."""

from __future__ import annotations

import contextlib
import html
import json
from datetime import datetime
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import errors
from migrator.model import NOBODY, EntityRef
from migrator.trackers.targetprocess import TargetprocessTarget
from migrator.trackers.targetprocess.parse import (
    attachment,
    from_xml,
    inline_paths,
    inner,
    iso_date,
    kind_of,
    listed,
    parsed,
    person,
    quoted_files,
    uploaded,
)
from migrator.wire.answer import Answer

BUG = EntityRef("Bug", "4711")
VENDORS = """<Attachments Next="http://tp/api/v1/Attachments?take=25&amp;skip=25">
<Attachment Id="1234" Name="NewAccount.xls">
<Description>Form for new Account creation.</Description><Date>2008-03-13T13:01:08</Date>
<MimeType>application/vnd.ms-excel</MimeType>
<Uri>
https://tp/Attachment.aspx?AttachmentID=1234
</Uri>
<Size>47616</Size>
<Owner ResourceType="GeneralUser" Id="23"><FirstName>James</FirstName><LastName>White</LastName></Owner>
<General ResourceType="General" Id="1884" Name="Create Account Service"/>
<Message nil="true"/></Attachment></Attachments>"""


def answer(text: str | bytes) -> Answer:
    return Answer(200, {}, text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize(
    ("date", "iso"),
    [
        ("/Date(1198908717056+0300)/", "2007-12-29T09:11:57.056000+03:00"),
        ("/Date(1772356830000+0100)/", "2026-03-01T10:20:30+01:00"),
        ("/Date(1772356830000-0930)/", "2026-02-28T23:50:30-09:30"),
        ("/Date(1772356830000)/", "2026-03-01T09:20:30+00:00"),
        ("/Date(-1000-0500)/", "1969-12-31T18:59:59-05:00"),
        ("/Date(0+0000)/", "1970-01-01T00:00:00+00:00"),
        ("2008-03-13T13:01:08", "2008-03-13T13:01:08"),
        ("2026-03-01T10:20:30+01:00", "2026-03-01T10:20:30+01:00"),
        ("/Date(999999999999999999)/", ""),
        ("/Date(0+9900)/", ""),
        ("yesterday", ""),
        ("", ""),
    ],
)
def test_dates_become_iso_8601_in_the_zone_they_were_meant_in(date, iso):
    assert iso_date(date) == iso


def test_escaped_slashes_in_a_date_are_the_same_date():
    item = json.loads(r'{"Id": 1, "Date": "\/Date(1772356830000+0100)\/"}')
    assert attachment(item, NOBODY).created_at == "2026-03-01T10:20:30+01:00"


def test_vendors_sample_is_read_as_json_would_be():
    page = parsed(answer(VENDORS), "GET x")
    (item,) = listed(page, "x")
    file = attachment(item, BUG)
    assert page["Next"] == "http://tp/api/v1/Attachments?take=25&skip=25"
    assert (file.id, file.name, file.size) == ("1234", "NewAccount.xls", 47616)
    assert file.description == "Form for new Account creation."
    assert (file.media_type, file.created_at) == ("application/vnd.ms-excel", "2008-03-13T13:01:08")
    assert file.created_by == "James White"
    assert item["General"]["Id"] == "1884"
    assert item["Message"] is None


def test_xml_has_the_shape_of_json():
    text = """<Generals><General ResourceType="General" Id="1" Name="A &amp; B"><Description/>
    <EntityType Id="8" Name="Bug"/><Attachments-Count>2</Attachments-Count>
    <Attachments><Attachment Id="3"/></Attachments><Comments/></General></Generals>"""
    (item,) = listed(parsed(answer(text), "GET x"), "x")
    assert item["Name"] == "A & B"
    assert (item["Description"], kind_of(item), item["Attachments-Count"]) == ("", "Bug", "2")
    assert [file["Id"] for file in inner(item["Attachments"])] == ["3"]
    assert inner(item["Comments"]) == []


def test_empty_list_is_a_page_in_xml_too():
    for text in ("<Attachments/>", '<?xml version="1.0"?>\n<Attachments></Attachments>', "\ufeff<Attachments />"):
        assert listed(parsed(answer(text), "GET api/v1/Attachments"), "x") == []


@pytest.mark.parametrize(
    "text",
    [
        "<Error><Status>InternalServerError</Status><Message>Something broke</Message></Error>",
        "<Error><Code>AccessDenied</Code><RequestId/></Error>",
        "<maintenance/>",
        "<Attachments><Message>none of your business</Message></Attachments>",
    ],
)
def test_message_in_xml_is_not_taken_for_an_empty_list(text):
    with pytest.raises(errors.UnexpectedBodyError):
        listed(parsed(answer(text), "GET api/v1/Attachments"), "x")


def test_encoding_that_nobody_knows_is_not_believed():
    text = '<?xml version="1.0" encoding="no-such"?><Attachments/>'
    assert listed(parsed(answer(text), "GET api/v1/Attachments"), "x") == []


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]><a>&e;</a>',
        '<!DOCTYPE a [<!ENTITY e "eeee"><!ENTITY f "&e;&e;&e;">]><a>&f;</a>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><a/>',
    ],
)
def test_xml_with_entities_or_a_dtd_is_refused(text):
    with pytest.raises(errors.UnexpectedBodyError):
        parsed(answer(text), "GET x")


def test_description_that_is_the_name_is_none():
    assert attachment({"Id": 1, "Name": "a.txt", "Description": "a.txt"}, BUG).description == ""
    assert attachment({"Id": 1, "Name": "a.txt", "Description": "a.txt!"}, BUG).description == "a.txt!"


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"ResourceType": "General", "EntityType": {"Name": "Bug"}}, "Bug"),
        ({"ResourceType": "Bug", "EntityType": {"ResourceType": "EntityType"}}, "Bug"),
        ({"ResourceType": "General"}, ""),
        ({"ResourceType": "Assignable", "EntityType": None}, ""),
        ({}, ""),
    ],
)
def test_kind_is_the_entity_type_or_a_resource_type_that_tells(item, kind):
    assert kind_of(item) == kind


def test_person_without_a_name_goes_by_the_login():
    assert person({"FirstName": "Ann", "LastName": None, "Login": "ann"}) == "Ann"
    assert person({"Login": "ann"}) == "ann"
    assert person({}) == ""


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ('<img src="~/Attachment.aspx?AttachmentID=12"/> <a href="/Attachment.aspx?attachmentid=12">', ["12"]),
        ("<!--markdown-->![a](https://x.example/tp/Attachment.aspx?AttachmentID=7)", ["7"]),
        ("[b](Attachment.aspx?a=1&AttachmentID=8) [c](Attachment.aspx?AttachmentID=9)", ["8", "9"]),
        ('<img src="AttachmentThumbnail.aspx?width=9&amp;AttachmentID=0012&amp;height=9">', ["12"]),
        ("Attachment.aspx AttachmentID=9", []),
    ],
)  # fmt: skip
def test_files_that_a_text_shows_are_found(words, ids):
    assert quoted_files(words) == ids


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        ('<img src="~/images/a b.png"><img src="~/images/a b.png">', ["images/a b.png"]),
        ("<img src='~/Uploads/x/y%20(1).gif?v=2'>", ["Uploads/x/y%20(1).gif"]),
        ('<img src="~/images/R&amp;D.png">', ["images/R&D.png"]),
        ("![shot](~/uploads/s.png) and ~/uploads/plain.png", ["uploads/s.png"]),
        ('<img src="~/Attachment.aspx?AttachmentID=12"/><img src="https://x/images/a.png">', []),
    ],
)
def test_images_that_are_no_attachments_are_found(words, paths):
    assert inline_paths(words) == paths


NEW = {"id": 9001, "name": "r&d <1>.pdf", "description": "r&d <1>.pdf", "date": "2026-03-01T10:20:30+01:00",
       "mimeType": "application/pdf", "size": 2048, "owner": {"firstName": "Ann"}, "message": None}  # fmt: skip
OLD = [9001, "2026-03-01T10:20:30+01:00", "r&d <1>.pdf", "application/pdf", "http://tp/x", "http://tp/y", [7, "A", "L"]]


@pytest.mark.parametrize("item", [NEW, OLD], ids=["new", "old"])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("page", ["{}", "<html><body><textarea>{}</textarea></body></html>", "\r\n<pre>{}</pre>"])
def test_answer_to_an_upload_is_understood_in_every_form(item, wrapped, page):
    text = json.dumps({"items": [item]} if wrapped else [item])
    body = page.replace("{}", html.escape(text, quote=False) if "<" in page else text)
    made = uploaded(body.encode(), BUG)
    assert (made.id, made.owner, made.name, made.media_type) == ("9001", BUG, "r&d <1>.pdf", "application/pdf")
    assert (made.size, made.description) == (2048 if item is NEW else None, "")
    assert made.created_at == "2026-03-01T10:20:30+01:00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OK",
        "null",
        "{}",
        "[]",
        '{"items": []}',
        '{"items": [null]}',
        '{"items": [[]]}',
        json.dumps({"items": [NEW, NEW]}),
        "[[-1]]",
        json.dumps([{**NEW, "id": "x"}]),
        "<html><title>Log in</title><script>{ broken ]</script></html>",
    ],
)
def test_answer_to_an_upload_that_does_not_tell_the_file_is_none(text):
    assert uploaded(text.encode(), BUG) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"items": [{"id": 1, "name": "undefined", "description": "undefined"}]}',
        json.dumps([[1, "2019-01-01", "undefined", "text/plain"]]),
        '{"items": [{"id": 1}]}',
    ],
)
def test_file_whose_name_the_upload_page_does_not_know_is_told_by_its_id(text):
    made = uploaded(text.encode(), BUG)
    assert (made.id, made.name, made.description) == ("1", "", "")


def test_names_lose_only_what_a_header_or_a_windows_server_cannot_carry():
    legal = TargetprocessTarget.legal_name
    assert legal(None, "What? 100% <so> it's; | *:#.txt") == "What? 100% <so> it's; | *:#.txt"
    assert legal(None, 'He said "stop" a\\b/c.txt') == "He said _stop_ a_b_c.txt"
    assert legal(None, "a\r\nb\0c\x7f\x85.txt") == "a__b_c__.txt"
    assert legal(None, "half \ud800.txt") == "half _.txt"
    assert legal(None, "") == "_"


KEYS = st.sampled_from(
    ["Id", "Items", "Name", "Next", "Description", "Date", "Size", "Owner", "General", "EntityType", "ResourceType"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("/Date(1)/"),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), below, max_size=6),
    max_leaves=12,
)
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="<&\ufffe\uffff"))


@st.composite
def elements(draw, depth: int = 2) -> str:
    name = draw(st.sampled_from(["Attachments", "Attachment", "General", "Description", "Items", "Date"]))
    attributes = draw(
        st.dictionaries(st.sampled_from(["Id", "Name", "nil", "Next"]), st.sampled_from(["1", "true", ""]))
    )
    below = "".join(draw(st.lists(elements(depth - 1), max_size=3))) if depth else ""
    spelled = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<{name}{spelled}>{draw(TEXT)}{below}</{name}>"


def read_all(body: bytes) -> None:
    """Everything that is done with a page."""
    for item in listed(parsed(answer(body), "GET x"), "x"):
        kind_of(item)
        inner(item.get("General"))
        file = attachment(item, NOBODY)
        assert all(
            isinstance(value, str) for value in (file.id, file.name, file.description, file.created_by, file.raw)
        )
        assert file.created_at == "" or datetime.fromisoformat(file.created_at)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | elements().map(str.encode))
def test_any_answer_ends_in_our_words(body):
    with contextlib.suppress(errors.UnexpectedBodyError, errors.AuthError):
        read_all(body)
    made = uploaded(body, BUG)
    assert made is None or made.id


@given(st.lists(JSON, max_size=3).map(lambda items: json.dumps({"Items": items}).encode()))
def test_any_page_of_json_ends_in_our_words(body):
    with contextlib.suppress(errors.UnexpectedBodyError):
        read_all(body)


@given(st.text())
def test_any_text_can_be_searched(words):
    assert all(number.isdecimal() for number in quoted_files(words))
    assert inline_paths(words) is not None


@given(elements())
def test_any_xml_takes_the_shape_of_json(text):
    json.dumps(from_xml(fromstring(text), root=True))
