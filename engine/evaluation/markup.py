"""Text from rows and models as text on a page, and the few elements that a page is built of.

The markup is well-formed XML too, so that a strict parser can hold that nothing of a row became markup.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape

_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def text(value: object) -> str:
    """A value as text of a page: no markup, and a picture in place of each character that no page may hold."""
    return escape(_NO_TEXT.sub(_picture, str(value).replace("\r\n", "\n")))


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def heading(words: object) -> str:
    return f"<h2>{text(words)}</h2>"


def table(heads: Sequence[object], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is words and the others numbers; cells are markup, heads are text."""
    kinds = ["", *[' class="n"'] * (len(heads) - 1)]
    head = "".join(f"<th{kind}>{text(each)}</th>" for kind, each in zip(kinds, heads, strict=True))
    lines = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{lines}</table></div>'
