"""What a recipe says of the form of a source's rows: a value without anything heavy behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config.schema import Data, Source


@dataclass(frozen=True)
class FormatChoice:
    """What a recipe says of a source's rows: `data.format`, `data.columns`, `data.template`, `data.roles`."""

    format: str = "auto"
    columns: Mapping[str, str] | None = None
    """The file's name of a column by ft's name."""
    template: str | Mapping[str, str] | None = None
    """Jinja that writes a row's text, or each column of a row."""
    roles: Mapping[str, str] | None = None
    """ft's name of a role by the file's."""

    @property
    def as_it_is(self) -> bool:
        """True where rows are read as they stand in the file."""
        return not self.columns and not self.template and not self.roles


def choice_of(source: "Source", data: "Data") -> FormatChoice:
    """What the recipe says of this source; what it does not say there, it may say for all of them."""
    of_source = source if source.columns or source.template else data
    format_ = source.format if source.format != "auto" else data.format
    return FormatChoice(format_, of_source.columns, of_source.template, source.roles or data.roles)
