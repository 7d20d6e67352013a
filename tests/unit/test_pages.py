"""Pages for people in place of an answer are called what they are, whatever server they come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from migrator import errors
from migrator.sniffing import PageKind, is_page, page_in, page_instead, shown
from migrator.wire.answer import Answer
from migrator.wire.status import error_for_status, error_reason

LONG = "<p>" + "Lorem ipsum dolor sit amet. " * 100 + "</p>"
LOGIN_FORM = '<form action="/login"><input name="u"><input type="password" name="p"></form>'

PAGES = {
    "redmine login": (
        f"<!DOCTYPE html><html><head><title>Redmine</title></head><body>{LOGIN_FORM}</body>",
        PageKind.LOGIN,
    ),
    "login by title": ("<html><head><title>Sign in - Acme</title></head><body></body></html>", PageKind.LOGIN),
    "login by address": ('<html><meta http-equiv="refresh" content="0; url=/login"></html>', PageKind.LOGIN),
    "login that announces maintenance": (
        f"<html><title>Acme</title><body><p>Maintenance on Saturday.</p>{LOGIN_FORM}</body>",
        PageKind.LOGIN,
    ),
    "adfs": (
        (
            '<html><title>Sign In</title><form method="post" action="https://sts.acme.example/adfs/ls/?wa=wsignin1.0">'
            '<input type="password"></form></html>'
        ),
        PageKind.SIGN_ON,
    ),
    "saml": (
        (
            '<html><body onload="document.forms[0].submit()"><form method="POST" action="https://idp.example/sso">'
            '<input type="hidden" name="SAMLRequest" value="PHNh"/></form></body></html>'
        ),
        PageKind.SIGN_ON,
    ),
    "azure": ('<html><script>location="https://login.microsoftonline.com/x"</script></html>', PageKind.SIGN_ON),
    "oauth": (
        '<html><a href="https://id.example/oauth2/v1/authorize?client_id=1">Continue</a></html>',
        PageKind.SIGN_ON,
    ),
    "cloudflare": ("<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>", PageKind.GUARD),
    "cloudflare by its script": ("<html><script>window._cf_chl_opt={}</script></html>", PageKind.GUARD),
    "browser check": ("<html><h1>Checking your browser before accessing acme.example</h1></html>", PageKind.GUARD),
    "maintenance by title": (f"<html><title>Down for maintenance</title>{LONG}</html>", PageKind.MAINTENANCE),
    "maintenance by heading": (f"<html><h1>We'll be back soon</h1>{LONG}</html>", PageKind.MAINTENANCE),
    "maintenance in a short text": (
        "<html><head><title>Acme</title><style>p{}</style></head><body><p>The site is temporarily unavailable.</p>",
        PageKind.MAINTENANCE,
    ),
    "maintenance in German": ("<html><title>Wartungsarbeiten</title></html>", PageKind.MAINTENANCE),
    "upgrade": ("<html><h2>Jira is being upgraded</h2></html>", PageKind.MAINTENANCE),
    "licence": ("<html><title>Acme</title><h1>Your licence has expired</h1></html>", PageKind.LICENCE),
    "license": ("<html><title>License expired</title></html>", PageKind.LICENCE),
    "trial": (f"<html><h1>Your trial period has ended</h1>{LOGIN_FORM}</html>", PageKind.LICENCE),
    "some page": (f"<html><title>Dashboard</title><body>{LONG} maintenance, licence expired</body>", PageKind.OTHER),
    "xhtml": (
        '<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><title>Hello</title></html>',
        PageKind.OTHER,
    ),
}


@pytest.mark.parametrize(("text", "kind"), PAGES.values(), ids=PAGES)
def test_page_is_called_what_it_is(text, kind):
    assert is_page(text.encode())
    assert page_in(text.encode()).kind is kind


@pytest.mark.parametrize(("text", "kind"), PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("form", ["json", "xml"])
def test_page_in_place_of_an_answer_is_a_retried_error_that_tells_all(text, kind, form):
    answer = Answer(200, {"Content-Type": "text/html"}, text.encode(), "GET api/things")
    with pytest.raises(errors.RetriableError, match=r"^GET api/things: status 200, but the answer is not ") as caught:
        getattr(answer, form)()
    assert isinstance(caught.value, errors.LoginPageError) is (kind in {PageKind.LOGIN, PageKind.SIGN_ON})
    title = page_in(text.encode()).title
    assert title in str(caught.value)
    if kind is PageKind.MAINTENANCE:
        assert type(caught.value) is errors.RetriableError
        assert "down for maintenance" in str(caught.value)


@pytest.mark.parametrize(("text", "kind"), PAGES.values(), ids=PAGES)
def test_page_in_answer_to_a_write_says_nothing_of_whether_it_was_done(text, kind):
    with pytest.raises(errors.UnexpectedBodyError):
        Answer(200, {}, text.encode(), "POST uploads.json").json()


def test_maintenance_page_may_say_how_long_it_takes():
    body = PAGES["maintenance by title"][0].encode()
    with pytest.raises(errors.RetriableError) as caught:
        Answer(200, {"Retry-After": "40"}, body, "GET a").json()
    assert caught.value.retry_after == 40


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "GET a: status 200, but the answer is empty where JSON should be"),
        (b"  \n", "GET a: status 200, but the answer is empty where JSON should be"),
        (b'{"a": [1, 2', "GET a: status 200, but the answer is not JSON (at character 11 of 11)"),
        (b"Hello", "GET a: status 200, but the answer is not JSON (at character 0 of 5)"),
        (b"<html><title>A &amp; B</title>", 'GET a: status 200, but the answer is not JSON: a web page ("A & B")'),
    ],
)
def test_what_is_no_json_is_told_with_path_status_and_place(body, message):
    with pytest.raises(errors.UnexpectedBodyError) as caught:
        Answer(200, {}, body, "GET a").json()
    assert str(caught.value) == message


def test_answer_of_nobody_knows_which_question_is_told_all_the_same():
    with pytest.raises(errors.UnexpectedBodyError, match=r"^status 200, but the answer is not JSON"):
        Answer(200, {}, b"x").json()


@pytest.mark.parametrize(
    ("title", "seen"),
    [
        ("Acme\n  Tracker", "Acme Tracker"),
        (
            "A" * 20 + " " + "b" * 20 + " " + "c" * 20 + " " + "d" * 24,
            "A" * 20 + " " + "b" * 20 + " " + "c" * 20 + " " + "d" * 17,
        ),
        ("Error at /api?token=s3cr3t now", "Error at ... now"),
        ("Bearer 0123456789abcdef0123456789abcdef", "Bearer ..."),
        ("a\x1b[31mb", "a\ufffd[31mb"),
        ("Gr&uuml;&szlig;e", "Grüße"),
    ],
)
def test_title_is_one_short_printable_line_without_addresses_and_keys(title, seen):
    assert shown(title) == seen
    assert page_in(f"<html><title>{title}</title>".encode()).title == seen


@given(st.binary(max_size=3000))
def test_any_bytes_are_some_page(body):
    page = page_in(b"<html>" + body)
    assert page.kind in PageKind
    assert str(page).isprintable()


@pytest.mark.parametrize("piece", ["<title>", "<h1>", "<script>", "<", "licence ", "&", "type=", "  "])
def test_looking_at_a_page_takes_no_long_time(piece):
    page_in(b"<html>" + piece.encode() * 100_000)


# --- in place of a file


@pytest.mark.parametrize(("text", "kind"), PAGES.values(), ids=PAGES)
def test_page_in_place_of_a_file_is_called_what_it_is(text, kind):
    told = page_instead(text.encode()[:512])
    assert "instead of the file" in told


# --- refusals


IIS = (
    "<!DOCTYPE html><html><head><title>404 - File or directory not found.</title></head><body><h1>Server Error</h1>"
    "<h2>404 - File or directory not found.</h2><h3>The resource you are looking for might have been removed, had its "
    "name changed, or is temporarily unavailable.</h3></body></html>"
)


@pytest.mark.parametrize("status", [404, 410])
def test_page_of_what_is_not_there_is_no_maintenance(status):
    assert type(error_for_status(status, {}, "GET a", IIS.encode())) is errors.GoneError
    signed = '<html><title>Not found</title><a href="https://accounts.google.com/o/oauth2/auth">Sign in</a></html>'
    assert type(error_for_status(status, {}, "GET a", signed.encode())) is errors.GoneError


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 500, 501, 502])
@pytest.mark.parametrize("page", ["maintenance by title", "cloudflare", "maintenance in German"])
def test_refusal_by_a_proxy_says_nothing_about_what_was_asked_for(status, page):
    error = error_for_status(status, {}, "GET a", PAGES[page][0].encode())
    assert type(error) is errors.RetriableError
    assert page_in(PAGES[page][0].encode()).title in str(error)


@pytest.mark.parametrize("status", [402, 403, 404])
@pytest.mark.parametrize("body", [PAGES["licence"][0], '{"Message": "Your subscription has expired."}'])
def test_licence_that_is_over_is_no_word_on_the_rights_of_this_account(status, body):
    error = error_for_status(status, {}, "GET a", body.encode())
    assert type(error) is errors.RejectedError
    assert "expired" in str(error) or "licence" in str(error)


@pytest.mark.parametrize(
    ("challenges", "body", "told"),
    [
        (
            [],
            '{"Message": "Invalid API key"}',
            "GET a: the tracker refused the credentials (status 401, Invalid API key)",
        ),
        (["Basic realm=x"], "", "GET a: the tracker refused the credentials (status 401)"),
    ],
)
def test_refused_credentials_keep_the_reason_of_the_server(challenges, body, told):
    error = error_for_status(401, headers_of(challenges), "GET a", body.encode())
    assert isinstance(error, errors.AuthError)
    assert str(error) == told


@pytest.mark.parametrize(
    ("challenges", "windows"),
    [
        (["NTLM"], True),
        (["Negotiate", "NTLM"], True),
        (["Negotiate, NTLM"], True),
        (["Negotiate oYG2MIGzoAMKAQChCwYJ"], True),
        (["Negotiate", 'Basic realm="x"'], False),
        (['Basic realm="x, NTLM"'], False),
        (["Bearer"], False),
        ([], False),
    ],
)
def test_windows_login_is_called_so_with_the_remedy(challenges, windows):
    told = str(error_for_status(401, headers_of(challenges), "GET a"))
    assert ("Windows login (NTLM or Kerberos)" in told) is windows
    assert ("create an API token" in told) is windows
    assert "oYG2" not in told


def test_redmine_that_may_have_its_api_off_is_told_so():
    told = str(error_for_status(401, headers_of(['Basic realm="Redmine API"']), "GET users/current.json"))
    assert "while its REST API is off" in told


def headers_of(challenges: list[str]):
    return CIMultiDict([("WWW-Authenticate", one) for one in challenges])


@pytest.mark.parametrize("title", ['<title lang="en">Runtime Error</title>', "<TITLE>Runtime Error</TITLE>"])
def test_title_of_any_spelling_is_the_reason(title):
    assert error_reason(f"<html>{title}</html>".encode()) == "Runtime Error"
