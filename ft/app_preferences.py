"""Preferences of the app: theme and keys as a person has set them, put on and kept."""

from collections.abc import Callable
from typing import Any

from textual.app import App

from engine import paths
from engine.errors import ConfigError, FtError
from screens import preferences
from screens.keymap import checked
from screens.themes import THEMES


class AppPreferences:
    """The preferences of one app, which `fail` shows what goes wrong."""

    def __init__(self, app: App[None], fail: Callable[[FtError], None]) -> None:
        """Give the app its theme before any style is read; later, Textual would read all of them again."""
        self._app, self._fail = app, fail
        self.now = preferences.load()
        self.keymap: dict[str, str] = {}
        """A person's own keys by action id, as far as they can be used."""
        self._wrong_keys: list[str] = []
        for theme in THEMES:
            app.register_theme(theme)
        app.set_reactive(App.theme, self._theme)
        for mode, on in (
            ("-dark-mode", app.current_theme.dark),
            ("-light-mode", not app.current_theme.dark),
        ):
            app.set_class(on, mode, update=False)
        app.set_class(True, f"-theme-{self._theme}", update=False)
        app.stylesheet.set_variables(app.get_css_variables())

    def change(self, values: dict[str, Any]) -> None:
        """Change some, here and on disk."""
        self.now = preferences.replaced(self.now, values)
        self.use()
        try:
            preferences.save(values)
        except FtError as error:
            self._fail(error)

    def use(self) -> None:
        """Use theme and keys as they are set. Keys that cannot be used are reported once, in full."""
        self._app.theme = self._theme
        before = self.keymap
        self.keymap, wrong = checked(self.now.keys)
        if self.keymap != before:
            self._app.set_keymap(self.keymap)
        if wrong and wrong != self._wrong_keys:
            file = paths.home() / preferences.FILE
            hint = f"The default keys are used instead. Fix them in Settings, or in {file}."
            self._fail(ConfigError("\n".join(wrong), hint))
        self._wrong_keys = wrong

    @property
    def _theme(self) -> str:
        """Name of the theme that is wanted, or of the first where there is no such theme."""
        return self.now.theme if self.now.theme in self._app.available_themes else THEMES[0].name
