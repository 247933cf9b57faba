"""Files of a merged model: shards, number formats, what rounding loses, and how little memory it takes."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch

from engine.errors import MachineError, ModelError
from engine.export.merged import write
from engine.merging.merged import merged_tensors
from engine.merging.shards import write_shards
from engine.runs.directory.trained_model import TrainedModel
from tests.test_merging import LLAMA, logits, model_of, trained
from tests.tiny import change_model, make_family


def nothing() -> None:
    """A poll that never stops."""


def in_bf16(source: Path, folder: Path) -> Path:
    """The model with weights in bf16."""
    return change_model(
        source,
        folder,
        lambda tensors: {name: value.bfloat16() for name, value in tensors.items()},
        dtype="bfloat16",
    )


def out_of(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_merged_folder_is_loaded_by_transformers_and_by_ft(tiny_model: Path, tmp_path: Path) -> None:
    model, expected = trained(tiny_model, tmp_path / "a", target_modules=LLAMA)
    write(model, out_of(tmp_path / "out"), {}, nothing)
    assert (logits(model_of(tmp_path / "out")) - expected).abs().max() < 1e-4
    found = TrainedModel.find(tmp_path / "out")
    assert (found.base, found.adapter) == (tmp_path / "out", None)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    asked = [{"role": "user", "content": "Hi"}]
    own = transformers.AutoTokenizer.from_pretrained(tiny_model)
    assert tokenizer.apply_chat_template(asked, tokenize=False) == own.apply_chat_template(
        asked, tokenize=False
    )
    assert (tmp_path / "out" / "generation_config.json").is_file()


@pytest.mark.parametrize(("target", "untied"), [("lm_head", True), ("q_proj", False)])
def test_a_tied_model_is_written_tied_unless_its_sides_differ(
    target: str, untied: bool, tiny_model: Path, tmp_path: Path
) -> None:
    model, expected = trained(tiny_model, tmp_path / "a", target_modules=[target])
    write(model, out_of(tmp_path / "out"), {}, nothing)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is not untied
    assert ("lm_head.weight" in load_file(tmp_path / "out" / "model.safetensors")) is untied
    assert (logits(model_of(tmp_path / "out")) - expected).abs().max() < 1e-4


def test_large_models_are_written_in_shards_that_transformers_reads(tiny_model: Path, tmp_path: Path) -> None:
    model, expected = trained(tiny_model, tmp_path / "a", target_modules=LLAMA)
    write(model, out_of(tmp_path / "out"), {"shard_bytes": 100_000}, nothing)
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(shards) == 5
    assert shards[0].name == "model-00001-of-00005.safetensors"
    assert all(shard.stat().st_size < 105_000 for shard in shards)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {shard.name for shard in shards}
    assert (logits(model_of(tmp_path / "out")) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", ["source", "fp16", "fp32"])
def test_values_are_rounded_once_and_as_torch_rounds(dtype: str, tiny_model: Path, tmp_path: Path) -> None:
    base = in_bf16(tiny_model, tmp_path / "base")
    model, _ = trained(base, tmp_path / "a", target_modules=LLAMA)
    written = write_shards(merged_tensors(model, base), out_of(tmp_path / "out"), dtype, nothing)
    exact = merged_tensors(model, base)
    kind = {"source": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]
    found = load_torch(written.files[0])
    assert found.keys() == exact.infos.keys()
    for name, value in found.items():
        assert torch.equal(value, torch.from_numpy(exact.read(name)).to(kind)), name


def test_the_share_of_the_update_that_rounding_loses_is_measured(tiny_model: Path, tmp_path: Path) -> None:
    base = in_bf16(tiny_model, tmp_path / "base")
    model, _ = trained(base, tmp_path / "a", target_modules=LLAMA, lora_alpha=0.02)
    merged = merged_tensors(model, base)
    rounding = write_shards(merged, out_of(tmp_path / "out"), "source", nothing).rounding
    lost, update, shares = 0.0, 0.0, {}
    for name in merged.changed:
        exact, before = torch.from_numpy(merged.read(name)).double(), torch.from_numpy(merged.base.read(name))
        apart = (exact.bfloat16().double() - exact).square().sum()
        change = (exact - before).square().sum()
        lost, update = lost + float(apart), update + float(change)
        shares[name] = float((apart / change).sqrt())
    assert 0.3 < rounding.share < 1
    assert rounding.share == pytest.approx((lost / update) ** 0.5, rel=1e-3)
    worst = max(shares, key=lambda name: shares[name])
    assert rounding.worst == (worst, pytest.approx(shares[worst], rel=1e-3))
    half = write_shards(merged, out_of(tmp_path / "half"), "fp16", nothing).rounding
    assert rounding.share_of("fp16") == pytest.approx(half.share, rel=1e-3)
    assert half.share < 0.2 < rounding.share
    assert write_shards(merged, out_of(tmp_path / "full"), "fp32", nothing).rounding.share == 0


def test_values_that_fp16_cannot_hold_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    base = change_model(
        tiny_model,
        tmp_path / "base",
        lambda tensors: {
            name: value * 1e6 if name.endswith("1.mlp.up_proj.weight") else value
            for name, value in tensors.items()
        },
    )
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight has values that fp16 cannot hold"):
        write_shards(merged_tensors(TrainedModel(base), base), out_of(tmp_path / "out"), "fp16", nothing)


def test_a_disk_without_room_is_noticed_first(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.merging.shards.RESERVE", 1 << 60)
    with pytest.raises(MachineError, match="free; the merged model needs"):
        write_shards(
            merged_tensors(TrainedModel(tiny_model), tiny_model), out_of(tmp_path / "out"), "fp32", nothing
        )
    assert not list((tmp_path / "out").iterdir())


def test_memory_does_not_grow_with_the_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every matrix is changed, and not even one of 32 MB in fp32 is in memory: a few blocks are."""
    base = make_family(
        tmp_path / "base",
        tiny_model,
        "Llama",
        {"hidden_size": 1024, "intermediate_size": 8192, "num_hidden_layers": 1},
    )
    model, _ = trained(base, tmp_path / "a", target_modules=LLAMA)
    merged = merged_tensors(model, base)
    monkeypatch.setattr("engine.merging.shards.WORKERS", 2)
    tracemalloc.start()
    written = write_shards(merged, out_of(tmp_path / "out"), "bf16", nothing)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written.bytes > 58e6
    assert peak < 26e6
    np.testing.assert_array_equal(
        merged.read_rows("model.norm.weight", 3, 5), merged.read("model.norm.weight")[3:5]
    )
