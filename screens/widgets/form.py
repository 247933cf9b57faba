"""A form for a recipe, made from the schema; each field says one key of the text."""

from collections.abc import Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Static

from engine.config.form import Field, fields, values
from engine.errors import FtError

LABEL = 17
"""Columns of the longest label that is not cut, and the space after it."""
HINT = "↑ ↓ go from field to field, ← → turn a choice; a field left empty, or del, takes the default."
SHORT = {
    "gradient_checkpointing": "checkpointing",
    "effective_batch_size": "effective batch",
    "early_stopping_patience": "early stopping",
    "trust_remote_code": "trust code",
}
"""Keys that are too long for a label."""


class FieldChanged(Message):
    """A person gave a key another value; None takes it out, so that its default holds."""

    def __init__(self, field: Field, typed: str | None) -> None:
        super().__init__()
        self.field = field
        self.typed = typed


class FieldChosen(Message):
    """A person is at this field."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field


class Fields(ScrollView, can_focus=True, inherit_bindings=False):
    """The fields in one widget, a line each: sixty widgets would make every key stroke slow.

    What is typed goes into the field at hand. What the text does not say is dim: the default holds there.
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
    Fields { height: 1fr; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    Fields > .form--section { color: $primary; text-style: bold; }
    Fields > .form--label { color: $foreground 60%; }
    Fields > .form--given { color: $foreground; }
    Fields > .form--default { color: $foreground 50%; }
    Fields > .form--wrong { color: $text-error; text-style: bold; }
    Fields > .form--entry { background: $panel; }
    Fields > .form--here { background: $primary 30%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "go(1)", show=False),
        Binding("up", "go(-1)", show=False),
        Binding("pagedown", "go(8)", show=False),
        Binding("pageup", "go(-8)", show=False),
        Binding("right", "right(1)", show=False),
        Binding("left", "right(-1)", show=False),
        Binding("home", "caret(0)", show=False),
        Binding("end", "caret(9999)", show=False),
        Binding("enter", "done", show=False),
        Binding("space", "turn(1)", show=False),
        Binding("backspace", "back", show=False),
        Binding("delete", "delete", show=False),
        Binding("ctrl+u", "clear", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        # Where there is nothing to choose yet, the text alone may say it.
        self.fields = [one for one in fields() if one.kind != "choice" or len(one.choices) > 1]
        self.lines: list[str | Field] = []
        """Headings and fields from top to bottom; a heading that is empty is a blank line."""
        for number, field in enumerate(self.fields):
            if number == 0 or field.section != self.fields[number - 1].section:
                self.lines += ["", field.section or "run"] if number else [field.section or "run"]
            self.lines.append(field)
        self.said: Mapping[str, str] = {}
        self.wrong: frozenset[str] = frozenset()
        self.here = self.fields[0]
        self.typed: str | None = None
        """What has been typed into the field at hand; None: it is as the text says."""
        self.caret = 0

    def on_mount(self) -> None:
        self.virtual_size = Size(0, len(self.lines))

    def show(self, said: Mapping[str, str], wrong: frozenset[str]) -> None:
        """What the text says by key, and the keys that are wrong there; what is being typed stays as it was typed."""
        if said.get(self.here.name, "") != self.said.get(self.here.name, ""):
            self.typed = None
        self.said, self.wrong = said, wrong
        self.refresh()

    def settle(self, said: Mapping[str, str]) -> None:
        """The text says what was typed, in its own words."""
        self.said = said
        self.refresh()

    def value(self, field: Field) -> str:
        """What is shown of a field; empty where the default holds."""
        if field is self.here and self.typed is not None:
            return self.typed
        return self.said.get(field.name, "")

    # Drawing

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
        default = field.default if field.default is not None else "has to be given"
        shown = value or ("not set" if default == "null" else default)
        style = self._style("given" if value else "default")
        if at_hand or field.kind != "choice":
            style += Style(bgcolor=self._style("here" if at_hand else "entry").bgcolor)
        if field.kind == "choice":
            return [Segment(f"‹ {shown} ›"[:width].ljust(width), style)]
        if not at_hand:
            return [Segment(f" {shown[: width - 1]}".ljust(width), style)]
        caret = min(self.caret, len(value))
        start = max(0, caret - (width - 3))
        text = f" {shown[start:]} "[:width].ljust(width)
        at = 1 + caret - start
        caret_style = style + Style(reverse=True)
        return [Segment(text[:at], style), Segment(text[at], caret_style), Segment(text[at + 1 :], style)]

    # Going about

    def go_to(self, field: Field) -> None:
        """Make a field the one at hand."""
        self._leave()
        self.here, self.typed = field, None
        self.caret = len(self.value(field))
        line = self.lines.index(field)
        top = line - 1 if isinstance(self.lines[line - 1], str) else line  # its heading too
        self.scroll_to_region(Region(0, top, 1, line - top + 1), animate=False, force=True)
        self.post_message(FieldChosen(field))
        self.refresh()

    def _leave(self) -> None:
        """An emptied field's key goes when the field is left: its line, with its comment, waits till then."""
        if self.typed == "" and self.said.get(self.here.name):
            self.post_message(FieldChanged(self.here, None))

    def action_go(self, by: int) -> None:
        number = min(max(self.fields.index(self.here) + by, 0), len(self.fields) - 1)
        self.go_to(self.fields[number])

    def action_done(self) -> None:
        if self.here.kind == "choice":
            self.action_turn(1)
        else:
            self.action_go(1)

    def on_focus(self) -> None:
        self.go_to(self.here)

    def on_blur(self) -> None:
        self._leave()
        self.typed = None
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        number = event.y + self.scroll_offset.y
        line = self.lines[number] if 0 <= number < len(self.lines) else ""
        if isinstance(line, Field):
            self.go_to(line)
            if line.kind == "choice" and event.x >= LABEL:
                self.action_turn(1 if event.x > LABEL + 1 else -1)

    # Changing

    def check_consume_key(self, key: str, character: str | None) -> bool:
        if character is None or not character.isprintable():
            return False
        return self.here.kind != "choice" or self._starting_with(character) is not None

    def _starting_with(self, character: str) -> str | None:
        """The choice that is meant by its first letter; the next of them where the one at hand has it too."""
        words, now = self.here.choices, self.value(self.here) or self.here.default
        after = words.index(now) + 1 if now in words else 0
        found = (word for word in (*words[after:], *words[:after]) if word.startswith(character.lower()))
        return None if character == " " else next(found, None)

    def on_key(self, event: events.Key) -> None:
        if not event.character or not self.check_consume_key(event.key, event.character):
            return
        event.stop()
        event.prevent_default()
        if self.here.kind != "choice":
            self._insert(event.character)
        elif word := self._starting_with(event.character):
            self.post_message(FieldChanged(self.here, word))

    def on_paste(self, event: events.Paste) -> None:
        if self.here.kind != "choice":
            event.stop()
            self._insert(" ".join(event.text.split()))

    def _insert(self, new: str) -> None:
        value = self.value(self.here)
        self.caret = min(self.caret, len(value))
        self._type(value[: self.caret] + new + value[self.caret :], self.caret + len(new))

    def _type(self, value: str, caret: int) -> None:
        if "\n" in self.said.get(self.here.name, ""):
            self.notify("It goes over several lines: change it in the text.", title=self.here.name, timeout=4)
            return
        self.typed, self.caret = value, caret
        if value.strip():
            self.post_message(FieldChanged(self.here, value.strip()))
        self.refresh()

    def action_turn(self, by: int) -> None:
        if self.here.kind == "choice":
            words, here = self.here.choices, self.value(self.here) or self.here.default or ""
            chosen = words[(words.index(here) + by) % len(words)] if here in words else words[0]
            self.post_message(FieldChanged(self.here, chosen))

    def action_right(self, by: int) -> None:
        if self.here.kind == "choice":
            self.action_turn(by)
        else:
            self.action_caret(self.caret + by)

    def action_caret(self, at: int) -> None:
        self.caret = min(max(at, 0), len(self.value(self.here)))
        self.refresh()

    def action_back(self) -> None:
        value = self.value(self.here)
        if self.here.kind == "choice":
            self.action_delete()
        elif self.caret:
            self._type(value[: self.caret - 1] + value[self.caret :], self.caret - 1)

    def action_delete(self) -> None:
        value = self.value(self.here)
        if self.here.kind != "choice":
            self._type(value[: self.caret] + value[self.caret + 1 :], self.caret)
        elif value and self.here.default is not None:
            self.post_message(FieldChanged(self.here, None))

    def action_clear(self) -> None:
        if self.here.kind != "choice":
            self._type("", 0)


def _visible(value: str) -> str:
    """A value on one line, its line breaks and control characters made visible."""
    return "".join(one if one.isprintable() else "⏎" if one == "\n" else "·" for one in value)


class Form(Vertical):
    """All sections of the schema; below them, the help of the field at hand."""

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
        """What the text says by key, and the keys that are wrong there."""
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
        default = {None: "it has to be given", "null": "not set by default"}.get(
            field.default, f"default {field.default}"
        )
        self.query_one("#field-help", Static).update(
            Content.assemble(
                (field.name, "bold"),
                f"  {field.help} ",
                (f"May be {field.rule}; {default}.", "$foreground 65%"),
            )
        )
