#!/usr/bin/env bash
# mlx-lm, Gemma 3: `layer_types` of config.json is not read, so a model whose layers look far and near in another order
# than every sixth computes something else; one of fewer layers than six raises.
#
# Expected  config.json as transformers 5 writes it says for each layer whether it sees a window or everything
#           (`layer_types`). mlx-lm loads the folder without a word, so it computes the same.
# Happens   1. mlx-lm takes `sliding_window_pattern` alone, which transformers no longer writes, and 6 without it. Layers
#           that are near in one and far in the other also turn their queries by another angle (rope_local_base_freq
#           for rope_theta), so that even short texts get other logits. Nothing is raised or printed.
#           2. With `sliding_window_pattern` added to the config, both agree.
#           3. A config of 2 layers (a pruned model, a draft model, a test) raises IndexError at the first token: the mask
#           of the far layers is made from the cache of the sixth.
# Matters   Pruned, grown and self-made Gemma 3 models are trained and served wrong on a Mac, from a folder that
#           transformers wrote and mlx-lm accepted.
# Seen      2026-11-30: mlx-lm 0.32.2, mlx 0.32.4 (CPU), transformers 5.17.0, torch 2.13.0, Python 3.11.7, Linux.
#           What this script printed:
#             1. layers sfsfsfsfsfsf (s: sliding, f: full), sliding_window_pattern in the config: False; logits 13 % apart
#             2. with sliding_window_pattern: 2, 0.03 % apart
#             3. 2 layers: IndexError: list index out of range
#
# Installs the packages into a temporary folder, runs them on a tiny random model, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'mlx[cpu]==0.32.4' mlx-lm==0.32.2 transformers==5.17.0 torch==2.13.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from mlx_lm.utils import load_model
from transformers import Gemma3ForCausalLM, Gemma3TextConfig
from transformers.utils import logging

logging.disable_progress_bar()
mx.set_default_device(mx.cpu)
TOKENS = list(range(3, 15))


def folder_of(name, layers):
    """A model of so many layers, near and far in turn, as transformers saves it; and the model."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=512, max_position_embeddings=512, query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"] * (layers // 2), tie_word_embeddings=True,
    )
    model = Gemma3ForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    model.save_pretrained(name)
    return Path(name), model


def apart(folder, model):
    """Largest difference of the logits of one row, by the largest logit."""
    theirs = np.array(load_model(folder)[0](mx.array([TOKENS])).astype(mx.float32))
    with torch.no_grad():
        ours = model(torch.tensor([TOKENS])).logits.numpy()
    return float(np.abs(theirs - ours).max() / np.abs(ours).max())


folder, model = folder_of("alternating", 12)
config = json.loads((folder / "config.json").read_text())
kinds = "".join(kind[0] for kind in config["layer_types"])
before = apart(folder, model)
print(f"1. layers {kinds} (s: sliding, f: full), sliding_window_pattern in the config: {'sliding_window_pattern' in config}; "
      f"logits {100 * before:.0f} % apart")
(folder / "config.json").write_text(json.dumps(config | {"sliding_window_pattern": 2}))
after = apart(folder, model)
print(f"2. with sliding_window_pattern: 2, {100 * after:.2f} % apart")
folder, model = folder_of("small", 2)
try:
    apart(folder, model)
    raised = "nothing"
except IndexError as error:
    raised = f"IndexError: {error}"
print(f"3. 2 layers: {raised}")

assert "sliding_window_pattern" not in config and before > 0.05, "1 has changed"
assert after < 0.001, "2 has changed"
assert raised.startswith("IndexError"), "3 has changed"
PY
