"""Bases in few bits: they are read as their own libraries read them, and given up where the unquantised one is here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from engine.errors import ModelError
from engine.merging.base import base_for
from engine.merging.dequantised import open_weights
from engine.runs.directory.trained_model import TrainedModel
from tests.tiny import change_model, make_family


@pytest.fixture
def wide(tmp_path: Path, tiny_model: Path) -> Path:
    """A model whose rows are long enough for groups of 64."""
    return make_family(tmp_path / "wide", tiny_model, "Llama", {"hidden_size": 128, "intermediate_size": 192})


def in_mlx(source: Path, out: Path, bits: int, mode: str = "affine") -> Path:
    """The model as mlx-lm converts it, with the model card that it writes."""
    from mlx_lm.convert import convert

    extra = {} if mode == "affine" else {"q_mode": mode}
    convert(str(source), str(out), quantize=True, q_bits=bits, q_group_size=32, dtype="float32", **extra)
    return out


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_mlx_weights_are_read_as_mlx_reads_them(bits: int, wide: Path, tmp_path: Path) -> None:
    import mlx.core as mx

    folder = in_mlx(wide, tmp_path / "mlx", bits)
    found, stored = open_weights(folder), mx.load(str(folder / "model.safetensors"))
    packed = [name for name, value in stored.items() if value.dtype == mx.uint32]
    assert "model.layers.1.mlp.down_proj.weight" in packed
    assert set(found.infos) == {name for name in stored if not name.endswith((".scales", ".biases"))}
    for name in packed:
        parts = (stored[f"{name.removesuffix('.weight')}.{part}"] for part in ("scales", "biases"))
        own = np.array(mx.dequantize(stored[name], *parts, group_size=32, bits=bits))
        np.testing.assert_allclose(found.read(name), own, atol=1e-6)
        assert found.infos[name].shape == own.shape
        np.testing.assert_allclose(found.read_rows(name, 3, 9), own[3:9], atol=1e-6)


@pytest.mark.parametrize("settings", [
    {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    {"load_in_8bit": True},
])  # fmt: skip
def test_bitsandbytes_weights_are_read_as_it_reads_them(
    settings: dict[str, Any], wide: Path, tmp_path: Path
) -> None:
    from peft.utils.integrations import dequantize_module_weight

    quantised = transformers.BitsAndBytesConfig(**settings, bnb_4bit_compute_dtype=torch.float32)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        wide, quantization_config=quantised, dtype=torch.float32, device_map={"": "cpu"}
    )
    model.save_pretrained(tmp_path / "bnb")
    found = open_weights(tmp_path / "bnb")
    layer = model.model.layers[1].mlp.down_proj
    name, own = (
        "model.layers.1.mlp.down_proj.weight",
        dequantize_module_weight(layer).detach().float().numpy(),
    )
    assert found.infos[name].shape == own.shape
    np.testing.assert_allclose(found.read(name), own, atol=1e-4)
    np.testing.assert_allclose(found.read_rows(name, 5, 12), own[5:12], atol=1e-4)
    assert set(found.infos) == set(open_weights(wide).infos)
    norm = "model.layers.0.input_layernorm.weight"
    np.testing.assert_array_equal(found.read(norm), open_weights(wide).read(norm))


def test_a_quantised_base_gives_way_to_the_one_that_its_card_names(wide: Path, tmp_path: Path) -> None:
    quantised = in_mlx(wide, tmp_path / "mlx", 4)
    (quantised / "README.md").write_text(f"---\nbase_model: {wide}\ntags:\n- mlx\n---\n")
    found = base_for(TrainedModel(quantised))
    assert found.folder == wide
    assert "unquantised" in found.note
    assert "4-bit MLX" in found.note


def test_a_model_that_is_not_the_origin_is_not_taken_for_it(
    wide: Path, tiny_model: Path, tmp_path: Path
) -> None:
    quantised = in_mlx(wide, tmp_path / "mlx", 4)
    other = make_family(
        tmp_path / "other", tiny_model, "Llama", {"hidden_size": 128, "intermediate_size": 192}
    )
    from safetensors.numpy import load_file, save_file

    tensors = load_file(other / "model.safetensors")
    moved = {name: np.flip(value, 0).copy() for name, value in tensors.items()}
    save_file(moved, other / "model.safetensors", {"format": "pt"})
    (quantised / "README.md").write_text(f"---\nbase_model:\n- {other}\n---\n")
    found = base_for(TrainedModel(quantised))
    assert found.folder == quantised
    assert "dequantised" in found.note


def test_a_packing_that_is_not_read_is_refused_by_name(tiny_model: Path, tmp_path: Path) -> None:
    about = {"quant_method": "gptq", "bits": 4}
    folder = change_model(tiny_model, tmp_path / "gptq", quantization_config=about)
    with pytest.raises(ModelError, match="4-bit GPTQ") as refused:
        open_weights(folder)
    assert "made from" in refused.value.hint
