"""File names, words and people of the made-up world.

The odd names are of every kind that is known to break importers, so that each run over a sandbox meets them all.

Beware: they are legal where people made them, but not at every target or on every disk.
"""

KINDS = ("story", "bug", "task", "feature", "request")

VERBS = ("Import", "Export", "Print", "Search", "Archive", "Translate", "Encrypt", "Rename", "Merge", "Cache")
THINGS = (
    "invoices",
    "the login page",
    "user photos",
    "Übersichten",
    "日本語の帳票",
    "push messages",
    "reports",
    "tags",
)
WHEN = (
    "on Safari",
    "after an upgrade",
    "for guests",
    "at midnight",
    "with 10,000 rows",
    "on a slow line",
    "offline",
)

PEOPLE = ("Ann Lee", "Łukasz Żak", "José Núñez", "محمد علي", "陳大文", "Siobhán O'Neill")

ORDINARY = (
    ("screenshot", ".png", "image/png"),
    ("report", ".pdf", "application/pdf"),
    ("log", ".txt", "text/plain"),
    ("figures", ".xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("dump", ".bin", "application/octet-stream"),
    ("photo", ".jpg", "image/jpeg"),
    ("trace", ".zip", "application/zip"),
)

ODD = (
    "Übersicht über Änderungen.docx",
    "報告書 (最終版).pdf",
    "🐛 repro 👩‍👩‍👧.png",
    "תיעוד המערכת.txt",
    "invoice_\u202egpj.exe",
    "cafe\u0301 menu.txt",
    'He said "stop".txt',
    "it's mine.txt",
    "a;b=c; filename=d.txt",
    "100%41.txt",
    "q?x=1&y=2#z.txt",
    "../../evil.txt",
    "back\\slash.txt",
    "<b>bold</b>|*.txt",
    ".htaccess",
    "CON.txt",
    "ends with a dot.",
    " spaces around .txt ",
    "no extension",
    "long " + "x" * 205 + ".txt",
    "lang " + "ä" * 118 + ".txt",
)

DESCRIPTIONS = (
    "Screen of the second try",
    "Größe geändert\nsiehe unten",
    "первый вариант 🙂",
    'says "ok" & <done>',
)

LOGIN_LIKE_HTML = b"""<!DOCTYPE html>
<html><head><title>Log in</title></head><body>
<form action="/login.aspx" method="post"><input name="username"><input type="password" name="password">
<button>Log in</button></form><p>A saved page: a real file, not an answer of the tracker.</p></body></html>
"""
