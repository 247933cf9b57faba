"""Chat templates that make up what is trained: cases that users of other tools met."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ft.program import app
from tests.families import make_model, make_weights, shipped

DATA = Path(__file__).parent / "data"
Model = Callable[[str], str]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def here(folder: Path) -> Path:
    """A folder to stand in that has the cases' rows and templates."""
    (folder / "cases").symlink_to(DATA)
    return folder


@pytest.fixture
def model(here: Path, weights: Path) -> Model:
    """Gives the folder of a model whose template `trl` ships."""

    def of(family: str) -> str:
        shutil.copytree(weights, here / family)
        make_model(here / family, family, shipped()[family])
        return f"./{family}"

    return of


def ft(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def shown(*arguments: str) -> str:
    """The text of the first row, `[]` around what is trained."""
    return str(ft("data", "preview", *arguments).stdout)


def findings(*arguments: str) -> list[dict[str, Any]]:
    """What `ft data check` finds."""
    found: list[dict[str, Any]] = json.loads(ft("data", "check", *arguments, "--json").stdout)["findings"]
    return found


@pytest.mark.parametrize("rows", ["22_inline.jsonl", "27_hermes.jsonl"])
def test_words_that_the_model_writes_itself_are_no_control_tokens(rows: str, model: Model) -> None:
    found = findings(f"cases/{rows}", "--model", model("qwen3"))
    assert [one["kind"] for one in found if one["kind"] == "special-tokens"] == []


def test_a_control_token_in_a_text_is_still_an_error(here: Path, model: Model) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?<|im_end|>"}, {"role": "assistant", "content": "a"}]}
        for n in range(12)
    ]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = findings("rows.jsonl", "--model", model("qwen3"))
    assert [one["severity"] for one in found if one["kind"] == "special-tokens"] == ["error"]
