"""Settings: theme, smoothing and the characters that charts are drawn with."""

import os
from typing import cast

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Label, Select, Static, Switch

from screens.host import Host
from screens.themes import THEMES

SMOOTHING = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
SAMPLES = {False: "braille ⣀⡠⠤⠒⠊⠉⠉⠑⠒⠤⣀⣀⡠⠔⠊⠉", True: "blocks  ▁▂▃▅▆▇▇▆▅▃▁▁▂▄▆▇"}
"""The same curve with braille and with block characters."""


class Appearance(Vertical):
    """Three choices, each in force and on disk immediately."""

    BORDER_TITLE = "appearance"

    @property
    def host(self) -> Host:
        return cast(Host, self.app)

    def compose(self) -> ComposeResult:
        preferences = self.host.preferences
        own = [theme.name for theme in THEMES]
        themes = [*own, *sorted(name for name in self.app.available_themes if name not in own)]
        weights = sorted({*SMOOTHING, preferences.smoothing})
        with Horizontal(classes="choice"):
            yield Label("theme")
            yield Select(
                [(name, name) for name in themes], value=self.app.theme, allow_blank=False, id="theme"
            )
        with Horizontal(classes="choice"):
            yield Label("smoothing")
            yield Select(
                [("none" if weight == 0 else f"{weight:g}", weight) for weight in weights],
                value=preferences.smoothing,
                allow_blank=False,
                id="smoothing",
            )
        with Horizontal(classes="choice"):
            yield Label("blocks")
            yield Switch(preferences.blocks, id="blocks", animate=False)
            yield Static(SAMPLES[preferences.blocks], id="sample", markup=False)
        yield Static(
            "tab moves on, enter changes a value. "
            "Smoothing is the weight of the past in a chart's bright line (EMA). "
            "Blocks are for terminals whose font has no braille."
            + (" NO_COLOR is set, so there are no colours." if os.environ.get("NO_COLOR") else ""),
            classes="note",
        )

    @on(Select.Changed, "#theme")
    def _theme(self, event: Select.Changed) -> None:
        if event.value != self.host.preferences.theme:
            self.host.change(theme=event.value)

    @on(Select.Changed, "#smoothing")
    def _smoothing(self, event: Select.Changed) -> None:
        if event.value != self.host.preferences.smoothing:
            self.host.change(smoothing=event.value)

    @on(Switch.Changed, "#blocks")
    def _blocks(self, event: Switch.Changed) -> None:
        self.query_one("#sample", Static).update(SAMPLES[event.value])
        if event.value != self.host.preferences.blocks:
            self.host.change(blocks=event.value)
