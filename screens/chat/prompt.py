"""The prompt: an input line that grows with its text."""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

LINES = 6
"""Lines in sight at most; more scroll."""
HINT = "Ask a question: enter sends it, ctrl+j starts a new line, esc leaves"
NEW_LINE = ("ctrl+j", "shift+enter", "alt+enter")
"""The first goes through every terminal and multiplexer; the second needs one that reports it."""


class Prompt(TextArea, inherit_bindings=False):
    """A text of one or more lines; enter posts it as `Sent` and clears it."""

    DEFAULT_CSS = f"""
    Prompt {{ height: auto; min-height: 3; max-height: {LINES + 2}; scrollbar-size-vertical: 1; }}
    """
    # The function keys are the screen's.
    BINDINGS: ClassVar[list[BindingType]] = [
        binding
        for binding in TextArea.BINDINGS
        if not isinstance(binding, Binding) or binding.key not in ("f6", "f7")
    ]

    class Sent(Message):
        """The prompt was sent."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, disabled: bool = False) -> None:
        super().__init__(placeholder=HINT, highlight_cursor_line=False, disabled=disabled)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            if text := self.text.strip():
                self.clear()
                self.post_message(self.Sent(text))
        elif event.key in NEW_LINE:
            event.stop()
            event.prevent_default()
            self.replace("\n", *self.selection)
        else:
            await super()._on_key(event)
