"""The Chat screen: driven by keys, with answers as the service would send them, and as pictures."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from engine.data.types import Sampling
from engine.runs.index.index import Index
from ft.app import FtApp
from screens.chat.conversation import Answer, Side
from screens.chat.models import chat_models, newest
from screens.chat.screen import ChatScreen
from screens.chat.session import Asked, ChatSession
from screens.intents import ChatWith
from screens.use.dialog import PickUse, UseForm
from tests.app_pilot import freeze
from tests.chat_pilot import Seen, chat_screen
from tests.run_fixtures import make_run

SIZES = [(80, 24), (120, 36), (200, 50)]
Snap = Callable[..., bool]
Log = list[tuple[int, Side, str, list[str]]]
"""Requests to the service: turn, side, model and messages."""
ORDER = "Order as JSON: Two teas for Ann, to go please."
TRAINED = Answer('{"name":"Ann","items":{"tea":2},"to_go":true}', "done", 20, 0.5, 2.5)
BASE = Answer('```json\n{\n  "type": "order",\n  "to": "Ann"\n}\n```', "done", 31, 0.5, 3.5)


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    freeze(monkeypatch)
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")


@pytest.fixture
def runs(ft_home: Path) -> None:
    """Two runs with something learned, between two with nothing."""
    make_run("20260104-000000-queued", steps=0, end=None)
    orders = make_run("20260103-000000-orders", steps=40)
    orders.adapter.mkdir()
    for step in (20, 40):
        saved = orders.checkpoints / f"step-{step:06d}"
        (saved / "adapter").mkdir(parents=True)
        (saved / "progress.json").write_text("{}")
    (orders.checkpoints / "best").write_text("step-000020\n")
    make_run("20260102-000000-failed", steps=2)
    make_run("20260101-000000-sql-helper", steps=20).adapter.mkdir()


@pytest.fixture
def asked(runs: None, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Requests to the service, logged instead of sent, with those runs present."""
    log: Log = []

    class Answering:
        def cancel(self) -> None:
            """Do nothing: no answer is under way."""

    def answer(
        self: ChatSession,
        number: int,
        side: Side,
        reference: str,
        asked: Asked,
    ) -> Answering:
        log.append((number, side, Path(reference).name, [message.content for message in asked.messages]))
        return Answering()

    monkeypatch.setattr(ChatSession, "answer", answer)
    return log


async def test_chat_without_models_says_what_helps(ft_home: Path) -> None:
    async with chat_screen((80, 24), ready="chat") as seen:
        assert "No trained model to chat with yet" in seen.text()
        assert seen.prompt.disabled
        await seen.pilot.press("1")  # as it says: nothing is there to write into
        await seen.until(lambda: not isinstance(seen.app.screen, ChatScreen), "Home")


async def test_chat_offers_run_that_just_learned(ft_home: Path) -> None:
    async with chat_screen((80, 24), ready="chat") as seen:
        make_run("20260103-000000-orders", steps=40).adapter.mkdir()
        await seen.ready()
        assert seen.app.focused is seen.prompt


async def test_chat_takes_newest_or_picked_model(asked: Log) -> None:
    """Letters pick another."""
    async with chat_screen() as seen:
        await seen.pilot.press("f2")
        await seen.until(lambda: seen.app.screen.query(OptionList), "the list")
        assert seen.app.screen.query_one(OptionList).option_count == 4
        await seen.pilot.press(*"best", "enter")
        await seen.ready("step 20 (best)")
        await seen.ask("hello")
        assert asked == [(0, "trained", "step-000020", ["hello"])]
        seen.app.open(ChatWith("20260101"))
        await seen.ready("sql-helper · final")
        assert seen.screen.session.conversation.turns == []
        seen.app.open(ChatWith("20991231"))
        await seen.until(lambda: seen.app.problems, "that there is no such run")


