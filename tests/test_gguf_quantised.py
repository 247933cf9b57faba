"""Quantised GGUF files: the types are llama.cpp's own choice, the size is known before, and llama.cpp answers."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

from engine.errors import ConfigError, MachineError, ModelError
from engine.export.gguf import plan, quantise, write
from engine.export.gguf.mixtures import QUANTIZATIONS, Shape, chosen
from engine.export.registry import exporter_named
from engine.models.tensors import FolderTensors
from engine.runs.directory.trained_model import TrainedModel
from tests.llama_cpp import next_token_log_probabilities
from tests.peft_adapters import make_adapter
from tests.test_gguf import PROMPTS, exported
from tests.tiny import VOCAB, change_json, make_family

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.slow

WIDE = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "num_hidden_layers": 2}
LLAMA_7B = {
    "token_embd.weight": (32000, 4096),
    "output.weight": (32000, 4096),
    "output_norm.weight": (4096,),
    **{
        f"blk.{layer}.{name}.weight": shape
        for layer in range(32)
        for name, shape in {
            "attn_norm": (4096,), "attn_q": (4096, 4096), "attn_k": (4096, 4096), "attn_v": (4096, 4096),
            "attn_output": (4096, 4096), "ffn_norm": (4096,), "ffn_gate": (11008, 4096), "ffn_up": (11008, 4096),
            "ffn_down": (4096, 11008),
        }.items()
    },
}  # fmt: skip
PUBLISHED = {
    "q3_k_m": {"Q3_K": 129, "Q4_K": 92, "Q5_K": 4, "Q6_K": 1},
    "q4_k_s": {"Q4_K": 217, "Q5_K": 8, "Q6_K": 1},
    "q4_k_m": {"Q4_K": 193, "Q6_K": 33},
    "q5_k_m": {"Q5_K": 193, "Q6_K": 33},
    "q5_k_s": {"Q5_K": 225, "Q6_K": 1},
    "q6_k": {"Q6_K": 226},
    "q4_0": {"Q4_0": 225, "Q6_K": 1},
    "q8_0": {"Q8_0": 226},
}
"""Tensors by type in files of Llama 2 7B that llama.cpp's quantiser made, as its loader lists them."""


@pytest.mark.parametrize("quantization", PUBLISHED)
def test_types_are_those_of_llama_cpps_own_files(quantization: str) -> None:
    types = chosen(quantization, LLAMA_7B, Shape(layers=32, heads_per_kv_head=1, experts=0, tied=False)).types
    assert Counter(types.values()) == {**PUBLISHED[quantization], "F32": 65}


def test_starter_gets_the_fallback_types_of_llama_cpp(starter_model: Path) -> None:
    file = plan.planned(FolderTensors(starter_model), starter_model, "q4_k_m", "starter")
    assert sum(file.chosen.fallbacks.values()) == 180
    assert round(file.bits_per_weight, 2) == 6.17  # llama.cpp's quantiser, on the same model
    types = {tensor.source.name: tensor.type for tensor in file.tensors}
    assert (types["blk.5.attn_q.weight"], types["token_embd.weight"]) == ("Q5_0", "Q8_0")


