"""A form for a recipe, made from the schema; each field says one key of the text."""

from collections.abc import Mapping

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from engine.config.form import values
from engine.errors import FtError
from screens.recipe.fields import FieldChosen, Fields

HINT = "↑ ↓ move between fields, ← → change a choice; an empty field, or del, takes the default."


class Form(Vertical):
    """All sections of the schema; below them, the help of the current field."""

    DEFAULT_CSS = """
    Form > #field-help {
        height: auto; min-height: 3; max-height: 7; border-top: solid $foreground 25%;
    }
    """

    def compose(self) -> ComposeResult:
        yield Fields()
        yield Static(Content.styled(HINT, "$foreground 65%"), id="field-help")

    @property
    def fields(self) -> Fields:
        return self.query_one(Fields)

    def show(self, said: Mapping[str, str], wrong: frozenset[str]) -> None:
        """Show the text's values by key, and the keys with problems."""
        self.fields.show(said, wrong)

    def settle(self, text: str) -> None:
        """A field's new value has been put into the text."""
        self.fields.settle(values(text))

    def refuse(self, error: FtError) -> None:
        """A field's new value cannot be put into the text: say why below."""
        self.query_one("#field-help", Static).update(
            Content.assemble((f"✖ {error.message} ", "$text-error"), (error.hint, "$foreground 65%"))
        )

    @on(FieldChosen)
    def _explain(self, message: FieldChosen) -> None:
        field = message.field
        default = {None: "required", "null": "not set by default"}.get(
            field.default, f"default {field.default}"
        )
        self.query_one("#field-help", Static).update(
            Content.assemble(
                (field.name, "bold"),
                f"  {field.help} ",
                (f"May be {field.rule}; {default}.", "$foreground 65%"),
            )
        )
