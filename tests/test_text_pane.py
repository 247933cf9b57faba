"""Panes of text take the height of what they show, however fast it changes."""

from textual.app import App, ComposeResult
from textual.widgets import Static

from screens.monitor.news import TextPane


class Panes(App[None]):
    def compose(self) -> ComposeResult:
        yield TextPane()


async def test_text_that_changes_while_it_is_arranged_is_shown_whole() -> None:
    async with Panes().run_test() as pilot:
        pane = pilot.app.query_one(TextPane)
        pane.put(1, "one line")
        pilot.app.screen._refresh_layout()  # as where other widgets have moved, before this one is idle
        pane.put(2, "\n".join("many lines"))
        await pilot.pause()
        assert pane.query_one(Static).size.height == len("many lines")
