#!/usr/bin/env bash
# mlx-lm: a folder that transformers 5 wrote is loaded with mlx-lm's own default rotation, without a warning, or not at all.
#
# Expected  A model saved by transformers' save_pretrained answers in mlx_lm.load as it did in transformers: config.json has
#           all that the architecture needs, and mlx-lm reads it.
# Happens   transformers 5 writes the base of the rotary embedding inside `rope_parameters`; `rope_theta` is gone from the
#           top of config.json, where mlx-lm 0.32 looks. For Qwen2 it falls back to its own default (1,000,000), so that a model
#           with another base loads, and its logits are wrong. Qwen3 MoE does not load: `rope_theta` is missing, and `num_experts`,
#           which transformers 5 writes under another name.
# Matters   Whoever fine-tunes with transformers 5 and serves by mlx-lm gets a model that answers worse, the more the
#           longer the text, and looks for the fault in the training. Write `rope_theta` beside `rope_parameters`.
# Seen      2026-11-29: mlx-lm 0.32.2, mlx 0.32.4 (CPU), transformers 5.17.0, torch 2.13.0 (CPU), Python 3.11.7, Linux.
#           What this script printed:
#             qwen2 config.json: rope_theta at the top False | rope_parameters {'rope_theta': 10000.0, 'rope_type': 'default'}
#             qwen2 logits, largest distance by the largest logit: 147.9% as saved, 0.0% with rope_theta added
#             qwen3_moe: TypeError: ModelArgs.__init__() missing 2 required positional arguments: 'num_experts' and 'rope_theta'
#
# Installs the packages into a temporary folder, runs them on tiny random models, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.17.0 'mlx[cpu]==0.32.4' mlx-lm==0.32.2

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from mlx_lm.utils import load_model
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

SIZE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}
IDS = list(range(1, 65))


def saved(kind, model):
    """A folder of the model, and its logits by transformers."""
    torch.manual_seed(0)
    network = model.eval().float()
    for parameter in network.parameters():
        if parameter.dim() > 1:  # larger than transformers' own start, so that attention looks at places
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(kind)
    with torch.no_grad():
        return network(torch.tensor([IDS])).logits[0].numpy()


def by_mlx(kind):
    network, _ = load_model(Path(kind))
    return np.array(network(mx.array([IDS])).astype(mx.float32))[0]


def apart(found, wanted):
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


wanted = saved("qwen2", Qwen2ForCausalLM(Qwen2Config(**SIZE, tie_word_embeddings=False)))
about = json.loads(Path("qwen2/config.json").read_text())
print("qwen2 config.json: rope_theta at the top", "rope_theta" in about, "| rope_parameters", about["rope_parameters"])
first = apart(by_mlx("qwen2"), wanted)
about["rope_theta"] = about["rope_parameters"]["rope_theta"]
Path("qwen2/config.json").write_text(json.dumps(about))
second = apart(by_mlx("qwen2"), wanted)
print(f"qwen2 logits, largest distance by the largest logit: {first:.1%} as saved, {second:.1%} with rope_theta added")

more = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16}
saved("qwen3_moe", Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZE, **more)))
try:
    by_mlx("qwen3_moe")
    problem = "loads"
except TypeError as error:
    problem = f"TypeError: {error}"
print("qwen3_moe:", problem)
assert first > 0.05 and second < 0.01, "qwen2 has changed"
assert "rope_theta" in problem, "qwen3_moe has changed"
PY
