"""Web pages that come in place of an answer: which kind each is, what its title says, and what to do about it.

A server under maintenance, a sign-on, a bot check and an expired licence all answer with a page, often with status
200. A person who reads its title in the error knows at once whose page it is.

Beware: a login page may mention anything, so only its title, its headings and the text of a short page count.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from enum import Enum

from migrator.printable import printable

_LOOKED_AT = 64 * 1024
_SHORT = 1500
"""Characters of text up to which a page is believed to be about one thing."""

_START = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]*>(.*?)(?:</title|\Z)", re.IGNORECASE | re.DOTALL)
_HEADING = re.compile(r"<h[12][^<>]*>(.*?)(?:</h[12]|\Z)", re.IGNORECASE | re.DOTALL)
_UNSEEN = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_OPAQUE = re.compile(r"\S*=\S*|[\w+/.-]{25,}")
"""What may be an address with its query, or a key: never shown."""


class Kind(Enum):
    """What a page is, with what to say of it."""

    LOGIN = "a login page{title}; are these credentials good for this?"
    SIGN_ON = (
        "the page of a single sign-on{title}, which wants a person at a browser: create an API token, or have the "
        "tracker's API let past the sign-on"
    )
    GUARD = (
        "the page of a guard against robots{title}, such as Cloudflare's, not of the tracker: have this machine's "
        "address let past it"
    )
    MAINTENANCE = "a page that says the tracker is down for maintenance{title}; run the same command again later"
    LICENCE = (
        "a page that says the tracker's licence or trial is over{title}: renew it, then run the same command again"
    )
    OTHER = "a web page{title}"


_PASSWORD = re.compile(r"type\s*=\s*.?password", re.IGNORECASE)
_GUARDED = re.compile(
    r"cf[-_]chl|cf-browser-verification|incapsula incident|ddos-guard|enable javascript and cookies to continue"
    r"|checking (?:if the site|your browser)|verify(?:ing)? (?:that )?you are (?:a )?human|perfdrive|px-captcha",
    re.IGNORECASE,
)
_GUARD_TITLE = re.compile(r"just a moment|attention required|are you a (?:human|robot)|ddos", re.IGNORECASE)
_SIGN_ON = re.compile(
    r"SAMLRe(?:quest|sponse)|/saml2?/|wa=wsignin|/adfs/|login\.microsoftonline\.com|/oauth2?/(?:v\d[.\d]*/)?authorize"
    r"|openid-connect|shibboleth|/cas/login|\.okta\.com|\.auth0\.com|accounts\.google\.com/",
    re.IGNORECASE,
)
_SURE_SIGN_ON = re.compile(r"SAMLRe(?:quest|sponse)|/adfs/|login\.microsoftonline\.com", re.IGNORECASE)
_LOGIN = re.compile(r"\b(?:log|sign)[ -]?(?:in|on)\b|anmelde|\banmeldung\b|connexion|iniciar sesi", re.IGNORECASE)
_LOGIN_PATH = re.compile(r"""(?:action|href|url)\s*=\s*["']?[^"'>\s]*/(?:log|sign)[-_]?(?:in|on)\b""", re.IGNORECASE)
_MAINTENANCE = re.compile(
    r"\bmaint[ea]n[ae]nce|temporarily (?:unavailable|offline|down|closed|out of service)|under construction"
    r"|be (?:right )?back (?:soon|shortly|in)|service (?:is )?(?:temporarily )?unavailable|scheduled downtime"
    r"|(?:is|are|being|currently) (?:being )?(?:upgraded|updated|upgrading|updating|starting|restarted)\b"
    r"|upgrade (?:is )?in progress|wartung|mantenimiento|manuten",
    re.IGNORECASE,
)
_LICENCE = re.compile(
    r"licen[cs]e\W.{0,30}\b(?:expired|invalid|exceeded|not valid|missing|over|ended)\b"
    r"|(?:expired|invalid|no valid) licen[cs]e"
    r"|(?:trial|evaluation|subscription)\W.{0,30}\b(?:expired|ended|over|suspended)\b"
    r"|(?:account|instance|site) (?:has been|is|was) (?:suspended|deactivated)|lizenz.{0,30}(?:abgelaufen|ung.ltig)",
    re.IGNORECASE | re.DOTALL,
)


def is_page(body: bytes) -> bool:
    """Whether an answer is a page for people; XHTML, too."""
    head = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    return head.startswith(b"<") and _START.search(head) is not None


@dataclass(frozen=True, slots=True)
class PersonsPage:
    """A page for people; `title` is one short printable line, without what may be an address or a key."""

    kind: Kind
    title: str

    def __str__(self) -> str:
        title = f' ("{self.title}")' if self.title else ""
        return self.kind.value.format(title=title.replace("{", "(").replace("}", ")"))


def page_in(body: bytes, *, brief: bool = True) -> PersonsPage:
    """What a body that is a page is. Unless `brief` its text says nothing, however short it is: that of a refusal.

    IIS writes below each of its 404 that the resource "is temporarily unavailable", perhaps.
    """
    text = body[:_LOOKED_AT].decode("utf-8", "replace")
    title = _TITLE.search(text)
    return PersonsPage(_kind(text, title[1] if title else "", brief), shown(title[1] if title else ""))


def shown(text: str) -> str:
    """Words of a page that may be shown: one line of at most 80 characters."""
    line = " ".join(_OPAQUE.sub("...", html.unescape(text[:1000])).split())[:80]
    return printable(line)


def is_about_licence(reason: str) -> bool:
    """Whether words, such as the reason in an error, say that a licence, trial or subscription is over."""
    return _LICENCE.search(reason) is not None


def _kind(text: str, title: str, brief: bool) -> Kind:
    password = _PASSWORD.search(text) is not None
    if _GUARD_TITLE.search(title) or (_GUARDED.search(text) and not password):
        return Kind.GUARD
    if _SURE_SIGN_ON.search(text) or (brief and _SIGN_ON.search(text) and not password):
        return Kind.SIGN_ON
    words = " ".join([title, *_HEADING.findall(text)])
    if password and not _MAINTENANCE.search(title) and not _LICENCE.search(words):
        return Kind.LOGIN
    seen = " ".join(_UNSEEN.sub(" ", text).split())
    return _spoken(words + " " + seen if brief and len(seen) <= _SHORT else words) or (
        Kind.LOGIN if password or _LOGIN.search(title) or _LOGIN_PATH.search(text) else Kind.OTHER
    )


def _spoken(words: str) -> Kind | None:
    if _LICENCE.search(words):
        return Kind.LICENCE
    return Kind.MAINTENANCE if _MAINTENANCE.search(words) else None
