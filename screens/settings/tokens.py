"""Settings: the tokens in the system's keyring. Values are asked for, kept and tested; never shown."""

import asyncio
from typing import cast

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import DataTable, Static

from engine import secrets
from engine.errors import FtError
from engine.secrets import SecretState
from screens.host import Host
from screens.messages import WentWrong
from screens.settings.ask import Ask
from screens.widgets.confirm import Confirm

KEPT = (
    "It is stored in the system's keyring, passed to the engine alone, and hidden while you type or paste it."
)


class Tokens(Vertical):
    """A list of names with the place that each token is in."""

    BORDER_TITLE = "tokens"

    @property
    def host(self) -> Host:
        return cast(Host, self.app)

    def compose(self) -> ComposeResult:
        yield DataTable[Text | str](id="tokens", cursor_type="row")
        yield Static("", id="verdict", markup=False)
        yield Static(
            "s sets the selected token, a adds one under another name; so does `ft secrets set NAME`. "
            "Environment variables take precedence over the keyring.",
            classes="note",
        )

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns("", "name", "where", "for")
        self.show()

    def show(self) -> None:
        """Read again where the tokens are; the keyring is not asked."""
        table = self.query_one(DataTable)
        row = table.cursor_row
        table.clear()
        for state in secrets.listed():
            sign = (
                Text("○", "dim") if state.place == "none" else Text("●", self.app.theme_variables["success"])
            )
            table.add_row(sign, state.name, state.where, state.purpose, key=state.name)
        table.move_cursor(row=row, animate=False)

    @property
    def chosen(self) -> SecretState | None:
        """The token under the cursor."""
        states = secrets.listed()
        row = self.query_one(DataTable).cursor_row
        return states[row] if 0 <= row < len(states) else None

    @work(exclusive=True, group="tokens")
    async def set_chosen(self) -> None:
        """Ask for the chosen token's value and keep it."""
        if self.chosen is not None:
            await self._set(self.chosen.name)

    @work(exclusive=True, group="tokens")
    async def add(self) -> None:
        """Ask for a name, then for its value."""
        details = "Capital letters, digits and _, as the program that reads it expects: OPENAI_API_KEY."
        name = await self.app.push_screen_wait(Ask("Name of the token", details, label="Next"))
        if name is None:
            return
        try:
            secrets.state_of(name)
        except FtError as error:
            self._fail(error)
            return
        await self._set(name)

    async def _set(self, name: str) -> None:
        value = await self.app.push_screen_wait(Ask(f"Value of {name}", KEPT, hidden=True))
        if value is None:
            return
        try:
            await asyncio.to_thread(secrets.set, name, value)
            await asyncio.to_thread(self.host.renew_token, name)
        except FtError as error:
            self._fail(error)
            return
        beside = secrets.state_of(name).variable
        self._say(
            f"{name} is in the keyring."
            + (f" {beside} in the environment still takes precedence." if beside is not None else "")
        )

    @work(exclusive=True, group="tokens")
    async def test_chosen(self) -> None:
        """Ask the service behind the chosen token."""
        state = self.chosen
        if state is None:
            return
        self._say(f"{state.name}: asking …")
        try:
            self._say(await asyncio.to_thread(secrets.test, state.name))
        except FtError as error:
            self._say("")
            self._fail(error)

    @work(exclusive=True, group="tokens")
    async def forget_chosen(self) -> None:
        """Take the chosen token out of the keyring, if the person is sure."""
        state = self.chosen
        if state is None:
            return
        question = Confirm(f"Forget {state.name}?", "Forget", "It is removed from the system's keyring.")
        if not await self.app.push_screen_wait(question):
            return
        try:
            await asyncio.to_thread(secrets.forget, state.name)
            await asyncio.to_thread(self.host.renew_token, state.name)
        except FtError as error:
            self._fail(error)
        else:
            self._say(f"{state.name} was removed from the keyring.")

    def _say(self, text: str) -> None:
        self.query_one("#verdict", Static).update(text)
        self.show()

    def _fail(self, error: FtError) -> None:
        self.post_message(WentWrong(error))
