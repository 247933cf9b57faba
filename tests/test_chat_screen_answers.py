"""Chat with a really trained model: words come from the warm child, and stop when they are told to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

import ft as api
from engine.client import Client
from engine.data.types import Message
from engine.runs.run import Run
from ft.app import FtApp
from screens.chat import ChatScreen
from screens.conversation import Answer, Side
from tests.app_pilot import until
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
        for base in (
            False,
            True,
        ):  # load both models, which takes longer than a person's patience on a busy machine
            list(client.generate(trained, [Message("user", "number 3")], 1, base=base))
        yield client


@pytest.fixture
def app(trained: Run, service: Client, monkeypatch: pytest.MonkeyPatch) -> FtApp:
    monkeypatch.setattr("screens.chat.MAX_TOKENS", SHORT)
    app = FtApp("chat")
    monkeypatch.setattr(app, "service", lambda: service)
    return app


def screen(pilot: Pilot[None]) -> ChatScreen:
    assert isinstance(pilot.app.screen, ChatScreen)
    return pilot.app.screen


def answer(pilot: Pilot[None], number: int, side: Side) -> Answer:
    return screen(pilot).conversation.turns[number].answers.get(side, Answer())


async def ask(pilot: Pilot[None], trained: Run, question: str) -> None:
    if screen(pilot).talker is None:
        pilot.app.chat_with(str(trained.folder))  # type: ignore[attr-defined]
        await until(pilot, lambda: screen(pilot).talker, "the model")
    screen(pilot).query_one("#prompt", Input).value = question
    screen(pilot).query_one("#prompt").focus()
    await pilot.press("enter")


async def test_both_models_answer_as_they_do_on_the_command_line(
    app: FtApp, service: Client, trained: Run
) -> None:
    expected = {
        side: "".join(service.generate(trained, [Message("user", "number 3")], SHORT, base=side == "base"))
        for side in ("trained", "base")
    }
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ChatScreen), "Chat")
        await ask(pilot, trained, "number 3")
        for side in ("trained", "base"):
            await until(pilot, lambda side=side: answer(pilot, 0, side).state == "done", f"the {side} answer")
            assert answer(pilot, 0, side).text == expected[side]
    assert expected["trained"] != expected["base"]


async def test_an_answer_stops_when_told_to_and_the_next_one_comes(
    app: FtApp, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ChatScreen), "Chat")
        monkeypatch.setattr("screens.chat.MAX_TOKENS", 1_000_000)
        screen(pilot).temperature = 1.0  # the likeliest bytes of a model like this need not be characters
        await ask(pilot, trained, "number 3")
        await until(
            pilot, lambda: answer(pilot, 0, "trained").tokens or answer(pilot, 0, "base").tokens, "words"
        )
        await pilot.press("escape")
        words = answer(pilot, 0, "base").text
        assert answer(pilot, 0, "base").state == "stopped"
        monkeypatch.setattr("screens.chat.MAX_TOKENS", SHORT)
        await ask(pilot, trained, "number 4")
        await until(pilot, lambda: answer(pilot, 1, "trained").state == "done", "the next answer")
        assert answer(pilot, 0, "base").text == words


async def test_a_run_deleted_under_the_conversation_is_a_sentence(
    app: FtApp, trained: Run, tmp_path: Path
) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, ChatScreen), "Chat")
        hidden = trained.folder.with_name("hidden")
        app.chat_with(str(trained.folder))
        await until(pilot, lambda: screen(pilot).talker, "the model")
        trained.folder.rename(hidden)
        try:
            await ask(pilot, trained, "number 3")
            await until(pilot, lambda: answer(pilot, 0, "trained").state == "failed", "what is wrong")
            assert "no run" in answer(pilot, 0, "trained").problem
        finally:
            hidden.rename(trained.folder)
