"""Settings: the tokens in the system's keyring or the encrypted file. Values are asked for, kept and tested; never
shown. A passphrase is asked for in a dialog, so that nothing waits on the terminal behind the app."""

import asyncio
from typing import cast

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import DataTable, Static

from engine import secrets
from engine.errors import ConfigError, FtError, MachineError
from engine.secrets import SecretState, encrypted_file, passphrase
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
        place = "keyring"
        try:
            try:
                await asyncio.to_thread(secrets.set, name, value)
            except MachineError as error:  # no keyring, or none that opens
                place = "encrypted file"
                if not await self._kept_in_file(name, value, error):
                    return
            await asyncio.to_thread(self.host.renew_token, name)
        except FtError as error:
            self._fail(error)
            return
        beside = secrets.state_of(name).variable
        self._say(
            f"{name} is in the {place}."
            + (f" {beside} in the environment still takes precedence." if beside is not None else "")
        )

    async def _kept_in_file(self, name: str, value: str, error: MachineError) -> bool:
        """Offer the encrypted file where the keyring has failed; False where the person does not want it."""
        new = not await asyncio.to_thread(encrypted_file.names)
        rule = f" of at least {passphrase.SHORTEST} characters" if new else ""
        words = await self._asked(
            "Choose a passphrase" if new else "Passphrase of the encrypted file",
            f"{error.message} With a passphrase{rule}, {name} is kept in {encrypted_file.path()}.",
        )
        if words is not None and new:
            passphrase.refuse_weak(words)
            again = await self._asked("The same passphrase again", "Without it, the tokens cannot be read.")
            if again != words:
                raise ConfigError("The two passphrases differ.", "Nothing was kept. Try again.")
        if words is None:
            self._fail(error)
            return False
        await asyncio.to_thread(secrets.set_in_file, {name: value}, words)
        return True

    async def _asked(self, question: str, details: str) -> str | None:
        return await self.app.push_screen_wait(Ask(question, details, hidden=True, label="OK", exact=True))

    @work(exclusive=True, group="tokens")
    async def test_chosen(self) -> None:
        """Ask the service behind the chosen token."""
        state = self.chosen
        if state is None:
            return
        self._say(f"{state.name}: asking …")
        try:
            try:
                said = await asyncio.to_thread(secrets.test, state.name)
            except secrets.Locked:
                said = await self._unlocked_and_tested(state.name)
            self._say(said)
        except FtError as error:
            self._say("")
            self._fail(error)

    async def _unlocked_and_tested(self, name: str) -> str:
        """Ask for the passphrase, with which this app can start runs too, and then the service."""
        details = f"It opens {encrypted_file.path()} until you leave the app."
        words = await self._asked("Passphrase of the encrypted file", details)
        if words is None:
            return ""
        await asyncio.to_thread(secrets.unlock, words)
        await asyncio.to_thread(self.host.renew_token, secrets.HF_TOKEN)
        return await asyncio.to_thread(secrets.test, name)

    @work(exclusive=True, group="tokens")
    async def forget_chosen(self) -> None:
        """Take the chosen token out of the keyring, if the person is sure."""
        state = self.chosen
        if state is None:
            return
        place = "the encrypted file" if state.place == "file" else "the system's keyring"
        question = Confirm(f"Forget {state.name}?", "Forget", f"It is removed from {place}.")
        if not await self.app.push_screen_wait(question):
            return
        try:
            await asyncio.to_thread(secrets.forget, state.name)
            await asyncio.to_thread(self.host.renew_token, state.name)
        except FtError as error:
            self._fail(error)
        else:
            self._say(f"{state.name} was removed.")

    def _say(self, text: str) -> None:
        self.query_one("#verdict", Static).update(text)
        self.show()

    def _fail(self, error: FtError) -> None:
        self.post_message(WentWrong(error))
