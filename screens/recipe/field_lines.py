"""A recipe's fields drawn a line each, under the headings of their sections."""

from collections.abc import Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.config.form import Field, fields_of
from screens.recipe.line_editor import LineEditor

LABEL = 17
"""Columns of the longest label that is not cut, and the space after it."""
SHORT = {
    "gradient_checkpointing": "checkpointing",
    "effective_batch_size": "effective batch",
    "early_stopping_patience": "early stopping",
    "trust_remote_code": "trust code",
    "template_variables": "template values",
    "undesirable_weight": "weight of bad",
    "desirable_weight": "weight of good",
    "length_normalised": "by length",
}
"""Keys that are too long for a label."""


class FieldLines(ScrollView):
    """The fields in one widget, a line each: sixty widgets would make every key stroke slow.

    What the text does not say is dim: the default holds there.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "form--section",
        "form--label",
        "form--given",
        "form--default",
        "form--wrong",
        "form--entry",
        "form--here",
    }
    DEFAULT_CSS = """
    FieldLines { height: 1fr; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    FieldLines > .form--section { color: $primary; text-style: bold; }
    FieldLines > .form--label { color: $foreground 60%; }
    FieldLines > .form--given { color: $foreground; }
    FieldLines > .form--default { color: $foreground 50%; }
    FieldLines > .form--wrong { color: $text-error; text-style: bold; }
    FieldLines > .form--entry { background: $panel; }
    FieldLines > .form--here { background: $primary 30%; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.said: Mapping[str, str] = {}
        self.wrong: frozenset[str] = frozenset()
        self.fields: list[Field] = []
        self.lines: list[str | Field] = []
        """Headings and fields from top to bottom; a heading that is empty is a blank line."""
        self._lay("sft")
        self.here = self.fields[0]
        self.typed: str | None = None
        """Text typed into the current field; None where it is as in the recipe."""
        self.caret = 0

    def _lay(self, method: str) -> None:
        """Lay out the fields of a recipe with this training method."""
        self.method = method
        # Where there is nothing to choose yet, the text alone may say it.
        self.fields = [one for one in fields_of(method) if one.kind != "choice" or len(one.choices) > 1]
        self.lines = []
        for number, field in enumerate(self.fields):
            if number == 0 or field.section != self.fields[number - 1].section:
                self.lines += ["", field.section or "run"] if number else [field.section or "run"]
            self.lines.append(field)

    def on_mount(self) -> None:
        self.virtual_size = Size(0, len(self.lines))

    def show(self, said: Mapping[str, str], wrong: frozenset[str]) -> None:
        """Show the text's values by key, and the keys with problems; what is being typed stays as it was typed."""
        if said.get(self.here.name, "") != self.said.get(self.here.name, ""):
            self.typed = None
        self._say(said, wrong)

    def settle(self, said: Mapping[str, str]) -> None:
        """The text says what was typed, in its own words."""
        self._say(said, self.wrong)

    def _say(self, said: Mapping[str, str], wrong: frozenset[str]) -> None:
        """Draw the lines that have changed; most stay as they are while somebody types."""
        if (method := said.get("training.method", "sft")) != self.method:
            self._lay(method)
            if self.here not in self.fields:
                self.here = self.fields[0]
            self.said, self.wrong = said, wrong
            self.virtual_size = Size(0, len(self.lines))
            self.refresh()
            return
        before = self._shown()
        self.said, self.wrong = said, wrong
        for number, (old, new) in enumerate(zip(before, self._shown(), strict=True)):
            if old != new:
                self.refresh_line(number)

    def _shown(self) -> list[tuple[str, bool]]:
        """Everything that each line is drawn from, beside the current field."""
        return [
            (self.value(one), one.name in self.wrong) if isinstance(one, Field) else (one, False)
            for one in self.lines
        ]

    def value(self, field: Field) -> str:
        """Text shown of a field; empty where the default holds."""
        if field is self.here and self.typed is not None:
            return self.typed
        return self.said.get(field.name, "")

    def render_line(self, y: int) -> Strip:
        number = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        if number >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        line = self.lines[number]
        if isinstance(line, str):
            segments = [Segment(line, self._style("section"))]
        else:
            segments = [*self._label(line), *self._value(line, max(width - LABEL, 1))]
        return Strip(segments).adjust_cell_length(width).apply_style(self.rich_style)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"form--{name}")

    def _label(self, field: Field) -> list[Segment]:
        label = SHORT.get(field.key, field.key).replace("_", " ")
        if field.name in self.wrong:
            return [Segment(f"✖ {label}"[: LABEL - 1].ljust(LABEL), self._style("wrong"))]
        return [Segment(label.ljust(LABEL), self._style("given" if self.value(field) else "label"))]

    def _value(self, field: Field, width: int) -> list[Segment]:
        value, at_hand = _visible(self.value(field)), field is self.here and self.has_focus
        default = field.default if field.default is not None else "required"
        shown = value or ("not set" if default == "null" else default)
        style = self._style("given" if value else "default")
        if at_hand or field.kind != "choice":
            style += Style(bgcolor=self._style("here" if at_hand else "entry").bgcolor)
        if field.kind == "choice":
            return [Segment(f"‹ {shown} ›"[:width].ljust(width), style)]
        if not at_hand:
            return [Segment(f" {shown[: width - 1]}".ljust(width), style)]
        return LineEditor(shown, min(self.caret, len(value))).segments(width, style)


def _visible(value: str) -> str:
    """A value on one line, its line breaks and control characters made visible."""
    return "".join(one if one.isprintable() else "⏎" if one == "\n" else "·" for one in value)