async def test_each_chat_side_keeps_own_history(asked: Log) -> None:
    order: list[tuple[int, Side]] = [(0, "trained"), (0, "base"), (1, "trained"), (1, "base")]
    async with chat_screen() as seen:
        await seen.ask("one")
        await seen.ask("two")
        await seen.said(0, "trained", Answer("I", "answering", 1))
        assert "I" in seen.text()
        for number, side in order:
            await seen.said(number, side, Answer(f"{side} {number}", "done", 1, 1.0, 1.0))
        assert [(number, side) for number, side, _, _ in asked] == order
        assert asked[2][3] == ["one", "trained 0", "two"]
        assert asked[3][3] == ["one", "base 0", "two"]
        assert "trained 1" in seen.text("trained")
        assert "base 1" in seen.text("base")


async def test_chat_question_may_have_several_lines(asked: Log) -> None:
    """Typed or pasted."""
    async with chat_screen((80, 24)) as seen:
        height = seen.prompt.size.height
        await seen.pilot.press("a", "ctrl+j", "b", "shift+enter")
        seen.app.post_message(events.Paste("c\rd\ne"))
        await seen.pilot.pause()
        assert seen.prompt.text == "a\nb\nc\nd\ne"
        assert seen.prompt.size.height == height + 4
        assert not asked
        await seen.pilot.press("enter")
        await seen.pilot.pause()
        assert asked == [(0, "trained", "20260103-000000-orders", ["a\nb\nc\nd\ne"])]
        assert "> a\n  b\n  c" in seen.text()
        assert seen.prompt.text == ""
        assert seen.prompt.size.height == height


async def test_long_question_leaves_room_for_conversation(asked: Log) -> None:
    async with chat_screen((80, 24)) as seen:
        seen.prompt.load_text("word " * 1000)
        await seen.pilot.pause()
        assert seen.prompt.size.height == 6
        await seen.pilot.press("f6")  # a key of the screen, not of the text
        assert not seen.prompt.selected_text


async def test_empty_chat_question_is_not_sent(asked: Log) -> None:
    async with chat_screen() as seen:
        await seen.ask(" \n ")
        assert not asked


async def test_model_that_is_chatted_with_can_be_used(asked: Log) -> None:
    async with chat_screen() as seen:
        await seen.pilot.press("escape", "x")
        await seen.until(lambda: isinstance(seen.app.screen, PickUse), "the uses")
        await seen.pilot.press("enter")
        await seen.until(lambda: isinstance(seen.app.screen, UseForm), "the options")
        form = seen.app.screen
        assert isinstance(form, UseForm)
        assert Path(form.reference).name == "20260103-000000-orders"


async def test_escape_stops_chat_answer_and_keeps_text(asked: Log) -> None:
    async with chat_screen() as seen:
        await seen.ask("one")
        await seen.said(0, "trained", Answer("Half an", "answering", 2))
        await seen.pilot.press("escape")
        await seen.pilot.pause()
        assert "Half an ■ stopped" in seen.text("trained")
        assert "stopped before the first token" in seen.text("base")
        await seen.said(0, "trained", Answer("Half an answer", "answering", 3))  # what was on its way
        assert "answer" not in seen.text("trained")
        await seen.ask("two")
        assert asked[-1] == (1, "trained", "20260103-000000-orders", ["one", "Half an", "two"])
        await seen.pilot.press("escape", "escape")
        assert seen.app.focused is None
        await seen.pilot.press("i")
        assert seen.app.focused is seen.prompt


async def test_new_conversation_forgets_old_one(asked: Log) -> None:
    async with chat_screen() as seen:
        await seen.ask("one")
        before = seen.screen.session.number
        await seen.pilot.press("f3")
        await seen.ask("two")
        await seen.said(0, "trained", Answer("late words", "answering", 2), talk=before)
        assert "late words" not in seen.text()
        assert "one" not in seen.text()
        assert asked[-1][3] == ["two"]


async def test_small_terminal_shows_one_chat_side(asked: Log) -> None:
    """The other side gets its prompt when it is shown."""
    async with chat_screen((80, 24)) as seen:
        assert seen.side("base").size.area == 0
        await seen.ask("one")
        await seen.said(0, "trained", TRAINED)
        assert [side for _, side, _, _ in asked] == ["trained"]
        await seen.pilot.press("f4")
        await seen.pilot.pause()
        assert seen.side("trained").size.area == 0
        assert [side for _, side, _, _ in asked] == ["trained", "base"]


