#!/usr/bin/env bash
# PEFT on a mixture of experts: gate_proj/up_proj/down_proj mean the experts of one family and nothing in the next.
#
# Expected  In transformers 5 the experts of Mixtral and of Qwen3-MoE are the same two 3-D parameters,
#           `experts.gate_up_proj` and `experts.down_proj`, so the usual list of projections means the same in both, and
#           where a listed name matches nothing, PEFT says so. "all-linear" means the linear layers.
# Happens   PEFT translates the names of a family's *old* checkpoints. Qwen3-MoE's old experts were called gate_proj,
#           up_proj, down_proj, and get adapters. Mixtral's were called w1, w2, w3: the usual list trains its attention
#           alone, without a warning, while w1, w2, w3, which name nothing in the loaded model, train its experts.
#           "all-linear" takes the experts of both and also the router (`mlp.gate`), which decides which expert runs.
# Matters   The same list trains 4 % of the weights that were meant; "all-linear" trains the router, which most recipes
#           leave alone. Look at the names of the trained parameters, not at the list.
# Seen      2026-11-29: peft 0.21.2, transformers 5.17.0, torch 2.13.0 (CPU), Python 3.11.7, Linux. With one layer, four
#           experts and rank 4, what this script printed:
#             Mixtral   q_proj gate_proj up_proj down_proj     attention                       256 weights
#             Mixtral   q_proj w1 w2 w3                        attention, experts            6,912 weights
#             Mixtral   all-linear                             attention, experts, router    7,696 weights
#             Qwen3Moe  q_proj gate_proj up_proj down_proj     attention, experts            6,912 weights
#             Qwen3Moe  all-linear                             attention, experts, router    7,696 weights
#
# Installs the packages into a temporary folder, runs them on tiny random models, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 peft==0.21.2 transformers==5.17.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import warnings

import transformers
from peft import LoraConfig, get_peft_model

sizes = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "num_experts_per_tok": 2,
}
experts = {"Mixtral": {"num_local_experts": 4}, "Qwen3Moe": {"num_experts": 4}}
parts = {"self_attn": "attention", "mlp.experts": "experts", "mlp.gate.": "router"}


def reached(family, targets):
    config = getattr(transformers, f"{family}Config")(**sizes, **experts[family])
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    names = {name for name, _ in model.named_parameters()}
    assert {"model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts.down_proj"} <= names
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    found = ", ".join(part for key, part in parts.items() if any(key in name for name in trained))
    about_targets = [str(warning.message) for warning in said if "target_modules" in str(warning.message)]
    shown = targets if isinstance(targets, str) else " ".join(targets)
    count = model.get_nb_trainable_parameters()[0]
    print(f"{family:9} {shown:37}  {found:27} {count:7,} weights", *about_targets)
    return found, about_targets


usual, old = ["q_proj", "gate_proj", "up_proj", "down_proj"], ["q_proj", "w1", "w2", "w3"]
found = [reached(*case) for case in (
    ("Mixtral", usual), ("Mixtral", old), ("Mixtral", "all-linear"), ("Qwen3Moe", usual), ("Qwen3Moe", "all-linear"),
)]  # fmt: skip
everything = "attention, experts, router"
right = ["attention", "attention, experts", everything, "attention, experts", everything]
assert found == [(parts, []) for parts in right], "changed"
PY
