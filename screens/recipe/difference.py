"""Where two versions of a recipe's text differ, so that one becomes the other by a single edit."""

from textual.document._document import Location


def difference(old: str, new: str) -> tuple[int, int, str]:
    """Start and end of the one stretch of `old` that differs, and what stands there in `new`."""
    start, most = 0, min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    tail = 0
    while tail < most - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return start, len(old) - tail, new[start : len(new) - tail]


def location(text: str, at: int) -> Location:
    """Row and column, from 0, of a character."""
    above = text[:at].splitlines()
    if not above or text[at - 1] in "\r\n\x85\u2028\u2029\x0b\x0c":
        return len(above), 0
    return len(above) - 1, len(above[-1])
