"""An error in full, to read, select and copy."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from engine.errors import FtError


class Details(ModalScreen[None]):
    """The errors of this session, the last one first, as text that can be selected."""

    DEFAULT_CSS = """
    Details { align: center middle; }
    Details Vertical {
        width: 100; max-width: 96%; height: auto; max-height: 90%;
        padding: 0 1; background: $panel; border: round $error; border-title-style: bold;
    }
    Details TextArea, Details TextArea:focus {
        height: auto; max-height: 24; border: none; padding: 0; background: $panel;
    }
    Details Static { height: 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f12,exclamation_mark", "close", "close", priority=True),
        Binding("c,y", "copy", "copy", priority=True),
    ]

    def __init__(self, errors: Sequence[FtError]) -> None:
        super().__init__()
        self.errors = errors

    @property
    def text(self) -> str:
        """The text shown and copied."""
        if not self.errors:
            return "Nothing has gone wrong."
        return "\n\n".join(described(error) for error in reversed(self.errors))

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "What went wrong" if self.errors else "No errors"
            yield TextArea(self.text, read_only=True, show_line_numbers=False, soft_wrap=True)
            yield Static("c copies the selection, or all · esc closes")

    def on_mount(self) -> None:
        self.app.clear_notifications()  # one of them announced this, and lies over it
        self.query_one(TextArea).focus()

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self.query_one(TextArea).selected_text or self.text)
        self.notify("Copied.", timeout=2)

    def action_close(self) -> None:
        self.dismiss(None)


def described(error: FtError) -> str:
    """Kind, message and hint."""
    lines = [f"{error.kind}: {error.message}"]
    if error.hint:
        lines += ["", error.hint]
    return "\n".join(lines)
