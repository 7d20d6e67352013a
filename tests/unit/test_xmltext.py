"""XML of trackers is read whatever characters stand in it, and no more than the harmless kind of it."""

from __future__ import annotations

import contextlib
from xml.etree.ElementTree import tostring
from xml.sax.saxutils import escape

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from migrator.wire.xml_reader import read_xml

DECLARED = '<?xml version="1.0" encoding="{}"?>'
LEGAL = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))


def read(body: bytes, charset: str = ""):
    lost: list[int] = []
    root = read_xml(body, charset, lost.append)
    return root, sum(lost)


@pytest.mark.parametrize(
    ("name", "value", "lost"),
    [
        (b"&#x1F;a", "\ufffda", 1),
        (b"\x0ba", "\ufffda", 1),
        (b"&#xFFFE;a", "\ufffda", 1),
        (b"&#0;&#xD800;&#x110000;", "\ufffd\ufffd\ufffd", 3),
        (b"\x00\x01\x7f", "\ufffd\ufffd\x7f", 2),
        (b"\xef\xbf\xbe", "\ufffd", 1),
        (b"Gr\xfc\xdfe", "Gr\ufffd\ufffde", 2),
        (b"\xc3", "\ufffd", 1),
        (b"a&nbsp;b &ouml; &LT;", "a\xa0b ö <", 0),
        (b"&no_such; &unknown; AT&T & &#; &", "&no_such; &unknown; AT&T & &#; &", 0),
        (b"\x01&amp;&lt;&#65;", "\ufffd&<A", 1),
        (b"&#99999999999;", "&#99999999999;", 0),
    ],
)
def test_what_no_xml_holds_is_replaced_and_counted(name, value, lost):
    for body in (b'<a n="' + name + b'"><b>x</b></a>', b"<a><n>" + name + b"</n><b>x</b></a>"):
        root, count = read(body)
        assert (root.get("n") or root.findtext("n"), count) == (value, lost)
        assert root.findtext("b") == "x"


def test_text_that_is_marked_as_such_keeps_what_looks_like_a_reference():
    root, lost = read(b"<a><![CDATA[ & \x01 &nbsp; &#1; ]]><!-- \x02 &x; --></a>")
    assert (root.text, lost) == (" & \ufffd &nbsp; &#1; ", 2)


@pytest.mark.parametrize(
    ("declared", "encoding", "charset"),
    [
        ("utf-16", "utf-8", ""),
        ("iso-8859-1", "utf-8", ""),
        ("windows-1252", "utf-8", ""),
        ("no-such", "utf-8", ""),
        ("utf-8", "utf-16", ""),
        ("utf-8", "utf-8-sig", "ignored"),
        ("iso-8859-1", "iso-8859-1", ""),
        ("iso-8859-2", "iso-8859-2", ""),
        ("utf-8", "iso-8859-1", "iso-8859-1"),
        ("big5", "utf-8", ""),
    ],
)
def test_encoding_that_a_document_only_says_to_have_is_not_believed(declared, encoding, charset):
    root, lost = read((DECLARED.format(declared) + "<a>ö ß</a>").encode(encoding), charset)
    assert (root.text, lost) == ("ö ß", 0)


@pytest.mark.parametrize("around", [b"\n \xef\xbb\xbf%s", b"%s\x00\x00", b"%s\n"])
def test_what_stands_around_a_document_is_left_out(around):
    assert read(around % (DECLARED.format("utf-8") + "<a>x</a>").encode())[0].text == "x"


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;\x01</a>',
        b'\n<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;&nbsp;</a>',
        b'<?xml version="1.0" encoding="latin-1"?><!DOCTYPE a SYSTEM "http://127.0.0.1/x"><a>\xc3\xbc</a>',
        '<!DOCTYPE a [<!ENTITY b "c">]><a>\x01</a>'.encode("utf-16"),
        b"",
        b"<a>",
        b"<a/>junk",
        b"{}",
    ],
)
def test_harmful_or_broken_xml_is_refused_clean_or_dirty(body):
    with pytest.raises(ValueError, match=r"^line 1|^DTDForbidden"):
        read(body)


def test_place_of_what_cannot_be_read_is_told():
    with pytest.raises(ValueError, match=r"^line 2, column \d+$"):
        read(b"<a>\n</b>")


@given(LEGAL, st.booleans())
def test_good_text_is_read_as_the_parser_reads_it(text, dirty):
    body = f"<a><n>{escape(text)}</n><d>{chr(1) if dirty else ''}</d></a>".encode()
    plain = fromstring(body.replace(b"\x01", b""))
    root, lost = read(body)
    assert (root.findtext("n"), lost) == (plain.findtext("n"), int(dirty))


@given(st.binary(), st.text(max_size=10))
def test_any_bytes_are_xml_or_a_value_error(body, charset):
    with contextlib.suppress(ValueError):
        tostring(read(b"<a>" + body + b"</a>", charset)[0])


@pytest.mark.parametrize("piece", [b"<![CDATA[", b"<!--", b"<?xml ", b"&", b" "])
def test_reading_what_is_no_xml_at_all_takes_no_long_time(piece):
    with pytest.raises(ValueError, match=r"^line 1"):
        read(b"<a>" + piece * 100_000)
