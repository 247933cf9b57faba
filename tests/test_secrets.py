"""Tokens: in the keyring, environment first, and to be seen nowhere."""

import json
import os
import sys
from io import StringIO
from pathlib import Path

import keyring
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backends import fail, null

from engine import secrets
from engine.errors import CheckFailed, ConfigError, HubError, MachineError
from ft.cli import main
from tests.keyrings import LockedKeyring, MemoryKeyring, PlaintextKeyring
from tests.whoami import whoami_server

TOKEN = "hf_notARealOne0123456789"


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_token_is_stored_only_in_keyring(memory_keyring: MemoryKeyring, ft_home: Path) -> None:
    secrets.set("HF_TOKEN", TOKEN)
    assert secrets.get("HF_TOKEN") == TOKEN
    assert memory_keyring.held == {("ft", "HF_TOKEN"): TOKEN}
    files = [path for path in ft_home.rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["HF_TOKEN"]
    assert files[0].read_bytes() == b""


def test_environment_token_goes_first(memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.set("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "other")
    assert secrets.get("HF_TOKEN") == "other"
    assert secrets.state_of("HF_TOKEN").where == "environment (HUGGING_FACE_HUB_TOKEN)"
    monkeypatch.setenv("HF_TOKEN", "first")
    assert secrets.get("HF_TOKEN") == "first"
    assert secrets.state_of("HF_TOKEN").where == "environment"


def test_older_hub_token_name_still_works(memory_keyring: MemoryKeyring) -> None:
    secrets.set("HUGGING_FACE_HUB_TOKEN", TOKEN)
    assert secrets.get("HF_TOKEN") == TOKEN


def test_keyring_is_untouched_without_stored_tokens(memory_keyring: MemoryKeyring) -> None:
    assert secrets.get("HF_TOKEN") is None
    assert secrets.carried(["HF_TOKEN"], ["WANDB_API_KEY"]) == {}
    assert [state.place for state in secrets.listed()] == ["none", "none"]
    assert memory_keyring.asked == 0


def test_a_forgotten_token_is_gone(memory_keyring: MemoryKeyring) -> None:
    secrets.set("MY_OWN_KEY", TOKEN)
    assert [state.name for state in secrets.listed()] == ["HF_TOKEN", "WANDB_API_KEY", "MY_OWN_KEY"]
    secrets.forget("MY_OWN_KEY")
    assert secrets.get("MY_OWN_KEY") is None
    assert memory_keyring.held == {}
    with pytest.raises(ConfigError, match="no MY_OWN_KEY"):
        secrets.forget("MY_OWN_KEY")


def test_token_deleted_elsewhere_is_not_set(memory_keyring: MemoryKeyring) -> None:
    secrets.set("HF_TOKEN", TOKEN)
    memory_keyring.held.clear()
    assert secrets.get("HF_TOKEN") is None
    secrets.forget("HF_TOKEN")
    assert secrets.state_of("HF_TOKEN").place == "none"


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring, PlaintextKeyring])
def test_missing_keyring_names_the_environment_variable(backend: type, memory_keyring: MemoryKeyring) -> None:
    keyring.set_keyring(backend())
    with pytest.raises(MachineError, match="no keyring") as caught:
        secrets.set("HF_TOKEN", TOKEN)
    assert "environment variable HF_TOKEN" in caught.value.hint
    assert secrets.state_of("HF_TOKEN").place == "none"


def test_locked_keyring_matters_only_when_needed(memory_keyring: MemoryKeyring) -> None:
    secrets.set("HF_TOKEN", TOKEN)
    keyring.set_keyring(LockedKeyring())
    with pytest.raises(MachineError, match="locked") as caught:
        secrets.get("HF_TOKEN")
    assert "environment variable HF_TOKEN" in caught.value.hint
    assert secrets.carried((), ["HF_TOKEN"]) == {}
    with pytest.raises(MachineError, match="locked"):
        secrets.carried(["HF_TOKEN"])
    with pytest.raises(MachineError, match="locked"):
        secrets.forget("HF_TOKEN")
    assert secrets.state_of("HF_TOKEN").place == "keyring"


@pytest.mark.parametrize(
    "name", ["hf_token", "A", "HF TOKEN", "HF-TOKEN", "../HF_TOKEN", "X" * 65, "Ä_KEY", ""]
)
def test_invalid_token_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not a name for a token"):
        secrets.get(name)


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "PYTHONPATH", "FT_HOME", "HOME"])
def test_engine_breaking_token_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a token"):
        secrets.set(name, TOKEN)


