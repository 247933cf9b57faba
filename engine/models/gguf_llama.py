"""Turn a Llama's GGUF file into the folder that transformers and mlx-lm load, by gguf and numpy alone."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.models.weights import PendingTensor, write_bfloat16

CONTROL_TOKEN = 3
"""`tokenizer.ggml.token_type` of a special token (llama.cpp's LLAMA_TOKEN_TYPE_CONTROL)."""

MODULES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""GGUF's names of a layer's modules, and transformers' names of the same."""


def convert(
    source: Path, folder: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write `source`'s weights, config and tokenizer into `folder`, which exists and is empty.

    `progress` is told bytes of weights written and in all. The embedding is tied to the output, so it is
    written once.
    """
    from gguf import GGUFReader

    reader = GGUFReader(source)
    meta = {name: field.contents() for name, field in reader.fields.items()}
    config = _config(meta)
    tensors = list(_tensors(reader, config["num_attention_heads"], config["num_key_value_heads"]))
    total = sum(2 * int(np.prod(tensor.shape)) for tensor in tensors)
    for done in write_bfloat16(folder / "model.safetensors", tensors):
        progress(min(done, total), total)
    _write_json(folder / "config.json", config)
    _write_json(
        folder / "generation_config.json", {key: config[key] for key in config if key.endswith("token_id")}
    )
    _write_json(folder / "tokenizer.json", _tokenizer(meta))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(meta))
    (folder / "chat_template.jinja").write_text(meta["tokenizer.chat_template"], encoding="utf-8")


def _config(meta: dict[str, Any]) -> dict[str, Any]:
    """config.json of a LlamaForCausalLM. GGUF holds float32: 1e-5 reads 9.9999997e-06 and is rounded back."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": meta["llama.embedding_length"],
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": meta["llama.attention.head_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "head_dim": meta["llama.rope.dimension_count"],
        "max_position_embeddings": meta["llama.context_length"],
        "rms_norm_eps": float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": float(meta["llama.rope.freq_base"]),
        "vocab_size": meta["llama.vocab_size"],
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
    }


def _tensors(reader: Any, heads: int, kv_heads: int) -> Iterator[PendingTensor]:
    from gguf.quants import dequantize

    for tensor in reader.tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        rotated = {"attn_q": heads, "attn_k": kv_heads}.get(tensor.name.split(".")[-2])

        def values(tensor: Any = tensor, rotated: int | None = rotated) -> npt.NDArray[np.float32]:
            dense: npt.NDArray[np.float32] = dequantize(tensor.data, tensor.tensor_type)
            return unpermute(dense, rotated) if rotated else dense

        yield PendingTensor(_name(tensor.name), shape, values)


def _name(name: str) -> str:
    if match := re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name):
        return f"model.layers.{match[1]}.{MODULES[match[2]]}.weight"
    return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[name]


def unpermute(rows: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo llama.cpp's order of a query or key matrix `[heads * head_dim, hidden]`.

    GGUF has each rotated pair side by side, transformers has the pairs' halves apart
    (`LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py is the inverse).
    """
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, rows.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))


def _tokenizer(meta: dict[str, Any]) -> dict[str, Any]:
    """tokenizer.json: byte-level BPE; llama.cpp's `smollm` pre-tokeniser gives each digit its own token."""
    tokens: list[str] = meta["tokenizer.ggml.tokens"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": tokens[index], **flags}
            for index, kind in enumerate(meta["tokenizer.ggml.token_type"])
            if kind == CONTROL_TOKEN
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in meta["tokenizer.ggml.merges"]],
        },
    }


def _tokenizer_config(meta: dict[str, Any]) -> dict[str, Any]:
    tokens = meta["tokenizer.ggml.tokens"]
    named = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": meta["llama.context_length"],
        **{
            f"{ours}_token": tokens[meta[f"tokenizer.ggml.{theirs}_token_id"]]
            for ours, theirs in named.items()
        },
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
