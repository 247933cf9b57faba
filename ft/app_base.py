"""What the app is apart from its screens: preferences, theme, keys, errors, clipboard, and its last word."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual.app import App
from textual.filter import LineFilter

from engine import paths
from engine.errors import ConfigError, FtError
from screens import preferences
from screens.actions import action_of
from screens.clipboard import copy_locally
from screens.keymap import checked, keys_of, shown
from screens.messages import WentWrong
from screens.plain_text import WithoutControls
from screens.themes import THEMES


class AppBase(App[None]):
    """The base of `FtApp`."""

    PROBLEMS = 50
    """Errors that are kept to be read again."""

    def __init__(self) -> None:
        super().__init__()
        self.preferences = preferences.load()
        self.problems: list[FtError] = []
        self.keymap: dict[str, str] = {}
        """A person's own keys by action id, as far as they can be used."""
        self._wrong_keys: list[str] = []
        self._without_controls = WithoutControls()
        self._wear(self.preferences.theme)

    def change(self, **values: Any) -> None:
        self.preferences = preferences.replaced(self.preferences, values)
        self._use_preferences()
        try:
            preferences.save(values)
        except FtError as error:
            self.fail(error)

    def fail(self, error: FtError) -> None:
        self.problems = [*self.problems[-self.PROBLEMS + 1 :], error]
        keys = " or ".join(shown(key) for key in keys_of(action_of("app.details"), self.keymap))
        first = error.message.splitlines()[0] if error.message else error.kind
        hint = f"{error.hint.splitlines()[0]}\n" if error.hint else ""
        self.notify(f"{hint}{keys} shows the details.", title=first, severity="error", timeout=10)

    def notify(self, message: str, *, markup: bool = True, **how: Any) -> None:
        """Never markup: messages hold names and paths, where brackets stand for themselves."""
        super().notify(message, markup=False, **how)

    def on_went_wrong(self, message: WentWrong) -> None:
        self.fail(message.error)

    def action_details(self) -> None:
        from screens.widgets.details import Details

        self.push_screen(Details(self.problems))

    def copy_to_clipboard(self, text: str) -> None:
        """By the terminal (OSC 52, which also works over SSH), and by the system's own tool where there is one."""
        super().copy_to_clipboard(text)
        if not self.is_headless:
            self.run_worker(lambda: copy_locally(text), thread=True, group="clipboard", exclusive=True)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's own, and one that lets no control character of a name or a row reach the terminal."""
        return [*super().get_line_filters(), self._without_controls]

    # Theme and keys

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

    def _use_preferences(self) -> None:
        """Theme and keys as they are set. Keys that cannot be used are told of once, in full."""
        wanted = self.preferences.theme
        self.theme = wanted if wanted in self.available_themes else THEMES[0].name
        before = self.keymap
        self.keymap, wrong = checked(self.preferences.keys)
        if self.keymap != before:
            self.set_keymap(self.keymap)
        if wrong and wrong != self._wrong_keys:
            hint = f"The keys of the table hold there. Fix them in Settings, or in {paths.home() / preferences.FILE}."
            self.fail(ConfigError("\n".join(wrong), hint))
        self._wrong_keys = wrong

    # The end

    def _fatal_error(self) -> None:
        """After a mistake of ours Textual would print every frame with its values.

        Ours says where the traceback is. The terminal is restored in either case.
        """
        from ft.crash_report import keep_traceback

        error = self._exception or RuntimeError("no exception")
        cause = getattr(error, "error", error)  # a worker's is wrapped
        self.bell()
        mistake = FtError(f"ft made a mistake: {type(cause).__name__}: {cause}", keep_traceback(cause))
        self.panic(Text(f"{mistake.message}\n{mistake.hint}"))
