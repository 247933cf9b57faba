"""The table of actions: every entry works by its key, is told of in the help, and asks where it destroys."""

import itertools
from contextlib import nullcontext
from pathlib import Path

import pytest
from textual.widgets import Button

from engine.runs.directory.lock import holding, take
from ft.app import FtApp
from screens.action import Action
from screens.actions import ACTIONS, SCREENS, actions_of
from screens.keymap import clashes, is_key, split
from screens.widgets.confirm import Confirm
from screens.widgets.help import Help
from tests.app_pilot import until
from tests.keyrings import MemoryKeyring
from tests.run_fixtures import make_run

SCOPES = [scope for _, scope, _ in SCREENS]
EATEN = {"ctrl+s", "ctrl+b", "ctrl+a", "ctrl+enter"}
"""Keys that terminals and multiplexers keep for themselves."""


def test_no_two_reachable_actions_share_key() -> None:
    shared = [
        (one.id, other.id)
        for one, other in itertools.combinations(ACTIONS, 2)
        if clashes(one, other) and set(split(one.keys)) & set(split(other.keys))
    ]
    assert not shared


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_has_terminal_keys_and_sentence(action: Action) -> None:
    keys = split(action.keys)
    assert keys
    assert all(is_key(key) for key in keys)
    assert set(keys) - EATEN
    assert action.label
    assert action.help.endswith(".")


@pytest.mark.parametrize("scope", SCOPES)
async def test_key_runs_every_action_of_screen(
    scope: str,
) -> None:
    """The key leads to the action's own method, which is there; what it does is each screen's own test."""
    make_run("20260528-123456-orders")
    app = FtApp(scope)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: app.runs, "the run is seen")
        screen = app.front
        assert screen is not None
        missing = [a.id for a in actions_of(scope) if not hasattr(screen, f"action_{a.method}")]
        assert not missing
        screen.set_focus(None)
        await pilot.pause()
        chain = dict(screen.active_bindings)
        hidden = {a.id for a in actions_of(scope) if screen.check_action(a.method, ()) is False}
        for action in actions_of(scope):
            if action.id not in hidden:
                assert any(
                    chain[key].binding.id == action.id for key in split(action.keys) if key in chain
                ), action


@pytest.mark.parametrize("scope", SCOPES)
async def test_screen_help_lists_all_actions(scope: str) -> None:
    app = FtApp(scope)
    async with app.run_test(size=(120, 50)) as pilot:
        assert app.front is not None
        app.front.set_focus(None)
        await pilot.press("question_mark")
        sheet = app.screen
        assert isinstance(sheet, Help)
        shown = [str(cell) for column in sheet.sheet().columns for cell in column.cells]
        for action in [*actions_of(scope), *actions_of("app")]:
            assert any(action.help in cell for cell in shown), action.id
        await pilot.press("escape")
        assert app.screen is app.front


async def test_stopping_run_asks_first() -> None:
    """Escape means no."""
    run = make_run("20260528-123456-orders", end=None)
    handle = take(run.lock_file)
    assert handle is not None
    with holding(handle):
        app = FtApp("monitor", run.id)
        async with app.run_test(size=(120, 36)) as pilot:
            await until(pilot, lambda: app.runs and app.runs[0].alive, "the run is seen alive")
            await pilot.pause(0.5)
            await pilot.press("x")
            question = await until(
                pilot, lambda: app.screen if isinstance(app.screen, Confirm) else None, "the question"
            )
            assert question.focused is question.query_one("#no", Button)
            await pilot.press("escape")
            await pilot.pause()
            assert not list(run.control.iterdir())


@pytest.mark.parametrize("action", [a for a in ACTIONS if a.destructive], ids=lambda action: action.id)
async def test_destructive_actions_ask_first(
    action: Action, memory_keyring: MemoryKeyring, ft_home: Path
) -> None:
    """With something there to destroy, the action's key leads to a question with the focus on No."""
    run = make_run("20260528-123456-orders", end=None)
    memory_keyring.set_password("ft", "HF_TOKEN", "hf_secret")
    handle = take(run.lock_file) if action.scope == "monitor" else None
    app = FtApp(action.scope, run.id if action.scope == "monitor" else None)
    with holding(handle) if handle is not None else nullcontext():
        async with app.run_test(size=(120, 36)) as pilot:
            await until(pilot, lambda: app.runs, "the run is seen")
            await pilot.pause(0.5)
            front = app.front
            assert front is not None
            before = {path for path in ft_home.rglob("*") if "cache" not in path.parts}
            await app.run_action(action.method, front)
            await pilot.pause(0.5)
            if isinstance(app.screen, Confirm):
                assert app.screen.focused is app.screen.query_one("#no", Button)
                await pilot.press("enter")
                await pilot.pause(0.2)
            assert {path for path in ft_home.rglob("*") if "cache" not in path.parts} == before
            assert memory_keyring.get_password("ft", "HF_TOKEN") == "hf_secret"
