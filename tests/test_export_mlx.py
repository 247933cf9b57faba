"""`ft export --format mlx` of a base with an adapter: mlx-lm alone computes what the adapter on its base does."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.backends.mlx.convert import convert
from engine.errors import ConfigError
from engine.export.mlx import MLX
from engine.runs.directory.trained_model import TrainedModel
from tests.peft_adapters import make_adapter, mlx_logits, peft_logits
from tests.tiny import make_family

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LORA: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ALL}
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": True}, LORA),
    "llama, embedding trained": (
        "Llama",
        {"tie_word_embeddings": True},
        LORA | {"modules_to_save": ["embed_tokens"]},
    ),
    "qwen2": ("Qwen2", {}, LORA | {"use_rslora": True}),
    "gemma2": ("Gemma2", {"head_dim": 16, "sliding_window": 128}, LORA | {"use_dora": True}),
    "phi3": ("Phi3", {"pad_token_id": 0}, LORA | {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    "gpt2": (
        "GPT2",
        {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "n_embd": 32, "n_layer": 2, "n_head": 4},
        {"r": 4, "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True},
    ),
    "qwen3 moe": (
        "Qwen3Moe",
        {"head_dim": 16, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2},
        LORA | {"target_modules": ["q_proj", "v_proj"]},
    ),
}


def exported(base: Path, adapter: Path, out: Path, **options: Any) -> dict[str, Any]:
    out.mkdir()
    return dict(MLX.export(TrainedModel(base, adapter), out, options, lambda: None))


@pytest.mark.parametrize("family", FAMILIES)
def test_mlx_lm_answers_as_adapter_on_its_base(family: str, tiny_model: Path, tmp_path: Path) -> None:
    name, settings, lora = FAMILIES[family]
    model = make_family(tmp_path / "model", tiny_model, name, settings)
    adapter = make_adapter(model, tmp_path / "peft", **lora)
    facts = exported(model, adapter, tmp_path / "out")
    assert facts["quantization"] is None
    wanted = peft_logits(model, adapter)
    assert np.abs(wanted - peft_logits(model, None)).max() > 0.1
    assert np.allclose(mlx_logits(tmp_path / "out"), wanted, atol=1e-3)
    assert {"tokenizer.json", "chat_template.jinja", "config.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def distance(ours: Any, theirs: Any) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantised_export_is_made_from_sum(quantization: str, tiny_model: Path, tmp_path: Path) -> None:
    """The same as from a merged folder in fp32: no sum is rounded before it is packed."""
    from engine.export.merged import MERGED

    adapter = make_adapter(tiny_model, tmp_path / "peft", **LORA)
    facts = exported(tiny_model, adapter, tmp_path / "out", quantization=quantization)
    assert facts["quantization"]["bits"] == int(quantization[0])
    for name in ("merged", "packed"):
        (tmp_path / name).mkdir()
    MERGED.export(TrainedModel(tiny_model, adapter), tmp_path / "merged", {"dtype": "fp32"}, lambda: None)
    convert(tmp_path / "merged", tmp_path / "packed", quantization)  # type: ignore[arg-type]
    assert np.array_equal(mlx_logits(tmp_path / "out"), mlx_logits(tmp_path / "packed"))
    exact = peft_logits(tiny_model, adapter)
    assert distance(mlx_logits(tmp_path / "out"), exact) < 0.5 * distance(
        peft_logits(tiny_model, None), exact
    )


@pytest.mark.parametrize("quantization", [None, "none", "8bit"])
def test_adapter_on_quantised_base_is_not_dropped(
    quantization: str | None, tiny_model: Path, tmp_path: Path
) -> None:
    """mlx-lm's own fuse loses it there (mlx-lm #1172)."""
    base = tmp_path / "base"
    base.mkdir()
    convert(tiny_model, base, "4bit")
    adapter = make_adapter(tiny_model, tmp_path / "peft", **LORA)
    options = {} if quantization is None else {"quantization": quantization}
    facts = exported(base, adapter, tmp_path / "out", **options)
    assert "dequantised" in facts["notes"][0]
    untouched = mlx_logits(base)
    plain = tmp_path / "plain"
    plain.mkdir()
    MLX.export(TrainedModel(base, adapter), plain, {"quantization": "none"}, lambda: None)
    wanted = mlx_logits(plain)  # exact: see below
    found = mlx_logits(tmp_path / "out")
    assert distance(found, wanted) < 0.5 * distance(untouched, wanted)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    if quantization is None:
        assert config["quantization"] == json.loads((base / "config.json").read_text())["quantization"]
        assert "packed again as the base was" in facts["notes"][1]
    elif quantization == "none":
        assert "quantization" not in config
        assert "quantization_config" not in config
    else:
        assert config["quantization"]["bits"] == 8


def test_dequantised_sum_is_adapter_on_quantised_base(tiny_model: Path, tmp_path: Path) -> None:
    """The reference is mlx-lm with the adapter beside the packed weights."""
    from engine.export.mlx_adapter import MLX_ADAPTER

    base, beside = tmp_path / "base", tmp_path / "beside"
    base.mkdir()
    beside.mkdir()
    convert(tiny_model, base, "4bit")
    adapter = make_adapter(tiny_model, tmp_path / "peft", **LORA)
    exported(base, adapter, tmp_path / "out", quantization="none")
    MLX_ADAPTER.export(TrainedModel(base, adapter), beside, {}, lambda: None)
    assert np.allclose(mlx_logits(tmp_path / "out"), mlx_logits(base, beside), atol=2e-3)


def test_unquantised_base_is_taken_where_it_is_there(tiny_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    convert(tiny_model, base, "4bit")
    (base / "README.md").write_text(f"---\nbase_model: {tiny_model}\n---\n")
    adapter = make_adapter(tiny_model, tmp_path / "peft", **LORA)
    facts = exported(base, adapter, tmp_path / "out")
    assert "the unquantised model" in facts["notes"][0]
    assert np.allclose(mlx_logits(tmp_path / "out"), peft_logits(tiny_model, adapter), atol=1e-3)


def test_files_of_one_gigabyte_are_listed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.backends.mlx import filled

    monkeypatch.setattr(filled, "make_shards", lambda arrays, _: [dict([item]) for item in arrays.items()])
    adapter = make_adapter(tiny_model, tmp_path / "peft", **LORA)
    exported(tiny_model, adapter, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) == len(index) > 10
    assert all(name in mx.load(str(tmp_path / "out" / file)) for name, file in index.items())
    assert np.allclose(mlx_logits(tmp_path / "out"), peft_logits(tiny_model, adapter), atol=1e-3)


def test_number_format_is_chosen(tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "peft", **LORA)
    exported(tiny_model, adapter, tmp_path / "out", dtype="fp16")
    tensors: Any = mx.load(str(tmp_path / "out" / "model.safetensors"))
    assert {value.dtype for value in tensors.values()} == {mx.float16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float16"
    assert np.allclose(mlx_logits(tmp_path / "out"), peft_logits(tiny_model, adapter), atol=2e-2)


def test_unknown_format_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no quantisation 3bit"):
        MLX.export(TrainedModel(tiny_model), tmp_path, {"quantization": "3bit"}, lambda: None)
    with pytest.raises(ConfigError, match="has no dtype int8") as caught:
        MLX.export(TrainedModel(tiny_model), tmp_path, {"dtype": "int8"}, lambda: None)
    assert "bf16, fp16, fp32" in caught.value.hint
