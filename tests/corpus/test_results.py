"""Results of a run in other programs: transformers, PEFT and mlx-lm load them, and prompt them as trained."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx_lm
import pytest
import torch
import transformers
from safetensors.torch import load_file

from engine.backends.mlx.convert import convert
from engine.data.tokenization.template_lookup import BUILT_IN
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Message
from engine.models.published import PublishedBase
from engine.models.resolve import LocalModel
from tests.tiny import change_json, change_model, make_family
from tests.training import Job, recipe_text, write_rows

BACKENDS = ("peft", "mlx")
FULL = {"adapter": {"type": "none"}, "training": {"max_steps": 1}, "evaluation": {"every": 9, "samples": []}}
LORA = FULL | {"adapter": {"rank": 4}}
TURNS = [
    {"role": "user", "content": "How far?"},
    {"role": "assistant", "content": "Not far."},
    {"role": "user", "content": "And back?"},
]


def result(base: Path, folder: Path, backend: str = "peft", /, **recipe: Any) -> Path:
    """The folder of the result that a whole run on `base` leaves."""
    folder.mkdir(exist_ok=True)
    job = Job.make(base, folder, **recipe)
    job.plan = job.plan.changed(
        backend=backend, device="cpu", weights_dtype="fp32", compute_dtype="fp32", packing=False
    )
    assert job.train() == "completed"
    return job.run.model if job.config.adapter.type == "none" else job.run.adapter


def in_bf16(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: value.bfloat16() for name, value in tensors.items()}


@pytest.fixture
def half(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny Llama held in bf16; its embedding is tied."""
    return change_model(tiny_model, tmp_path / "half", in_bf16, dtype="bfloat16")


@pytest.mark.parametrize("backend", BACKENDS)
def test_generation_settings_of_model_are_delivered(backend: str, tiny_model: Path, tmp_path: Path) -> None:
    """Whatever transformers calls them."""
    source = change_model(tiny_model, tmp_path / "source")
    odd = {
        "bos_token_id": 1,
        "eos_token_id": [2, 0],
        "pad_token_id": 0,
        "do_sample": False,
        "temperature": 0.6,
    }
    (source / "generation_config.json").write_text(json.dumps(odd))
    made = result(source, tmp_path / "run", backend, **FULL)
    assert (made / "generation_config.json").read_bytes() == (source / "generation_config.json").read_bytes()
    assert transformers.AutoModelForCausalLM.from_pretrained(made).generation_config.temperature == 0.6


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_are_written_in_config_format(backend: str, half: Path, tmp_path: Path) -> None:
    made = result(half, tmp_path / "run", backend, **FULL)
    assert {tensor.dtype for tensor in load_file(made / "model.safetensors").values()} == {torch.bfloat16}
    assert transformers.AutoModelForCausalLM.from_pretrained(made).dtype == torch.bfloat16
    again = result(made, tmp_path / "second", backend, **FULL)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (half, made, again)]
    assert max(sizes) - min(sizes) < 1000, "a second stage holds the weights as the first did"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("named", [..., "bfloat16"])
