"""Text that came from elsewhere made fit to be read: nothing a terminal obeys, nothing without end."""

import re
from collections.abc import Iterable

MOST_BYTES = 2000
"""Bytes of UTF-8 that one message has at most, its hint included."""
ITEM = 60
"""Characters of one item of a list that a message repeats."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, change colours, titles or the direction of writing, or are not characters at all.
Tab and line feed stay."""
_UNKNOWN = "\ufffd"


def printable(text: str) -> str:
    """The text with each control character as one visible sign: `␛` for escape, `�` for those without a picture.

    Length and positions stay as they are. What a terminal would obey (colours, titles, moves of the cursor), what
    turns the direction of the text around it, and lone surrogates, which cannot be encoded, are replaced.
    """
    return _CONTROLS.sub(_picture, text) if _CONTROLS.search(text) else text


def without_controls(text: str) -> str:
    """The text without its control characters: where their signs would take room that is not there."""
    return _CONTROLS.sub("", text) if _CONTROLS.search(text) else text


def shortened(text: str, most: int = MOST_BYTES) -> str:
    """The text in at most `most` bytes of UTF-8: of many lines the first, of a long line its two ends."""
    if len(text) <= most // 4 or len(text.encode("utf-8", "replace")) <= most:
        return text
    lines = text.split("\n")
    kept: list[str] = []
    size = len(f"… and {len(lines):,} more lines") + 2
    for line in lines[:-1]:
        size += len(line.encode("utf-8", "replace")) + 1
        if size > most:
            break
        kept.append(line)
    if kept:
        rest = len(lines) - len(kept)
        return "\n".join([*kept, f"… and {rest:,} more {'line' if rest == 1 else 'lines'}"])
    left = f" … ({len(text):,} characters) … "
    room = most - len(left.encode())
    data = text.encode("utf-8", "replace")
    head, tail = data[: 2 * room // 3], data[len(data) - room // 3 :]
    return f"{head.decode('utf-8', 'ignore')}{left}{tail.decode('utf-8', 'ignore')}"


def listed(items: Iterable[object], most: int = 10) -> str:
    """`a, b, c and 9,990 more`: the first `most` items, each cut where it is long."""
    texts = [str(item) for item in items]
    shown = [text if len(text) <= ITEM else f"{text[: ITEM - 1]}…" for text in texts[:most]]
    return ", ".join(shown) + (f" and {len(texts) - most:,} more" if len(texts) > most else "")


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else _UNKNOWN
