"""Tokens in the encrypted file: opened by its passphrase alone, whole or not at all, and asked for once."""

import json
import os
import sys
from io import StringIO
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail

from engine import secrets
from engine.errors import ConfigError, MachineError
from engine.secrets import encrypted_file, passphrase
from ft.cli import main
from tests.keyrings import LockedKeyring, MemoryKeyring
from tests.terminal import Terminal, ft

TOKEN = "hf_notARealOne0123456789"
WORDS = "correct horse battery"
NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


@pytest.fixture(autouse=True)
def headless(monkeypatch: pytest.MonkeyPatch, memory_keyring: MemoryKeyring) -> None:
    """No token in the environment, and no keyring, as on a server."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in NO_KEYRING.items():
        monkeypatch.setenv(name, value)
    keyring.set_keyring(fail.Keyring())


@pytest.fixture
def kept(ft_home: Path) -> Path:
    """A file with one token, in a process that does not know its passphrase."""
    secrets.set_in_file({"HF_TOKEN": TOKEN}, WORDS)
    passphrase.remember(None)
    return ft_home / "secrets.enc"


def given(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(text))


def test_file_holds_no_token_and_is_for_its_owner_alone(kept: Path, ft_home: Path) -> None:
    written = b"".join(path.read_bytes() for path in ft_home.rglob("*") if path.is_file())
    assert TOKEN.encode() not in written
    assert WORDS.encode() not in written
    assert kept.stat().st_mode & 0o777 == 0o600
    assert secrets.state_of("HF_TOKEN").where == "encrypted file"


def test_passphrase_is_asked_once_for_several_tokens(kept: Path) -> None:
    secrets.set_in_file({"WANDB_API_KEY": "other"}, WORDS)
    passphrase.remember(None)
    asked: list[str] = []
    secrets.ask_with(lambda question: asked.append(question) or WORDS)  # type: ignore[func-returns-value]
    assert secrets.carried(["HF_TOKEN", "WANDB_API_KEY"]) == {"HF_TOKEN": TOKEN, "WANDB_API_KEY": "other"}
    assert len(asked) == 1
    assert "secrets.enc" in asked[0]


def test_nobody_is_asked_for_what_is_only_useful(kept: Path) -> None:
    def ask(_: str) -> str:
        raise AssertionError("asked")

    secrets.ask_with(ask)
    assert secrets.carried((), ["HF_TOKEN"]) == {}
    assert [state.place for state in secrets.listed()] == ["file", "none"]
    assert secrets.without() == {name: os.environ[name] for name in os.environ}


def test_needed_token_without_passphrase_is_one_message(kept: Path) -> None:
    with pytest.raises(secrets.Locked, match=r"HF_TOKEN is in .*secrets\.enc") as caught:
        secrets.carried(["HF_TOKEN"])
    assert passphrase.VARIABLE in caught.value.hint
    assert secrets.carried(["WANDB_API_KEY"]) == {}


def test_environment_goes_before_file_and_keyring_too(
    kept: Path, monkeypatch: pytest.MonkeyPatch, memory_keyring: MemoryKeyring
) -> None:
    keyring.set_keyring(memory_keyring)
    secrets.set("HF_TOKEN", "in-keyring")
    assert secrets.get("HF_TOKEN") == "in-keyring"
    keyring.set_keyring(LockedKeyring())
    monkeypatch.setenv(passphrase.VARIABLE, WORDS)
    assert secrets.get("HF_TOKEN") == TOKEN
    monkeypatch.setenv("HF_TOKEN", "in-environment")
    assert secrets.get("HF_TOKEN") == "in-environment"


def test_passphrase_reaches_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(passphrase.VARIABLE, WORDS)
    assert passphrase.VARIABLE not in secrets.without()


def test_wrong_passphrase_is_told_from_damage(kept: Path) -> None:
    for wrong in ("", "correct horse", WORDS + " "):
        with pytest.raises(secrets.WrongPassphrase, match="does not open"):
            encrypted_file.get("HF_TOKEN", wrong)
    with pytest.raises(secrets.WrongPassphrase):
        secrets.set_in_file({"WANDB_API_KEY": "x"}, "another passphrase")
    assert encrypted_file.names() == ["HF_TOKEN"]
    whole = kept.read_bytes()
    for place in range(0, len(whole), 7):
        kept.write_bytes(whole[:place])
        with pytest.raises(MachineError, match="is damaged"):
            encrypted_file.names()
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        kept.write_bytes(changed)
        try:
            body, old = json.loads(changed), json.loads(whole)
        except ValueError:
            body, old = None, {}
        if body == old:
            continue  # a blank has become another one
        with pytest.raises(MachineError, match="is damaged"):
            encrypted_file.get("HF_TOKEN", WORDS)
    assert secrets.listed()[0].place == "none"
    kept.write_bytes(whole)
    assert encrypted_file.get("HF_TOKEN", WORDS) == TOKEN


@pytest.mark.parametrize(
    "body", [b"[]", b"1", b"{}", b'"x"', b"[" * 100_000, b"\xff\xfe", b"null", b'{"sha256": {}}']
)
def test_junk_is_damage_and_left_as_it_is(body: bytes, ft_home: Path) -> None:
    file = ft_home / "secrets.enc"
    ft_home.mkdir()
    file.write_bytes(body)
    with pytest.raises(MachineError, match="damaged"):
        secrets.get("HF_TOKEN")
    with pytest.raises(MachineError, match="damaged"):
        secrets.set_in_file({"HF_TOKEN": TOKEN}, WORDS)
    assert file.read_bytes() == body


def test_damaged_file_is_told_by_list_and_test_but_stops_no_other_token(
    kept: Path, memory_keyring: MemoryKeyring, capsys: pytest.CaptureFixture[str]
) -> None:
    keyring.set_keyring(memory_keyring)
    secrets.set("MY_OWN_KEY", TOKEN)
    kept.write_bytes(kept.read_bytes()[:-9])
    assert secrets.get("MY_OWN_KEY") == TOKEN
    for command in (["list"], ["test"], ["rm", "HF_TOKEN"]):
        assert main(["secrets", *command]) == 7
        said = capsys.readouterr()
        assert "is damaged" in said.err
        assert command != ["list"] or "MY_OWN_KEY" in said.out


def test_value_cannot_be_moved_to_another_name(kept: Path) -> None:
    """Not even by who makes the checksum right again."""
    body = json.loads(kept.read_bytes())
    body["tokens"] = {"WANDB_API_KEY": body["tokens"]["HF_TOKEN"]}
    del body["sha256"]
    kept.write_text(json.dumps(body | {"sha256": encrypted_file._checksum(body)}))
    with pytest.raises(secrets.WrongPassphrase):
        encrypted_file.get("WANDB_API_KEY", WORDS)


def test_token_is_removed_without_passphrase_and_file_with_the_last(kept: Path) -> None:
    secrets.set_in_file({"WANDB_API_KEY": "other"}, WORDS)
    passphrase.remember(None)
    secrets.forget("HF_TOKEN")
    assert encrypted_file.get("WANDB_API_KEY", WORDS) == "other"
    assert secrets.get("HF_TOKEN") is None
    secrets.forget("WANDB_API_KEY")
    assert not kept.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_rights_is_told_and_nothing_lost(kept: Path, ft_home: Path) -> None:
    before = kept.read_bytes()
    (ft_home / "secrets.lock").unlink(missing_ok=True)
    ft_home.chmod(0o500)
    try:
        with pytest.raises(MachineError, match=r"may not write|cannot be"):
            secrets.set_in_file({"WANDB_API_KEY": "x"}, WORDS)
    finally:
        ft_home.chmod(0o700)
    assert kept.read_bytes() == before


def test_folder_in_the_files_place_is_told(ft_home: Path) -> None:
    (ft_home / "secrets.enc").mkdir(parents=True)
    with pytest.raises(MachineError, match="cannot be read"):
        secrets.set_in_file({"HF_TOKEN": TOKEN}, WORDS)
    (ft_home / "secrets.enc").rmdir()
    (ft_home / "secrets.enc").symlink_to(ft_home / "gone")
    with pytest.raises(MachineError, match="link to nothing"):
        secrets.get("HF_TOKEN")


def test_full_disk_keeps_the_old_file(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="disk is full"):
        secrets.set_in_file({"WANDB_API_KEY": "x"}, WORDS)
    assert kept.read_bytes() == before
    assert [path.name for path in kept.parent.glob(".secrets*")] == []


def test_set_without_keyring_offers_the_file(
    ft_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, f"{TOKEN}\n")
    assert main(["secrets", "set", "HF_TOKEN"]) == 7
    assert "ft secrets set HF_TOKEN --file" in capsys.readouterr().err
    given(monkeypatch, f"{WORDS}\n{TOKEN}\n")
    assert main(["secrets", "set", "HF_TOKEN", "--file"]) == 0
    assert main(["secrets", "list"]) == 0
    said = capsys.readouterr()
    assert "HF_TOKEN is in the encrypted file" in said.err
    assert "encrypted file" in said.out
    assert TOKEN not in said.out + said.err
    assert WORDS not in said.out + said.err
    assert encrypted_file.get("HF_TOKEN", WORDS) == TOKEN


def test_script_gives_passphrase_by_variable(ft_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(passphrase.VARIABLE, WORDS)
    given(monkeypatch, f"{TOKEN}\n")
    assert main(["secrets", "set", "HF_TOKEN", "--file"]) == 0
    assert secrets.get("HF_TOKEN") == TOKEN


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ("", "No passphrase was given"),
        ("short\nvalue\n", "at least 8"),
        (f"{WORDS}\n", "cannot be a token"),
        (f"{WORDS}\n\n", "cannot be a token"),
    ],
)
def test_missing_line_of_stdin_is_one_message(
    stdin: str,
    message: str,
    ft_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given(monkeypatch, stdin)
    assert main(["secrets", "set", "HF_TOKEN", "--file"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (ft_home / "secrets.enc").exists()


@pytest.mark.slow
def test_terminal_offers_the_file_and_asks_twice(ft_home: Path) -> None:
    terminal = Terminal("secrets", "set", "HF_TOKEN")
    terminal.wait_for("HF_TOKEN (not shown):")
    terminal.press(TOKEN.encode() + b"\n")
    terminal.wait_for("no keyring")
    terminal.wait_for("encrypted file")
    terminal.press(b"y\n")
    terminal.wait_for("New passphrase")
    terminal.press(WORDS.encode() + b"\n")
    terminal.wait_for("The same again")
    terminal.press(WORDS.encode() + b"\n")
    assert terminal.end() == 0
    assert TOKEN not in terminal.shown
    assert WORDS not in terminal.shown
    assert encrypted_file.get("HF_TOKEN", WORDS) == TOKEN


@pytest.mark.slow
def test_command_without_terminal_never_waits_for_a_passphrase(kept: Path) -> None:
    done = ft("models", "show", "someone/model", HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 7
    assert "passphrase is not known here" in done.stderr
    assert "Traceback" not in done.stderr


def test_short_passphrase_makes_no_file(ft_home: Path) -> None:
    with pytest.raises(ConfigError, match="at least"):
        secrets.set_in_file({"HF_TOKEN": TOKEN}, "short")
    assert not (ft_home / "secrets.enc").exists()
