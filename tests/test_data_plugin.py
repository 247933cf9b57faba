"""Another package adds a row format and a chat template: a recipe names them, and broken ones are told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "ft-quiz"
version = "1.0"

[project.entry-points."ft.formats"]
quiz = "ft_quiz:quiz"
wrong = "ft_quiz:loud"

[project.entry-points."ft.templates"]
loud = "ft_quiz:loud"
broken = "ft_quiz:nothing"
plain = "ft_quiz:quiz"

[tool.setuptools]
py-modules = ["ft_quiz"]
"""
MODULE = '''
from engine.data.formats.base import RowError, RowFormat
from engine.data.types import Conversation, Message

loud = """{% for m in messages %}<|im_start|>{{ m.role | upper }}
{{ m.content | upper }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>ASSISTANT
{% endif %}"""


def read(columns, where):
    if columns["right"] >= len(columns["choices"]):
        raise RowError("`right` is no number of a choice")
    asked = columns["quiz"] + "".join(f" {choice}" for choice in columns["choices"])
    turns = Message("user", asked), Message("assistant", columns["choices"][columns["right"]])
    return Conversation(turns, where)


quiz = RowFormat("quiz", ("quiz", "choices", "right"), read)
'''
SHOW = """
import sys
from pathlib import Path
from engine.config.load import load_recipe
from engine.data.prepare import prepare
from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import FtError

model = Path(sys.argv[1])
try:
    config = load_recipe(Path("train.yml"), sys.argv[2:]).config
    dataset = prepare(config, model)
except FtError as error:
    sys.exit(f"{type(error).__name__}: {error.message} | {error.hint}")
tokenizer = Tokenizer.load(model)
for example in dataset.train:
    print(tokenizer.decode(example.input_ids.tolist(), False))
print(dataset.notes[0])
"""
ROW = {"quiz": "Two and two?", "choices": ["three", "four"], "right": 1}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with ft-quiz in it, as pip installs it."""
    source = tmp_path_factory.mktemp("ft-quiz")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "ft_quiz.py").write_text(MODULE)
    target = tmp_path_factory.mktemp("packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(source)], check=True)
    return target


class Shell:
    """A folder with rows and a recipe, where that folder of packages is on Python's path."""

    def __init__(self, packages: Path, model: Path, folder: Path) -> None:
        self.folder, self.model = folder, model
        (folder / "a.jsonl").write_text(json.dumps(ROW) + "\n")
        (folder / "train.yml").write_text("model: {base: starter}\ndata: {train: a.jsonl, validation: 0}\n")
        self.environment = os.environ | {
            "PYTHONPATH": f"{packages}{os.pathsep}{Path(__file__).parent.parent}"
        }

    def shown(self, *settings: str) -> subprocess.CompletedProcess[str]:
        """The texts that are trained, and what was found of the rows."""
        command = [sys.executable, "-P", "-c", SHOW, str(self.model), *settings]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def shell(packages: Path, tiny_model: Path, tmp_path: Path) -> Shell:
    return Shell(packages, tiny_model, tmp_path)


def test_plugin_format_is_read_in_plugin_template(shell: Shell) -> None:
    done = shell.shown("data.format=quiz", "model.chat_template=loud")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "<|im_start|>USER\nTWO AND TWO? THREE FOUR<|im_end|>\n<|im_start|>ASSISTANT\nFOUR<|im_end|>\n\n"
        "a.jsonl: quiz, as the recipe says\n"
    )


def test_plugin_format_is_detected_after_built_in(shell: Shell) -> None:
    done = shell.shown()
    assert "four<|im_end|>" in done.stdout
    assert "a.jsonl: quiz, because its rows have `quiz`, `choices`, `right`" in done.stdout
    (shell.folder / "a.jsonl").write_text(json.dumps({**ROW, "text": "ours"}) + "\n")
    assert "a.jsonl: completion, because its rows have `text`" in shell.shown().stdout
    (shell.folder / "a.jsonl").write_text(json.dumps({"x": 1}) + "\n")
    assert "data.format: wrong names str" in shell.shown().stderr, "what cannot be asked is told"


def test_row_refused_by_plugin_names_place(shell: Shell) -> None:
    (shell.folder / "a.jsonl").write_text("".join(json.dumps({**ROW, "right": at}) + "\n" for at in (1, 2)))
    done = shell.shown("data.format=quiz")
    assert "DataError: a.jsonl:2: `right` is no number of a choice" in done.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.chat_template=broken", "MachineError: model.chat_template: broken does not load"),
        (
            "model.chat_template=plain",
            "model.chat_template: plain names RowFormat, not the text of a template",
        ),
        ("data.format=wrong", "data.format: wrong names str, not an engine.data.formats.base.RowFormat"),
        ("data.format=quizz", "kto, prompt_completion, completion, quiz or wrong: did you mean quiz?"),
    ],
)
def test_broken_plugin_error_names_package(setting: str, said: str, shell: Shell) -> None:
    settings = [setting] if setting.startswith("data") else [setting, "data.format=quiz"]
    done = shell.shown(*settings)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
