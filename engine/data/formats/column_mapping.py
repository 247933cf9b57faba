"""Renaming of columns and roles by a recipe, and text of rows rendered by its Jinja template."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.data.formats import extra_columns
from engine.data.formats.base import COLUMNS, RowError, RowFormat, listed
from engine.data.formats.choice import FormatChoice
from engine.data.formats.roles import renamed
from engine.data.readers.table import Columns
from engine.data.types import Sample
from engine.errors import DataError

if TYPE_CHECKING:
    import jinja2

    from engine.data.template_sandbox import BoundedEnvironment


@dataclass(frozen=True)
class ColumnMapping:
    """Turns a row of the file into the columns that a format reads, as a recipe says."""

    choice: FormatChoice

    def __call__(self, columns: Columns) -> Columns:
        """Return the columns and roles under ft's names. Raises `RowError` where a template cannot be rendered."""
        made = columns
        if self.choice.columns:
            theirs = set(self.choice.columns.values())
            made = {name: value for name, value in columns.items() if name not in theirs}
            made |= {
                ours: value for ours, name in self.choice.columns.items() for value in _found(columns, name)
            }
        elif self.choice.template:
            made = {name: self._written(name, text, columns) for name, text in self._templates.items()}
        if not self.choice.roles:
            return made
        return {name: renamed(value, self.choice.roles) for name, value in made.items()}

    def apply_to(self, row_format: RowFormat) -> RowFormat:
        """Return the format with this mapping in front of it, so that it reads rows of the file."""

        def read(columns: Columns, where: str) -> Sample:
            made = self(columns)
            if not row_format.has_columns(made):
                absent = [name for name in row_format.needs if name not in made]
                theirs = [(self.choice.columns or {}).get(name, name) for name in absent]
                raise RowError(
                    f"columns {listed(columns)}, but {row_format.name} needs {listed(theirs)} here", COLUMNS
                )
            return extra_columns.read(made, where, row_format)

        return replace(row_format, needs=(), read=read, recognise=lambda columns: True, uses=None)

    @property
    def summary(self) -> str:
        """Treatment of the rows, as the end of a sentence."""
        said = []
        if self.choice.columns:
            named = ", ".join(f"{ours} is `{theirs}`" for ours, theirs in self.choice.columns.items())
            said.append(f"as data.columns says ({named})")
        elif self.choice.template:
            said.append("rendered by data.template")
        if self.choice.roles:
            named = ", ".join(f"`{theirs}` is {ours}" for theirs, ours in self.choice.roles.items())
            said.append(f"as data.roles says ({named})")
        return "; ".join(said)

    def check(self, rows: Iterable[Columns], name: str) -> None:
        """Raise `DataError` if a column that `data.columns` names is in none of the rows."""
        if not self.choice.columns:
            return
        seen: dict[str, None] = {}
        missing = set(self.choice.columns.values())
        for columns in rows:
            seen.update(dict.fromkeys(columns))
            missing -= {name for name in missing if _found(columns, name)}
        for ours, theirs in self.choice.columns.items():
            if theirs in missing:
                raise DataError(
                    f"{name}: no row has a column `{theirs}`, which data.columns names as `{ours}`",
                    f"Its rows have {listed(seen)}.",
                )

    @cached_property
    def _environment(self) -> "BoundedEnvironment":
        import jinja2

        from engine.data.template_sandbox import BoundedEnvironment

        return BoundedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)

    @cached_property
    def _templates(self) -> Mapping[str, "jinja2.Template"]:
        template = self.choice.template or {}
        texts = {"text": template} if isinstance(template, str) else template
        return {name: self._environment.from_string(text) for name, text in texts.items()}

    def _written(self, name: str, template: "jinja2.Template", columns: Columns) -> Any:
        from engine.data.template_sandbox import OverrunError

        variables = {**columns, "row": columns}
        try:
            chunks = template.root_render_func(template.new_context(variables))
            return "".join(self._environment.bounded(chunks, variables))
        except OverrunError as error:
            raise DataError(
                f"data.template takes too long, or writes too much, for `{name}`: {error}",
                "Simplify the template.",
            ) from error
        except Exception as error:  # a template may do anything with the values of a row
            raise RowError(f"data.template cannot be rendered for `{name}`: {error}") from error


def _found(columns: Columns, name: str) -> list[Any]:
    """The value of a column, or of a key inside one, as `data.messages`, in a list; empty if there is none."""
    if name in columns:
        return [columns[name]]
    value: Any = columns
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return []
        value = value[key]
    return [value]
