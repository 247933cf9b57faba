"""`model.template_variables`: what a chat template reads besides the messages reaches all that is made with it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import ft as api
from engine.config.load import load_recipe
from engine.config.problems import RecipeError
from engine.data.prepare import prepare
from engine.data.token_spec import TokenSpec
from engine.data.tokenization.template_lookup import with_defaults
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Message
from engine.errors import ConfigError
from engine.runs.directory import events as ev
from ft.command_table import app
from tests.families import make_model, shipped
from tests.terminal import write_recipe

ASKED = [Message("user", "2+2?")]
MOODY = (
    "{% if mood is not defined %}{{ raise_exception('which mood?') }}{% endif %}{% for m in messages %}"
    "<|im_start|>{{ m.role }} {{ mood }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {{ mood }}\n{% endif %}"
)
"""A template that renders nothing without its variable."""


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    return make_model(tmp_path / "qwen", "qwen3", shipped()["qwen3"])


def recipe(folder: Path, model: Path, **variables: Any) -> Path:
    return write_recipe(folder, model, model={"template_variables": variables} if variables else {})


def chats(folder: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"It is {n}."}]}
        for n in range(12)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_template_variable_changes_the_prompt(qwen: Path, folder: Path) -> None:
    """Trained text and prompts change alike."""
    spec = TokenSpec.of(load_recipe(recipe(folder, qwen, enable_thinking=False)).config)
    tokenizer = spec.tokenizer(qwen)
    prompt = tokenizer.decode(tokenizer.prompt_ids(ASKED), skip_special=False)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    plain = Tokenizer.load(qwen)
    assert plain.decode(plain.prompt_ids(ASKED), skip_special=False).endswith("<|im_start|>assistant\n")


def test_another_value_makes_other_tokens(qwen: Path, folder: Path) -> None:
    path = recipe(folder, qwen)
    chats(folder)
    thinking, silent = (
        prepare(load_recipe(path, [f"model.template_variables={{enable_thinking: {value}}}"]).config, qwen)
        for value in ("true", "false")
    )
    assert thinking.fingerprint != silent.fingerprint
    assert "tokenised by an earlier run" not in " ".join(silent.notes)


def test_unread_template_variable_is_an_error(qwen: Path, folder: Path) -> None:
    """The message names the others."""
    spec = TokenSpec.of(load_recipe(recipe(folder, qwen, enable_thinkin=False)).config)
    with pytest.raises(ConfigError, match="reads no enable_thinkin") as caught:
        spec.tokenizer(qwen)
    assert caught.value.hint == "It reads enable_thinking."


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"enable_thinking": "no"}, "write false"),
        ({"enable_thinking": "On"}, "write true"),
        ({"messages": []}, "leave it out"),
        ({"enable-thinking": True}, "leave it out"),
        ({"tokens": {"a": 1}}, "has to be"),
    ],
)
def test_impossible_variable_is_a_recipe_mistake(
    variables: dict[str, Any], problem: str, folder: Path
) -> None:
    with pytest.raises(RecipeError, match=problem):
        load_recipe(recipe(folder, Path("starter"), **variables))


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen3_5_nothink", "nemotron_3_nano", "gptoss", "glm4moe", "lfm2_2_5"]
)
def test_delivered_template_has_recipe_values(name: str, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(make_model(tmp_path / name, name, shipped()[name]))
    turns = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "It is 4.", "reasoning_content": "Doubling."},
        {"role": "user", "content": "And one?"},
    ]
    variables = {
        "enable_thinking": False,
        "reasoning_effort": 'lo\\w "\nü',
        "preserve_thinking": True,
        "list": [1, None],
    }

    def rendered(source: str, **given: Any) -> str:
        text: str = theirs.apply_chat_template(
            turns, chat_template=source, tokenize=False, add_generation_prompt=True, **given
        )
        return text

    delivered = with_defaults(shipped()[name], variables)
    assert rendered(delivered) == rendered(shipped()[name], **variables)
    assert rendered(delivered, enable_thinking=True) == rendered(
        shipped()[name], **{**variables, "enable_thinking": True}
    ), "who gives another value gets it"


@pytest.mark.slow
def test_run_renders_template_variables_everywhere(
    folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training, samples, scores and answers."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (folder / "moody.jinja").write_text(MOODY)
    path = write_recipe(
        folder,
        tiny_model,
        steps=2,
        model={"chat_template": "moody.jinja", "template_variables": {"mood": "calm"}},
        evaluation={"metrics": ["perplexity", "exact_match"], "max_questions": 2},
    )
    chats(folder)
    shown = CliRunner().invoke(app, ["data", "preview"])
    assert "<|im_start|>assistant calm\n[It is 0.<|im_end|>]" in shown.stdout
    run = api.train(path)
    assert run.wait().reason == "completed"
    kinds = {type(event) for event in run.events()}
    assert {ev.Sample, ev.Eval} <= kinds
    assert isinstance(run.generate("2+2?", max_tokens=2), str)
    run.close()


def test_template_without_variable_refuses_every_row(folder: Path, tiny_model: Path) -> None:
    (folder / "moody.jinja").write_text(MOODY)
    chats(folder)
    shown = CliRunner().invoke(
        app,
        [
            "data",
            "preview",
            "rows.jsonl",
            "--model",
            str(tiny_model),
            "--set",
            "model.chat_template=moody.jinja",
        ],
    )
    assert "which mood?" in shown.stdout
