"""Names of tokens: the environment variables that libraries read them from."""

import re

from engine.errors import ConfigError

HF_TOKEN = "HF_TOKEN"
ALIASES = {HF_TOKEN: ("HUGGING_FACE_HUB_TOKEN",)}
"""Other variables that are looked at, in order, where that of the name itself is not set."""
NAME = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
NOT_OURS = re.compile(
    r"(LD|DYLD|FT|XDG|LC)_.*|PYTHON.*|PATH|HOME|USER|LOGNAME|SHELL|LANG|TERM|PWD|TMPDIR|DISPLAY"
)
"""Variables that change how programs run; a token under such a name would break the engine."""
OF_ADDRESS = re.compile(r"URL_[0-9A-F]{8}")
"""Names under which whole addresses with a password or a signature are handed over (`engine.addresses`)."""
LONGEST = 8192
"""Characters of the longest token."""


def possible(name: str) -> bool:
    """True if a token may have the name."""
    return bool(NAME.fullmatch(name)) and not NOT_OURS.fullmatch(name)


def named(name: str) -> str:
    """The name that a token is kept under. Raises ConfigError for an impossible one."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a name for a token.",
            f"Use capital letters, digits and _, as an environment variable has, for example {HF_TOKEN}.",
        )
    if NOT_OURS.fullmatch(name):
        raise ConfigError(f"{name} changes how programs run; it cannot be a token.", "Choose another name.")
    return next((own for own, others in ALIASES.items() if name in others), name)


def refuse_unusable(name: str, value: str) -> None:
    """Raise ConfigError for what cannot be a token; the message does not repeat it."""
    if not value or len(value) > LONGEST or not value.isprintable() or value != value.strip():
        raise ConfigError(
            f"This cannot be a token for {name}: empty, too long, or with blanks or control characters.",
            "Copy the token again, as one line.",
        )
