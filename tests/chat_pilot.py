"""The Chat screen in the real app: what a person sees of it, and waiting for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from ft.app import FtApp
from screens.chat.conversation import Answer, Side
from screens.chat.prompt import Prompt
from screens.chat.screen import ChatScreen
from screens.chat.session import Grown
from screens.chat.transcript import Transcript
from tests.app_pilot import until

ORDERS = "20260103-000000-orders · final"
"""The newest of the runs that the tests have made."""


class Seen:
    """The Chat screen as a person sees it."""

    def __init__(self, pilot: Pilot[Any]) -> None:
        assert isinstance(pilot.app, FtApp)
        self.pilot = pilot
        self.app = pilot.app

    @property
    def screen(self) -> ChatScreen:
        assert isinstance(self.app.screen, ChatScreen)
        return self.app.screen

    @property
    def prompt(self) -> Prompt:
        return self.screen.query_one(Prompt)

    def side(self, side: Side) -> Transcript:
        return self.screen.query_one(f"#{side}", Transcript)

    def title(self, side: Side = "trained") -> str:
        return str(self.side(side).border_title)

    def text(self, side: Side = "trained") -> str:
        return "\n".join(str(child.render()) for child in self.side(side).children)

    def answer(self, number: int, side: Side) -> Answer:
        return self.screen.session.conversation.turns[number].answers.get(side, Answer())

    async def ready(self, title: str = ORDERS) -> None:
        """Wait until a model is chosen."""
        await self.until(lambda: isinstance(self.app.screen, ChatScreen) and title in self.title(), title)
        await self.pilot.pause()

    async def ask(self, question: str) -> None:
        self.prompt.load_text(question)
        self.prompt.focus()
        await self.pilot.press("enter")
        await self.pilot.pause()

    async def said(self, number: int, side: Side, answer: Answer, talk: int | None = None) -> None:
        """The child says something."""
        self.screen.post_message(Grown(talk or self.screen.session.number, number, side, answer))
        await self.pilot.pause()

    async def until_done(self, number: int, side: Side) -> None:
        await self.until(lambda: self.answer(number, side).state == "done", f"the {side} answer {number}")

    async def until(self, happened: Callable[[], Any], what: str) -> None:
        await until(self.pilot, happened, what)


@asynccontextmanager
async def chat_screen(
    size: tuple[int, int] = (120, 36), app: FtApp | None = None, ready: str = ORDERS
) -> AsyncIterator[Seen]:
    """The app at its Chat screen, with the model of that title chosen; `ready` empty: whatever is there."""
    async with (app or FtApp("chat")).run_test(size=size) as pilot:
        seen = Seen(pilot)
        if ready:
            await seen.ready(ready)
        else:
            await seen.until(lambda: isinstance(seen.app.screen, ChatScreen), "Chat")
        yield seen
