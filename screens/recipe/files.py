"""The Recipe screen's files: opening and saving a recipe, and asking before text is lost."""

import asyncio
from pathlib import Path

from textual import on, work
from textual.widgets import OptionList

from engine import paths
from engine.errors import FtError
from screens.format import place
from screens.messages import EditRecipe, WentWrong
from screens.recipe.dialogs import AskPath, PickProfile
from screens.recipe.document import NAME, on_disk, read, write
from screens.recipe.editor import Editor
from screens.recipe.messages import NothingHere, Opened
from screens.recipe.plan_view import PlanView
from screens.recipe.text import RecipeText
from screens.recipe.unsaved import LeftBehind
from screens.widgets.confirm import Confirm


class RecipeFiles(RecipeText):
    """A screen that opens a recipe from a file or a profile, and saves it.

    A subclass gives, beside the widgets of `RecipeText`, a `ProfileList` in `#empty` to start from.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0
        """Counts openings, so that a slow one does not come over a later one."""

    # Opening

    def open_here(self) -> None:
        """What one most likely wants to edit: the current folder's recipe."""
        if not self.opened and self._asked == 0:
            self._open(Path.cwd() / NAME, None, quietly=True)

    def show(self, path: Path | None, text: str | None, left: LeftBehind | None = None) -> None:
        """Edit a file, or a text that has no file yet; both None: whatever is open. Asks before text is lost."""
        if path is not None or text is not None:
            self._replace(path, text, left)

    def on_edit_recipe(self, message: EditRecipe) -> None:
        self.show(message.path, message.text, message.left)

    @work(exclusive=True, group="replace")
    async def _replace(self, path: Path | None, text: str | None, left: LeftBehind | None) -> None:
        self._asked += 1
        if await self._may_lose("Open another recipe?"):
            self._open(path, text, left=left)

    def _open(
        self, path: Path | None, text: str | None, quietly: bool = False, left: LeftBehind | None = None
    ) -> None:
        self._asked += 1
        self._read(path, text, self._asked, quietly, left)

    @work(thread=True, exclusive=True, group="open")
    def _read(
        self, path: Path | None, text: str | None, number: int, quietly: bool, left: LeftBehind | None
    ) -> None:
        """Read the file; `text`, if given, is a change of it that is not saved."""
        try:
            found = None
            if path is not None:
                path = path.expanduser().absolute()
                found = on_disk(path) if quietly or text is not None else read(path)
            if found is None and text is None:
                self.post_message(NothingHere())
            else:
                shown = text if text is not None else found or ""
                self.post_message(Opened(path, found, shown, number, left))
        except FtError as error:
            self.post_message(WentWrong(error))

    def on_nothing_here(self) -> None:
        """The profiles are ready to be picked from."""
        if not self.opened:
            self.query_one("#empty ProfileList").focus()

    def on_opened(self, message: Opened) -> None:
        if message.number != self._asked:
            return
        editor = self.query_one(Editor)
        self.path, self.in_file = message.path, message.in_file
        # A text that has no file was made by a program so far: nothing of a person's is lost with it. Unless it is
        # offered back.
        editor.load_text(message.text if message.in_file is None else message.in_file)
        self.unchanged = "" if message.left and message.in_file is None else editor.text
        if message.text != message.in_file and message.in_file is not None:
            editor.change_to(message.text)
        if not self.opened:
            self.opened = True
            self.set_focus(None)
        self.query_one(PlanView).forget()
        self.keep_unsaved(message.left)
        self.show_title()
        self.look()

    @work(exclusive=True, group="replace")
    async def action_open(self) -> None:
        proposal = f"{place(self.path.parent)}/" if self.path and self.path.parent != Path.cwd() else ""
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
        return await self.app.push_screen_wait(Confirm(question, "Lose the changes", self.unsaved()))

    # Saving

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        await self._save(self.path or await self._ask_where(f"{Path.cwd()}/{NAME}"))

    @work(exclusive=True, group="save")
    async def action_save_as(self) -> None:
        await self._save(await self._ask_where(str(self.place)))

    async def _ask_where(self, proposal: str) -> Path | None:
        hint = "Relative paths in the recipe start at this file's folder."
        return await self.app.push_screen_wait(AskPath("Save as", place(Path(proposal)), False, hint))

    async def _save(self, path: Path | None) -> None:
        if path is None:
            return
        text = self.text
        try:
            there = await asyncio.to_thread(on_disk, path)
            ours = path == self.path
            if there is not None and there != text and (not ours or there != self.in_file):
                why = (
                    "Another program has changed it since it was read here."
                    if ours
                    else "It holds another text."
                )
                if not await self.app.push_screen_wait(
                    Confirm(f"Write over {place(path)}?", "Write over it", why)
                ):
                    return
            await asyncio.to_thread(write, path, text)
        except FtError as error:
            self.host.fail(error)
            return
        moved = path.parent != self.place.parent
        self.path, self.in_file, self.unchanged = path, text, text
        self.keep_unsaved()
        self.show_title()
        self.notify(f"Saved {place(path)}.", timeout=3)
        if moved:
            self.look()

    @work(exclusive=True, group="save")
    async def action_save_profile(self) -> None:
        proposal = str(paths.profiles() / f"{self.place.stem}.yml")
        hint = "Files in this folder are profiles; a comment in the first line says what one is for."
        path = await self.app.push_screen_wait(AskPath("Save as a profile", proposal, False, hint))
        if path is None:
            return
        try:
            if await asyncio.to_thread(on_disk, path) is not None and not await self.app.push_screen_wait(
                Confirm(f"Write over the profile {path.stem}?", "Write over it")
            ):
                return
            await asyncio.to_thread(write, path, self.text)
        except FtError as error:
            self.host.fail(error)
            return
        self.notify(f"Saved the profile {path.stem}.", timeout=3)

    # Coming back

    @work(exclusive=True, group="disk")
    async def on_screen_resume(self) -> None:
        """Another program may have changed the file meanwhile."""
        path, text = self.path, self.text
        if path is None or not self.opened:
            return
        try:
            there = await asyncio.to_thread(on_disk, path)
        except FtError as error:
            self.host.fail(error)
            return
        if there is None or there == self.in_file or path != self.path or text != self.text:
            return
        if self.changed:
            self.notify(f"{place(path)} was changed by another program; saving will ask.", severity="warning")
        else:
            self._open(path, None)
            self.notify(f"{place(path)} was changed by another program, and is read again.")
