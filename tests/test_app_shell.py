"""The shell: going about, help, palette, keys of one's own, preferences, errors, and the question before harm."""

import asyncio
import json
import threading
from pathlib import Path

import pytest
from textual.css.stylesheet import Stylesheet
from textual.widgets import Input

from engine import paths
from engine.errors import ConfigError, MachineError
from engine.process.launcher import Engine
from engine.runs.directory.lock import holding, take
from ft.app import FtApp
from screens import preferences
from screens.actions import ACTIONS, SCREENS
from screens.keymap import checked, shown
from screens.widgets.confirm import Confirm
from screens.widgets.details import Details
from screens.widgets.navigation import Navigation
from screens.widgets.palette import Palette, ranked
from tests.app_pilot import until
from tests.run_fixtures import make_run


async def test_number_key_goes_to_each_screen() -> None:
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        for key, scope, _ in reversed(SCREENS):
            await pilot.press(key)
            await pilot.pause()
            assert app.scope == scope
            assert app.front is not None
            app.front.set_focus(None)  # a text field would take the next number for itself


async def test_first_visit_of_screen_rereads_no_styles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, read_again = FtApp(), []
    reparse = Stylesheet.reparse
    monkeypatch.setattr(Stylesheet, "reparse", lambda styles: read_again.append(1) or reparse(styles))
    async with app.run_test(size=(120, 36)) as pilot:
        scopes = {scope for _, scope, _ in SCREENS}
        await until(pilot, lambda: scopes <= {Path(file).parent.name for file, _ in app.stylesheet.source})
        read_again.clear()
        for _, scope, _ in SCREENS:
            app.go(scope)
            await until(pilot, lambda scope=scope: app.scope == scope and app.screen.is_mounted)
        assert not read_again
        app.theme = "ft-light"
        await until(pilot, lambda: read_again, "a theme is another matter")


@pytest.mark.parametrize(
    ("columns", "last"), [(120, "8 Settings "), (80, "8 Settings"), (74, "8 Settings"), (60, "8 Sett")]
)
async def test_navigation_bar_shows_only_whole_titles(columns: int, last: str) -> None:
    app = FtApp()
    async with app.run_test(size=(columns, 24)) as pilot:
        await pilot.pause()
        line = app.screen.query_one(Navigation).render().plain
        assert "▸1 Home" in line
        assert line.endswith(last)
        assert len(line) < columns


async def test_click_on_title_opens_screen() -> None:
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        bar = app.screen.query_one(Navigation)
        start = next(start for start, _, scope in bar._spans if scope == "runs")
        await pilot.click(Navigation, offset=(start + 2, 0))
        await until(pilot, lambda: app.scope == "runs", "Runs is in front")


@pytest.mark.parametrize(("columns", "told"), [(120, "● training  orders  12/12"), (80, "● 12/12")])
async def test_run_started_elsewhere_appears_in_bar(columns: int, told: str) -> None:
    app = FtApp()
    async with app.run_test(size=(columns, 24)) as pilot:
        bar = app.screen.query_one(Navigation)
        assert not bar.training
        run = make_run("20260528-123456-orders", steps=12, end=None)
        handle = take(run.lock_file)
        assert handle is not None
        with holding(handle):
            await until(pilot, lambda: bar.training, "the bar tells of it")
            assert bar.render().plain.rstrip().endswith(told)
        await until(pilot, lambda: not bar.training, "the bar is quiet again")


async def test_palette_runs_action_by_few_letters() -> None:
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, Palette), "the palette is open")
        await pilot.press(*"settings")
        await pilot.press("enter")
        await until(pilot, lambda: app.scope == "settings", "Settings is in front")


async def test_palette_runs_action_on_its_screen() -> None:
    make_run("20260528-123456-orders")
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: app.runs, "the run is seen")
        await app.do(next(action for action in ACTIONS if action.id == "runs.filter"))
        await until(pilot, lambda: app.scope == "runs", "Runs is in front")
        await until(pilot, lambda: isinstance(app.focused, Input), "its filter has the focus")


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_palette_finds_every_action_by_label(action: object) -> None:
    assert action in ranked(action.label, "home")  # type: ignore[attr-defined]


def test_empty_palette_lists_screen_actions_first() -> None:
    """All the others follow."""
    found = ranked("", "runs")
    assert set(found) == set(ACTIONS)
    assert found[0].scope == "runs"


# Keys of one's own


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"app.nothing": "n"}, "not an action"),
        ({"app.leave": "ctrl+banana"}, "not a key"),
        ({"app.leave": ""}, "not a key"),
        ({"app.leave": "1"}, "key of app.go_home"),
        ({"home.next": "q"}, "key of app.leave"),
    ],
)
def test_unusable_key_is_reported_and_ignored(wanted: dict[str, str], problem: str) -> None:
    usable, problems = checked(wanted)
    assert not usable
    assert len(problems) == 1
    assert problem in problems[0]


def test_two_screens_may_share_a_key() -> None:
    assert checked({"home.recipe": "f18", "runs.delete": "f18"}) == (
        {"home.recipe": "f18", "runs.delete": "f18"},
        [],
    )


