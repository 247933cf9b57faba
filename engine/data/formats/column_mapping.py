"""Columns and roles of any name: a recipe says what they are called, or writes a row's text by Jinja."""

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
class Custom:
    """Makes the row that a form reads from a row of the file."""

    choice: FormatChoice

    def __call__(self, columns: Columns) -> Columns:
        """The columns and roles under ft's names. Raises `RowError` where a template cannot be filled in."""
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

    def form(self, form: RowFormat) -> RowFormat:
        """The form, read from rows of the file."""

        def read(columns: Columns, where: str) -> Sample:
            made = self(columns)
            if not form.has_columns(made):
                absent = [name for name in form.needs if name not in made]
                theirs = [(self.choice.columns or {}).get(name, name) for name in absent]
                raise RowError(
                    f"columns {listed(columns)}, but {form.name} needs {listed(theirs)} here", COLUMNS
                )
            return extra_columns.read(made, where, form)

        return replace(form, needs=(), read=read, is_told=lambda columns: True, uses=None)

    @property
    def words(self) -> str:
        """What was done to the rows, as the end of a sentence."""
        said = []
        if self.choice.columns:
            named = ", ".join(f"{ours} is `{theirs}`" for ours, theirs in self.choice.columns.items())
            said.append(f"as data.columns says ({named})")
        elif self.choice.template:
            said.append("as data.template writes them")
        if self.choice.roles:
            named = ", ".join(f"`{theirs}` is {ours}" for theirs, ours in self.choice.roles.items())
            said.append(f"as data.roles says ({named})")
        return "; ".join(said)

    def check(self, rows: Iterable[Columns], name: str) -> None:
        """Raise `DataError` where none of the rows has a column that is named."""
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
            pieces = template.root_render_func(template.new_context(variables))
            return "".join(self._environment.bounded(pieces, variables))
        except OverrunError as error:
            raise DataError(
                f"data.template takes too much to write `{name}`: {error}", "Write less."
            ) from error
        except Exception as error:  # a template may do anything with what stands in a row
            raise RowError(f"data.template cannot write `{name}`: {error}") from error


def _found(columns: Columns, name: str) -> list[Any]:
    """The value of a column, or of a key inside one, as `data.messages`; none where there is no such thing."""
    if name in columns:
        return [columns[name]]
    value: Any = columns
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return []
        value = value[key]
    return [value]
