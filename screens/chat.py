"""Chat."""

from collections.abc import Iterable

from textual.widget import Widget
from textual.widgets import Static

from screens.base import FtScreen


class ChatScreen(FtScreen):
    """Chat."""

    SCOPE = "chat"
    CSS_PATH = "chat.tcss"

    def body(self) -> Iterable[Widget]:
        yield Static("Chat")
