"""The parts of the MLX backend by themselves: how a batch is laid out, and what is relied on in the packages."""

import inspect
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.mlx import families, memory
from engine.backends.mlx.attention import Blocks, Segments
from engine.backends.mlx.layout import rounded, to_rows
from engine.backends.mlx.model import open_model
from engine.errors import ModelError
from engine.hardware.memory import is_exhaustion
from tests.tiny import make_family
from tests.training import batch_of

Lengths = st.lists(st.integers(2, 90), min_size=1, max_size=9)


@pytest.mark.parametrize("family", ["Gemma2", "Mistral", "Mixtral", "Phi3", "Starcoder2"])
def test_sliding_window_layers_match_transformers(family: str) -> None:
    settings = {"num_hidden_layers": 5, "sliding_window": 8, "pad_token_id": 0}
    config = getattr(transformers, f"{family}Config")(**settings)
    about = {"model_type": config.model_type, **settings}
    wanted = getattr(config, "layer_types", None) or ["sliding_attention"] * 5
    assert families.windows_of(about) == tuple(8 if kind == "sliding_attention" else None for kind in wanted)
    assert families.windows_of({**about, "layer_types": ["full_attention"] * 5}).count(8) == (
        0 if family == "Gemma2" else 5
    )
    assert families.windows_of({**about, "sliding_window": None}) == ()


NEAR, FAR = "sliding_attention", "full_attention"


def test_gemma3_layers_see_as_its_config_says(tiny_model: Path, tmp_path: Path) -> None:
    """mlx-lm reads no layer_types: without help, it would take every sixth layer for one that sees all."""
    import torch

    kinds = [NEAR, FAR] * 2
    settings = {"head_dim": 16, "num_hidden_layers": 4, "layer_types": kinds, "sliding_window": 64}
    folder = make_family(tmp_path / "gemma", tiny_model, "Gemma3Text", settings)
    tokens = list(range(3, 30))
    with torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        expected = model(torch.tensor([tokens])).logits.numpy()
    found = np.array(open_model(folder)[0](mx.array([tokens])).astype(mx.float32))
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_order_of_layers_without_code_is_refused() -> None:
    about = {"model_type": "gemma3_text", "layer_types": [NEAR, FAR, FAR, NEAR]}
    with pytest.raises(ModelError, match="an order that mlx-lm has no code for"):
        families.settings(about)
    assert families.settings(about | {"layer_types": [NEAR] * 5 + [FAR]})["sliding_window_pattern"] == 6
    assert families.settings(about | {"layer_types": [FAR, FAR]})["sliding_window_pattern"] == 1


def test_row_lengths_are_rounded_to_few() -> None:
    sizes = {rounded(size) for size in range(1, 4097)}
    assert len(sizes) < 40
    assert all(size <= rounded(size) <= max(16, 1.25 * size) for size in range(1, 4097))


@given(Lengths, st.booleans())
def test_every_token_is_laid_out_once(lengths: list[int], packed: bool) -> None:
    examples = [[1 + 100 * i + j for j in range(size)] for i, size in enumerate(lengths)]
    rows = to_rows(batch_of(examples, packed))
    assert rows.trained_tokens == sum(lengths) - len(lengths)
    ids, segments = rows.input_ids.ravel(), rows.segment_ids.ravel()
    assert sorted(ids[segments > 0]) == sorted(token for example in examples for token in example)
    # Every target is the token after its position, of the same example, in the batch's order.
    where, targets = (part[: rows.trained_tokens] for part in (rows.where, rows.targets))
    assert targets.tolist() == [token for example in examples for token in example[1:]]
    assert (ids[where + 1] == targets).all()
    assert (ids[where] == targets - 1).all()
    assert (segments[where] == segments[where + 1]).all()
    assert not rows.counted[rows.trained_tokens :].any()


@given(Lengths)
def test_packed_row_never_exceeds_longest_example(lengths: list[int]) -> None:
    rows = to_rows(batch_of([[7] * size for size in lengths], packed=True))
    assert rows.input_ids.shape[1] == rounded(max(lengths))
    assert len(rows.input_ids) <= len(lengths)


@pytest.mark.parametrize("window", [None, 3])
def test_token_sees_own_example_and_window(window: int | None) -> None:
    segments = np.array([[1, 1, 1, 1, 2, 2, 0, 0]])
    mask = np.array(Segments(mx.array(segments), window).make_mask(8))[0, 0]
    for i in range(8):
        for j in range(8):
            near = i >= j and (window is None or i - j < window)
            assert mask[i, j] == (near and segments[0, i] == segments[0, j])
    assert Segments(None, None).make_mask(8) == "causal"


def test_mlx_out_of_memory_error_is_known() -> None:
    metal = (
        "[metal::malloc] Attempting to allocate 9 bytes which is greater than the maximum allowed buffer size"
    )
    buffer = (
        "Command buffer execution failed: Insufficient Memory (kIOGPUCommandBufferCallbackErrorOutOfMemory)"
    )
    assert all(is_exhaustion(RuntimeError(text)) for text in (metal, buffer, "[malloc] Unable to allocate 9"))
    assert not is_exhaustion(RuntimeError("[matmul] shapes do not match"))


@pytest.mark.skipif(mx.metal.is_available(), reason="on Apple's GPU there is a cache, within bounds")
def test_freed_cpu_memory_returns_at_once() -> None:
    mx.set_cache_limit(1 << 25)
    memory.set_limits(1 << 30)
    mx.eval(mx.zeros((1 << 20,)) + 1)
    assert mx.get_cache_memory() == 0


def test_mlx_has_functions_of_apple_gpu() -> None:
    for name in ("set_wired_limit", "set_cache_limit", "get_active_memory", "get_peak_memory", "clear_cache"):
        assert callable(getattr(mx, name))
    assert not mx.metal.is_available() or "max_recommended_working_set_size" in mx.device_info()


def test_mlx_lm_takes_passed_arguments() -> None:
    from mlx_lm.generate import BatchGenerator
    from mlx_lm.utils import MODEL_REMAPPING, load_model

    assert {"lazy", "model_config", "get_model_classes", "trust_remote_code"} <= set(
        inspect.signature(load_model).parameters
    )
    wanted = {"max_tokens", "stop_tokens", "completion_batch_size", "prefill_batch_size"}
    assert wanted <= set(inspect.signature(BatchGenerator).parameters)
    assert MODEL_REMAPPING["mistral"] == "llama"


@pytest.mark.parametrize("length", [1, 63, 64, 65, 150])
def test_blockwise_attention_equals_attention(length: int) -> None:
    draw = np.random.default_rng(length)
    queries, keys, values = (
        mx.array(draw.normal(size=(2, heads, length, 16)).astype(np.float32)) for heads in (4, 2, 2)
    )

    def whole(*parts: mx.array) -> mx.array:
        return mx.fast.scaled_dot_product_attention(*parts, scale=0.25, mask="causal")

    def blocks(*parts: mx.array) -> mx.array:
        return Blocks(None, None).attend(*parts, scale=0.25)

    assert mx.allclose(whole(queries, keys, values), blocks(queries, keys, values), atol=1e-5)
    one, other = (
        mx.grad(lambda *parts, attend=attend: mx.square(attend(*parts)).sum(), argnums=(0, 1, 2))(
            queries, keys, values
        )
        for attend in (whole, blocks)
    )
    assert all(mx.allclose(left, right, atol=1e-4) for left, right in zip(one, other, strict=True))
