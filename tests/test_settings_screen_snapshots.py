"""Snapshots of the Settings screen; folders and versions are made up, and the list of keys is a short one."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine import secrets
from ft.app import FtApp
from screens.actions import ACTIONS
from screens.settings import keys, storage
from screens.settings.screen import SettingsScreen
from screens.settings.storage import Place, Places
from tests.app_pilot import shown, until
from tests.keyrings import MemoryKeyring

PARTS = ("tokens", "appearance", "keys", "folders", "versions")


def some_versions() -> Iterator[tuple[str, str]]:
    yield from (("system", "Linux x86_64"), ("python", "3.12.1"), ("ft-studio", "0.1.0"), ("torch", "2.13.0"))


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch, memory_keyring: MemoryKeyring) -> None:
    """One token in the keyring, one in the environment; nothing of this machine."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    secrets.set("HF_TOKEN", "hf_notARealOne0123456789")
    monkeypatch.setenv("WANDB_API_KEY", "notARealOne")
    home = Path("/home/ada/.local/share/ft")
    some_places = [Place("home", home, "all files of ft"), Place("runs", home / "runs", "run directories")]
    monkeypatch.setattr(storage, "places", lambda: some_places)
    monkeypatch.setattr(storage, "versions", some_versions)
    few = tuple(action for action in ACTIONS if action.scope == "settings")
    monkeypatch.setattr(keys, "ACTIONS", few)


async def settled(pilot: Pilot[Any], part: str) -> SettingsScreen:
    await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen) and pilot.app.focused)
    screen = pilot.app.screen
    assert isinstance(screen, SettingsScreen)
    await until(
        pilot, lambda: "…" not in str(screen.query_one(Places).query_one("#places").get_cell_at((1, 1)))
    )  # type: ignore[attr-defined]
    for _ in range(PARTS.index(part)):
        await pilot.press("right_square_bracket")
        await pilot.pause()
    await pilot.pause()
    return screen


def assert_looks(
    snap_compare: Any, look: Callable[[Pilot[Any]], Awaitable[Any]], size: tuple[int, int] = (80, 24)
) -> None:
    assert snap_compare(FtApp(start="settings"), terminal_size=size, run_before=look)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)], ids=str)
def test_tokens(snap_compare: Any, size: tuple[int, int]) -> None:
    assert_looks(snap_compare, lambda pilot: settled(pilot, "tokens"), size)


@pytest.mark.parametrize("part", ["appearance", "keys", "folders", "versions"])
def test_each_part_in_a_small_terminal(snap_compare: Any, part: str) -> None:
    assert_looks(snap_compare, lambda pilot: settled(pilot, part))


def test_a_token_being_typed(snap_compare: Any) -> None:
    async def look(pilot: Pilot[Any]) -> None:
        screen = await settled(pilot, "tokens")
        await pilot.press("s")
        await until(pilot, lambda: pilot.app.screen is not screen)
        await pilot.press(*"hf_secret")
        pilot.app.screen.query_one("Input").cursor_blink = False  # type: ignore[attr-defined]
        await pilot.pause()

    assert_looks(snap_compare, look)


def test_a_clash_of_keys(snap_compare: Any) -> None:
    async def look(pilot: Pilot[Any]) -> None:
        screen = await settled(pilot, "keys")
        await pilot.press("e")
        await until(pilot, lambda: pilot.app.screen is not screen)
        await pilot.press("t")
        await until(pilot, lambda: "Not changed" in shown(pilot.app))

    assert_looks(snap_compare, look)
