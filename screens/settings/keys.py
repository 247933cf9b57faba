"""Settings: every action with its keys, to be changed one by one."""

from typing import cast

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import DataTable, Static

from screens.action import Action
from screens.actions import ACTIONS, SCREENS
from screens.host import Host
from screens.keymap import checked, clashes, keys_of, shown
from screens.settings.ask import AskKey

TITLES = {scope: title for _, scope, title in SCREENS} | {"app": "everywhere"}
EATEN = {"ctrl+s", "ctrl+q", "ctrl+b", "ctrl+a", "ctrl+z", "ctrl+c"}
"""Keys that terminals and multiplexers keep for themselves, more often than not."""


class Keymap(Vertical):
    """The table of actions; a changed key is in force and on disk immediately."""

    BORDER_TITLE = "keys"

    @property
    def host(self) -> Host:
        return cast(Host, self.app)

    def compose(self) -> ComposeResult:
        yield DataTable[Text | str](id="keys", cursor_type="row")
        yield Static("", id="about", markup=False, classes="note")
        yield Static("", id="clash", markup=False)

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns("where", "key", "action", "what it does")
        self.show()

    def show(self) -> None:
        """List the actions with the keys that hold now; a changed one is marked by a star."""
        table = self.query_one(DataTable)
        row = table.cursor_row
        table.clear()
        for action in ACTIONS:
            keys = " ".join(shown(key) for key in keys_of(action, self.host.keymap))
            own = action.id in self.host.keymap
            table.add_row(
                TITLES.get(action.scope, action.scope),
                Text(f"{keys} *" if own else keys, "bold"),
                Text(action.label),
                Text(action.help, "dim"),
                key=action.id,
            )
        table.move_cursor(row=row, animate=False)

    @on(DataTable.RowHighlighted)
    def _explain(self) -> None:
        """The chosen action's sentence in full, which the list may cut."""
        if self.chosen is not None:
            self.query_one("#about", Static).update(self.chosen.help)

    @property
    def chosen(self) -> Action | None:
        """The action under the cursor."""
        row = self.query_one(DataTable).cursor_row
        return ACTIONS[row] if 0 <= row < len(ACTIONS) else None

    @work(exclusive=True, group="keys")
    async def rebind(self) -> None:
        """Ask for a key and give it to the chosen action, unless another has it."""
        action = self.chosen
        if action is None:
            return
        now = " ".join(shown(key) for key in keys_of(action, self.host.keymap))
        question = AskKey(
            f"Press the new key for “{action.label}” ({TITLES.get(action.scope, action.scope)})",
            f"{action.help}\nNow: {now}. Escape cancels.",
        )
        key = await self.app.push_screen_wait(question)
        if key is not None:
            self.give(action, key)

    def give(self, action: Action, key: str) -> None:
        """Give an action a key; a clash is reported, and nothing changes."""
        own = dict(self.host.preferences.keys)
        before = checked(own)[1]
        own[action.id] = key
        usable, problems = checked(own)
        if action.id not in usable or len(problems) > len(before):
            self._say(f"✗ Not changed. {self._why_not(action, key)}")
            return
        self.host.change(keys=own)
        warning = " Many terminals reserve that key." if key in EATEN else ""
        self._say(f"✓ {action.label} is {shown(key)} now.{warning}")

    def _why_not(self, action: Action, key: str) -> str:
        for other in ACTIONS:
            if clashes(action, other) and key in keys_of(other, self.host.keymap):
                where = TITLES.get(other.scope, other.scope)
                return f"{shown(key)} is already the key of “{other.label}” ({where}); change that first."
        return f"{shown(key)} cannot be used."

    def original(self) -> None:
        """Give the chosen action the table's keys again."""
        action = self.chosen
        if action is None or action.id not in self.host.preferences.keys:
            return
        own = {name: keys for name, keys in self.host.preferences.keys.items() if name != action.id}
        new = [line for line in checked(own)[1] if line not in checked(self.host.preferences.keys)[1]]
        if new:
            self._say(f"✗ Not changed. {new[0]}")
            return
        self.host.change(keys=own)
        self._say(f"✓ {action.label} has its default key again.")

    def _say(self, text: str) -> None:
        self.query_one("#clash", Static).update(text)
        self.show()
