"""What became of each key of another trainer's file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Taken:
    """Keys of the file that say the same under ours. `source` has their values as they stand there."""

    source: Mapping[str, Any]
    key: str
    value: Any


@dataclass(frozen=True)
class Changed(Taken):
    """Keys whose meaning is ours only after a conversion, or nearly; `why` says which."""

    why: str


@dataclass(frozen=True)
class Implied:
    """A key that the file leaves out, where that tool's default is not ours: it is written out."""

    key: str
    value: Any
    why: str = ""


@dataclass(frozen=True)
class Unmatched:
    """Keys without an equal: why, and what happens instead. `source` is empty for what the tool does unasked."""

    source: Mapping[str, Any]
    why: str
    instead: str = ""


Entry = Taken | Implied | Unmatched


@dataclass(frozen=True)
class Migration:
    """A recipe made of another trainer's file."""

    tool: str
    """Name of the trainer, as people write it."""
    signs: tuple[str, ...]
    """Keys by which the file was recognised; none where the person named its format."""
    entries: tuple[Entry, ...]
    text: str = field(repr=False)
    """The recipe."""

    @property
    def taken(self) -> list[Taken]:
        return [one for one in self.entries if type(one) is Taken]

    @property
    def changed(self) -> list[Changed]:
        return [one for one in self.entries if isinstance(one, Changed)]

    @property
    def implied(self) -> list[Implied]:
        return [one for one in self.entries if isinstance(one, Implied)]

    @property
    def unmatched(self) -> list[Unmatched]:
        return [one for one in self.entries if isinstance(one, Unmatched)]
