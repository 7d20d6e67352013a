"""Where a sandbox Kiwi TCMS keeps its files: under which names, and which it refuses.

As Django does it. A name keeps letters, digits and `-_.`; if the place is taken, or the path too long, the name is cut
and gets a random ending.
"""

import html
import random
import re
from collections.abc import Callable, Container

from migrator.sandbox.errors import RefusedError

MAX_PATH_CHARACTERS = 100
MODELS = {"TestCase": "testcases_testcase", "TestPlan": "testplans_testplan"}
_TAGS = (
    "applet audio bgsound body canvas embed frame frameset head html iframe link meta object param source script ruby "
    "rt title track video xmp"
)
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_ENDING_CHARACTERS = 7


def folder_of(kind: str, number: int) -> str:
    """Where the files of a test case or plan are."""
    return f"attachments/{MODELS[kind]}/{number}/"


def refused(reason: str) -> RefusedError:
    """The refusal of a file."""
    return RefusedError(200, str({"attachment_file": [reason]}))


def name_received(name: str) -> str:
    """A name as it comes out of the form in which Kiwi sends a file to itself."""
    name = html.unescape(name).replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in name if char.isprintable())
    if name in {"", ".", ".."}:
        raise refused("This field is required.")
    return name


def stored_name(name: str, folder: str, taken: Container[str], rng: random.Random) -> str:
    """The name that a file gets in a folder."""
    valid = re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))
    if valid in {"", ".", ".."}:
        raise RefusedError(200, f"Could not derive file name from '{name}'")
    point = valid.rfind(".")
    stem, ending = (valid[:point], valid[point:]) if valid[:point].strip(".") else (valid, "")
    while folder + valid in taken or len(folder + valid) > MAX_PATH_CHARACTERS:
        room = MAX_PATH_CHARACTERS - len(folder + ending) - _ENDING_CHARACTERS - 1
        if room <= 0 or not stem:
            message = f'Storage can not find an available filename for "{folder}{name}". '
            raise RefusedError(200, message + "Please make sure that the corresponding file field allows it.")
        valid = f"{stem[:room]}_{''.join(rng.choices(_LETTERS, k=_ENDING_CHARACTERS))}{ending}"
    return valid


def require_harmless(name: str, content: bytes, limit: int, size_of: Callable[[int], str]) -> None:
    """Refuse a file that Kiwi takes for dangerous, or that is empty or too large."""
    if not content:
        raise refused("The submitted file is empty.")
    reasons = [f"File exceeds maximum size of {size_of(limit)}"] if len(content) > limit else []
    lower = content.lower()
    tag = next((tag for tag in _TAGS.split() if f"<{tag}".encode() in lower), "")
    if tag:
        reasons.append(f"File contains forbidden tag: <{tag}>")
    elif b"onload=" in lower:
        reasons.append("File contains forbidden attribute: `onload`")
    elif ".exe" in name:
        reasons.append("Uploading executable files is forbidden")
    if reasons:
        raise RefusedError(200, str({"attachment_file": reasons}))
