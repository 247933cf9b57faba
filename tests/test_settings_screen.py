"""The Settings screen, driven as a person drives it: what is set is in force and on disk immediately."""

import re
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backends import fail
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Select, Switch

from engine import paths, secrets
from engine.housekeeping import automatic
from engine.secrets import passphrase
from ft.app import FtApp
from screens import preferences
from screens.settings.keys import Keymap
from screens.settings.screen import SettingsScreen
from tests.app_pilot import shown, until
from tests.keyrings import LockedKeyring, MemoryKeyring
from tests.whoami import whoami_server

TOKEN = "hf_notARealOne0123456789"
WORDS = "correct horse battery"


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def app() -> FtApp:
    return FtApp(start="settings")


async def ready(pilot: Pilot[Any]) -> SettingsScreen:
    await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen) and pilot.app.focused)
    screen = pilot.app.screen
    assert isinstance(screen, SettingsScreen)
    return screen


async def part(pilot: Pilot[Any], screen: SettingsScreen, name: str) -> None:
    """Turn to a part."""
    while screen.part != name:
        before = screen.part
        await pilot.press("right_square_bracket")
        await until(pilot, lambda before=before: screen.part != before)  # type: ignore[misc]


async def answer(pilot: Pilot[Any], text: str) -> None:
    """Type into the dialog that is open."""
    await until(pilot, lambda: isinstance(pilot.app.focused, Input), "a dialog")
    assert isinstance(pilot.app.focused, Input)
    pilot.app.focused.value = text
    await pilot.press("enter")


async def test_a_token_is_set_and_never_shown(app: FtApp, memory_keyring: MemoryKeyring) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        assert "not set" in shown(app)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.focused, Input))
        await pilot.press(*TOKEN)
        assert TOKEN not in shown(app)
        assert "•" * len(TOKEN) in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: "HF_TOKEN is in the keyring" in shown(app))
        assert TOKEN not in shown(app)
        assert TOKEN not in app.export_screenshot()
    assert memory_keyring.held == {("ft", "HF_TOKEN"): TOKEN}
    assert TOKEN not in "".join(path.read_text() for path in paths.home().rglob("*.json"))


async def test_token_of_own_name_comes_and_goes(app: FtApp, memory_keyring: MemoryKeyring) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        await pilot.press("a")
        await answer(pilot, "MY_OWN_KEY")
        await answer(pilot, TOKEN)
        await until(pilot, lambda: "MY_OWN_KEY is in the keyring" in shown(app))
        screen.query_one("#tokens", DataTable).move_cursor(row=2)
        await pilot.press("f")
        await until(pilot, lambda: "Forget MY_OWN_KEY?" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert memory_keyring.held
        await pilot.press("f")
        await until(pilot, lambda: "Forget MY_OWN_KEY?" in shown(app))
        await pilot.press("y")
        await until(pilot, lambda: not memory_keyring.held)


async def test_wrong_name_and_locked_keyring_are_told(app: FtApp, memory_keyring: MemoryKeyring) -> None:
    keyring.set_keyring(LockedKeyring())
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot)
        await pilot.press("a")
        await answer(pilot, "not a name")
        await until(pilot, lambda: len(app.problems) == 1)
        assert "not a name for a token" in app.problems[0].message
        await pilot.press("s")
        await answer(pilot, TOKEN)
        await until(pilot, lambda: "Choose a passphrase" in shown(app))
        await pilot.press("escape")
        await until(pilot, lambda: len(app.problems) == 2)
        assert "locked" in app.problems[1].message
        assert "environment variable HF_TOKEN" in app.problems[1].hint


async def test_without_keyring_a_dialog_offers_the_encrypted_file(app: FtApp, ft_home: Path) -> None:
    system = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    try:
        async with app.run_test(size=(100, 30)) as pilot:
            await ready(pilot)
            await pilot.press("s")
            await answer(pilot, TOKEN)
            await until(pilot, lambda: "Choose a passphrase" in shown(app))
            await answer(pilot, WORDS)
            await until(pilot, lambda: "again" in shown(app))
            assert WORDS not in shown(app)
            await answer(pilot, WORDS)
            await until(pilot, lambda: "HF_TOKEN is in the encrypted file" in shown(app))
            for text in (shown(app), app.export_screenshot()):
                assert TOKEN not in text
                assert WORDS not in text
            await pilot.press("f")
            await until(pilot, lambda: "Forget HF_TOKEN?" in shown(app))
            await pilot.press("y")
            await until(pilot, lambda: "HF_TOKEN was removed" in shown(app))
            assert not (ft_home / "secrets.enc").exists()
    finally:
        keyring.set_keyring(system)