def test_config_format_matches_weights_file(
    backend: str, named: Any, tiny_model: Path, tmp_path: Path
) -> None:
    source = change_model(tiny_model, tmp_path / "source", dtype=named)
    made = result(source, tmp_path / "run", backend, **FULL)
    assert {tensor.dtype for tensor in load_file(made / "model.safetensors").values()} == {torch.float32}
    assert json.loads((made / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", ["Llama", "Gemma2"])
def test_tied_model_stays_tied_in_mlx_lm(family: str, backend: str, tiny_model: Path, tmp_path: Path) -> None:
    settings = {"tie_word_embeddings": True, "pad_token_id": 0}
    if family == "Gemma2":
        settings |= {"head_dim": 16, "query_pre_attn_scalar": 16}
    whole = make_family(tmp_path / "whole", tiny_model, family, settings)
    source = change_model(whole, tmp_path / "source", in_bf16, dtype="bfloat16")
    made = result(source, tmp_path / "run", backend, **FULL)
    assert load_file(made / "model.safetensors").keys() == load_file(source / "model.safetensors").keys()
    mlx_lm.load(str(made))
    (tmp_path / "mlx").mkdir()
    convert(made, tmp_path / "mlx")
    model = transformers.AutoModelForCausalLM.from_pretrained(made)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_settings_match_source_model(backend: str, half: Path, tmp_path: Path) -> None:
    made = result(half, tmp_path / "run", backend, **FULL)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (half, made))
    assert after == before
    plain = transformers.AutoModelForCausalLM.from_pretrained(made)
    assert plain(torch.tensor([[3, 4]])).past_key_values is not None


# chat templates and end tokens


@pytest.fixture
def base_model(tiny_model: Path, tmp_path: Path) -> Path:
    """A base model: no chat template, and texts end with <|endoftext|>."""
    folder = change_model(tiny_model, tmp_path / "base", eos_token_id=0)
    (folder / "chat_template.jinja").unlink()
    change_json(folder / "tokenizer_config.json", eos_token="<|endoftext|>")
    change_json(folder / "generation_config.json", eos_token_id=0)
    return folder


OWN = "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"  # noqa: E501


def asked_by_ft(base: Path, template: str) -> str:
    turns = [Message(turn["role"], turn["content"]) for turn in TURNS]  # type: ignore[arg-type]
    return Tokenizer.load(base, template).template().render(turns, generation_prompt=True)


def asked_by_transformers(folder: Path) -> str:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recipe", [FULL, LORA], ids=["model", "adapter"])
def test_trained_chat_template_is_delivered(
    recipe: dict[str, Any], backend: str, base_model: Path, tmp_path: Path
) -> None:
    made = result(base_model, tmp_path / "run", backend, model={"chat_template": "chatml"}, **recipe)
    assert asked_by_transformers(made) == asked_by_ft(base_model, "chatml")


def test_other_programs_use_trained_stop_tokens(base_model: Path, tmp_path: Path) -> None:
    made = result(base_model, tmp_path / "run", model={"chat_template": "chatml"}, **FULL)
    settings = transformers.GenerationConfig.from_pretrained(made)
    assert settings.eos_token_id == [0, 2]
    assert settings.pad_token_id == 0
    _, tokenizer = mlx_lm.load(str(made))
    assert tokenizer.eos_token_ids == {0, 2}
    assert tokenizer.apply_chat_template(TURNS, tokenize=False).count("<|im_end|>") == 3


def test_missing_generation_settings_get_end_tokens(base_model: Path, tmp_path: Path) -> None:
    (base_model / "generation_config.json").unlink()
    made = result(base_model, tmp_path / "run", model={"chat_template": "chatml"}, **FULL)
    settings = transformers.GenerationConfig.from_pretrained(made)
    assert (settings.bos_token_id, settings.eos_token_id, settings.pad_token_id) == (1, [0, 2], 0)


@pytest.mark.parametrize("recipe", [FULL, LORA], ids=["model", "adapter"])
@pytest.mark.parametrize(
    "place", ["tokenizer_config.json", "chat_template.json", "by name", "chat_template.jinja"]
)
def test_recipe_chat_template_wins_over_models(
    place: str, recipe: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    source = change_model(tiny_model, tmp_path / "source")
    old = (source / "chat_template.jinja").read_text()
    if place == "by name":
        (source / "additional_chat_templates").mkdir()
        (source / "additional_chat_templates" / "tool_use.jinja").write_text(old)
    elif place != "chat_template.jinja":
        (source / "chat_template.jinja").unlink()
        path = source / place
        path.write_text(
            json.dumps((json.loads(path.read_text()) if path.exists() else {}) | {"chat_template": old})
        )
    (tmp_path / "own.jinja").write_text(OWN)
    made = result(source, tmp_path / "run", model={"chat_template": str(tmp_path / "own.jinja")}, **recipe)
    assert asked_by_transformers(made) == asked_by_ft(source, str(tmp_path / "own.jinja"))
    for file in made.rglob("*"):
        assert not file.is_file() or "message['content']" not in file.read_bytes().decode("utf-8", "ignore")


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("starts", [False, True])
def test_own_chat_templates_render_elsewhere(
    name: str, starts: bool, base_model: Path, tmp_path: Path
) -> None:
    """They name tokens that ft tells them, which other programs do not know of."""
    if starts:  # a tokenizer that puts a token in front of a text
        body = json.loads((base_model / "tokenizer.json").read_text())
        body["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}
            },
        }
        (base_model / "tokenizer.json").write_text(json.dumps(body))
    job = Job.make(base_model, tmp_path, model={"chat_template": name, "max_seq_length": 256})
    made = tmp_path / "made"
    made.mkdir()
    job.files().complete(made)
    assert asked_by_transformers(made) == asked_by_ft(base_model, name)
    ids = Tokenizer.load(base_model, name).prompt_ids([Message("user", "How far?")])
    theirs = transformers.AutoTokenizer.from_pretrained(made).apply_chat_template(
        TURNS[:1], add_generation_prompt=True, return_dict=False
    )
    assert theirs == ids


def test_next_recipe_finds_delivered_chat_template(base_model: Path, tmp_path: Path) -> None:
    made = result(base_model, tmp_path / "run", model={"chat_template": "chatml"}, **FULL)
    assert asked_by_ft(made, "auto") == asked_by_ft(base_model, "chatml")
    assert Tokenizer.load(made).stop_ids == {0, 2}
    again = result(made, tmp_path / "second", **FULL)
    assert asked_by_transformers(again) == asked_by_ft(base_model, "chatml")


def test_model_files_are_delivered_unchanged(tiny_model: Path, tmp_path: Path) -> None:
    for recipe, names in ((FULL, ("generation_config.json",)), (LORA, ())):
        made = result(tiny_model, tmp_path / str(len(names)), **recipe)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", *names):
            assert (made / name).read_bytes() == (tiny_model / name).read_bytes()


# the base that an adapter names


@pytest.mark.parametrize(
    ("folder", "revision", "expected"),
    [
        ("hub/models--acme--tiny/snapshots/" + 40 * "a", 40 * "a", PublishedBase("acme/tiny", 40 * "a")),
        ("hub/models--acme--tiny--v2/snapshots/" + 40 * "b", None, PublishedBase("acme/tiny--v2", 40 * "b")),
        ("work/models/mine", None, PublishedBase("./models/mine")),
        ("elsewhere/mine", None, PublishedBase("./mine")),
    ],
)
def test_base_model_name_is_portable(
    folder: str, revision: str | None, expected: PublishedBase, tmp_path: Path
) -> None:
    model = LocalModel(tmp_path / folder, "acme/tiny", "", revision)
    assert PublishedBase.of(model, tmp_path / "work") == expected


def test_base_model_path_names_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    model = LocalModel(Path("/home/anna/models/mine"), "mine", "")
    assert PublishedBase.of(model, Path("/")).name == "./mine"
    assert PublishedBase.of(model, Path("/home/anna")).name == "./models/mine"


def test_starter_adapter_names_original_model(
    ft_home_with_starter: Path,
) -> None:
    model = LocalModel(ft_home_with_starter / "models" / "starter", "starter", "")
    assert PublishedBase.of(model, Path.cwd()).name == "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.mark.parametrize("backend", BACKENDS)
def test_delivered_files_name_no_local_folder(backend: str, tiny_model: Path, tmp_path: Path) -> None:
    for recipe in (LORA, LORA | {"adapter": {"rank": 4, "init": "pissa"}}):
        made = result(tiny_model, tmp_path / str(recipe["adapter"]), backend, **recipe)
        texts = {path.name: path.read_bytes() for path in made.iterdir()}
        assert "README.md" not in texts
        assert not [name for name, text in texts.items() if str(tiny_model.parent).encode() in text]
        assert json.loads(texts["adapter_config.json"])["base_model_name_or_path"] == f"./{tiny_model.name}"


LOADING = """
import peft, sys
model = peft.AutoPeftModelForCausalLM.from_pretrained(sys.argv[1])
print(model.peft_config["default"].base_model_name_or_path, model.peft_config["default"].revision)
"""


@pytest.mark.slow
def test_adapter_names_hub_id_and_commit(tiny_model: Path, tmp_path: Path) -> None:
    """The Hub id and the commit are those of the adapter's base."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hf" / "hub" / "models--acme--tiny-llama"
    shutil.copytree(tiny_model, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "v1").write_text(commit)
    recipe = tmp_path / "train.yml"
    model = {"base": "acme/tiny-llama", "revision": "v1"}
    recipe.write_text(recipe_text(Path(), write_rows(tmp_path), **LORA | {"model": model}))
    here = {"env": os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}, "text": True}
    run = tmp_path / "run"
    started = [sys.executable, "-m", "ft.cli", "train", str(recipe), "--plain", "--run-dir", str(run)]
    ended = subprocess.run(started, capture_output=True, **here)  # type: ignore[call-overload]
    assert ended.returncode == 0, ended.stderr
    loaded = subprocess.run(
        [sys.executable, "-c", LOADING, str(run / "adapter")], capture_output=True, **here
    )  # type: ignore[call-overload]
    assert loaded.stdout.strip() == f"acme/tiny-llama {commit}", loaded.stderr
    assert json.loads((run / "provenance.json").read_text())["model"]["revision"] == commit
