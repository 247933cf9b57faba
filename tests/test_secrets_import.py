"""`ft secrets import`: the tokens of an old passwords.yml, once, and the plain text offered for deletion."""

import sys
from io import StringIO
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail

from engine import secrets
from engine.secrets import encrypted_file, imported
from ft.cli import main
from tests.keyrings import MemoryKeyring
from tests.terminal import Terminal

HUB, WANDB, OWN = "hf_notARealOne0123456789", "notARealWandbKey0123", "notARealOwnKey0123456"
NESTED = f"""
huggingface:
  token: {HUB}
wandb: {{api_key: {WANDB}}}
mlflow: {{username: ada, password: notARealPassword}}
openai:
  api_key: "{OWN}"
"""


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, memory_keyring: MemoryKeyring) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdin", StringIO(""))


def held(keyring: MemoryKeyring) -> dict[str, str]:
    return {name: value for (_, name), value in keyring.held.items()}


def test_nested_file_comes_in_without_being_shown(
    folder: Path, memory_keyring: MemoryKeyring, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "passwords.yml").write_text(NESTED)
    assert main(["secrets", "import"]) == 0
    assert held(memory_keyring) == {
        "HF_TOKEN": HUB,
        "WANDB_API_KEY": WANDB,
        "MLFLOW_TRACKING_USERNAME": "ada",
        "MLFLOW_TRACKING_PASSWORD": "notARealPassword",
        "OPENAI_API_KEY": OWN,
    }
    said = capsys.readouterr()
    for value in (HUB, WANDB, OWN, "notARealPassword"):
        assert value not in said.out + said.err
    for line in (
        "huggingface.token → HF_TOKEN",
        "wandb.api_key → WANDB_API_KEY",
        "openai.api_key → OPENAI_API_KEY",
    ):
        assert line in said.err
    assert "still has the tokens in plain text" in said.err
    assert (folder / "passwords.yml").exists()


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("HF_TOKEN", "HF_TOKEN"),
        ("hf_token", "HF_TOKEN"),
        ("huggingface", "HF_TOKEN"),
        ("HUGGING_FACE_HUB_TOKEN", "HF_TOKEN"),
        ("huggingface_api_key", "HF_TOKEN"),
        ("wandb", "WANDB_API_KEY"),
        ("wandbApiKey", "WANDB_API_KEY"),
        ("mlflow-token", "MLFLOW_TRACKING_TOKEN"),
        ("langfuse_secret", "LANGFUSE_SECRET_KEY"),
        ("my own key", "MY_OWN_KEY"),
        ("12345", None),
        ("PATH", None),
        ("ключ", None),
    ],
)
def test_key_gets_the_name_that_ft_knows(key: str, name: str | None, tmp_path: Path) -> None:
    file = tmp_path / "passwords.yml"
    file.write_text(f"{key}: {OWN}\n", encoding="utf-8")
    found = imported.read(file)
    assert dict(found.values) == ({name: OWN} if name else {})
    assert len(found.unusable) == (0 if name else 1)


def test_values_are_the_text_that_they_are(tmp_path: Path) -> None:
    """No number, date or truth is made of them."""
    file = tmp_path / "passwords.yml"
    file.write_text("a_key: 0012345678\nb_key: yes\nc_key: 2024-01-01\nd_key: 1e5\n")
    assert list(imported.read(file).values.values()) == ["0012345678", "yes", "2024-01-01", "1e5"]