@pytest.mark.parametrize("value", ["", " x", "x\n", "a\nb", "a\x1b[0m", "x" * 10_000])
def test_invalid_token_value_is_refused(value: str, memory_keyring: MemoryKeyring) -> None:
    with pytest.raises(ConfigError) as caught:
        secrets.set("HF_TOKEN", value)
    assert memory_keyring.held == {}
    assert not value or value not in caught.value.message


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{1,20}", fullmatch=True), st.text(max_size=50)))
def test_tokens_arrive_as_they_were_sent(values: dict[str, str]) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "wb") as writer:
        secrets.send(values, writer)
        assert secrets.receive(reader) == values


def test_gone_parent_sends_no_tokens() -> None:
    read, write = os.pipe()
    os.close(write)
    with os.fdopen(read, "rb") as reader:
        assert secrets.receive(reader) == {}


def test_sending_tokens_to_gone_child_succeeds() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = os.fdopen(write, "wb", buffering=0)
    secrets.send({"HF_TOKEN": TOKEN}, writer)
    writer.close()


def test_a_childs_environment_has_no_token(
    memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets.set("MY_OWN_KEY", TOKEN)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "MY_OWN_KEY"):
        monkeypatch.setenv(name, TOKEN)
    assert TOKEN not in secrets.without().values()
    assert secrets.without()["PATH"] == os.environ["PATH"]
    assert secrets.carried(["HF_TOKEN"], ["MY_OWN_KEY"]) == dict.fromkeys(("HF_TOKEN", "MY_OWN_KEY"), TOKEN)


def test_hub_says_whose_token_it_is(memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    with whoami_server(TOKEN, monkeypatch):
        with pytest.raises(ConfigError, match="HF_TOKEN is not set"):
            secrets.test("HF_TOKEN")
        secrets.set("HF_TOKEN", TOKEN)
        assert secrets.test("HF_TOKEN") == "The hub knows it: ada, may read."
        secrets.set("HF_TOKEN", "hf_wrong")
        with pytest.raises(CheckFailed, match="rejects") as caught:
            secrets.test("HF_TOKEN")
    assert "hf_wrong" not in caught.value.message + caught.value.hint


def test_token_may_be_fine_without_network(
    memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    secrets.set("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot be reached") as caught:
        secrets.test("HF_TOKEN")
    assert "may be fine" in caught.value.hint


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(text))


def test_token_command_reads_lists_and_removes(
    memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token comes from standard input."""
    typed(monkeypatch, TOKEN + "\n")
    assert main(["secrets", "set", "HF_TOKEN"]) == 0
    assert memory_keyring.held == {("ft", "HF_TOKEN"): TOKEN}
    assert main(["secrets", "list"]) == 0
    assert main(["secrets", "list", "--json"]) == 0
    said = capsys.readouterr()
    assert "keyring" in said.out
    assert TOKEN not in said.out + said.err
    listed = json.loads(said.out[said.out.index("[") :])
    assert [(state["name"], state["place"]) for state in listed] == [
        ("HF_TOKEN", "keyring"),
        ("WANDB_API_KEY", "none"),
    ]
    assert main(["secrets", "rm", "HF_TOKEN"]) == 0
    assert main(["secrets", "rm", "HF_TOKEN"]) == 2
    assert memory_keyring.held == {}


def test_command_takes_no_token_argument(
    memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "")
    assert main(["secrets", "set", "HF_TOKEN", TOKEN]) == 2
    assert main(["secrets", "set", "HF_TOKEN"]) == 2
    assert memory_keyring.held == {}


def test_command_without_keyring_names_way_out(
    memory_keyring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keyring.set_keyring(fail.Keyring())
    typed(monkeypatch, TOKEN)
    assert main(["secrets", "set", "WANDB_API_KEY"]) == 7
    said = capsys.readouterr().err
    assert "environment variable WANDB_API_KEY" in said
    assert TOKEN not in said
