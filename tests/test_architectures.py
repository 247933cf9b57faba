"""Architectures that ft is tested with are what transformers says they are; others are trained with a warning."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.backend_spec import spec_of
from engine.config.load import load_recipe
from engine.errors import ConfigError
from engine.jobs import train
from engine.jobs.base import JobContext
from engine.models import catalogue
from engine.models.adapters import adapted, left_out, trained_parameters
from engine.models.architectures import OWN, Architecture, architecture_of, untested
from engine.models.language_model import of_language_model
from engine.models.sizing import shape_of
from engine.planning.choices import precision
from engine.planning.estimate import estimate
from engine.planning.notices import of_model
from engine.planning.trainability import TrainableModels
from engine.runs.directory.control import Control
from engine.runs.directory.create import create_run
from engine.runs.directory.events import Step, Warned
from ft.cli import main
from screens.models import details
from screens.recipe import plan_view
from tests import test_backend_architectures
from tests.plan_fixtures import CPU, SMALL, plan
from tests.tiny import family_config, make_family, make_seeing, seeing_config
from tests.training import Job, batch_of, train_step, write_rows

EXPERTS: dict[str, Any] = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
LATENT: dict[str, Any] = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "num_key_value_heads": 4,
}  # fmt: skip
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {}),
    "mixtral": ("Mixtral", {"num_local_experts": 4}),
    "qwen2": ("Qwen2", {}),
    "qwen2_moe": ("Qwen2Moe", {"shared_expert_intermediate_size": 32, **EXPERTS}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3_moe": ("Qwen3Moe", {"head_dim": 16, **EXPERTS}),
    "gemma": ("Gemma", {"head_dim": 16}),
    "gemma2": ("Gemma2", {"head_dim": 16}),
    "gemma3_text": ("Gemma3Text", {"head_dim": 16, "num_hidden_layers": 6}),
    "phi": ("Phi", {}),
    "phi3": ("Phi3", {"pad_token_id": 0}),
    "smollm3": ("SmolLM3", {"pad_token_id": 0, "bos_token_id": 1}),
    "gpt2": ("GPT2", {"bos_token_id": 1, **NO_DROPOUT}),
    "gptj": (
        "GPTJ",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 128, "bos_token_id": 1},
    ),
    "gpt_neox": ("GPTNeoX", {"num_key_value_heads": None}),
    "gpt_oss": (
        "GptOss",
        {
            "head_dim": 16,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"},
        },
    ),
    "bloom": ("Bloom", {}),
    "falcon": ("Falcon", {}),
    "opt": ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "granite": ("Granite", {}),
    "olmo2": ("Olmo2", {}),
    "olmoe": ("Olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
    "stablelm": ("StableLm", {}),
    "starcoder2": ("Starcoder2", {"bos_token_id": 1}),
    "olmo3": ("Olmo3", {}),
    "qwen3_5_text": ("Qwen3_5Text", {"head_dim": 16, "num_hidden_layers": 4}),
    "qwen3_next": ("Qwen3Next", {"head_dim": 16, "num_hidden_layers": 4, **EXPERTS}),
    "deepseek_v2": ("DeepseekV2", LATENT),
    "deepseek_v3": ("DeepseekV3", LATENT),
    "llama4_text": (
        "Llama4Text",
        {"head_dim": 16, "num_local_experts": 4, "intermediate_size_mlp": 64, "pad_token_id": 0},
    ),
    "glm4": ("Glm4", {"head_dim": 16, "pad_token_id": 0}),
    "granitemoe": ("GraniteMoe", {"num_local_experts": 4}),
    "exaone4": ("Exaone4", {}),
    "ernie4_5": ("Ernie4_5", {"head_dim": 16}),
    "seed_oss": ("SeedOss", {"head_dim": 16}),
    "mamba": ("Mamba", {}),
}
"""A small model of each: its family in transformers, and settings."""
RECORDS = pytest.mark.parametrize("known", OWN, ids=lambda known: known.name)
BATCH = batch_of([list(range(3, 23)), [3, 91, 92, 93, 94, 95, 96, 97, 98, 99], [3, 33, 44]], packed=False)


def make(kind: str, tokenizer: Path, folder: Path) -> Path:
    """A tiny model of that kind; Gemma 3 with a vision tower is made of two configs."""
    return make_seeing(folder, tokenizer) if kind == "gemma3" else make_family(folder, tokenizer, *TINY[kind])


def config_of(kind: str) -> Any:
    return seeing_config() if kind == "gemma3" else family_config(*TINY[kind])


@RECORDS
def test_good_layers_are_the_linear_ones(known: Architecture) -> None:
    """Of the language model: all but the output layer, and in a mixture all but experts and what weighs them."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(known.name))
    kinds, head = (torch.nn.Linear, Conv1D), model.get_output_embeddings()
    linear = [name for name, one in model.named_modules() if isinstance(one, kinds) and one is not head]
    names = {name.rpartition(".")[2] for name in of_language_model(linear)}
    mixture = any(name.endswith(".experts") for name, _ in model.named_modules())
    assert set(known.targets) == names - set(left_out(known.name, mixture))


