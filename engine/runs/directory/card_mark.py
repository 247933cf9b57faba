"""Mark at the end of a model card that ft wrote, which tells it from one that a person has changed."""

import hashlib
import re
import shutil
from pathlib import Path

from engine.storage.regular_files import read_text

CARD = "README.md"
_MARK = re.compile(r"\n<!-- written by ft: sha256 ([0-9a-f]{64}) -->\n\Z")


def marked(text: str) -> str:
    """The text with the mark behind it."""
    return f"{text}\n<!-- written by ft: sha256 {_digest(text)} -->\n"


def is_ours(text: str) -> bool:
    """Return True if a card has the mark, and is as it was when it got it."""
    found = _MARK.search(text)
    return found is not None and _digest(text[: found.start()]) == found[1]


def own_card(folder: Path) -> Path | None:
    """The card in a folder that a person wrote or changed; None where there is none, or ft's own."""
    path = folder / CARD
    try:
        return None if is_ours(read_text(path, "replace")) else path
    except OSError:
        return path if path.is_file() else None  # what cannot be read is not ours to replace


def keep_own_card(old: Path, new: Path) -> None:
    """Put a person's card in the folder `old` into `new`, which takes its place. Raises OSError."""
    if (path := own_card(old)) is not None:
        shutil.copyfile(path, new / CARD)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
