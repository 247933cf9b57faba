"""Advice to set something: where a command has no `--set` for a recipe, it names what has one, and that works."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.data.setting_advice import by_prepare, in_recipe
from engine.errors import DataError
from engine.service.protocol import Failure
from ft.cli import main
from tests.serving import make_adapter

BROKEN = {
    "unusable": '{"prompt": "Say fox.", "completion": " fox"}\n{"prompt": "Say fox.", "completion": 3}\n',
    "renamed": '{"Question": "Say fox.", "answer": " fox"}\n',
    "mixed": '{"prompt": "Say fox.", "completion": " fox"}\n{"messages": []}\n',
}
"""Files that no command reads as they are."""
Run = Callable[[str], tuple[int, str]]


@pytest.fixture
def ft(tiny_model: Path, folder: Path, ft_home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ft WORDS` beside an adapter and broken rows; its exit code, and what it says on stderr."""
    make_adapter(tiny_model, folder / "adapter", 1)
    for name, rows in BROKEN.items():
        (folder / f"{name}.jsonl").write_text(rows)

    def ft(words: str) -> tuple[int, str]:
        capsys.readouterr()
        return main(shlex.split(words)), capsys.readouterr().err

    return ft


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("command", ["evaluate adapter", "export adapter --format adapter"])
def test_rows_that_cannot_be_read_are_readable_as_advised(command: str, name: str, ft: Run) -> None:
    code, said = ft(f"{command} --data {name}.jsonl")
    assert code == 3, said
    (prepare,) = set(re.findall(r"`ft (data prepare .*?)`", said))
    assert said.count("--set") == said.count(f"`ft {prepare}`"), (
        "every option is one of a command that has it"
    )
    (option,) = set(re.findall(r"Then: (--data \S+)", said))
    code, said = ft(prepare.replace("FOLDER", "fixed"))
    assert code == 0, said
    code, said = ft(f"{command} {option.replace('FOLDER', 'fixed')}")
    assert code == 0, said


def test_commands_with_recipe_name_their_own_option(ft: Run, tiny_model: Path) -> None:
    assert "leave it out: --set data.on_error=skip\n" in ft("data check unusable.jsonl")[1]
    assert "answer: --set 'data.columns={" in ft("data check renamed.jsonl")[1]
    Path("train.yml").write_text(f"model: {{base: {tiny_model}}}\ndata: {{train: unusable.jsonl}}\n")
    assert "leave it out: --set data.on_error=skip\n" in ft("plan")[1]


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("models pull anna/model", "Unset HF_HUB_OFFLINE, or use `starter` or a local folder."),
        ("models pull starter --revision main", "Leave the revision out."),
    ],
)
def test_commands_on_models_name_no_key_of_a_recipe(words: str, advice: str, ft: Run) -> None:
    code, said = ft(words)
    assert (code, advice in said) == (4, True), said
    assert "model." not in said.replace("model.safetensors", "")


def test_advice_is_the_key_of_a_recipe_where_one_is_edited() -> None:
    said = "Fix it, or leave it out: --set data.on_error=skip. Or: --set 'data.columns={a: b c}' (d)"
    assert in_recipe(said) == "Fix it, or leave it out: data.on_error: skip. Or: data.columns: {a: b c} (d)"


def test_service_answers_with_keys_of_a_recipe() -> None:
    """It is asked by the app, where recipes are edited and no command has options."""
    error = DataError("a.jsonl:2: is broken", "Leave it out: --set data.on_error=skip")
    assert Failure.of(error).error().hint == "Leave it out: data.on_error: skip"


def test_advice_without_option_stays_as_it_is() -> None:
    assert by_prepare("Fix data.template, or the rows.", "x.jsonl") == "Fix data.template, or the rows."
