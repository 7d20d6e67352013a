"""What a body is, judged by its content: a login page, another web page, an error message, or what was requested.

A server under maintenance, a sign-on, a bot check and an expired licence all answer with a page, often with status
200. Its title is shown in the error, because it tells a person at once where the page comes from.

Beware: a login page may mention anything, so only the title, the headings and the text of a short page count.

Most patterns for pages are left as text, which `re` compiles, and keeps, when the first page comes: few runs see one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from migrator.model import Attachment
from migrator.ports import BodyFacts
from migrator.printable import printable

_MAX_PAGE_BYTES = 64 * 1024
"""How much of a page is examined."""
SNIFFED_BYTES = 512
"""How much of the beginning of a file is examined."""
_MAX_SHORT_CHARACTERS = 1500
"""A page with at most this much text is taken to be about one subject, so all of its text counts."""

_START = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_TITLE = r"(?is)<title[^<>]*>(.*?)(?:</title|\Z)"
_HEADING = r"(?is)<h[12][^<>]*>(.*?)(?:</h[12]|\Z)"
_INVISIBLE = r"(?is)<(script|style|head)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>"
_POSSIBLE_SECRET = re.compile(r"\S*=\S*|[\w+/.-]{25,}")
"""An address with its query, or a key; never shown."""

_HTML = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_LOGIN_WORD = re.compile(r"(log|sign)[-_]?(in|on)|auth|sso|authenticate|authorize|adfs", re.IGNORECASE)
_PAGE_EXTENSIONS = frozenset({"", "aspx", "asp", "php", "jsp", "do", "html", "htm", "action", "cgi", "pl"})
_ERROR_MESSAGE = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:(?:error|errors|errorcode|errormessage|message|exceptionmessage|fault|status|code'
    rb'|detail|reason)"\s*:|success"\s*:\s*false|type"\s*:\s*"(?:about:blank|https?:))',
    re.IGNORECASE,
)
_HTML_NAMES = (".html", ".htm", ".xhtml", ".mht", ".mhtml", ".svg", ".xml")

_PASSWORD = re.compile(r"type\s*=\s*.?password", re.IGNORECASE)
_GUARDED = (
    r"(?i)cf[-_]chl|cf-browser-verification|incapsula incident|ddos-guard|enable javascript and cookies to continue"
    r"|checking (?:if the site|your browser)|verify(?:ing)? (?:that )?you are (?:a )?human|perfdrive|px-captcha"
)
_GUARD_TITLE = r"(?i)just a moment|attention required|are you a (?:human|robot)|ddos"
_SIGN_ON = (
    r"(?i)SAMLRe(?:quest|sponse)|/saml2?/|wa=wsignin|/adfs/|login\.microsoftonline\.com|/oauth2?/(?:v\d[.\d]*/)?authorize"
    r"|openid-connect|shibboleth|/cas/login|\.okta\.com|\.auth0\.com|accounts\.google\.com/"
)
_SURE_SIGN_ON = r"(?i)SAMLRe(?:quest|sponse)|/adfs/|login\.microsoftonline\.com"
_LOGIN = r"(?i)\b(?:log|sign)[ -]?(?:in|on)\b|anmelde|\banmeldung\b|connexion|iniciar sesi"
_LOGIN_PATH = r"""(?i)(?:action|href|url)\s*=\s*["']?[^"'>\s]*/(?:log|sign)[-_]?(?:in|on)\b"""
_MAINTENANCE = (
    r"(?i)\bmaint[ea]n[ae]nce|temporarily (?:unavailable|offline|down|closed|out of service)|under construction"
    r"|be (?:right )?back (?:soon|shortly|in)|service (?:is )?(?:temporarily )?unavailable|scheduled downtime"
    r"|(?:is|are|being|currently) (?:being )?(?:upgraded|updated|upgrading|updating|starting|restarted)\b"
    r"|upgrade (?:is )?in progress|wartung|mantenimiento|manuten"
)
_LICENCE = (
    r"(?is)licen[cs]e\W.{0,30}\b(?:expired|invalid|exceeded|not valid|missing|over|ended)\b"
    r"|(?:expired|invalid|no valid) licen[cs]e"
    r"|(?:trial|evaluation|subscription)\W.{0,30}\b(?:expired|ended|over|suspended)\b"
    r"|(?:account|instance|site) (?:has been|is|was) (?:suspended|deactivated)|lizenz.{0,30}(?:abgelaufen|ung.ltig)"
)


class PageKind(Enum):
    """The kinds of pages for people; each value describes one in a message."""

    LOGIN = "a login page{title}; are these credentials valid for this?"
    SIGN_ON = (
        "the page of a single sign-on{title}, which needs a person at a browser: create an API token, or have the "
        "tracker's API exempted from the sign-on"
    )
    GUARD = (
        "the page of a bot protection{title}, such as Cloudflare's, not of the tracker: have this machine's "
        "address exempted from it"
    )
    MAINTENANCE = "a page that says the tracker is down for maintenance{title}; run the same command again later"
    LICENCE = (
        "a page that says the tracker's licence or trial is over{title}: renew it, then run the same command again"
    )
    OTHER = "a web page{title}"


def is_page(body: bytes) -> bool:
    """Whether an answer is a web page, including XHTML."""
    head = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith(b"<") and _START.search(head) is not None


@dataclass(frozen=True, slots=True)
class WebPage:
    """A web page made for people. `title` is one short printable line without anything that may be a secret."""

    kind: PageKind
    title: str

    @property
    def asks_for_login(self) -> bool:
        """Whether somebody has to log in, at the tracker itself or at a sign-on in front of it."""
        return self.kind in {PageKind.LOGIN, PageKind.SIGN_ON}

    def __str__(self) -> str:
        title = f' ("{self.title}")' if self.title else ""
        return self.kind.value.format(title=title.replace("{", "(").replace("}", ")"))


def page_in(body: bytes, *, read_text: bool = True) -> WebPage:
    """The kind and title of a page. `read_text`: if the page is short, its text counts, too.

    For a 4xx it must not: below each 404, IIS writes that the resource may be "temporarily unavailable".
    """
    text = body[:_MAX_PAGE_BYTES].decode("utf-8", "replace")
    title = re.search(_TITLE, text)
    return WebPage(_kind(text, title[1] if title else "", read_text), shown(title[1] if title else ""))


def shown(text: str) -> str:
    """Text of a page as it may be shown: one line of at most 80 characters, without possible secrets."""
    import html

    line = " ".join(_POSSIBLE_SECRET.sub("...", html.unescape(text[:1000])).split())[:80]
    return printable(line)


def is_about_licence(reason: str) -> bool:
    """Whether a text, such as the reason in an error, says that a licence, trial or subscription is over."""
    return re.search(_LICENCE, reason) is not None


def _kind(text: str, title: str, read_text: bool) -> PageKind:
    password = _PASSWORD.search(text) is not None
    if re.search(_GUARD_TITLE, title) or (re.search(_GUARDED, text) and not password):
        return PageKind.GUARD
    if re.search(_SURE_SIGN_ON, text) or (read_text and re.search(_SIGN_ON, text) and not password):
        return PageKind.SIGN_ON
    words = " ".join([title, *re.findall(_HEADING, text)])
    if password and not re.search(_MAINTENANCE, title) and not re.search(_LICENCE, words):
        return PageKind.LOGIN
    visible = " ".join(re.sub(_INVISIBLE, " ", text).split())
    if read_text and len(visible) <= _MAX_SHORT_CHARACTERS:
        words += " " + visible
    if kind := _kind_by_words(words):
        return kind
    return PageKind.LOGIN if password or re.search(_LOGIN, title) or re.search(_LOGIN_PATH, text) else PageKind.OTHER


def _kind_by_words(words: str) -> PageKind | None:
    if re.search(_LICENCE, words):
        return PageKind.LICENCE
    return PageKind.MAINTENANCE if re.search(_MAINTENANCE, words) else None


def looks_like_html(head: bytes) -> bool:
    """Whether a file begins like an HTML page. Stricter than `is_page`: a file may be XML or any text."""
    return _HTML.match(head[:SNIFFED_BYTES]) is not None


def looks_like_login(location: str) -> bool:
    """Whether an address looks like that of a login page; one that ends like the name of a file doesn't."""
    host, path = "", location.partition("?")[0].partition("#")[0]
    if "://" in path:
        host, _, path = path.partition("://")[2].partition("/")
    *words, last = path.split("/")
    last, _, extension = last.partition(";")[0].partition(".")
    if extension.lower() not in _PAGE_EXTENSIONS:
        return False
    return any(_LOGIN_WORD.fullmatch(word) for word in (*host.split("."), *words, last))


def expects_html(attachment: Attachment) -> bool:
    """Whether this attachment may be HTML, by its name or media type."""
    return "html" in attachment.media_type.lower() or attachment.name.lower().endswith(_HTML_NAMES)


def expects_json(attachment: Attachment) -> bool:
    """Whether this attachment may be JSON, by its name or media type."""
    return "json" in attachment.media_type.lower() or "json" in attachment.name.lower().rpartition(".")[2]


def looks_like_error(facts: BodyFacts, head: bytes) -> bool:
    """Whether a body begins like an API's error message in JSON, and the server does not declare it as a file."""
    return "json" in facts.media_type and not facts.named and _ERROR_MESSAGE.match(head[:SNIFFED_BYTES]) is not None


def is_login_form(head: bytes) -> bool:
    """Whether a web page is a login page of the tracker."""
    return page_in(head).kind is PageKind.LOGIN


def page_instead(head: bytes) -> str:
    """The description of a web page that came in place of a file."""
    page = page_in(head)
    if page.kind in {PageKind.LOGIN, PageKind.OTHER}:
        name = "login" if page.kind is PageKind.LOGIN else "web"
        title = f' ("{page.title}")' if page.title else ""
        return f"a {name} page instead of the file{title}; are these credentials valid for files?"
    return f"{page}; it came instead of the file"


def is_error_page(facts: BodyFacts, head: bytes, *, html_expected: bool) -> bool:
    """Whether a body that should be a file is a web page made for people.

    HTML that the server declares as a file (Content-Disposition) is a file.
    """
    if not looks_like_html(head) or facts.named:
        return False
    return not html_expected and facts.media_type in {"text/html", "application/xhtml+xml", ""}
