"""Format settings of a source in a recipe. Light: imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config.sections import Data, Source


@dataclass(frozen=True)
class FormatChoice:
    """Settings of a recipe for how a source's rows are read: `data.format`, `columns`, `template` and `roles`."""

    format: str = "auto"
    columns: Mapping[str, str] | None = None
    """Names of columns in the file, by ft's names."""
    template: str | Mapping[str, str] | None = None
    """Jinja that renders a row's text, or each column of a row."""
    roles: Mapping[str, str] | None = None
    """ft's names of roles, by those in the file."""

    @property
    def as_it_is(self) -> bool:
        """True if rows are read without renaming or rendering anything."""
        return not self.columns and not self.template and not self.roles


def choice_of(source: "Source", data: "Data") -> FormatChoice:
    """Settings of this source, falling back to those for all sources."""
    of_source = source if source.columns or source.template else data
    format_ = source.format if source.format != "auto" else data.format
    return FormatChoice(format_, of_source.columns, of_source.template, source.roles or data.roles)
