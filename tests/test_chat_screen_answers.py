"""Chat with a really trained model: words come from the service, and stop on request."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import ft as api
from engine.data.types import Message, Sampling
from engine.runs.directory.run import Run
from engine.service.client import Client
from ft.app import FtApp
from screens.chat.conversation import OVER, SIDES
from screens.intents import ChatWith
from tests.chat_pilot import Seen, chat_screen
from tests.terminal import write_recipe

pytestmark = pytest.mark.slow
SHORT = 24
"""Tokens of an answer: a model that is hardly trained does not end its answers itself."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """A finished run of a tiny model."""
    folder = tmp_path_factory.mktemp("chat")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(folder / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        recipe = write_recipe(folder, tiny_model, training={"learning_rate": 0.01})
        run = api.train(recipe, overrides={"training.max_steps": 6}, folder=folder / "run")
        assert run.wait().reason == "completed"
    return Run.open(run.folder)


@pytest.fixture(scope="module")
def service(trained: Run) -> Iterator[Client]:
    with Client(trained.folder / "service.log") as client:
        # Load both models, which takes longer than a person's patience on a busy machine.
        for base in (False, True):
            list(client.generate(trained, [Message("user", "number 3")], Sampling(1), base=base))
        yield client


@pytest.fixture
def app(trained: Run, service: Client, monkeypatch: pytest.MonkeyPatch) -> FtApp:
    monkeypatch.setattr("screens.chat.session.MAX_TOKENS", SHORT)
    app = FtApp("chat")
    monkeypatch.setattr(app, "service", lambda: service)
    return app


@asynccontextmanager
async def talking_to(run: Run, app: FtApp) -> AsyncIterator[Seen]:
    """Chat, with that run's model chosen."""
    async with chat_screen(app=app, ready="") as seen:
        app.open(ChatWith(str(run.folder)))
        await seen.until(lambda: seen.screen.session.model, "the model")
        yield seen


async def test_tools_file_reaches_both_chat_models(app: FtApp, trained: Run, tmp_path: Path) -> None:
    """This model's template shows no tools, which both sides say: so both were given them."""
    file = tmp_path / "tools.json"
    file.write_text('[{"name": "stock", "parameters": {}}]')
    async with talking_to(trained, app) as seen:
        await seen.ask(f"/tools {file}")
        await seen.until(lambda: seen.screen.session.tools, "the tools")
        await seen.ask("number 3")
        for side in SIDES:
            await seen.until(lambda side=side: seen.answer(0, side).state == "failed", f"the {side} answer")
            assert "shows no tools" in seen.answer(0, side).problem
        await seen.ask("/tools")
        await seen.until(lambda: not seen.screen.session.tools, "no tools")
        await seen.ask("/tool 4 apples")
        for side in SIDES:
            await seen.until_done(1, side)
        assert seen.screen.session.conversation.messages(1, "trained")[-1] == Message("tool", "4 apples")


async def test_chat_models_answer_like_command_line(app: FtApp, service: Client, trained: Run) -> None:
    expected = {
        side: "".join(
            service.generate(trained, [Message("user", "number 3")], Sampling(SHORT), base=side == "base")
        )
        for side in SIDES
    }
    async with talking_to(trained, app) as seen:
        await seen.ask("number 3")
        for side in SIDES:
            await seen.until_done(0, side)
            assert seen.answer(0, side).text == expected[side]
    assert expected["trained"] != expected["base"]


async def test_stopped_chat_answer_lets_next_come(
    app: FtApp, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking_to(trained, app) as seen:
        monkeypatch.setattr("screens.chat.session.MAX_TOKENS", 1_000_000)
        seen.screen.session.set(
            "temperature 1"
        )  # the likeliest bytes of a model like this need not be characters
        for turn in range(20):  # by chance, such a model may end its answer before anybody stops it
            await seen.ask("number 3")
            await seen.until(lambda turn=turn: any(seen.answer(turn, side).tokens for side in SIDES), "words")
            await seen.pilot.press("escape")
            if seen.answer(turn, "base").state == "stopped":
                break
            await seen.until(lambda turn=turn: seen.answer(turn, "trained").state in OVER, "an end")
        words = seen.answer(turn, "base").text
        assert seen.answer(turn, "base").state == "stopped"
        monkeypatch.setattr("screens.chat.session.MAX_TOKENS", SHORT)
        await seen.ask("number 4")
        await seen.until_done(turn + 1, "trained")
        assert seen.answer(turn, "base").text == words


async def test_run_deleted_during_chat_is_explained(app: FtApp, trained: Run) -> None:
    async with talking_to(trained, app) as seen:
        hidden = trained.folder.with_name("hidden")
        trained.folder.rename(hidden)
        try:
            await seen.ask("number 3")
            await seen.until(lambda: seen.answer(0, "trained").state == "failed", "what is wrong")
            assert "no run" in seen.answer(0, "trained").problem
        finally:
            hidden.rename(trained.folder)
