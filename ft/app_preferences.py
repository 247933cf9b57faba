"""Preferences of the app: theme and keys as a person has set them."""

from typing import Any

from textual.app import App

from engine import paths
from engine.errors import ConfigError, FtError
from screens import preferences
from screens.keymap import checked
from screens.themes import THEMES


class PreferencesApp(App[None]):
    """An app with preferences. A subclass shows errors."""

    def __init__(self) -> None:
        super().__init__()
        self.preferences = preferences.load()
        self.keymap: dict[str, str] = {}
        """A person's own keys by action id, as far as they can be used."""
        self._wrong_keys: list[str] = []
        self._wear(self.preferences.theme)

    def fail(self, error: FtError) -> None:
        """Show an error."""
        raise NotImplementedError

    def change(self, **values: Any) -> None:
        self.preferences = preferences.replaced(self.preferences, values)
        self.use_preferences()
        try:
            preferences.save(values)
        except FtError as error:
            self.fail(error)

    def _wear(self, wanted: str) -> None:
        """Set the first theme before any style is read; later, Textual would read all of them again."""
        for theme in THEMES:
            self.register_theme(theme)
        name = wanted if wanted in self.available_themes else THEMES[0].name
        self.set_reactive(App.theme, name)
        for mode, on in (
            ("-dark-mode", self.current_theme.dark),
            ("-light-mode", not self.current_theme.dark),
        ):
            self.set_class(on, mode, update=False)
        self.set_class(True, f"-theme-{name}", update=False)
        self.stylesheet.set_variables(self.get_css_variables())

    def use_preferences(self) -> None:
        """Use theme and keys as they are set. Keys that cannot be used are reported once, in full."""
        wanted = self.preferences.theme
        self.theme = wanted if wanted in self.available_themes else THEMES[0].name
        before = self.keymap
        self.keymap, wrong = checked(self.preferences.keys)
        if self.keymap != before:
            self.set_keymap(self.keymap)
        if wrong and wrong != self._wrong_keys:
            file = paths.home() / preferences.FILE
            hint = f"The default keys are used instead. Fix them in Settings, or in {file}."
            self.fail(ConfigError("\n".join(wrong), hint))
        self._wrong_keys = wrong