def test_file_stays_where_something_was_left_out(
    folder: Path, memory_keyring: MemoryKeyring, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"HF_TOKEN: {HUB}\nhuggingface: {{token: {OWN}}}\nlist: [{WANDB}]\nempty:\n{WANDB}${{}}: x\n"
    (folder / "passwords.yml").write_text(text)
    assert main(["secrets", "import", "--delete"]) == 0
    said = capsys.readouterr().err
    assert held(memory_keyring) == {"HF_TOKEN": HUB}
    assert "huggingface.token: HF_TOKEN is HF_TOKEN too" in said
    assert "list: its value is no text" in said
    assert "stays" in said
    assert (folder / "passwords.yml").exists()
    for value in (HUB, WANDB, OWN):
        assert value not in said


def test_token_that_is_set_is_kept(
    folder: Path, memory_keyring: MemoryKeyring, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets.set("HF_TOKEN", "newer")
    (folder / "passwords.yml").write_text(f"HF_TOKEN: {HUB}\n")
    assert main(["secrets", "import"]) == 0
    assert "--replace" in capsys.readouterr().err
    assert held(memory_keyring) == {"HF_TOKEN": "newer"}
    assert main(["secrets", "import", "--replace", "--delete"]) == 0
    assert held(memory_keyring) == {"HF_TOKEN": HUB}
    assert not (folder / "passwords.yml").exists()


def test_file_of_ft_home_is_found_too(folder: Path, ft_home: Path, memory_keyring: MemoryKeyring) -> None:
    ft_home.mkdir()
    (ft_home / "passwords.yml").write_text(f"HF_TOKEN: {HUB}\n")
    assert main(["secrets", "import", "--delete"]) == 0
    assert held(memory_keyring) == {"HF_TOKEN": HUB}
    assert not (ft_home / "passwords.yml").exists()
    assert main(["secrets", "import"]) == 2


def test_without_keyring_tokens_go_into_the_encrypted_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keyring.set_keyring(fail.Keyring())
    (folder / "passwords.yml").write_text(NESTED)
    assert main(["secrets", "import", "--delete"]) == 7
    assert (folder / "passwords.yml").exists()
    monkeypatch.setattr(sys, "stdin", StringIO("correct horse battery\n"))
    assert main(["secrets", "import", "--file", "--delete"]) == 0
    assert not (folder / "passwords.yml").exists()
    assert len(encrypted_file.names()) == 5
    assert encrypted_file.get("OPENAI_API_KEY", "correct horse battery") == OWN
    assert OWN not in capsys.readouterr().err


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"just text",
        b"- a\n- b\n",
        f"HF_TOKEN: {HUB}\n  x: [".encode(),
        f"HF_TOKEN: '{HUB}".encode(),
        b"\xff\xfe\x00",
        b"a: &a [*a]\n" * 3,
        b"[" * 20_000,
        b"\x00",
        b"!!python/object/apply:os.system ['true']",
        b"x" * 100_000,
        b"a: {b: {c: {d: e}}}",
    ],
)
def test_junk_is_one_message_that_repeats_nothing(
    body: bytes, folder: Path, memory_keyring: MemoryKeyring, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "passwords.yml").write_bytes(body)
    assert main(["secrets", "import", "--delete"]) == 2
    said = capsys.readouterr().err
    assert "error:" in said
    assert "bug" not in said
    assert HUB not in said
    assert (folder / "passwords.yml").read_bytes() == body
    assert held(memory_keyring) == {}


def test_link_is_not_taken_for_the_file(folder: Path, tmp_path: Path, memory_keyring: MemoryKeyring) -> None:
    (tmp_path / "real.yml").write_text(f"HF_TOKEN: {HUB}\n")
    (folder / "passwords.yml").symlink_to(tmp_path / "real.yml")
    assert main(["secrets", "import", "--delete"]) == 7
    assert (tmp_path / "real.yml").exists()


def test_missing_file_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "import", "nowhere.yml"]) == 7
    assert "nowhere.yml cannot be read" in capsys.readouterr().err
    (folder / "passwords.yml").mkdir()
    assert main(["secrets", "import"]) == 7


@pytest.mark.slow
def test_terminal_asks_before_it_deletes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    (folder / "passwords.yml").write_text(f"HF_TOKEN: {HUB}\n")
    terminal = Terminal("secrets", "import", "--file")
    terminal.wait_for("New passphrase")
    terminal.press(b"correct horse battery\n")
    terminal.wait_for("The same again")
    terminal.press(b"correct horse battery\n")
    terminal.wait_for("Delete ")
    assert (folder / "passwords.yml").exists()
    terminal.press(b"y\n")
    assert terminal.end() == 0
    assert not (folder / "passwords.yml").exists()
    assert HUB not in terminal.shown
