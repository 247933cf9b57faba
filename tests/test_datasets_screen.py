"""The Datasets screen, driven by keys over real files and the real service, and as pictures."""

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static
from textual.worker import Worker

from engine.data.preview.values import Opened
from engine.errors import ModelError
from engine.service.client import Client
from ft.app import FtApp
from screens.datasets.browser import RowBrowser
from screens.datasets.screen import DatasetsScreen
from screens.datasets.tokens import TokenView
from screens.intents import ShowData
from tests.app_pilot import freeze, until
from tests.data_service import serving, write_place

pytestmark = pytest.mark.slow
SIZES = [(80, 24), (120, 36), (200, 50)]
Snap = Callable[..., bool]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Client]]:
    place = write_place(tmp_path_factory.mktemp("place"))
    with serving(place) as client:
        yield place, client


@pytest.fixture
def place(shared: tuple[Path, Client], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of app and service."""
    freeze(monkeypatch)
    monkeypatch.chdir(shared[0])
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    return shared[0]


@pytest.fixture
def colourless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def app(place: Path, shared: tuple[Path, Client], monkeypatch: pytest.MonkeyPatch) -> FtApp:
    """The app on Datasets, with the service that all these tests share."""
    app = FtApp("datasets")
    monkeypatch.setattr(app, "service", lambda: shared[1])
    return app


def screen(pilot: Pilot[None]) -> DatasetsScreen:
    assert isinstance(pilot.app.screen, DatasetsScreen)
    return pilot.app.screen


def row_title(pilot: Pilot[None]) -> str:
    return str(screen(pilot).query_one("#row").border_title)


async def ready(pilot: Pilot[None], file: str = "orders.jsonl") -> None:
    """Wait until a file is counted, its row in sight, and its sample taken."""
    await until(
        pilot,
        lambda: (
            isinstance(pilot.app.screen, DatasetsScreen)
            and screen(pilot).browser.source.endswith(file)
            and screen(pilot).browser.lengths is not None
            and screen(pilot).browser.opened is not None
            and (
                not screen(pilot).browser.opened.known
                or screen(pilot).query_one(TokenView).text
                or problem(pilot)
            )
        ),
        f"{file} is shown",
    )
    await until(pilot, lambda: not any(map(asking, pilot.app.workers)), "all that was asked is answered")
    await pilot.pause()


def asking(worker: Worker[object]) -> bool:
    return worker.group in ("open", "words", "row", "lengths", "sources") and not worker.is_finished


def problem(pilot: Pilot[None]) -> str:
    shown = screen(pilot).query_one("#problem", Static)
    return str(shown.content) if shown.has_class("-shown") else ""


async def show(pilot: Pilot[None], file: str) -> None:
    pilot.app.open(ShowData(file))  # type: ignore[attr-defined]
    await ready(pilot, file)


async def test_recipes_rows_show_as_model_sees_them(app: FtApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        assert row_title(pilot).startswith("row 1 of 60 · chat · ")
        text = screen(pilot).query_one(TokenView).text
        assert "⟦<|im_start|>⟧user⏎" in text
        assert "Order 0:" in text
        about = str(screen(pilot).query_one("#about", Static).content)
        assert "because its rows have `messages`" in about
        assert "as tiny sees it, trained on: assistant (train.yml)" in about


async def test_keys_walk_rows_and_number_jumps(app: FtApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("n", "n", "p", "down")
        await until(pilot, lambda: row_title(pilot).startswith("row 3 of 60"), "row 3")
        await pilot.press("g", "4", "2", "enter")
        await until(pilot, lambda: row_title(pilot).startswith("row 42 of 60"), "row 42")
        assert "Order 41:" in screen(pilot).query_one(TokenView).text
        await pilot.press("g", "minus", "1", "enter")
        await until(pilot, lambda: row_title(pilot).startswith("row 60 of 60"), "the last row")
        await pilot.press("g", "x", "enter")
        await until(pilot, lambda: app.problems, "a word about what is no row number")
        assert "not a row number" in app.problems[-1].message
        await pilot.press("home")
        await until(pilot, lambda: row_title(pilot).startswith("row 1 of 60"), "the first row")


async def test_search_goes_to_next_matching_row(app: FtApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("slash", *"order", "space", *"41", "colon", "enter")
        await until(pilot, lambda: row_title(pilot).startswith("row 42 of 60"), "row 42")
        await pilot.press("slash", *"order", "space", "2", "enter")  # what was typed before is replaced
        await until(pilot, lambda: row_title(pilot).startswith("row 3 of 60"), "the first from the top")
        await pilot.press("slash", "enter")
        await until(pilot, lambda: row_title(pilot).startswith("row 21 of 60"), "the next after it")
        await pilot.press("slash", *"zebra", "enter")
        await until(pilot, lambda: any("zebra" in str(t.message) for t in app._notifications), "none has it")
        assert row_title(pilot).startswith("row 21 of 60")


async def test_row_shows_raw_and_by_token(app: FtApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("r")
        await until(pilot, lambda: '{"messages"' in screen(pilot).query_one(TokenView).text, "the raw row")
        await pilot.press("r", "b")
        await until(pilot, lambda: "·" in screen(pilot).query_one(TokenView).text, "token bounds")


async def test_problem_leads_to_its_row(app: FtApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await show(pilot, "mixed.jsonl")
        problems = screen(pilot).query_one("#problems", OptionList)
        assert problems.option_count == 1
        await pilot.press("f")
        await until(pilot, lambda: "no assistant turn" in problem(pilot), "what is wrong")
        assert row_title(pilot).startswith("row 4 of 9")
        assert "Nobody answers this." in screen(pilot).query_one(TokenView).text


async def test_first_rows_show_while_others_are_counted(
    app: FtApp, shared: tuple[Path, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    still = True

    class Counting:
        """The service, which takes its time to count."""

        def __getattr__(self, name: str) -> object:
            return getattr(shared[1], name)

        def rows(self, *asked: object) -> Opened:
            opened = shared[1].rows(*asked)  # type: ignore[arg-type]
            return replace(opened, known=20, counting=0.3) if still else opened

    monkeypatch.setattr(app, "service", Counting)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: screen(pilot).browser.lengths, "lengths")
        assert str(screen(pilot).query_one("#rows").border_title).startswith("20 rows so far, 30 %")
        assert "longest" in str(screen(pilot).query_one("#bars", Static).content)
        still = False
        await ready(pilot)
        assert row_title(pilot).startswith("row 1 of 60")


async def test_lint_finding_leads_to_its_rows(app: FtApp, place: Path, tmp_path: Path) -> None:
    lines = (place / "orders.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "copies.jsonl").write_text("".join([*lines[:20], lines[4], lines[7]]))
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        screen(pilot).browser.find(str(tmp_path / "copies.jsonl"))
        await ready(pilot, "copies.jsonl")
        found = screen(pilot).query_one("#problems", OptionList)
        assert [str(option.prompt) for option in found.options] == [
            "▲ 2 rows are the same as an earlier one",
            "↳ row 22",
        ]
        found.focus()
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: row_title(pilot).startswith("row 22 of 22"), "the second copy")
        await pilot.press("f")
        await until(pilot, lambda: row_title(pilot).startswith("row 21 of 22"), "around, to the first")


async def test_source_files_are_added_kept_and_dropped(app: FtApp, place: Path) -> None:
    """Folders too."""
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("a", *"notes", "full_stop", *"csv", "enter")
        await ready(pilot, "notes.csv")
        assert app.preferences.datasets == [str(place / "notes.csv")]
        assert "prompt_completion" in row_title(pilot)
        await pilot.press("d")
        await ready(pilot)
        assert app.preferences.datasets == []
        await pilot.press("d")  # the recipe's own stays
        assert screen(pilot).browser.source
        app.open(ShowData(str(place)))
        await until(pilot, lambda: len(app.preferences.datasets) == 6, "every file of the folder")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("missing.jsonl", "no such file"),
        ("no-*.jsonl", "no file of rows fits this pattern"),
        ("empty.jsonl", "the file is empty"),
    ],
)
async def test_unusable_source_is_refused_with_hint(app: FtApp, file: str, said: str) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("a")
        screen(pilot).query_one("#ask", Input).value = file
        await pilot.press("enter")
        await until(pilot, lambda: app.problems, "the problem")
        assert said in app.problems[-1].message
        assert app.problems[-1].hint
        assert screen(pilot).browser.source.endswith("orders.jsonl")


async def test_hub_error_replaces_rows_of_dataset(app: FtApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("a")
        screen(pilot).query_one("#ask", Input).value = "owner/name"
        await pilot.press("enter")
        await until(
            pilot, lambda: "HF_HUB_OFFLINE forbids to fetch it" in problem(pilot), "what the hub says"
        )
        assert app.preferences.datasets == ["hf://datasets/owner/name"]
        await pilot.press("d")
        await ready(pilot)
        assert app.preferences.datasets == []


async def test_unknown_columns_show_rows_and_advice(app: FtApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await show(pilot, "columns.jsonl")
        assert "fit no known form" in problem(pilot)
        assert "data.columns: {" in problem(pilot), "as the recipe has it: the app has no --set"
        assert "--set" not in problem(pilot)
        assert '"question"' in screen(pilot).query_one(TokenView).text


async def test_vanished_file_is_explained_without_crash(app: FtApp, place: Path) -> None:
    going = place / "going.jsonl"
    going.write_text('{"text": "a"}\n{"text": "b"}\n')
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await show(pilot, "going.jsonl")
        going.unlink()
        await pilot.press("n")
        await until(pilot, lambda: "no such file" in problem(pilot), "that the file is gone")


async def test_missing_model_still_shows_raw_rows(app: FtApp, place: Path) -> None:
    recipe = place / "train.yml"
    before = recipe.read_text()
    recipe.write_text(before.replace("base: tiny", "base: owner/name"))
    try:
        async with app.run_test(size=(120, 36)) as pilot:
            await until(
                pilot,
                lambda: (
                    isinstance(pilot.app.screen, DatasetsScreen) and "not on this machine" in problem(pilot)
                ),
                "why there are no tokens",
            )
            await pilot.press("r")
            await until(
                pilot, lambda: '{"messages"' in screen(pilot).query_one(TokenView).text, "the raw row"
            )
            for part in ("words", "lengths", "row"):  # they need the model, and may say so at any time
                late = RowBrowser.Refused(
                    screen(pilot).browser.source, part, ModelError("not on this machine")
                )
                screen(pilot).post_message(late)
                await pilot.pause()
            assert '{"messages"' in screen(pilot).query_one(TokenView).text
            await pilot.press("r")
            await until(pilot, lambda: "not on this machine" in problem(pilot), "why there are no tokens")
    finally:
        recipe.write_text(before)


async def test_recipes_columns_apply_to_its_sources_only(app: FtApp, place: Path) -> None:
    """A row in chunks is shown whole."""
    recipe = place / "train.yml"
    before = recipe.read_text()
    (place / "books.jsonl").write_text(json.dumps({"book": "a bird in the hand " * 60}) + "\n")
    recipe.write_text(before.replace("train: orders.jsonl", "train: books.jsonl\n  columns: {text: book}"))
    try:
        async with app.run_test(size=(120, 36)) as pilot:
            await ready(pilot, "books.jsonl")
            assert row_title(pilot).startswith("row 1 of 1 · completion · ")
            assert row_title(pilot).endswith(" examples")
            assert "╌╌ example 2 of " in screen(pilot).query_one(TokenView).text
            await show(pilot, "orders.jsonl")
            assert "row 1 of 60 · chat" in row_title(pilot)
    finally:
        recipe.write_text(before)


async def test_small_terminal_reaches_every_dataset_pane(app: FtApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        panes = {"rows": "#rows", "row": "#tokens", "lengths": "#bars"}
        for _ in panes:
            for pane, widget in panes.items():
                shown = screen(pilot).query_one(widget).size.area > 0
                assert shown == (pane == screen(pilot).pane), (pane, screen(pilot).pane)
            await pilot.press("v")
            await pilot.pause()


async def test_one_key_opens_recipe_for_file(app: FtApp, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str | None] = []
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await show(pilot, "notes.csv")
        monkeypatch.setattr(app, "open", lambda intent: opened.append(intent.text))
        await pilot.press("u")
        await until(pilot, lambda: opened, "the recipe")
        assert opened[0] is not None
        assert "notes.csv" in opened[0]
        assert "base: tiny" in opened[0]


def prepare(*keys: str, file: str = "") -> Callable[[Pilot[None]], Awaitable[None]]:
    async def run(pilot: Pilot[None]) -> None:
        await ready(pilot)
        if file:
            await show(pilot, file)
        await pilot.press(*keys)
        await ready(pilot, file or "orders.jsonl")
        pilot.app.clear_notifications()
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_picture(snap_compare: Snap, app: FtApp, size: tuple[int, int]) -> None:
    keys = ("n", "v") if size[0] < 100 else ("n",)
    assert snap_compare(app, terminal_size=size, run_before=prepare(*keys))


def test_picture_of_the_list_on_a_small_terminal(snap_compare: Snap, app: FtApp) -> None:
    assert snap_compare(app, terminal_size=(80, 24), run_before=prepare())


def test_picture_of_problems(snap_compare: Snap, app: FtApp) -> None:
    assert snap_compare(app, terminal_size=(120, 36), run_before=prepare("f", file="mixed.jsonl"))


def test_picture_of_unknown_columns(snap_compare: Snap, app: FtApp) -> None:
    assert snap_compare(app, terminal_size=(120, 36), run_before=prepare(file="columns.jsonl"))


def test_picture_without_colour(snap_compare: Snap, colourless: None, app: FtApp) -> None:
    assert snap_compare(app, terminal_size=(120, 36), run_before=prepare("n"))
