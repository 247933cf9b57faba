"""Models that benchmarks/gguf_export.py exports, each made by a process of its own, whose memory counts for no side.

    python benchmarks/gguf_model.py tiny|starter|1b FOLDER

Prints the model's folder.
"""

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.gguf_export import ONE_BILLION
from engine.models import starter
from engine.models.weights import PendingTensor, write_bfloat16


def main(kind: str, folder: Path) -> None:
    if kind == "starter":
        print(starter.ensure())
        return
    folder.mkdir(parents=True)
    if kind == "tiny":
        from tests.tiny import make_tiny_model

        make_tiny_model(folder)
    else:
        one_billion(folder)
    print(folder)


def one_billion(folder: Path) -> None:
    """A Llama of 1.24 B random bf16 weights with a tied embedding, and the starter's tokenizer."""
    source = starter.ensure()
    for file in [*source.glob("token*"), *source.glob("*.jinja"), source / "generation_config.json"]:
        shutil.copy(file, folder)
    config = json.loads((source / "config.json").read_text()) | ONE_BILLION
    (folder / "config.json").write_text(json.dumps(config))
    width, inner, head = (ONE_BILLION[key] for key in ("hidden_size", "intermediate_size", "head_dim"))
    keys = int(ONE_BILLION["num_key_value_heads"] * head)
    width, inner = int(width), int(inner)
    layer = {
        "input_layernorm": (width,), "self_attn.q_proj": (width, width), "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width), "self_attn.o_proj": (width, width), "post_attention_layernorm": (width,),
        "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner),
    }  # fmt: skip
    shapes = {
        "model.embed_tokens.weight": (int(ONE_BILLION["vocab_size"]), width),
        "model.norm.weight": (width,),
    }
    for index in range(int(ONE_BILLION["num_hidden_layers"])):
        shapes |= {f"model.layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    random = np.random.default_rng(0)
    tensors = [PendingTensor(name, shape, partial(_drawn, random, shape)) for name, shape in shapes.items()]
    for _ in write_bfloat16(folder / "model.safetensors", tensors):
        pass


def _drawn(random: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return random.standard_normal(shape, np.float32) * np.float32(0.02)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
