"""The part of the Recipe screen that knows files: opened, saved, changed by others, and kept while not saved."""

import asyncio
from pathlib import Path

from textual import on, work
from textual.getters import query_one
from textual.reactive import reactive
from textual.timer import Timer
from textual.widgets import OptionList
from textual.worker import get_current_worker

from engine import paths
from engine.errors import FtError
from engine.storage.disk_errors import explained
from screens.base import FtScreen
from screens.format import place
from screens.intents import EditRecipe, Intent
from screens.messages import WentWrong
from screens.recipe.dialogs import AskPath, PickProfile
from screens.recipe.document import Opened, RecipeDocument, read_recipe
from screens.recipe.editor import Editor
from screens.recipe.files import NAME, on_disk, write
from screens.recipe.unsaved import LeftBehind, Unsaved
from screens.widgets.confirm import Confirm

KEEP_S = 1.0
"""After the last key, before text that is not saved is written down for the case that the app is killed."""


class RecipeFileScreen(FtScreen):
    """A screen whose editor has the text of a recipe's file. A subclass shows it."""

    opened: reactive[bool] = reactive(False, toggle_class="-opened")
    """True if there is a recipe here."""

    editor = query_one(Editor)

    def __init__(self) -> None:
        super().__init__()
        self.document = RecipeDocument()
        self._unsaved = Unsaved()
        self._keeping: Timer | None = None

    @property
    def text(self) -> str:
        """The recipe as it is in the editor."""
        return self.editor.text

    @property
    def changed(self) -> bool:
        """True if there is text that is not saved."""
        return self.opened and self.document.changed(self.text)

    def show_file(self, new: bool = False, moved: bool = False) -> None:
        """Show which file the text is in now. `new`: another text was opened; `moved`: it is in another folder."""
        raise NotImplementedError

    # Opening

    def open_here(self) -> None:
        """Open the current folder's recipe, which one most likely wants to edit."""
        if not self.opened and self.document.requests == 0:
            self._open(Path.cwd() / NAME, None, quietly=True)

    def show(self, path: Path | None, text: str | None, left: LeftBehind | None = None) -> None:
        """Edit a file, or a text that has no file yet; both None: whatever is open. Asks before text is lost."""
        if path is not None or text is not None:
            self._replace(path, text, left)

    def receive(self, intent: Intent) -> None:
        match intent:
            case EditRecipe(path, text, left):
                self.show(path, text, left)
            case _:
                super().receive(intent)

    @work(exclusive=True, group="replace")
    async def _replace(self, path: Path | None, text: str | None, left: LeftBehind | None) -> None:
        self.document.requests += 1
        if await self._may_lose("Open another recipe?"):
            self._open(path, text, left=left)

    def _open(
        self, path: Path | None, text: str | None, quietly: bool = False, left: LeftBehind | None = None
    ) -> None:
        self.document.requests += 1
        self._read(path, text, self.document.requests, quietly, left)

    @work(thread=True, exclusive=True, group="open")
    def _read(
        self, path: Path | None, text: str | None, number: int, quietly: bool, left: LeftBehind | None
    ) -> None:
        read_recipe(path, text, number, quietly, left, self.post_message)

    def on_nothing_here(self) -> None:
        """The profiles are ready to be picked from."""
        if not self.opened:
            self.query_one("#empty ProfileList").focus()

    def on_opened(self, message: Opened) -> None:
        if message.number != self.document.requests:
            return
        editor, document = self.editor, self.document
        document.open(message)
        # A text that has no file was made by a program so far: nothing of a person's is lost with it. Unless it is
        # offered back.
        editor.load_text(message.text if message.in_file is None else message.in_file)
        document.unchanged = "" if message.left and message.in_file is None else editor.text
        if message.text != message.in_file and message.in_file is not None:
            editor.change_to(message.text)
        if not self.opened:
            self.opened = True
            self.set_focus(None)
        self.keep_unsaved(message.left)
        self.show_file(new=True)

    @work(exclusive=True, group="replace")
    async def action_open(self) -> None:
        file = self.document.path
        proposal = f"{place(file.parent)}/" if file and file.parent != Path.cwd() else ""
        path = await self.app.push_screen_wait(AskPath("Open a recipe", proposal, existing=True))
        if path is not None and await self._may_lose("Open another recipe?"):
            self._open(path, None)

    @work(exclusive=True, group="replace")
    async def action_profile(self) -> None:
        name = await self.app.push_screen_wait(PickProfile())
        if name is not None and await self._may_lose("Start from a profile?"):
            await self._start_from(name)

    @on(OptionList.OptionSelected, "ProfileList")
    async def _profile_picked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        await self._start_from(str(event.option_id))

    async def _start_from(self, name: str) -> None:
        from engine.config.profiles import profile_text

        try:
            self._open(None, await asyncio.to_thread(profile_text, name))
        except FtError as error:
            self.host.fail(error)

    async def _may_lose(self, question: str) -> bool:
        """Ask, if there is text that is not saved."""
        if not self.changed:
            return True
        return await self.app.push_screen_wait(Confirm(question, "Discard the changes", self.unsaved()))

    # Saving

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        await self._save(self.document.path or await self._ask_where(f"{Path.cwd()}/{NAME}"))

    @work(exclusive=True, group="save")
    async def action_save_as(self) -> None:
        await self._save(await self._ask_where(str(self.document.place)))

    async def _ask_where(self, proposal: str) -> Path | None:
        hint = "Relative paths in the recipe start at this file's folder."
        return await self.app.push_screen_wait(AskPath("Save as", place(Path(proposal)), False, hint))

    async def _save(self, path: Path | None) -> None:
        if path is None:
            return
        text = self.text
        try:
            there = await asyncio.to_thread(on_disk, path)
            ours = path == self.document.path
            if there is not None and there != text and (not ours or there != self.document.in_file):
                why = (
                    "Another program has changed it since it was read here."
                    if ours
                    else "It has other content."
                )
                if not await self.app.push_screen_wait(
                    Confirm(f"Overwrite {place(path)}?", "Overwrite it", why)
                ):
                    return
            await asyncio.to_thread(write, path, text)
        except FtError as error:
            self.host.fail(error)
            return
        moved = self.document.save(path, text)
        self.keep_unsaved()
        self.show_file(moved=moved)
        self.notify(f"Saved {place(path)}.", timeout=3)

    @work(exclusive=True, group="save")
    async def action_save_profile(self) -> None:
        proposal = str(paths.profiles() / f"{self.document.place.stem}.yml")
        hint = "Files in this folder are profiles; a comment in the first line says what one is for."
        path = await self.app.push_screen_wait(AskPath("Save as a profile", proposal, False, hint))
        if path is None:
            return
        try:
            if await asyncio.to_thread(on_disk, path) is not None and not await self.app.push_screen_wait(
                Confirm(f"Overwrite the profile {path.stem}?", "Overwrite it")
            ):
                return
            await asyncio.to_thread(write, path, self.text)
        except FtError as error:
            self.host.fail(error)
            return
        self.notify(f"Saved the profile {path.stem}.", timeout=3)

    # Coming back and leaving

    @work(exclusive=True, group="disk")
    async def on_screen_resume(self) -> None:
        """Another program may have changed the file meanwhile."""
        path, text = self.document.path, self.text
        if path is None or not self.opened:
            return
        try:
            there = await asyncio.to_thread(on_disk, path)
        except FtError as error:
            self.host.fail(error)
            return
        if there is None or there == self.document.in_file or path != self.document.path or text != self.text:
            return
        if self.changed:
            self.notify(
                f"{place(path)} was changed by another program; saving will ask first.",
                severity="warning",
            )
        else:
            self._open(path, None)
            self.notify(f"{place(path)} was changed by another program and has been read again.")

    def unsaved(self) -> str:
        return (
            f"Your changes in {self.document.title} are not saved and will be lost." if self.changed else ""
        )

    def keep_unsaved(self, left: LeftBehind | None = None) -> None:
        """Have the text on disk exactly while it is not saved; `left` is where it was before."""
        self._keep(self.document.path, self.text if self.changed else None, left)

    def keep_unsaved_soon(self) -> None:
        """Have the text on disk a moment after the last change, if it is not saved then."""
        if self._keeping is not None:
            self._keeping.stop()
        self._keeping = self.set_timer(KEEP_S, self.keep_unsaved)

    @work(thread=True, group="keep", exclusive=True)
    def _keep(self, path: Path | None, text: str | None, left: LeftBehind | None) -> None:
        try:
            self._unsaved.store(path, text, left, get_current_worker().cancelled_event)
        except OSError as error:
            self.post_message(WentWrong(explained(error)))

    def give_up(self) -> None:
        """Drop the text: the person leaves the app and was asked."""
        if self._keeping is not None:
            self._keeping.stop()
        self.workers.cancel_group(self, "keep")
        self._unsaved.discard()

    def on_unmount(self) -> None:
        self._unsaved.close()
