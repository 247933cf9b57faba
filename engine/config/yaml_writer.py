"""Values → YAML on one line that our reader, and every other, reads back as the same values."""

import re
from collections.abc import Mapping, Sequence

from engine.config.yaml_reader import scalar
from engine.errors import ConfigError

PLAIN = re.compile(
    r"[^\W\d_](?:[\w./@+~-]| (?=[\w./@+~-]))*\Z|[./~][\w./@+~-]*/[\w./@+~-]*\Z|[1-9]\d*[a-z]+\Z"
)
"""Text that needs no quotes wherever it stands: words, names, paths, and such as `4bit`."""
OLD_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
"""Words that YAML 1.1 or 1.2 reads as a boolean or null."""
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Written(str):
    """A value as a person wrote it in YAML, on one line: it is put into the text as it is."""


def inline(value: object, style: str = "") -> str:
    """`value` as YAML on one line. `style` is the quote in which text is put where it can be.

    Raises ConfigError for what a recipe cannot hold.
    """
    match value:
        case Written():
            return str(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _number(value)
        case str():
            return _text(value, style)
        case Mapping():
            pairs = (f"{inline(str(key))}: {inline(item)}" for key, item in value.items())
            return "{" + ", ".join(pairs) + "}"
        case Sequence():
            return "[" + ", ".join(inline(item) for item in value) + "]"
    raise ConfigError(f"a recipe cannot hold {value!r}")


def _number(value: float) -> str:
    """`2e-4` is `0.0002`, `1e-05` is `1.0e-5`, which YAML 1.1 reads as a number too."""
    if value != value:
        return ".nan"
    if value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    digits, exponent, power = repr(value).partition("e")
    if not exponent:
        return digits
    return f"{digits if '.' in digits else digits + '.0'}e{int(power):+d}"


def _text(value: str, style: str) -> str:
    if not style and PLAIN.match(value) and value.lower() not in OLD_WORDS and scalar(value) == value:
        return value
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return '"' + "".join(ESCAPES.get(one) or _visible(one) for one in value) + '"'


def _visible(one: str) -> str:
    if one.isprintable():
        return one
    code = ord(one)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
