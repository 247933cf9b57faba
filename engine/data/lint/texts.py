"""Checks of one row's text: the order of its turns, its characters, control tokens in it."""

import itertools
import re
from collections.abc import Iterable, Iterator

from engine.data.types import Conversation, Row

OPENERS = ("system", "user")
"""Roles that may begin a conversation."""
BEFORE_ANSWER = ("user", "tool")
"""Roles that an answer follows."""
HIGH = (
    "".join(re.escape(bytes([byte]).decode("cp1252", "ignore")) for byte in range(0x80, 0xC0)) + "\x80-\xbf"
)
DAMAGE = re.compile(f"\ufffd|[ÂÃ][{HIGH}]|[âï][{HIGH}]{{2}}|ð[{HIGH}]{{3}}")
"""U+FFFD, and the two to four characters that UTF-8 becomes when it is read as Latin-1 or Windows-1252."""
SCRIPTS = {
    "Latin": re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"),
    "Greek": re.compile("[\u0370-\u03ff]"),
    "Cyrillic": re.compile("[\u0400-\u052f]"),
    "Hebrew": re.compile("[\u0590-\u05ff]"),
    "Arabic": re.compile("[\u0600-\u06ff\u0750-\u077f]"),
    "Devanagari": re.compile("[\u0900-\u097f]"),
    "Bengali": re.compile("[\u0980-\u09ff]"),
    "Tamil": re.compile("[\u0b80-\u0bff]"),
    "Thai": re.compile("[\u0e00-\u0e7f]"),
    "Japanese": re.compile("[\u3040-\u30ff]"),
    "Han": re.compile("[\u3400-\u4dbf\u4e00-\u9fff]"),
    "Korean": re.compile("[\uac00-\ud7af\u1100-\u11ff]"),
}
PLACEHOLDER = re.compile("<(?:image|video|audio)>")
"""Placeholder in a text for a picture, a video or sound."""
SCRIPT_CHARACTERS = 400
"""Characters of a row by which its script is judged."""


def texts(row: Row) -> Iterator[tuple[str, str]]:
    """Roles and texts of a row; plain text is a prompt by a user and a completion by the assistant."""
    if isinstance(row, Conversation):
        yield from ((message.role, message.content) for message in row.messages)
    else:
        yield "user", row.prompt
        yield "assistant", row.completion


def said(row: Row) -> str:
    """Text of a row without system messages, which many rows share."""
    return "\n".join(text for role, text in texts(row) if role != "system")


def order(row: Row) -> str:
    """Describe what is wrong with the order of a conversation's turns; empty if nothing is."""
    if not isinstance(row, Conversation):
        return ""
    roles = [message.role for message in row.messages]
    if roles[0] not in OPENERS:
        return f"begins with {roles[0]}"
    if "system" in roles[1:]:
        return "has a system message in the middle"
    for before, after in itertools.pairwise(roles):
        if after == "assistant" and before == "system":
            return "answers without a question"
        if before == after == "user":
            return "has two questions in a row"
    if roles[-1] in BEFORE_ANSWER:
        return "ends without an answer"
    return ""


def damage(text: str) -> str:
    """The first piece of text that was read in a wrong encoding; empty where there is none."""
    found = None if text.isascii() else DAMAGE.search(text)
    return found[0] if found else ""


def script(text: str) -> str:
    """The script of most of the letters at the beginning; empty where there are none."""
    head = text[:SCRIPT_CHARACTERS]
    if head.isascii():
        return "Latin" if SCRIPTS["Latin"].search(head) else ""
    counts = {name: len(pattern.findall(head)) for name, pattern in SCRIPTS.items()}
    best = max(counts, key=lambda name: counts[name])
    # A Japanese text has Han characters too, often more of them than its own.
    best = "Japanese" if best == "Han" and counts["Japanese"] else best
    return best if counts[best] else ""


def control_tokens(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern of special tokens as text; None where there are none. Plain words among them are left out."""
    marked = sorted(
        (text for text in tokens if re.search(r"[^\w\s]", text) and len(text) > 2), key=len, reverse=True
    )
    return re.compile("|".join(map(re.escape, marked))) if marked else None