async def test_chat_copies_answer_and_shows_temperature(asked: Log) -> None:
    async with chat_screen() as seen:
        await seen.ask("one")
        await seen.said(0, "trained", TRAINED)
        await seen.pilot.press("f6")
        assert seen.app.clipboard == TRAINED.text
        assert "greedy" in str(seen.side("trained").border_subtitle)
        await seen.pilot.press("f5")
        assert "temperature 0.3" in str(seen.side("trained").border_subtitle)


async def test_chat_shows_error_in_answers_place(asked: Log) -> None:
    async with chat_screen() as seen:
        await seen.ask("one")
        await seen.said(0, "trained", Answer(state="failed", problem="There is no run.\n  Start one."))
        assert "✗ There is no run." in seen.text()
        assert asked[-1][1] == "base"


def rows(ft_home: Path, name: str) -> list[dict[str, Any]]:
    """Rows that feedback made."""
    path = ft_home / "feedback" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_good_and_bad_answers_side_by_side_make_a_preference(asked: Log, ft_home: Path) -> None:
    async with chat_screen() as seen:
        await seen.pilot.press("escape", "g")
        assert rows(ft_home, "answers.jsonl") == [], "there is no answer yet"
        await seen.ask(ORDER)
        await seen.said(0, "trained", TRAINED)
        await seen.said(0, "base", BASE)
        await seen.pilot.press("f7")
        assert "✓ good" in seen.text("trained")
        seen.side("base").focus()
        await seen.pilot.press("b")
        assert "✗ bad" in seen.text("base")
        (answer,) = rows(ft_home, "answers.jsonl")
        assert [turn["content"] for turn in answer["messages"]] == [ORDER, TRAINED.text]
        (pair,) = rows(ft_home, "preferences.jsonl")
        assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == (TRAINED.text, BASE.text)


async def test_edited_answer_takes_the_place_of_the_old_one(asked: Log, ft_home: Path) -> None:
    async with chat_screen((80, 24)) as seen:
        await seen.ask(ORDER)
        await seen.said(0, "trained", TRAINED)
        await seen.pilot.press("escape", "e")
        assert seen.prompt.text == f"/edit {TRAINED.text}"
        await seen.ask("/edit {}")
        assert "{}" in seen.text()
        assert "Ann" not in seen.text().partition("please.")[2]
        (pair,) = rows(ft_home, "preferences.jsonl")
        assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("{}", TRAINED.text)
        await seen.ask("next")
        assert asked[-1][3] == [ORDER, "{}", "next"]


async def test_question_is_asked_again_or_taken_back(asked: Log) -> None:
    async with chat_screen((80, 24)) as seen:
        await seen.ask("one")
        await seen.said(0, "trained", TRAINED)
        await seen.pilot.press("f9")
        assert len(asked) == 1, "greedy decoding gives the same answer"
        await seen.pilot.press("f5", "f9")
        assert asked[1:] == [(0, "trained", "20260103-000000-orders", ["one"])]
        assert seen.screen.session.conversation.turns[0].attempt == 1
        await seen.said(0, "trained", Answer("Another", "done", 1))
        await seen.ask("two")
        await seen.ask("/undo")
        assert "two" not in seen.text()
        assert "Another" in seen.text()
        await seen.said(1, "trained", Answer("late", "done", 1), talk=seen.screen.session.number - 1)
        await seen.ask("three")
        assert asked[-1][3] == ["one", "Another", "three"]


async def test_settings_of_sampling_are_set_and_shown(asked: Log) -> None:
    async with chat_screen() as seen:
        await seen.ask("/set top-p 0.9")
        await seen.ask("/set seed 7")
        await seen.pilot.press("f5")
        assert str(seen.side("base").border_subtitle) == "top p 0.9 · seed 7 · temperature 0.3"
        assert seen.screen.session.sampling(2) == Sampling(1024, 0.3, 9, top_p=0.9)
        await seen.ask("/set top-p 1")
        await seen.ask("/set top-p 5")
        await seen.until(lambda: seen.app.problems, "that this is too much")
        assert "top p" not in str(seen.side("base").border_subtitle)


