"""The starter model: found, converted once, whole or not there at all."""

import json
from pathlib import Path

import numpy as np
import pytest

from engine.models import starter
from engine.models.weights import PendingTensor, bfloat16_bits, write_bfloat16


def test_bfloat16_rounds_as_torch_rounds(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    random = np.random.default_rng(0)
    values = random.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    ties = (np.arange(1024, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    values = np.concatenate([values[np.abs(values) < 1e38], ties, np.array([0.0, -0.0], np.float32)])
    for _ in write_bfloat16(tmp_path / "x.safetensors", [PendingTensor("x", values.shape, lambda: values)]):
        pass
    written = load_file(tmp_path / "x.safetensors")["x"]
    expected = torch.from_numpy(values).to(torch.bfloat16)
    assert torch.equal(written.view(torch.int16), expected.view(torch.int16))
    assert bfloat16_bits(np.array([1.0], np.float32)).tolist() == [0x3F80]


def test_the_folder_holds_what_transformers_and_mlx_load(starter_model: Path) -> None:
    names = {path.name for path in starter_model.iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "chat_template.jinja"}
    assert names >= {"tokenizer.json", "tokenizer_config.json"}
    config = json.loads((starter_model / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_theta"] == 100000.0


def test_a_second_call_does_nothing(ft_home_with_starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "packaged_gguf", lambda: pytest.fail("converted again"))
    assert starter.ensure() == ft_home_with_starter / "models" / "starter"
