"""Every key, in a sheet over the screen."""

from collections.abc import Mapping
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from screens.actions import actions_of
from screens.keymap import keys_of, shown
from screens.widgets.palette import title_of


class Help(ModalScreen[None]):
    """All actions of one screen, and of the app, with their keys and what they do."""

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help #sheet {
        width: 100; max-width: 96%; height: auto; max-height: 94%;
        padding: 0 1; background: $panel; border: round $primary; border-title-style: bold;
    }
    Help Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,enter", "close", "close"),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, scope: str, changed: Mapping[str, str]) -> None:
        """`changed` holds a person's own keys by action id."""
        super().__init__()
        self.scope = scope
        self.changed = changed

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="sheet") as sheet:
            sheet.border_title = f"Keys of {title_of(self.scope)}"
            sheet.border_subtitle = "esc closes · : finds an action by its name"
            yield Static(self.sheet())

    def sheet(self) -> Table:
        """Keys, label and sentence of each action, the screen's before the app's."""
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True, style="bold", justify="right")
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, overflow="fold")
        for scope, heading in ((self.scope, ""), ("app", "Everywhere")):
            if heading:
                table.add_row("", "", "")
                table.add_row("", Text(heading, "bold underline"), "")
            for action in actions_of(scope):
                keys = " ".join(shown(key) for key in keys_of(action, self.changed))
                sentence = Text(action.help + (" Asks first." if action.destructive else ""))
                table.add_row(Text(keys), Text(action.label), sentence)
        return table

    def action_close(self) -> None:
        self.dismiss(None)

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
