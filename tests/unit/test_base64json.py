"""Base64 inside JSON: the streaming scanner says the same as json.loads and b64decode, whatever the pieces."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import errors
from migrator.ports import BodyFacts
from migrator.testing import Bytes, MemorySink
from migrator.wire.base64_field import MAX_REST_BYTES, Base64Field, Base64Sink, Base64Text
from migrator.wire.request_body import Base64CallBody, Base64JsonBody

FIELD = "FileContent"


def read(document: bytes, cuts: list[int]) -> tuple[bytes, dict[str, object]]:
    field, found, at = Base64Field(FIELD), b"", 0
    for cut in [*sorted(cut % (len(document) + 1) for cut in cuts), len(document)]:
        found += field.feed(document[at:cut])
        at = cut
    return found, field.close()


def plainly(document: bytes) -> tuple[bytes, dict[str, object]]:
    """The same with the whole document in memory; ValueError if it is not in order."""
    rest, pairs = json.loads(document), json.loads(document, object_pairs_hook=list)
    if not isinstance(rest, dict):
        raise ValueError("no object")  # noqa: TRY004 - as json does
    texts = [value for key, value in pairs if key == FIELD and isinstance(value, str)]
    if len(texts) > 1:
        raise ValueError("twice")
    text = "".join(texts)
    if not text.isascii():
        raise ValueError("no base64")
    if FIELD in rest and texts:
        rest[FIELD] = "" if isinstance(rest[FIELD], str) else rest[FIELD]
    return base64.b64decode("".join(text.split(" ")).translate({10: None, 13: None, 9: None}), validate=True), rest


def spelled(text: str, escapes: list[int]) -> str:
    """The inside of a JSON string, with some characters escaped that need not be, some of them in each way."""
    ways = {"/": ["/", "\\/", "\\u002f"], "+": ["+", "\\u002B"], "\n": ["\\n", "\\u000a"], "=": ["=", "\\u003d"]}
    spelling = []
    for at, letter in enumerate(text):
        known = ways.get(letter, [letter, f"\\u{ord(letter):04x}"])
        spelling.append(known[(escapes[at % len(escapes)] if escapes else 0) % len(known)])
    return "".join(spelling)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from([FIELD, '"FileContent": "', "\\"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just(FIELD), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    content=st.binary(max_size=200),
    line=st.sampled_from([0, 4, 5, 76]),
    escapes=st.lists(st.integers(0, 2), max_size=7),
    before=st.dictionaries(st.text(max_size=8).filter(lambda key: key != FIELD), values, max_size=3),
    after=st.dictionaries(st.text(max_size=8).filter(lambda key: key != FIELD), values, max_size=3),
    key=st.sampled_from(['"FileContent"', '"File\\u0043ontent"']),
    space=st.sampled_from(["", " ", "\n\t "]),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
    ascii_only=st.booleans(),
)
def test_every_spelling_in_every_chunking_gives_the_file_and_the_rest(
    content, line, escapes, before, after, key, space, cuts, ascii_only
):
    text = base64.b64encode(content).decode()
    if line:
        text = "".join(text[at : at + line] + "\n" for at in range(0, len(text), line))
    parts = [f"{json.dumps(k)}:{json.dumps(v, ensure_ascii=ascii_only)}" for k, v in before.items()]
    parts.append(f'{key}{space}:{space}"{spelled(text, escapes)}"')
    parts += [f"{json.dumps(k)}:{json.dumps(v, ensure_ascii=ascii_only)}" for k, v in after.items()]
    document = (space + "{" + f"{space},{space}".join(parts) + "}" + space).encode("utf-8", "surrogatepass")
    try:
        expected = plainly(document)
    except UnicodeDecodeError:  # half a surrogate pair, written as it is
        with pytest.raises(errors.UnexpectedBodyError):
            read(document, cuts)
    else:
        assert read(document, cuts) == expected
        assert expected[0] == content


@given(
    st.lists(
        st.sampled_from(
            [
                *("{", "}", "[", "]", ":", ",", '"', "\\", " ", "\n", "QUJD", "QQ==", "null", "1", '"a"', "é"),
                *("\\u0041", "\\n", "=", "\\u00", "/", '"FileContent"', '"FileContent":"QUJD"', '"FileContent":'),
                *('{"FileContent":"', '"}'),
            ]
        ),
        max_size=9,
    ).map("".join),
    st.lists(st.integers(0, 100), max_size=6),
)
def test_what_is_not_in_order_is_refused_exactly_where_json_refuses_it(document, cuts):
    raw = document.encode()
    try:
        expected = plainly(raw)
    except (ValueError, RecursionError):
        with pytest.raises(errors.UnexpectedBodyError):
            read(raw, cuts)
    else:
        assert read(raw, cuts) == expected


@given(st.text(alphabet='AQ=/+\\nu0 4é"', max_size=20), st.lists(st.integers(0, 20), max_size=5))
def test_text_of_a_file_is_judged_alike_in_every_chunking(text, cuts):
    def judged(pieces: list[int]) -> tuple[bytes, dict[str, object]] | None:
        try:
            return read(f'{{"FileContent": "{text}"}}'.encode(), pieces)
        except errors.UnexpectedBodyError:
            return None

    assert judged(cuts) == judged([])


def test_every_split_of_one_document_gives_the_same():
    document = b'{"a": "\\\\", "FileContent" : "AP8\\u002b\\/w==\\n", "FileSizeInBytes": 4}'
    whole = read(document, [])
    assert whole == (b"\x00\xff>\xff", {"a": "\\", "FileContent": "", "FileSizeInBytes": 4})
    assert all(read(document, [cut]) == whole for cut in range(len(document)))
    assert read(document, list(range(len(document)))) == whole


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"null",
        b'{"FileContent": "QUJ',
        b'{"FileContent": "QUJD"',
        b'{"FileContent": "QUJ"}',
        b'{"FileContent": "QU=D"}',
        b'{"FileContent": "QQ==QQ=="}',
        b'{"FileContent": "QU\nJD"}',
        b'{"FileContent": "QU\\"JD"}',
        b'{"FileContent": "QU\\u00e9D"}',
        b'{"FileContent": "QU\\u0141D"}',
        b'{"FileContent": "QUJD", "FileContent": "QUJD"}',
        b'[{"FileContent": "QUJD"}]',
        b"[" * 200_000,
    ],
)
def test_malformed_answer_is_a_wrong_body(document):
    with pytest.raises(errors.UnexpectedBodyError):
        read(document, [3])


def test_file_inside_an_inner_object_is_not_taken_for_the_file():
    content, rest = read(b'{"Collection": [{"FileContent": "QUJD"}], "FileContent": null}', [])
    assert content == b""
    assert rest == {"Collection": [{"FileContent": "QUJD"}], "FileContent": None}


def test_answer_with_too_much_beside_the_file_is_refused_early():
    field = Base64Field(FIELD)
    for _ in range(MAX_REST_BYTES // 1000):
        field.feed(b" " * 1000)
    with pytest.raises(errors.UnexpectedBodyError, match="more than"):
        field.feed(b" " * 1000)


def test_padding_in_a_piece_of_its_own_ends_the_text():
    text = Base64Text()
    assert text.feed(b"QUI") == b""
    assert text.feed(b"=") == b"AB"
    assert text.feed(b" ") == b""
    with pytest.raises(errors.UnexpectedBodyError):
        text.feed(b"Q")


async def test_sink_hands_on_the_file_and_begins_anew_when_started_again():
    bucket = MemorySink()
    sink = Base64Sink(bucket, FIELD)
    await sink.start(BodyFacts("application/json", 99))
    await sink.write(b'{"FileContent": "QUJD')
    assert bucket.facts == BodyFacts(named=True, framed=True)
    sink.rewind()
    await sink.start(BodyFacts("application/json", 99))
    for piece in (b'{"FileContent": "', b"QU", b'JD", "n": 1}'):
        await sink.write(piece)
    assert (bytes(bucket.content), sink.size, sink.finish()) == (b"ABC", 3, {"FileContent": "", "n": 1})


@given(st.binary(max_size=300), st.integers(1, 50), st.text(max_size=10))
async def test_body_in_json_is_one_document_of_the_length_it_tells(content, piece, name):
    body = Base64JsonBody({"FileName": name, "Size": len(content)}, FIELD, Bytes(content, piece))
    for _ in range(2):
        sent = b"".join([chunk async for chunk in body])
        assert len(sent) == int(body.headers["Content-Length"])
        found = json.loads(sent)
        assert base64.b64decode(found.pop(FIELD), validate=True) == content
        assert found == {"FileName": name, "Size": len(content)}


@given(st.binary(max_size=300), st.lists(st.integers(0, 999), max_size=4))
def test_file_in_a_list_is_decoded_in_every_chunking(content, cuts):
    """As Trac's plugin answers; a description that spells the same is not taken for the file."""
    lines = base64.encodebytes(content).decode()
    told = {"result": {"__jsonclass__": ["binary", lines]}, "error": {"message": '["binary", "x"]'}, "id": "binary"}
    document, field, found, at = json.dumps(told).encode(), Base64Field("binary", list_depth=3), b"", 0
    for cut in [*sorted(cut % len(document) for cut in cuts), len(document)]:
        found += field.feed(document[at:cut])
        at = cut
    assert found == content
    assert field.close() == {**told, "result": {"__jsonclass__": ["binary", ""]}}


@given(st.binary(max_size=300), st.integers(1, 50), st.text(max_size=10))
async def test_call_with_a_file_is_one_document_of_the_length_it_tells(content, piece, name):
    body = Base64CallBody("ticket.putAttachment", [5, name, "about"], Bytes(content, piece), [False])
    for _ in range(2):
        sent = b"".join([chunk async for chunk in body])
        assert len(sent) == int(body.headers["Content-Length"])
        call = json.loads(sent)
        number, named, about, binary, replace = call["params"]
        assert (call["method"], number, named, about, replace) == ("ticket.putAttachment", 5, name, "about", False)
        assert binary["__jsonclass__"][0] == "binary"
        assert base64.b64decode(binary["__jsonclass__"][1], validate=True) == content