@pytest.mark.parametrize("kind", TINY)
def test_tiny_model_is_of_its_kind(kind: str) -> None:
    assert config_of(kind).model_type == kind


@RECORDS
def test_classes_are_those_of_transformers(known: Architecture) -> None:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    assert CLASSES[known.name] in known.classes
    for name in known.classes:
        assert getattr(transformers, name).config_class.model_type == known.name


@pytest.mark.parametrize("alias", [alias for known in OWN for alias in known.aliases])
def test_alias_is_of_the_same_class_in_transformers(alias: str) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES as CONFIGS
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    known = architecture_of(alias)
    assert known is not None
    assert (CONFIGS[alias], CLASSES[alias]) == (CONFIGS[known.name], CLASSES[known.name])


def test_unsloth_is_said_to_train_what_it_trains_in_tests() -> None:
    """In an environment of its own: `make test-unsloth`."""
    families = test_backend_architectures.FAMILIES.values()
    trained = {family_config(*about).model_type for about in families}
    assert {known.name for known in OWN if "unsloth" in known.backends} == trained


def test_names_are_of_one_architecture_each() -> None:
    names = [name for known in OWN for name in known.names]
    assert len(names) == len(set(names))


@pytest.mark.slow
@RECORDS
def test_tested_architecture_learns_on_its_backends(
    known: Architecture, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`all-linear` means the layers that the registry names, and all its backends learn alike."""
    import mlx.core as mx

    from engine.backends import load_trainer

    folder = make(known.name, tiny_model, tmp_path / "model")
    shape = shape_of(folder)
    assert {layer.name for layer in adapted(shape, "all-linear")} == set(known.targets)
    job = Job.make(folder, tmp_path, adapter={"dropout": 0.0})
    losses = {}
    mx.disable_compile()  # it would take most of the time; tests/test_backend_mlx.py compiles
    try:
        for backend in set(known.backends) & {"peft", "mlx"}:
            plan = job.plan.changed(backend=backend, device="cpu", weights_dtype="fp32", compute_dtype="fp32")
            assert of_model(shape, backend) == ()
            trainer = load_trainer(plan, job.config, folder)
            losses[backend] = [train_step(trainer, [BATCH], 1e-2, n, lambda: None).loss for n in range(2)]
    finally:
        mx.enable_compile()
    assert losses["peft"][-1] < losses["peft"][0]
    assert all(found == pytest.approx(losses["peft"], rel=1e-3) for found in losses.values())


PECULIAR = {
    "values narrower than keys": "deepseek_v3",
    "a norm that takes a gate": "qwen3_5_text",
    "a router that is a linear layer, and no base of the name that it gives": "llama4_text",
    "a kernel that reads past an adapter": "mamba",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PECULIAR.values(), ids=PECULIAR)
def test_peculiar_architecture_learns_as_it_is_planned(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    """With the layers that the plan counts, and weights held as on a CPU without bf16."""
    from engine.backends import load_trainer

    folder = make(kind, tiny_model, tmp_path / "model")
    shape = shape_of(folder)
    job = Job.make(folder, tmp_path, adapter={"dropout": 0.0})
    machine = replace(CPU, bf16=False)
    formats = precision(job.config, machine, spec_of("peft"), shape.architecture)
    assert formats.compute == "fp32"
    plan = job.plan.changed(
        backend="peft", device="cpu", weights_dtype=formats.weights, compute_dtype=formats.compute
    )
    trainer = load_trainer(plan, job.config, folder)
    losses = [train_step(trainer, [BATCH], 1e-2, n, lambda: None).loss for n in range(2)]
    assert losses[1] < losses[0]
    trained = sum(one.numel() for one in trainer.model.network.parameters() if one.requires_grad)
    assert trained == trained_parameters(shape, job.config.adapter)


@pytest.fixture
def unknown(tiny_model: Path, tmp_path: Path) -> Path:
    """A recipe on a tiny Cohere, which transformers knows and ft is not tested with."""
    write_rows(tmp_path)
    base = make_family(tmp_path / "cohere", tiny_model, "Cohere", {})
    recipe = {
        "model": {"base": str(base), "max_seq_length": 64},
        "data": {"train": "rows.jsonl", "validation": 0},
        "adapter": {"target_modules": ["q_proj", "v_proj"]},
        "training": {"max_steps": 1, "effective_batch_size": 2},
    }
    path = tmp_path / "train.yml"
    path.write_text(json.dumps(recipe))
    return path


UNKNOWN = "cohere is not among the architectures that ft is tested with"
CHOSEN = f"{UNKNOWN}: transformers' own class trains it, with adapters on q_proj, v_proj."


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """What `ft WORDS` prints, without the line breaks of a table, and what it tells beside that."""
    capsys.readouterr()
    assert main(list(words)) == 0
    told = capsys.readouterr()
    return " ".join(told.out.split()), told.err


def test_plan_of_unknown_architecture_warns(unknown: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, _ = said(capsys, "plan", str(unknown))
    assert f"warning: {CHOSEN} Try a few steps first" in told
    told, _ = said(capsys, "plan", str(unknown), "--backend", "all")
    assert f"warning: {CHOSEN}" in told
    told, _ = said(capsys, "plan", str(unknown), "--json", "--set", "adapter.type=none")
    (warning,) = json.loads(told)["warnings"]
    assert warning["message"] == f"{UNKNOWN}: transformers' own class trains it, in all its weights."
    assert "ft models architectures" in warning["hint"]
    told, _ = said(capsys, "plan", str(unknown), "--json", "--set", "model.trust_remote_code=true")
    assert "the code in its folder, or transformers' own class, trains it" in told


def test_recipe_of_unknown_architecture_is_valid_with_warning(
    unknown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, beside = said(capsys, "validate", str(unknown))
    assert told.endswith("train.yml is valid.")
    assert f"warning: {UNKNOWN}. Try a few steps" in beside
    told, _ = said(capsys, "validate", str(unknown), "--json")
    assert [one["message"] for one in json.loads(told)["warnings"]] == [f"{UNKNOWN}."]


def test_model_of_unknown_architecture_is_shown_with_warning(
    unknown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anybody names layers, adapters are on all that are linear."""
    told, _ = said(capsys, "models", "show", str(tmp_path / "cohere"))
    every = "down_proj, gate_proj, up_proj, k_proj, o_proj, q_proj, v_proj"
    assert f"warning {UNKNOWN}: transformers' own class trains it, with adapters on {every}." in told
    told, _ = said(capsys, "models", "show", str(tmp_path / "cohere"), "--json")
    assert json.loads(told)["warnings"][0]["message"].startswith(UNKNOWN)
    entry = catalogue.find(str(tmp_path / "cohere"))
    shown = details.facts(TrainableModels().of(entry))
    assert any(UNKNOWN in str(cell) for column in shown.columns for cell in column.cells)


def test_recipe_screen_shows_warning(unknown: Path) -> None:
    found = estimate(load_recipe(unknown).config)
    assert any(CHOSEN in line.plain for line in plan_view.numbers(found, 60))


@pytest.mark.slow
def test_training_of_unknown_architecture_warns_before_it_begins(unknown: Path) -> None:
    run = create_run(load_recipe(unknown))
    assert train.run(JobContext(run, Control(run))) == "completed"
    warning, *_ = [event for event in run.events() if isinstance(event, Warned | Step)]
    assert isinstance(warning, Warned)
    assert warning.message == CHOSEN
    assert "Try a few steps first" in warning.hint
    assert run.plan is not None
    assert [notice.message for notice in run.plan.warnings] == [CHOSEN]


def test_tested_architecture_has_no_warning(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, _ = said(capsys, "models", "show", str(tiny_model), "--json")
    assert json.loads(told)["warnings"] == []
    told, _ = said(capsys, "plan", "--model", str(tiny_model))
    assert "warning" not in told


def test_backend_that_is_not_tested_with_architecture_warns() -> None:
    notice = untested("gpt_neox", "mlx", "with adapters on dense")
    assert notice is not None
    assert (
        "gpt_neox is not among the architectures that ft is tested with on mlx: mlx-lm's own code"
        in notice.message
    )
    assert "`backend: peft` is tested" in notice.hint
    assert untested("gpt_neox", "peft") is None
    assert untested("GPTNeoXForCausalLM") is None
    assert untested("novel", "backend of another package") is None


def test_model_without_linear_layers_is_planned() -> None:
    found = plan(shape=replace(SMALL, architecture="novel", linears=()))
    assert "none of its layers is known to be linear" in found.warnings[0].message


def test_unknown_layer_of_a_mixture_suggests_good_ones(tiny_model: Path, tmp_path: Path) -> None:
    shape = shape_of(make("qwen3_moe", tiny_model, tmp_path / "model"))
    with pytest.raises(ConfigError, match="no layers called qkv") as caught:
        adapted(shape, ["qkv"])
    assert caught.value.hint.startswith(
        "Known to work well with qwen3_moe: q_proj, k_proj, v_proj, o_proj. Others"
    )


def test_architectures_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    told, _ = said(capsys, "models", "architectures", "--json")
    assert [one["name"] for one in json.loads(told)] == [known.name for known in OWN]
    told, _ = said(capsys, "models", "architectures", "gpt-sw3")
    assert "gpt2" in told
    assert "c_attn, c_proj, c_fc" in told
    assert main(["models", "architectures", "cohere"]) == 2
    assert "cohere is not among" in capsys.readouterr().err
