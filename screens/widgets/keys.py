"""The line below every screen: its keys, from the table of actions."""

from textual.widgets import Footer


class Keys(Footer):
    """Textual's footer, without its palette entry (the table has one of ours)."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False, compact=True)
