"""A form for a recipe, made from the schema; each field says one key of the text."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.config.form import Field, fields, section_help, values
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


class FieldFocused(Message):
    """A person is at this field."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field


class Choice(Widget, can_focus=True):
    """One of a few words: `‹ lora ›`. Dim where the text does not give the key and the default holds."""

    DEFAULT_CSS = """
    Choice { width: 1fr; height: 1; color: $foreground; }
    Choice:hover { background: $boost; }
    Choice:focus { background: $primary 30%; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space,enter,l", "turn(1)", "next", show=False),
        Binding("left,h", "turn(-1)", "previous", show=False),
        Binding("delete,backspace", "leave_out", "default", show=False),
    ]
    value: reactive[str] = reactive("")

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field

    def render(self) -> Text:
        given = self.value or self.field.default or "choose"
        style = "" if self.value else "dim"
        return Text.assemble(("‹ ", "dim"), (given, style), (" ›", "dim"), no_wrap=True, overflow="ellipsis")

    def action_turn(self, by: int) -> None:
        words = self.field.choices
        here = self.value or self.field.default or ""
        self.value = words[(words.index(here) + by) % len(words)] if here in words else words[0]
        self.post_message(FieldChanged(self.field, self.value))

    def action_leave_out(self) -> None:
        if self.value and self.field.default is not None:
            self.value = ""
            self.post_message(FieldChanged(self.field, None))

    def on_click(self) -> None:
        self.action_turn(1)

    def on_focus(self) -> None:
        self.post_message(FieldFocused(self.field))


class Entry(Input):
    """A value that is typed; the default is shown where nothing is."""

    DEFAULT_CSS = """
    Entry, Entry:focus { width: 1fr; border: none; height: 1; padding: 0 1; background: $panel; }
    Entry:focus { background: $primary 30%; }
    """

    def __init__(self, field: Field) -> None:
        default = field.default if field.default is not None else "has to be given"
        super().__init__(placeholder="not set" if default == "null" else default, select_on_focus=False)
        self.field = field
        self.stands = ""
        """What the text says of this key."""

    def show(self, value: str) -> None:
        """Show what the text says, without telling it back; what is being typed stays as it was typed."""
        news, self.stands = value != self.stands, value
        if value != self.value and (news or not self.has_focus):
            with self.prevent(Input.Changed):
                self.value = value

    @on(Input.Changed)
    def _tell(self, event: Input.Changed) -> None:
        event.stop()
        # An empty field may be about to be filled again; its line, with its comment, waits for that.
        if typed := self.value.strip():
            self.post_message(FieldChanged(self.field, typed))

    @on(Input.Submitted)
    def _done(self, event: Input.Submitted) -> None:
        event.stop()
        self._leave_out()

    def _leave_out(self) -> None:
        if not self.value.strip() and self.stands:
            self.post_message(FieldChanged(self.field, None))

    def _on_focus(self, event: events.Focus) -> None:
        super()._on_focus(event)
        self.post_message(FieldFocused(self.field))

    def _on_blur(self, event: events.Blur) -> None:
        super()._on_blur(event)
        self._leave_out()


class Row(Horizontal):
    """A label and its field."""

    DEFAULT_CSS = f"""
    Row {{ height: 1; }}
    Row > Static {{ width: {LABEL}; height: 1; color: $text-muted; }}
    Row.-given > Static {{ color: $foreground; }}
    Row.-wrong > Static {{ color: $error; text-style: bold; }}
    """

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        self.control = Choice(field) if field.kind == "choice" else Entry(field)

    def compose(self) -> ComposeResult:
        yield Static(Text(self.label(False), no_wrap=True, overflow="ellipsis"))
        yield self.control

    def label(self, wrong: bool) -> str:
        return ("✖ " if wrong else "") + SHORT.get(self.field.key, self.field.key).replace("_", " ")

    def show(self, value: str, wrong: bool) -> None:
        """What the text says of this key, empty if nothing, and whether it is wrong there."""
        self.set_class(bool(value), "-given")
        if wrong != self.has_class("-wrong"):
            self.set_class(wrong, "-wrong")
            self.query_one(Static).update(Text(self.label(wrong), no_wrap=True, overflow="ellipsis"))
        if isinstance(self.control, Choice):
            self.control.value = value
        else:
            self.control.show(value)


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The rows; up and down go through them, and the rows in sight follow."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "next field", show=False),
        Binding("up", "app.focus_previous", "previous field", show=False),
        Binding("pagedown", "page_down", show=False),
        Binding("pageup", "page_up", show=False),
    ]


class Form(Vertical):
    """All sections of the schema; below them, the help of the field at hand."""

    DEFAULT_CSS = """
    Form > Fields { height: 1fr; scrollbar-size-vertical: 1; }
    Form .section { height: 1; margin-top: 1; color: $primary; text-style: bold; }
    Form .section.-first { margin-top: 0; }
    Form > #field-help { height: auto; min-height: 3; max-height: 7; border-top: solid $panel-lighten-2; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Row] = {}

    def compose(self) -> ComposeResult:
        with Fields():
            yield from self._lines()
        yield Static(Content.styled(HINT, "$text-muted"), id="field-help")

    def _lines(self) -> Iterable[Widget]:
        section = None
        for field in fields():
            if field.kind == "choice" and len(field.choices) == 1:
                continue  # nothing to choose yet; the text may say it
            if field.section != section:
                first = "" if section is not None else " -first"
                yield Static(field.section or "run", classes=f"section{first}", markup=False)
                section = field.section
            row = self.rows[field.name] = Row(field)
            yield row

    def show(self, said: Mapping[str, str], wrong: frozenset[str]) -> None:
        """What the text says by key, and the keys that are wrong there."""
        for name, row in self.rows.items():
            row.show(said.get(name, ""), name in wrong)

    @property
    def first(self) -> Widget | None:
        """The field to start at."""
        return next((row.control for row in self.rows.values()), None)

    def settle(self, field: Field, text: str) -> None:
        """A field's new value has been put into the text, which says it in its own words."""
        control = self.rows[field.name].control
        if isinstance(control, Entry):
            control.stands = values(text).get(field.name, "")

    def refuse(self, field: Field, error: FtError) -> None:
        """A field's new value cannot be put into the text: say why below."""
        self.query_one("#field-help", Static).update(
            Content.assemble((f"✖ {error.message} ", "$text-error"), (error.hint, "$text-muted"))
        )

    @on(FieldFocused)
    def _explain(self, message: FieldFocused) -> None:
        field = message.field
        default = {None: "has to be given", "null": "not set by default"}.get(
            field.default, f"default {field.default}"
        )
        about = section_help(field.section)
        text = Text.assemble(
            (field.name, "bold"), f"  {field.help} ", (f"May be {field.rule}; {default}.", "dim")
        )
        help_ = self.query_one("#field-help", Static)
        help_.update(text)
        help_.tooltip = about or None