def test_keys_are_shown_as_people_write_them() -> None:
    assert [shown(key) for key in ("question_mark", "ctrl+p", "enter", "escape", "a", "f1")] == [
        "?",
        "ctrl+p",
        "enter",
        "esc",
        "a",
        "f1",
    ]


async def test_custom_key_replaces_default_key() -> None:
    preferences.save({"keys": {"app.go_runs": "f18"}})
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("6")
        await pilot.pause()
        assert app.scope == "home"
        await pilot.press("f18")
        await until(pilot, lambda: app.scope == "runs", "Runs is in front")


async def test_clashing_key_is_reported_once_at_start() -> None:
    preferences.save({"keys": {"app.go_runs": "q"}})
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.press("2")
        await pilot.press("1")
        assert len(app.problems) == 1
        assert "app.go_runs: q is already the key of app.leave" in app.problems[0].message


# Preferences


def test_parallel_apps_keep_each_others_preferences(ft_home: Path) -> None:
    preferences.save({"theme": "ft-light"})
    preferences.save({"smoothing": 0.5})
    assert preferences.load().theme == "ft-light"
    assert preferences.load().smoothing == 0.5
    assert [path.name for path in ft_home.iterdir()] == [preferences.FILE]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"theme": 3}', '{"keys": {"app.leave": 5}}', "[" * 100_000])
def test_damaged_preferences_count_as_none(text: str, ft_home: Path) -> None:
    ft_home.mkdir()
    (ft_home / preferences.FILE).write_text(text)
    assert preferences.load() == preferences.Preferences()


async def test_chosen_theme_applies_and_survives_restart() -> None:
    app = FtApp()
    async with app.run_test():
        app.change(theme="ft-contrast")
        assert app.theme == "ft-contrast"
    assert json.loads((paths.home() / preferences.FILE).read_text())["theme"] == "ft-contrast"
    assert FtApp().preferences.theme == "ft-contrast"


async def test_unknown_theme_falls_back_to_default() -> None:
    preferences.save({"theme": "of-another-version"})
    app = FtApp()
    async with app.run_test():
        assert app.theme == "ft-dark"


# Errors


async def test_error_is_one_line_with_details() -> None:
    """The line has its hint; the details can be copied."""
    app = FtApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.fail(MachineError("The disk is full: [red]/data", "Free some space.\nThen try again."))
        await pilot.pause()
        await pilot.press("f12")
        details = app.screen
        assert isinstance(details, Details)
        assert "[red]/data" in details.text
        assert "Then try again." in details.text
        assert not app._notifications, "the toast lies over the details"
        await pilot.press("c")
        assert app.clipboard == details.text
        await pilot.press("escape")
        assert app.screen is app.front


async def test_details_without_error_say_so() -> None:
    app = FtApp()
    async with app.run_test() as pilot:
        await pilot.press("f12")
        assert isinstance(app.screen, Details)
        assert app.screen.text == "Nothing has gone wrong."


async def test_invalid_recipe_starts_no_run() -> None:
    app = FtApp()
    async with app.run_test():
        await app.start_run("model: {base: starter}\ndata: {train: starter}\nrank: 3\n", None)
        assert "rank" in app.problems[-1].message
        assert not paths.runs().exists()


async def test_run_started_twice_starts_once() -> None:
    """Also where the screen no longer waits."""
    app, go_on, started = FtApp(), threading.Event(), []

    def starting() -> Engine:
        started.append(threading.current_thread())
        go_on.wait(60)
        raise ConfigError("There is nothing to train.")

    async with app.run_test() as pilot:
        first = asyncio.ensure_future(app._engines.start(starting, "Starting …"))
        await until(pilot, lambda: started, "the first is on its way")
        first.cancel()  # as a screen does whose action is requested again
        await app._engines.start(starting, "Starting …")
        go_on.set()
        await until(pilot, lambda: app.problems, "the first has come to its end")
        assert len(started) == 1
        await app._engines.start(starting, "Starting …")
        assert len(started) == 2


async def test_resuming_deleted_run_says_so() -> None:
    app = FtApp()
    async with app.run_test():
        await app.resume_run("20260528-123456-gone")
        assert isinstance(app.problems[-1], ConfigError)


# The question before harm


@pytest.mark.parametrize(
    ("keys", "answer"),
    [(["enter"], False), (["escape"], False), (["n"], False), (["y"], True), (["right", "enter"], True)],
)
async def test_dialog_takes_only_explicit_yes(keys: list[str], answer: bool) -> None:
    app = FtApp()
    answers: list[bool | None] = []
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(Confirm("Delete run orders?", "Delete", "Its checkpoints go too."), answers.append)
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
    assert answers == [answer]


async def test_damaged_runs_do_not_end_app() -> None:
    """Nor do deleted ones."""
    gone = make_run("20260528-123456-gone")
    torn = make_run("20260528-123457-torn")
    app = FtApp()
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: len(app.runs) == 2, "both runs are seen")
        gone.remove()
        (torn.folder / "events.jsonl").write_bytes(b"\xff\x00{")
        (torn.folder / "train.yml").write_text("[")
        await until(pilot, lambda: len(app.runs) == 1, "one is gone")
        for key, _, _ in SCREENS:
            await pilot.press(key)
            assert app.front is not None
            app.front.set_focus(None)
        assert app.is_running
