"""Settings: tokens, appearance, keys, folders, versions. Everything set is in force and on disk immediately."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual import on
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import DataTable, Tab, Tabs

from screens.base import FtScreen
from screens.settings.appearance import Appearance
from screens.settings.doctor import DoctorSheet
from screens.settings.keys import Keymap
from screens.settings.storage import Places, Versions
from screens.settings.tokens import Tokens

PARTS = ("tokens", "appearance", "keys", "folders", "versions")
BELONGS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("set", "add", "test", "forget"), ("tokens",)),
    **dict.fromkeys(("rebind", "original"), ("keys",)),
    "copy": ("folders", "versions"),
}
"""The parts that an action is for."""


class SettingsScreen(FtScreen):
    """One part at a time under tabs; all of them together where there is room."""

    SCOPE = "settings"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "#tokens"
    FIRST: ClassVar[dict[str, str]] = {
        "tokens": "#tokens",
        "appearance": "#theme",
        "keys": "#keys",
        "folders": "#places",
        "versions": "#versions-part",
    }
    """The widget that gets the focus when its section is shown."""

    def body(self) -> Iterable[Widget]:
        yield Tabs(*(Tab(part, id=f"tab-{part}") for part in PARTS), id="tabs")
        versions = Versions(id="versions-part", classes="part")
        versions.can_focus = True
        yield Container(
            Tokens(id="tokens-part", classes="part"),
            Appearance(id="appearance-part", classes="part"),
            Keymap(id="keys-part", classes="part"),
            Places(id="folders-part", classes="part"),
            versions,
            id="parts",
        )

    def on_mount(self) -> None:
        self.query_one("#tabs").can_focus = False
        self._show("tokens")

    def on_screen_resume(self) -> None:
        self.query_one(Tokens).show()
        self.query_one(Keymap).show()
        self.query_one(Places).measure()

    @property
    def part(self) -> str:
        """The part that has the focus, else the one that is shown."""
        for widget in self.focused.ancestors_with_self if self.focused else ():
            if widget.has_class("part") and widget.id:
                return widget.id.removesuffix("-part")
        return next((part for part in PARTS if self.query_one(f"#{part}-part").has_class("-shown")), PARTS[0])

    def _show(self, part: str) -> None:
        for one in PARTS:
            self.query_one(f"#{one}-part").set_class(one == part, "-shown")
        self.refresh_bindings()

    @on(Tabs.TabActivated)
    def _turned(self, event: Tabs.TabActivated) -> None:
        if event.tab.id is None:
            return
        part = event.tab.id.removeprefix("tab-")
        self._show(part)
        self.query_one(self.FIRST[part]).focus()

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    # Actions

    def action_next(self) -> None:
        self._turn(1)

    def action_previous(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        part = PARTS[(PARTS.index(self.part) + by) % len(PARTS)]
        self.query_one(Tabs).active = f"tab-{part}"
        self.query_one(self.FIRST[part]).focus()

    def action_set(self) -> None:
        self.query_one(Tokens).set_chosen()

    def action_add(self) -> None:
        self.query_one(Tokens).add()

    def action_test(self) -> None:
        self.query_one(Tokens).test_chosen()

    def action_forget(self) -> None:
        self.query_one(Tokens).forget_chosen()

    def action_rebind(self) -> None:
        self.query_one(Keymap).rebind()

    def action_original(self) -> None:
        self.query_one(Keymap).original()

    def action_doctor(self) -> None:
        self.app.push_screen(DoctorSheet())

    def action_copy(self) -> None:
        text = self.query_one(Places).chosen if self.part == "folders" else self.query_one(Versions).text
        self.app.copy_to_clipboard(text)
        self.notify("Copied.")

    @on(DataTable.RowSelected, "#tokens")
    def _token_selected(self) -> None:
        self.action_set()

    @on(DataTable.RowSelected, "#keys")
    def _key_selected(self) -> None:
        self.action_rebind()

    @on(DataTable.RowHighlighted)
    def _row_changed(self) -> None:
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done in this part, to what is chosen in it, is shown and done."""
        if action in BELONGS and not (self.is_mounted and self.part in BELONGS[action]):
            return False
        if action in ("test", "forget"):
            state = self.query_one(Tokens).chosen
            if state is None:
                return False
            if action == "test":
                return state.testable and state.place != "none"
            return state.place in ("keyring", "file")
        if action == "original":
            chosen = self.query_one(Keymap).chosen
            return chosen is not None and chosen.id in self.host.preferences.keys
        return super().check_action(action, parameters)