@pytest.mark.parametrize(
    "quantization", ["q8_0", "q5_1", "q4_0", "q6_k", "q5_k_s", "q4_k_m", "q3_k_l", "q2_k"]
)
def test_quantised_file_answers_in_llama_cpp(quantization: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = make_family(tmp_path / "model", tiny_model, "Llama", WIDE)
    exact = next_token_log_probabilities(exported(folder, tmp_path / "f32"), PROMPTS, VOCAB)
    file = exported(folder, tmp_path / "out", quantization)
    found = next_token_log_probabilities(file, PROMPTS, VOCAB)
    lost = float((np.exp(exact) * (exact - found)).sum(-1).mean())  # KL of what llama.cpp answers with it
    assert 0 < lost < {"q8_0": 0.001, "q6_k": 0.005, "q2_k": 1.0}.get(quantization, 0.2)


@pytest.mark.parametrize("quantization", ["f16", "bf16", "q4_k_m"])
def test_size_is_known_before_it_is_written(quantization: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = make_family(tmp_path / "model", tiny_model, "Llama", WIDE)
    planned = plan.planned(FolderTensors(folder), folder, quantization, "model")
    reader = GGUFReader(exported(folder, tmp_path / "out", quantization))
    assert {tensor.name: (tensor.tensor_type.name, tensor.n_bytes) for tensor in reader.tensors} == {
        tensor.source.name: (tensor.type, tensor.bytes) for tensor in planned.tensors
    }


def test_without_libgguf_the_plain_types_have_the_same_bytes_and_k_quants_say_what_to_install(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)
    kinds = ("F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1")
    made = [quantise.quantised(rows, kind).tobytes() for kind in kinds]
    folder = make_family(tmp_path / "model", tiny_model, "Llama", WIDE)
    for module in (quantise, plan):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert [quantise.quantised(rows, kind).tobytes() for kind in kinds] == made
    with pytest.raises(MachineError, match="K-quants need libgguf"):
        exported(folder, tmp_path / "out", "q4_k_m")
    reader = GGUFReader(exported(folder, tmp_path / "plain", "q4_0"))
    assert {t.name: t.tensor_type.name for t in reader.tensors}["output.weight"] == "Q8_0"


def test_weights_are_written_from_fp32_and_not_through_a_shorter_format(
    tiny_model: Path, tmp_path: Path
) -> None:
    reader = GGUFReader(exported(tiny_model, tmp_path / "out", "f16"))
    [tensor] = (t for t in reader.tensors if t.name == "blk.0.ffn_down.weight")
    weights = FolderTensors(tiny_model).read("model.layers.0.mlp.down_proj.weight")
    assert (dequantize(tensor.data, tensor.tensor_type) == weights.astype(np.float16)).all()


def test_adapter_is_added_to_the_unquantised_base_where_it_is_there(tiny_model: Path, tmp_path: Path) -> None:
    """The same bytes as on that base; where it is not there, what the quantised weights stand for."""
    pytest.importorskip("mlx_lm")
    base = tmp_path / "base"
    base.mkdir()
    exporter_named("mlx").export(TrainedModel(tiny_model), base, {"quantization": "4bit"}, lambda: None)
    adapter = make_adapter(tiny_model, tmp_path / "peft", r=4, target_modules=["q_proj", "down_proj"])

    def file(folder: Path, name: str) -> tuple[GGUFReader, Mapping[str, Any]]:
        (tmp_path / name).mkdir()
        model = TrainedModel(folder, adapter)
        facts = exporter_named("gguf").export(model, tmp_path / name, {"quantization": "f32"}, lambda: None)
        return GGUFReader(tmp_path / name / facts["file"]), facts

    plain, facts = file(tiny_model, "plain")
    assert facts["notes"] == []
    dequantised, facts = file(base, "dequantised")
    assert "the unquantised model is not on this disk" in facts["notes"][0]
    (base / "README.md").write_text(f"---\nbase_model: {tiny_model}\n---\n")
    found, facts = file(base, "found")
    assert "the unquantised model that base" in facts["notes"][0]
    own, far = ({tensor.name: tensor.data for tensor in reader.tensors} for reader in (found, dequantised))
    for tensor in plain.tensors:
        np.testing.assert_array_equal(own[tensor.name], tensor.data)
    name = "blk.0.ffn_up.weight"
    assert (far[name] != own[name]).any()


def test_mistakes_are_told_before_anything_is_written(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no quantisation q9") as wrong:
        exported(tiny_model, tmp_path / "out", "q9")
    assert all(name in wrong.value.hint for name in QUANTIZATIONS)
    with pytest.raises(ConfigError, match="no option type"):
        exported(tiny_model, tmp_path / "out", type="f16")
    folder = make_family(tmp_path / "bloom", tiny_model, "Bloom", {})
    with pytest.raises(ModelError, match="of the architecture bloom") as unknown:
        exported(folder, tmp_path / "out")
    assert unknown.value.hint.startswith("Export it as merged, or as mlx. GGUF has llama, mistral,")
    folder = make_family(tmp_path / "relu", tiny_model, "Llama", {"hidden_act": "relu"})
    with pytest.raises(ModelError, match="its activation is relu, and there it is silu"):
        exported(folder, tmp_path / "out")
    change_json(
        folder / "config.json", hidden_act="silu", rope_parameters={"rope_type": "dynamic", "factor": 2.0}
    )
    with pytest.raises(ModelError, match="no rope scaling of type dynamic"):
        exported(folder, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_full_disk_is_told_before_anything_is_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = write.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(write.shutil, "disk_usage", lambda folder: usage._replace(free=1_000_000))
    with pytest.raises(MachineError, match=r"takes .* kB, and the disk of .* has 1.00 MB left"):
        exported(tiny_model, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


QUANTISER = """#!/bin/sh
[ "$3" = Q4_K_M ] && [ "$4" -ge 1 ] || { echo "unknown type $3"; exit 1; }
head -c 4 "$1" > "$2"
"""
"""Stands for llama.cpp's program, which takes the same words: `llama-quantize SOURCE OUT TYPE THREADS`."""


def test_llama_cpps_own_quantiser_is_used_where_it_is_named(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CPP_DIR", str(tmp_path))
    with pytest.raises(MachineError, match="no llama-quantize there") as missing:
        exported(tiny_model, tmp_path / "none", "q4_k_m")
    assert "unset LLAMA_CPP_DIR" in missing.value.hint
    program = tmp_path / "build" / "bin" / "llama-quantize"
    program.parent.mkdir(parents=True)
    program.write_text(QUANTISER)
    program.chmod(0o755)
    file = exported(tiny_model, tmp_path / "out", "q4_k_m")  # and no other file is left
    assert file.read_bytes() == b"GGUF"  # the program's, made of a GGUF file
    with pytest.raises(MachineError, match="llama-quantize failed: unknown type Q6_K"):
        exported(tiny_model, tmp_path / "failed", "q6_k")
    assert (
        exported(tiny_model, tmp_path / "f16", "f16").stat().st_size > 100_000
    )  # for which it is not needed