async def test_reasoning_and_calls_are_shown_apart(asked: Log) -> None:
    call = {"type": "function", "function": {"name": "stock", "arguments": {"fruit": "apple"}}}
    async with chat_screen() as seen:
        await seen.ask("one")
        await seen.said(0, "trained", Answer("", "done", 9, reasoning="I have to look.", calls=(call,)))
        assert 'I have to look.\n\n→ stock {"fruit": "apple"}' in seen.text()
        last = seen.screen.session.conversation.messages(0, "trained")
        await seen.ask("/tool 4")
        after = seen.screen.session.conversation.messages(1, "trained")
        assert after[:1] == last
        assert after[1].more == {"reasoning_content": "I have to look.", "tool_calls": [call]}


def test_chat_prefers_run_with_steps(ft_home: Path) -> None:
    """One that was stopped before its first step is not the first to talk to."""
    for run_id, steps in (("20260102-000000-began", 0), ("20260101-000000-trained", 5)):
        run = make_run(run_id, steps=steps)
        (run.folder / "adapter").mkdir(exist_ok=True)
    found = newest(Index().refresh())
    assert found is not None
    assert found.run_id == "20260101-000000-trained"


def test_chat_models_are_listed_newest_first(runs: None) -> None:
    assert [each.title for each in chat_models(Index().refresh())] == [
        "20260103-000000-orders · final",
        "20260103-000000-orders · step 40",
        "20260103-000000-orders · step 20 (best)",
        "20260101-000000-sql-helper · final",
    ]


def conversation(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def run(pilot: Pilot[None]) -> None:
        seen = Seen(pilot)
        await seen.ready()
        seen.prompt.cursor_blink = False
        await seen.ask(ORDER)
        await seen.said(0, "trained", TRAINED)
        await seen.said(0, "base", BASE)
        await seen.ask("And a cake for Bo 🍰?")
        await seen.said(1, "trained", Answer('{"name":"Bo","items":', "answering", 9, 0.5, 1.0))
        await pilot.press(*keys)
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_picture(snap_compare: Snap, asked: Log, size: tuple[int, int]) -> None:
    assert snap_compare(FtApp("chat"), terminal_size=size, run_before=conversation())


def test_picture_of_a_question_of_several_lines(snap_compare: Snap, asked: Log) -> None:
    typed = conversation(*"Ann:", "ctrl+j", *"two teas", "ctrl+j", *"one cake")
    assert snap_compare(FtApp("chat"), terminal_size=(80, 24), run_before=typed)


def test_picture_of_judged_answers(snap_compare: Snap, asked: Log) -> None:
    call = {"type": "function", "function": {"name": "stock", "arguments": {"tea": 2}}}

    async def prepare(pilot: Pilot[None]) -> None:
        seen = Seen(pilot)
        await seen.ready()
        seen.prompt.cursor_blink = False
        await seen.ask("/set temperature 0.7")
        await seen.ask(ORDER)
        await seen.said(0, "trained", replace(TRAINED, reasoning="Two teas, to go."))
        await seen.said(0, "base", Answer("I look.", "done", 12, 0.5, 3.5, calls=(call,), cut=True))
        await pilot.press("f7")
        seen.side("base").focus()
        await pilot.press("f8")
        pilot.app.clear_notifications()
        await pilot.pause()

    assert snap_compare(FtApp("chat"), terminal_size=(120, 36), run_before=prepare)


def test_picture_of_picking_a_model(snap_compare: Snap, asked: Log) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await conversation("f2")(pilot)
        await Seen(pilot).until(lambda: pilot.app.screen.query(OptionList), "the list")
        pilot.app.screen.query_one(Input).cursor_blink = False
        await pilot.pause()

    assert snap_compare(FtApp("chat"), terminal_size=(80, 24), run_before=prepare)


def test_picture_of_nothing_to_talk_to(snap_compare: Snap, ft_home: Path) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await Seen(pilot).ready("chat")

    assert snap_compare(FtApp("chat"), terminal_size=(120, 36), run_before=prepare)
