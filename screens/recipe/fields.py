"""The fields of a recipe's form, gone about and changed with the keyboard or the mouse."""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message

from engine.config.form import Field
from engine.config.patch import remove, set_value
from screens.recipe.field_lines import LABEL, FieldLines
from screens.recipe.line_editor import LineEditor


class FieldChanged(Message):
    """A key has another value; None removes it, so that its default holds."""

    def __init__(self, field: Field, typed: str | None) -> None:
        super().__init__()
        self.field = field
        self.typed = typed

    def applied_to(self, text: str) -> str:
        """The recipe's text with the change, all else as it was. Raises ConfigError where the value is none."""
        if self.typed is None:
            return remove(text, self.field.name)
        return set_value(text, self.field.name, self.field.parse(self.typed))


class FieldChosen(Message):
    """The cursor is on this field."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field


class Fields(FieldLines, can_focus=True, inherit_bindings=False):
    """Fields to type into: what is typed goes into the current field, and is posted as `FieldChanged`."""

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
        Binding("escape", "leave", show=False),
    ]

    # Going about

    def go_to(self, field: Field) -> None:
        """Make a field the current one."""
        self._leave()
        self.here, self.typed = field, None
        self.caret = len(self.value(field))
        self._scroll_to_it()
        self.post_message(FieldChosen(field))
        self.refresh()

    def on_resize(self) -> None:
        """The help of a field may be longer than that of the one before, and takes its room from the fields."""
        if self.has_focus:
            self._scroll_to_it()

    def _scroll_to_it(self) -> None:
        """Scroll the current field into view, with the heading above it."""
        line = self.lines.index(self.here)
        top = line - 1 if isinstance(self.lines[line - 1], str) else line
        self.scroll_to_region(Region(0, top, 1, line - top + 1), animate=False, force=True)

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

    def action_leave(self) -> None:
        self.screen.set_focus(None)

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
        """All letters: where they mean nothing they must not be taken for commands. Space turns a choice."""
        if character is None or not character.isprintable():
            return False
        return self.here.kind != "choice" or character != " "

    def _starting_with(self, character: str) -> str | None:
        """The choice that is meant by its first letter; the next of them where the current one has it too."""
        words, now = self.here.choices, self.value(self.here) or self.here.default
        after = words.index(now) + 1 if now in words else 0
        found = (word for word in (*words[after:], *words[:after]) if word.startswith(character.lower()))
        return next(found, None)

    def on_key(self, event: events.Key) -> None:
        if not event.character or not self.check_consume_key(event.key, event.character):
            return
        event.stop()
        event.prevent_default()
        if self.here.kind != "choice":
            self._insert(event.character)
        elif word := self._starting_with(event.character):
            self.post_message(FieldChanged(self.here, word))
        else:
            self.app.bell()

    def on_paste(self, event: events.Paste) -> None:
        if self.here.kind != "choice":
            event.stop()
            self._insert(" ".join(event.text.split()))

    def _insert(self, new: str) -> None:
        self.caret = min(self.caret, len(self.value(self.here)))
        self._type(self._line.insert(new))

    @property
    def _line(self) -> LineEditor:
        return LineEditor(self.value(self.here), self.caret)

    def _type(self, line: LineEditor) -> None:
        if "\n" in self.said.get(self.here.name, ""):
            self.notify("It spans several lines: edit it in the text.", title=self.here.name, timeout=4)
            return
        self.typed, self.caret = line.text, line.caret
        if line.text.strip():
            self.post_message(FieldChanged(self.here, line.text.strip()))
        self.refresh_line(self.lines.index(self.here))

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
        self.refresh_line(self.lines.index(self.here))

    def action_back(self) -> None:
        if self.here.kind == "choice":
            self.action_delete()
        elif self.caret:
            self._type(self._line.back())

    def action_delete(self) -> None:
        if self.here.kind != "choice":
            self._type(self._line.delete())
        elif self.value(self.here) and self.here.default is not None:
            self.post_message(FieldChanged(self.here, None))

    def action_clear(self) -> None:
        if self.here.kind != "choice":
            self._type(LineEditor("", 0))
