"""The way of a recipe's text to a file: where to, over what is there already, and as a profile.

All of it asks the person: call it in a worker (`@work`).
"""

import asyncio
from pathlib import Path

from engine import paths
from engine.errors import FtError
from screens.base import FtScreen
from screens.format import place
from screens.recipe.dialogs import AskPath
from screens.recipe.document import RecipeDocument
from screens.recipe.files import on_disk, write
from screens.widgets.confirm import Confirm


async def ask_where(screen: FtScreen, proposal: Path) -> Path | None:
    """Ask for the file to save in; None where the person leaves."""
    hint = "Relative paths in the recipe start at this file's folder."
    return await screen.app.push_screen_wait(AskPath("Save as", place(proposal), False, hint))


async def saved(screen: FtScreen, path: Path, text: str, document: RecipeDocument) -> bool:
    """Save the text, unless the person wants to keep what is in the file; failures are shown."""
    try:
        there = await asyncio.to_thread(on_disk, path)
        ours = path == document.path
        if there is not None and there != text and (not ours or there != document.in_file):
            why = (
                "Another program has changed it since it was read here." if ours else "It has other content."
            )
            question = Confirm(f"Overwrite {place(path)}?", "Overwrite it", why)
            if not await screen.app.push_screen_wait(question):
                return False
        await asyncio.to_thread(write, path, text)
    except FtError as error:
        screen.host.fail(error)
        return False
    return True


async def save_profile(screen: FtScreen, text: str, stem: str) -> None:
    """Ask for a name, and save the text as a profile; `stem` is proposed."""
    proposal = str(paths.profiles() / f"{stem}.yml")
    hint = "Files in this folder are profiles; a comment in the first line says what one is for."
    path = await screen.app.push_screen_wait(AskPath("Save as a profile", proposal, False, hint))
    if path is None:
        return
    try:
        if await asyncio.to_thread(on_disk, path) is not None and not await screen.app.push_screen_wait(
            Confirm(f"Overwrite the profile {path.stem}?", "Overwrite it")
        ):
            return
        await asyncio.to_thread(write, path, text)
    except FtError as error:
        screen.host.fail(error)
        return
    screen.notify(f"Saved the profile {path.stem}.", timeout=3)


async def changed_by_others(screen: FtScreen, document: RecipeDocument) -> bool:
    """True if the document's file holds something else than was read from it; failures are shown."""
    path = document.path
    if path is None:
        return False
    try:
        there = await asyncio.to_thread(on_disk, path)
    except FtError as error:
        screen.host.fail(error)
        return False
    return there is not None and there != document.in_file and path == document.path
