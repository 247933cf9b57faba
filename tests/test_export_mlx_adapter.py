"""`ft export --format mlx-adapter`, and back by `--format adapter`: the same logits in mlx-lm and in PEFT."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import IA3Config, get_peft_model
from transformers import AutoModelForCausalLM

from engine.backends.mlx.convert import convert
from engine.errors import ModelError
from engine.export.adapter import ADAPTER
from engine.export.mlx_adapter import MLX_ADAPTER
from engine.runs.directory.trained_model import TrainedModel
from tests.peft_adapters import config_of, make_adapter, mlx_logits, peft_logits
from tests.tiny import make_family

ATTENTION = ["q_proj", "v_proj"]
MLP = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"r": 4, "lora_alpha": 16, "target_modules": MLP},
    "rslora": {"r": 4, "lora_alpha": 16, "use_rslora": True, "target_modules": MLP},
    "dora": {"r": 4, "lora_alpha": 8, "use_dora": True, "target_modules": ATTENTION},
    "last layer alone": {"r": 4, "target_modules": ATTENTION, "layers_to_transform": [1]},
    "first layer alone": {"r": 4, "target_modules": ATTENTION, "layers_to_transform": [0]},
    "other layers in each block": {"r": 4, "target_modules": r"model\.layers\.(0\.mlp\.up_proj|1\.self_attn\.k_proj)"},
    "ranks and alphas of their own": {
        "r": 4, "lora_alpha": 16, "target_modules": MLP,
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 8}, "alpha_pattern": {"v_proj": 3, "down_proj": 40},
    },
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "qwen2": ("Qwen2", {}, KINDS["lora"]),
    "qwen3": ("Qwen3", {"head_dim": 16}, KINDS["lora"]),
    "gemma2": ("Gemma2", {"head_dim": 16, "sliding_window": 128}, KINDS["lora"]),
    "gemma3": ("Gemma3Text", {"head_dim": 16, "sliding_window": 128, "num_hidden_layers": 6}, KINDS["dora"]),
    "phi3": (
        "Phi3",
        {"pad_token_id": 0},
        KINDS["lora"] | {"target_modules": ["qkv_proj", "gate_up_proj", "o_proj"]},
    ),
    "untied": (
        "Llama",
        {"tie_word_embeddings": False},
        KINDS["lora"] | {"target_modules": ["q_proj", "lm_head"]},
    ),
}


def exported(exporter: Any, adapter: Path, out: Path, **options: Any) -> Path:
    out.mkdir()
    exporter.export(TrainedModel.find(adapter), out, options, lambda: None)
    return out


def for_mlx_lm(model: Path, out: Path) -> Path:
    """The base as mlx-lm reads it: of a config.json that transformers 5 wrote it would take other rotations."""
    out.mkdir()
    convert(model, out)
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_mlx_lm_answers_with_adapter_as_peft(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "peft", **KINDS[kind])
    out = exported(MLX_ADAPTER, adapter, tmp_path / "mlx")
    wanted = peft_logits(tiny_model, adapter)
    assert np.abs(wanted - peft_logits(tiny_model, None)).max() > 0.1
    assert np.allclose(mlx_logits(for_mlx_lm(tiny_model, tmp_path / "base"), out), wanted, atol=2e-4)
    back = exported(ADAPTER, out, tmp_path / "back", base=str(tiny_model))
    assert np.allclose(peft_logits(tiny_model, back), wanted, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_of_family_crosses_both_ways(family: str, tiny_model: Path, tmp_path: Path) -> None:
    name, settings, lora = FAMILIES[family]
    model = make_family(tmp_path / "model", tiny_model, name, settings)
    adapter = make_adapter(model, tmp_path / "peft", **lora)
    out = exported(MLX_ADAPTER, adapter, tmp_path / "mlx")
    wanted = peft_logits(model, adapter)
    assert np.abs(wanted - peft_logits(model, None)).max() > 0.1
    assert np.allclose(mlx_logits(for_mlx_lm(model, tmp_path / "base"), out), wanted, atol=5e-4)
    back = exported(ADAPTER, out, tmp_path / "back", base=str(model))
    assert np.allclose(peft_logits(model, back), wanted, atol=1e-5)


def test_only_adapted_layers_are_named(tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "peft", **KINDS["last layer alone"])
    about = config_of(exported(MLX_ADAPTER, adapter, tmp_path / "mlx"))
    assert about["num_layers"] == 1
    assert about["lora_parameters"] == {
        "rank": 4, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.q_proj", "self_attn.v_proj"],
    }  # fmt: skip
    assert about["model"] == f"./{tiny_model.name}"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "whole layers beside it": ({"modules_to_save": ["lm_head"]}, "it trains lm_head whole"),
    "rows of new tokens": ({"trainable_token_indices": [5, 6]}, "it trains rows of new tokens"),
    "biases": ({"bias": "lora_only", "target_modules": ["q_proj"]}, "biases"),
    "the embedding": ({"target_modules": ["embed_tokens"]}, "model.embed_tokens"),
    "a start out of the weights": ({"init_lora_weights": "olora"}, "its start \\(olora\\) changed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_mlx_lm_cannot_express_is_refused_by_name(what: str, tiny_model: Path, tmp_path: Path) -> None:
    settings, told = REFUSED[what]
    model = tiny_model
    if what == "biases":
        model = make_family(tmp_path / "model", tiny_model, "Qwen2", {})
    adapter = make_adapter(model, tmp_path / "peft", **{"r": 4, "target_modules": ATTENTION} | settings)
    with pytest.raises(ModelError, match=told) as caught:
        MLX_ADAPTER.export(TrainedModel(model, adapter), tmp_path, {}, lambda: None)
    assert "ft export RUN --format mlx" in caught.value.hint


def test_adapter_of_other_type_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    network = get_peft_model(
        base, IA3Config(task_type="CAUSAL_LM", target_modules=["v_proj"], feedforward_modules=[])
    )
    network.save_pretrained(str(tmp_path / "peft"), save_embedding_layers=False)
    about = config_of(tmp_path / "peft") | {"base_model_name_or_path": str(tiny_model)}
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="it is of the type IA3"):
        exported(MLX_ADAPTER, tmp_path / "peft", tmp_path / "mlx")


def test_layers_that_mlx_lm_does_not_have_are_named(tiny_model: Path, tmp_path: Path) -> None:
    """A mixture's experts are one stack in mlx-lm."""
    settings = {"head_dim": 16, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
    model = make_family(tmp_path / "model", tiny_model, "Qwen3Moe", settings)
    attention = make_adapter(model, tmp_path / "attention", r=4, target_modules=ATTENTION)
    out = exported(MLX_ADAPTER, attention, tmp_path / "mlx")
    base = for_mlx_lm(model, tmp_path / "base")
    assert np.allclose(mlx_logits(base, out), peft_logits(model, attention), atol=5e-4)
    experts = make_adapter(
        model, tmp_path / "experts", r=4, target_modules=[], target_parameters=["mlp.experts.down_proj"]
    )
    with pytest.raises(ModelError, match="experts"):
        exported(MLX_ADAPTER, experts, tmp_path / "other")


@pytest.mark.slow
def test_adapter_of_mlx_lm_is_exported_and_proved(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a person does it, and to a format that reads PEFT's layout alone."""
    from ft.cli import main
    from tests.training import write_rows

    rows = write_rows(folder)
    adapter = make_adapter(tiny_model, folder / "peft", **KINDS["lora"])
    theirs = exported(MLX_ADAPTER, adapter, folder / "theirs")
    about = config_of(theirs) | {"model": str(tiny_model)}
    (theirs / "adapter_config.json").write_text(json.dumps(about))
    words = ["export", str(theirs), "--data", str(rows), "--format"]
    assert main([*words, "adapter", "-o", str(folder / "adapter")]) == 0, capsys.readouterr().err
    assert json.loads((folder / "adapter" / "export.json").read_text())["proof"]["passed"]
    assert main([*words, "mlx", "-o", str(folder / "mlx"), "--no-prove"]) == 0, capsys.readouterr().err
    wanted = peft_logits(tiny_model, adapter)
    assert np.allclose(peft_logits(tiny_model, folder / "adapter"), wanted, atol=1e-5)
    assert np.allclose(mlx_logits(folder / "mlx"), wanted, atol=1e-3)
