"""Sizes from config.json are exactly those of the model that transformers builds."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config.adapters import Adapter
from engine.errors import ConfigError, ModelError
from engine.models.adapters import trained_parameters
from engine.models.sizing import shape_of
from tests.tiny import make_family

SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 112,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
GPT2: dict[str, Any] = {"n_embd": 48, "n_layer": 3, "n_head": 4, "vocab_size": 112, "n_positions": 64}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("llama", SMALL),
    (
        "llama",
        SMALL | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 20},
    ),
    ("mistral", SMALL),
    ("mistral", SMALL | {"head_dim": 16}),
    ("qwen2", SMALL | {"tie_word_embeddings": True}),
    ("qwen3", SMALL),
    ("qwen3", SMALL | {"attention_bias": True, "head_dim": 24}),
    ("smollm3", SMALL),
    ("smollm3", SMALL | {"tie_word_embeddings": False, "mlp_bias": True}),
    ("gemma", SMALL),
    ("gemma2", SMALL | {"head_dim": 8}),
    ("gemma3_text", SMALL),
    ("phi3", SMALL),
    ("gpt2", GPT2),
    ("gpt2", GPT2 | {"n_inner": 100, "tie_word_embeddings": False}),
]


@pytest.mark.parametrize(("kind", "values"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_config_sizes_model_as_transformers_builds(kind: str, values: dict[str, Any], tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    config = AutoConfig.for_model(kind, **values)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    linears: Counter[tuple[str, int, int]] = Counter()
    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not model.get_output_embeddings():
            inputs, outputs = module.weight.shape if isinstance(module, Conv1D) else module.weight.shape[::-1]
            linears[name.split(".")[-1], inputs, outputs] += 1

    shape = shape_of(tmp_path)

    assert shape.parameters == model.num_parameters()
    assert Counter({(x.name, x.inputs, x.outputs): x.count for x in shape.linears}) == linears
    assert shape.architecture == kind
    assert (shape.layers, shape.hidden, shape.vocab, shape.context) == (3, 48, 112, 64)


def test_unknown_layer_name_suggests_nearest(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="no layers called q_prj; did you mean q_proj") as caught:
        trained_parameters(shape_of(tiny_model), Adapter(target_modules=["q_prj"]))
    assert "down_proj" in caught.value.hint


def test_unknown_architecture_is_sized_from_weights(tiny_model: Path, tmp_path: Path) -> None:
    known = shape_of(tiny_model)
    shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps(config | {"model_type": "cohere"}))
    shape = shape_of(tmp_path / "model")
    assert shape.architecture == "cohere"
    assert shape.parameters == known.parameters
    assert shape.embedding_parameters == known.embedding_parameters
    assert set(shape.linears) == set(known.linears)
    assert shape.tied


def test_unknown_architecture_without_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "novel", "hidden_size": 64}')
    with pytest.raises(ModelError, match="architecture novel"):
        shape_of(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama"}, "has no hidden_size"),
        (SMALL | {"model_type": "llama", "hidden_size": "wide"}, "hidden_size is 'wide'"),
        (SMALL | {"model_type": "llama", "num_attention_heads": 0}, "num_attention_heads is 0"),
        (SMALL | {"model_type": "llama", "hidden_size": 2.5}, "hidden_size is 2.5"),
        (SMALL | {"model_type": "llama", "hidden_size": -64}, "hidden_size is -64"),
        (SMALL | {"model_type": "llama", "num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        (SMALL | {"model_type": "llama", "num_key_value_heads": 3}, "3 of them for keys and values"),
        (SMALL | {"model_type": "llama", "rope_theta": "far"}, "rope_theta is 'far'"),
        (SMALL | {"model_type": "llama", "rope_scaling": [1]}, "rope_scaling is"),
        (SMALL | {"model_type": ["llama"]}, "model_type is"),
        (SMALL | {"model_type": "novel"}, "The architecture novel of .* is unknown here"),
        ({"hidden_size": 64}, "has no model_type"),
        (SMALL | {"model_type": "llama", "vocab_size": None}, "a value that a llama model cannot have"),
    ],
)
def test_incomplete_model_config_names_missing_keys(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        shape_of(tmp_path)


def test_config_that_no_model_can_have_is_refused(tmp_path: Path) -> None:
    """An architecture without a formula here, which transformers builds."""
    (tmp_path / "config.json").write_text('{"model_type": "gptj", "n_embd": 62, "n_head": 4, "n_layer": 2}')
    with pytest.raises(ModelError, match=r"a value that a gptj model cannot have: .*62"):
        shape_of(tmp_path)


@pytest.mark.parametrize(
    "family", [("Mixtral", {"num_local_experts": 4}), ("GPTNeoX", {"num_key_value_heads": None})]
)
def test_config_alone_says_what_weights_say(
    family: tuple[str, dict[str, Any]], tiny_model: Path, tmp_path: Path
) -> None:
    """Layers that can get an adapter, with the names that files give them, and experts that a token goes through."""
    whole = make_family(tmp_path / "whole", tiny_model, *family)
    (tmp_path / "bare").mkdir()
    shutil.copy(whole / "config.json", tmp_path / "bare")
    read, built = shape_of(whole), shape_of(tmp_path / "bare")
    assert replace(read, linears=(), experts=()) == replace(built, linears=(), experts=())
    assert set(read.linears) == set(built.linears)
    assert set(read.experts) == set(built.experts)


def test_starter_model_shape(starter_model: Path) -> None:
    shape = shape_of(starter_model)
    assert shape.parameters == 134_515_008
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == (30, 576, 9, 3, 64)
    assert shape.tied
    assert trained_parameters(shape, Adapter(rank=16)) == 4_884_480
