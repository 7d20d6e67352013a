"""What goes out as multipart is what a real server reads."""

from __future__ import annotations

import re
from email.message import Message
from urllib.parse import unquote

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import assume, given
from hypothesis import strategies as st

from migrator.testing import NASTY, Bytes
from migrator.wire.request_body import MultipartBody, RawBody, content_disposition

PLAIN = "application/octet-stream"


@pytest.fixture
async def send():
    """Post a body to a real server; gives what it read of each part."""

    async def answer(request: web.Request) -> web.Response:
        assert request.content_length is not None
        parts = []
        async for part in await request.multipart():
            content = bytes(await part.read())
            parts.append([part.name, part.filename, part.headers.get("Content-Type"), content.hex()])
        return web.json_response(parts)

    app = web.Application(client_max_size=2**30)
    app.router.add_post("/", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:

        async def post(body: MultipartBody) -> list[tuple[str, str, str, bytes]]:
            async with session.post(server.make_url("/"), data=aiter(body), headers=body.headers) as response:
                assert response.status == 200, await response.text()
                return [(n, f, t, bytes.fromhex(c)) for n, f, t, c in await response.json()]

        yield post


async def test_fields_and_file_arrive_in_order(send):
    content = bytes(range(256)) * 2000
    body = MultipartBody({"kind": "Bug", "note": "ü & \r\n x"}, "file", "a.bin", "image/png", Bytes(content))
    assert await send(body) == [
        ("kind", None, None, b"Bug"),
        ("note", None, None, "ü & \r\n x".encode()),
        ("file", "a.bin", "image/png", content),
    ]


async def test_body_can_be_sent_twice(send):
    body = MultipartBody({}, "file", "a.bin", "", Bytes(b"again"))
    assert await send(body) == await send(body) == [("file", "a.bin", "application/octet-stream", b"again")]


async def test_empty_file_arrives(send):
    assert await send(MultipartBody({}, "file", "a.bin", "", Bytes(b""))) == [
        ("file", "a.bin", "application/octet-stream", b"")
    ]


@pytest.mark.parametrize("name", [name for name in NASTY if name], ids=ascii)
async def test_name_arrives_as_it_is(send, name):
    [(_, arrived, _, _)] = await send(MultipartBody({}, "file", name, "", Bytes(b"x")))
    assert arrived == name


@pytest.mark.parametrize("media_type", ["", "text/plain\r\nX-Evil: 1", "größe/x", "text/\0"])
async def test_media_type_that_would_break_the_header_is_left_out(send, media_type):
    [(_, _, arrived, _)] = await send(MultipartBody({}, "file", "a", media_type, Bytes(b"x")))
    assert arrived == "application/octet-stream"


@given(st.text())
def test_no_name_breaks_out_of_its_header(name):
    line = content_disposition(name)
    assert not {char for char in line if char < " " or char == "\x7f"} - {"\t"}, "servers refuse these in a header"
    assert unquote(line.removeprefix('filename="').partition('"')[0]) == unquote(name)
    if "filename*=" in line:
        assert unquote(line.rpartition("''")[2]) == name


@given(
    st.text(alphabet=st.characters(codec="ascii", exclude_characters='"\\\\%', exclude_categories=["Cc"]), min_size=1)
)
def test_plain_name_is_what_another_reader_of_headers_makes_of_it(name):
    assume(not re.fullmatch("<.*>", name.strip()))  # that reader takes it for an address, and drops the brackets
    message = Message()
    message["Content-Disposition"] = f"form-data; {content_disposition(name)}"
    assert message.get_filename("").strip() == name.strip()


async def test_raw_body_tells_its_length_and_comes_again():
    body = RawBody(Bytes(b"abc"))
    assert body.headers == {"Content-Type": "application/octet-stream", "Content-Length": "3"}
    assert [b"".join([chunk async for chunk in body]) for _ in range(2)] == [b"abc", b"abc"]


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        ("image/png", "image/png"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ('text/x;a="b; c" ;d=e', 'text/x;a="b; c" ;d=e'),
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
        ("text/html; charset", "text/html"),
        ("text/html;", "text/html"),
        *((odd, PLAIN) for odd in ("multipart/form-data", "Multipart/mixed; boundary=x", "message/rfc822")),
        *(
            (odd, PLAIN)
            for odd in ("", "png", "a/b/c", "/", "a b/c", "text/", "Bild/jpg\r\nX: y", "größe/x", "text/plain x")
        ),
    ],
)
async def test_media_type_is_sent_where_it_is_one_that_makes_nobody_look_inside(send, told, sent):
    body = MultipartBody({}, "file", "a.bin", told, Bytes(b"a"))
    assert await send(body) == [("file", "a.bin", sent, b"a")]
    assert RawBody(Bytes(b"a"), told).headers["Content-Type"] == sent
