"""Models whose layers look only so far back are computed so, however they say it to transformers."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from engine.backends.torch.attention import MASKED
from tests.test_architectures import EXPERTS
from tests.test_backend_torch import ROWS, reference_losses
from tests.tiny import make_family
from tests.training import Job, batch_of

NEAR: dict[str, tuple[str, dict[str, Any]]] = {
    "by a window": ("Mistral", {"sliding_window": 4}),
    "by a mask": (
        "Qwen2Moe",
        {
            "use_sliding_window": True,
            "sliding_window": 4,
            "layer_types": ["sliding_attention"] * 2,
            "shared_expert_intermediate_size": 32,
            **EXPERTS,
        },
    ),
    "by a mask, in chunks": (
        "Llama4Text",
        {
            "head_dim": 16,
            "num_local_experts": 4,
            "intermediate_size_mlp": 64,
            "pad_token_id": 0,
            "attention_chunk_size": 4,
        },
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("said", NEAR)
def test_rows_longer_than_a_layer_looks_match_transformers(
    said: str, packed: bool, tiny_model: Path, tmp_path: Path
) -> None:
    folder = make_family(tmp_path / "model", tiny_model, *NEAR[said])
    model = Job.make(folder, tmp_path, adapter={"dropout": 0.0}).backend(
        weights_dtype="fp32", compute_dtype="fp32"
    )
    packed = packed and model.model.supports_packing  # not in chunks, which begin with the row
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = model.model.logps(batch_of(ROWS, packed))
    assert np.allclose(found, reference_losses(plain, ROWS), atol=1e-4)


def test_architectures_that_hide_by_a_mask_are_those_of_transformers() -> None:
    """A layer that is told no window, in a model that makes masks for one."""
    sources = Path(transformers.__file__).parent / "models"
    found = set()
    for path in sources.glob("*/modeling_*.py"):
        text = path.read_text(encoding="utf-8")
        calls = re.findall(r"attention_interface\((.*?)\n        \)", text, re.DOTALL)
        local = re.search(r"create_(sliding_window|chunked)_causal_mask", text)
        if local and calls and not any("sliding_window" in call for call in calls):
            found.add(path.parent.name)
    assert found == {kind.removesuffix("_text") for kind in MASKED}
