"""Pictures, sound and video beside a row's text: refused, as the text alone would teach the model to invent them."""

from collections.abc import Mapping
from typing import Any

from engine.data.formats.base import RowError, is_null
from engine.data.types import MEDIA

REASON = "with pictures, sound or video"
FILES = "a picture, a sound or another file"


def is_file(value: Any) -> bool:
    """Return True for bytes, alone or as `datasets` holds a picture or a sound, or a list of such."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first.get("bytes") if isinstance(first, dict) else first, bytes)


def refuse_media(values: Mapping[str, Any], place: str = "") -> None:
    """Raise `RowError` where one of the keys in `MEDIA` is there and not empty; `place` goes before its name."""
    if MEDIA.isdisjoint(values):
        return
    for key in sorted(values.keys() & MEDIA):
        if not is_null(values[key]):
            raise RowError(
                f"`{place}{key}` is not empty, and ft trains text alone",
                REASON,
                fix="Leave such rows out: --set data.on_error=skip",
            )
