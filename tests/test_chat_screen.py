"""The Chat screen: driven by keys, with answers as a child would send them, and as pictures."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from ft.app import FtApp
from screens.chat import ChatScreen
from screens.conversation import Answer, Side
from screens.talkers import talkers
from screens.widgets.transcript import Transcript
from tests.app_pilot import freeze, until
from tests.run_fixtures import make_run

SIZES = [(80, 24), (120, 36), (200, 50)]
Snap = Callable[..., bool]
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
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Side, str, list[str]]]:
    """What the child is asked, instead of asking it: turn, side, model and what is said."""
    log: list[tuple[int, Side, str, list[str]]] = []

    class Asked:
        def cancel(self) -> None:
            """Nothing goes on."""

    def answer(
        self: ChatScreen,
        talk: int,
        number: int,
        side: Side,
        reference: str,
        messages: list,
        temperature: float,
    ) -> Asked:
        log.append((number, side, Path(reference).name, [message.content for message in messages]))
        return Asked()

    monkeypatch.setattr(ChatScreen, "answer", answer)
    return log


def screen(pilot: Pilot[None]) -> ChatScreen:
    assert isinstance(pilot.app.screen, ChatScreen)
    return pilot.app.screen


def title(pilot: Pilot[None], side: Side) -> str:
    return str(screen(pilot).query_one(f"#{side}").border_title)


def text(pilot: Pilot[None], side: Side) -> str:
    transcript = screen(pilot).query_one(f"#{side}", Transcript)
    return "\n".join(str(child.render()) for child in transcript.children)


async def ready(pilot: Pilot[None], run: str = "20260103-000000-orders · final") -> None:
    await until(
        pilot,
        lambda: isinstance(pilot.app.screen, ChatScreen) and run in title(pilot, "trained"),
        f"{run} is chosen",
    )
    await pilot.pause()


async def ask(pilot: Pilot[None], question: str) -> None:
    screen(pilot).query_one("#prompt", Input).value = question
    screen(pilot).query_one("#prompt").focus()
    await pilot.press("enter")
    await pilot.pause()


async def said(pilot: Pilot[None], number: int, side: Side, answer: Answer) -> None:
    """The child says something."""
    screen(pilot).post_message(ChatScreen.Grown(screen(pilot)._talk, number, side, answer))
    await pilot.pause()


async def test_without_anything_trained_it_says_what_to_do(ft_home: Path) -> None:
    app = FtApp("chat")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Nothing is trained yet" in text(pilot, "trained"), "what to do")
        assert screen(pilot).query_one("#prompt", Input).disabled
        await pilot.press("1")  # as it says: nothing is there to write into
        await until(pilot, lambda: not isinstance(app.screen, ChatScreen), "Home")


async def test_a_run_that_learns_something_while_one_looks_can_be_talked_to(ft_home: Path) -> None:
    app = FtApp("chat")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(
            pilot, lambda: "Nothing is trained yet" in text(pilot, "trained"), "that there is nothing"
        )
        make_run("20260103-000000-orders", steps=40).adapter.mkdir()
        await ready(pilot)
        assert app.focused is screen(pilot).query_one("#prompt")


async def test_the_newest_trained_model_is_talked_to_and_another_is_picked_by_letters(
    runs: None, asked: list[tuple[int, Side, str, list[str]]]
) -> None:
    app = FtApp("chat")
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("f2")
        options = await until(pilot, lambda: app.screen.query(OptionList), "the list")
        assert options.first(OptionList).option_count == 4
        await pilot.press(*"best", "enter")
        await until(pilot, lambda: "step 20 (best)" in title(pilot, "trained"), "the checkpoint")
        await ask(pilot, "hello")
        assert asked == [(0, "trained", "step-000020", ["hello"])]
        app.chat_with("20260101")
        await until(pilot, lambda: "sql-helper · final" in title(pilot, "trained"), "the other run")
        assert screen(pilot).conversation.turns == []
        app.chat_with("20991231")
        await until(pilot, lambda: app.problems, "that there is no such run")


async def test_each_side_answers_every_question_in_its_own_words(
    runs: None, asked: list[tuple[int, Side, str, list[str]]]
) -> None:
    app = FtApp("chat")
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await ask(pilot, "one")
        await ask(pilot, "two")
        await said(pilot, 0, "trained", Answer("I", "answering", 1))
        assert "I" in text(pilot, "trained")
        for number, side, words in (
            (0, "trained", "A1"),
            (0, "base", "B1"),
            (1, "trained", "A2"),
            (1, "base", "B2"),
        ):
            await said(pilot, number, side, Answer(words, "done", 1, 1.0, 1.0))
        assert [(number, side) for number, side, _, _ in asked] == [
            (0, "trained"), (0, "base"), (1, "trained"), (1, "base")
        ]  # fmt: skip
        assert asked[2][3] == ["one", "A1", "two"]
        assert asked[3][3] == ["one", "B1", "two"]
        assert "A2" in text(pilot, "trained")
        assert "B2" in text(pilot, "base")


async def test_escape_stops_the_answer_and_keeps_what_was_said(
    runs: None, asked: list[tuple[int, Side, str, list[str]]]
) -> None:
    app = FtApp("chat")
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await ask(pilot, "one")
        await said(pilot, 0, "trained", Answer("Half an", "answering", 2))
        await pilot.press("escape")
        await pilot.pause()
        assert "Half an ■ stopped" in text(pilot, "trained")
        assert "stopped before the first word" in text(pilot, "base")
        await said(pilot, 0, "trained", Answer("Half an answer", "answering", 3))  # what was on its way
        assert "answer" not in text(pilot, "trained")
        await ask(pilot, "two")
        assert asked[-1] == (1, "trained", "20260103-000000-orders", ["one", "Half an", "two"])
        await pilot.press("escape", "escape")
        assert app.focused is None
        await pilot.press("i")
        assert app.focused is screen(pilot).query_one("#prompt")


async def test_a_new_conversation_knows_nothing_of_the_old_one(
    runs: None, asked: list[tuple[int, Side, str, list[str]]]
) -> None:
    app = FtApp("chat")
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await ask(pilot, "one")
        before = screen(pilot)._talk
        await pilot.press("f3")
        await ask(pilot, "two")
        screen(pilot).post_message(
            ChatScreen.Grown(before, 0, "trained", Answer("late words", "answering", 2))
        )
        await pilot.pause()
        assert "late words" not in text(pilot, "trained")
        assert "one" not in text(pilot, "trained")
        assert asked[-1][3] == ["two"]


async def test_a_small_terminal_has_one_column_and_asks_the_other_side_when_it_is_shown(
    runs: None, asked: list[tuple[int, Side, str, list[str]]]
) -> None:
    app = FtApp("chat")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert screen(pilot).query_one("#base").size.area == 0
        await ask(pilot, "one")
        await said(pilot, 0, "trained", TRAINED)
        assert [side for _, side, _, _ in asked] == ["trained"]
        await pilot.press("f4")
        await pilot.pause()
        assert screen(pilot).query_one("#trained").size.area == 0
        assert [side for _, side, _, _ in asked] == ["trained", "base"]


async def test_an_answer_is_copied_and_the_temperature_is_shown(
    runs: None, asked: list[tuple[int, Side, str, list[str]]]
) -> None:
    app = FtApp("chat")
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await ask(pilot, "one")
        await said(pilot, 0, "trained", TRAINED)
        await pilot.press("f6")
        assert app.clipboard == TRAINED.text
        assert "likeliest" in str(screen(pilot).query_one("#trained").border_subtitle)
        await pilot.press("f5")
        assert "temperature 0.3" in str(screen(pilot).query_one("#trained").border_subtitle)


async def test_what_went_wrong_stands_where_the_answer_would(
    runs: None, asked: list[tuple[int, Side, str, list[str]]]
) -> None:
    app = FtApp("chat")
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await ask(pilot, "one")
        await said(pilot, 0, "trained", Answer(state="failed", problem="There is no run.\n  Start one."))
        assert "✗ There is no run." in text(pilot, "trained")
        assert asked[-1][1] == "base"


def test_models_to_talk_to_are_listed_newest_first(runs: None) -> None:
    from engine.runs.index import Index

    assert [each.title for each in talkers(Index().refresh())] == [
        "20260103-000000-orders · final",
        "20260103-000000-orders · step 40",
        "20260103-000000-orders · step 20 (best)",
        "20260101-000000-sql-helper · final",
    ]


def conversation(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def run(pilot: Pilot[None]) -> None:
        await ready(pilot)
        screen(pilot).query_one("#prompt", Input).cursor_blink = False
        await ask(pilot, ORDER)
        await said(pilot, 0, "trained", TRAINED)
        await said(pilot, 0, "base", BASE)
        await ask(pilot, "And a cake for Bo 🍰?")
        await said(pilot, 1, "trained", Answer('{"name":"Bo","items":', "answering", 9, 0.5, 1.0))
        await pilot.press(*keys)
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_picture(
    snap_compare: Snap, runs: None, asked: list[tuple[int, Side, str, list[str]]], size: tuple[int, int]
) -> None:
    assert snap_compare(FtApp("chat"), terminal_size=size, run_before=conversation())


def test_picture_of_picking_a_model(
    snap_compare: Snap, runs: None, asked: list[tuple[int, Side, str, list[str]]]
) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await conversation("f2")(pilot)
        await until(pilot, lambda: pilot.app.screen.query(OptionList), "the list")
        pilot.app.screen.query_one(Input).cursor_blink = False
        await pilot.pause()

    assert snap_compare(FtApp("chat"), terminal_size=(80, 24), run_before=prepare)


def test_picture_of_nothing_to_talk_to(snap_compare: Snap, ft_home: Path) -> None:
    async def prepare(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "Nothing is trained yet" in text(pilot, "trained"), "what to do")

    assert snap_compare(FtApp("chat"), terminal_size=(120, 36), run_before=prepare)