async def test_locked_file_is_opened_in_a_dialog(app: FtApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong passphrase is told; the right one holds until the app is left."""
    secrets.set_in_file({"HF_TOKEN": TOKEN}, WORDS)
    passphrase.remember(None)
    with whoami_server(TOKEN, monkeypatch):
        async with app.run_test(size=(100, 30)) as pilot:
            await ready(pilot)
            await pilot.press("t")
            await answer(pilot, "not the words")
            await until(pilot, lambda: app.problems)
            assert "does not open" in app.problems[0].message
            for _ in range(2):
                await pilot.press("t")
                if passphrase.known() is None:
                    await answer(pilot, WORDS)
                await until(pilot, lambda: "The hub knows it: ada" in shown(app))
            assert WORDS not in shown(app)
    assert secrets.get("HF_TOKEN") == TOKEN


async def test_a_token_is_tested_with_the_hub(
    app: FtApp, memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets.set("HF_TOKEN", TOKEN)
    with whoami_server(TOKEN, monkeypatch):
        async with app.run_test(size=(100, 30)) as pilot:
            await ready(pilot)
            await pilot.press("t")
            await until(pilot, lambda: "The hub knows it: ada" in shown(app))
            secrets.set("HF_TOKEN", "hf_wrong")
            await pilot.press("t")
            await until(pilot, lambda: app.problems)
            assert "rejects this token" in app.problems[0].message


async def test_unavailable_action_has_no_key(app: FtApp, memory_keyring: MemoryKeyring) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        assert screen.check_action("set", ())
        assert not screen.check_action("test", ())
        assert not screen.check_action("forget", ())
        assert not screen.check_action("rebind", ())
        await part(pilot, screen, "keys")
        assert not screen.check_action("set", ())
        assert screen.check_action("rebind", ())
        assert not screen.check_action("original", ())


async def test_appearance_settings_hold_after_a_restart(app: FtApp) -> None:
    """Theme, smoothing and blocks apply immediately too."""
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await ready(pilot)
        await part(pilot, screen, "appearance")
        screen.query_one("#theme", Select).value = "ft-light"
        screen.query_one("#smoothing", Select).value = 0.5
        screen.query_one("#blocks", Switch).value = True
        await until(pilot, lambda: app.preferences.blocks and app.preferences.smoothing == 0.5)
        assert app.theme == "ft-light"
    again = preferences.load()
    assert (again.theme, again.smoothing, again.blocks) == ("ft-light", 0.5, True)


async def test_key_is_changed_and_given_back(app: FtApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await part(pilot, screen, "keys")
        choose(screen, "settings.copy")
        await pilot.press("e")
        await until(pilot, lambda: app.screen is not screen)
        await pilot.press("w")
        await until(pilot, lambda: "copy is w now" in shown(app))
        assert preferences.load().keys == {"settings.copy": "w"}
        await part(pilot, screen, "versions")
        await pilot.press("w")
        await until(pilot, lambda: "ft-studio" in app.clipboard)
        await part(pilot, screen, "keys")
        await pilot.press("x")
        await until(pilot, lambda: preferences.load().keys == {})


async def test_key_of_another_action_is_refused(app: FtApp) -> None:
    """The message names the action."""
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await part(pilot, screen, "keys")
        choose(screen, "settings.copy")
        for key, owner in (("t", "“test” (Settings)"), ("q", "“quit” (everywhere)")):
            await pilot.press("e")
            await until(pilot, lambda: app.screen is not screen)
            await pilot.press(key)
            await until(pilot, lambda owner=owner: f"already the key of {owner}" in shown(app))  # type: ignore[misc]
        assert app.is_running
    assert preferences.load().keys == {}


async def test_escape_leaves_a_key_as_it_is(app: FtApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await ready(pilot)
        await part(pilot, screen, "keys")
        await pilot.press("e")
        await until(pilot, lambda: app.screen is not screen)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
    assert preferences.load().keys == {}


async def test_folders_are_measured_and_their_paths_copied(app: FtApp, ft_home: Path) -> None:
    (ft_home / "runs" / "one").mkdir(parents=True)
    (ft_home / "runs" / "one" / "events.jsonl").write_bytes(b"x" * 2_000_000)
    (ft_home / "runs" / "link").symlink_to(ft_home / "runs" / "one")
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await part(pilot, screen, "folders")
        await until(pilot, lambda: len(re.findall(r" 2\.\d\d MB", shown(app))) == 2)  # the home, and its runs
        assert not re.search(r" 4\.\d\d MB", shown(app))
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == str(ft_home))


async def test_cleaning_after_trainings_is_chosen_for_the_engine(app: FtApp, ft_home: Path) -> None:
    """Off at first; the age that a person has set on the command line stays."""
    automatic.save(automatic.Automatic("off", 7.0))
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await ready(pilot)
        await part(pilot, screen, "folders")
        choice = screen.query_one("#clean", Select)
        assert choice.value == "off"
        choice.value = "after_training"
        await until(pilot, lambda: automatic.load() == automatic.Automatic("after_training", 7.0))
        choice.value = "off"
        await until(pilot, lambda: automatic.load() == automatic.Automatic("off", 7.0))
        assert app.problems == []


async def test_wide_terminal_shows_all_settings(app: FtApp) -> None:
    async with app.run_test(size=(200, 50)) as pilot:
        screen = await ready(pilot)
        await pilot.pause()
        text = shown(app)
        for title in ("tokens", "appearance", "keys", "folders", "versions"):
            assert f" {title} ─" in text
        await part(pilot, screen, "keys")
        assert screen.check_action("rebind", ())


def choose(screen: SettingsScreen, action_id: str) -> None:
    """Put the cursor on an action."""
    table = screen.query_one(Keymap).query_one(DataTable)
    table.move_cursor(row=table.get_row_index(action_id))
