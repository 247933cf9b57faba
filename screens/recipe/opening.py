"""Recipes to open: a file that the person names, or the text of a profile. Call it in a worker (`@work`)."""

import asyncio
from pathlib import Path

from engine.errors import FtError
from screens.base import FtScreen
from screens.format import place
from screens.recipe.dialogs import AskPath


async def ask_which(screen: FtScreen, beside: Path | None) -> Path | None:
    """Ask for a recipe's file; the folder of `beside`, if it is not the current one, is proposed."""
    proposal = f"{place(beside.parent)}/" if beside and beside.parent != Path.cwd() else ""
    return await screen.app.push_screen_wait(AskPath("Open a recipe", proposal, existing=True))


async def text_of_profile(screen: FtScreen, name: str) -> str | None:
    """The text of a profile; None, with the failure shown, where it cannot be read."""
    from engine.config.profiles import profile_text

    try:
        return await asyncio.to_thread(profile_text, name)
    except FtError as error:
        screen.host.fail(error)
        return None
