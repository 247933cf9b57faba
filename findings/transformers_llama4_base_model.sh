#!/usr/bin/env bash
# transformers, Llama 4: `base_model` and `get_decoder()` of the text model are the model itself, head and all.
#
# Expected  Of every causal model, `model.base_model` is the part without the head, whose output has `last_hidden_state`: so
#           code that puts a loss, a class head or a reward head of its own on the hidden states takes that, or asks
#           `get_decoder()`.
# Happens   Llama4ForCausalLM says base_model_prefix = "language_model" (the name inside the model that sees), and keeps its
#           layers under `model`. `base_model` falls back to the model itself without a word, and so does `get_decoder()`.
#           The output has logits and no last_hidden_state; the layers alone are `model.model`. Every other text model of
#           this list has its layers there.
# Matters   A loss in chunks that is given `base_model` computes all logits first, or fails far from the cause. Look for
#           the one child that is a PreTrainedModel where `model.base_model is model`.
# Seen      2026-11-30: transformers 5.17.0, torch 2.13.0, Python 3.11.7, Linux. What this script printed:
#             Llama    base_model: LlamaModel, get_decoder(): LlamaModel, last_hidden_state: True
#             Qwen3    base_model: Qwen3Model, get_decoder(): Qwen3Model, last_hidden_state: True
#             GPT2     base_model: GPT2Model, get_decoder(): GPT2Model, last_hidden_state: True
#             Llama4   base_model: Llama4ForCausalLM, get_decoder(): Llama4ForCausalLM, last_hidden_state: False
#
# Installs the packages into a temporary folder, runs them on tiny random models, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.17.0 torch==2.13.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch
import transformers

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}
FAMILIES = {
    "Llama": {}, "Qwen3": {"head_dim": 8}, "GPT2": {},
    "Llama4": {"head_dim": 8, "num_local_experts": 2, "intermediate_size_mlp": 64},
}
for family, own in FAMILIES.items():
    name = f"{family}TextConfig" if family == "Llama4" else f"{family}Config"
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**SMALL | own)).eval()
    with torch.no_grad():
        hidden = "last_hidden_state" in model.base_model(torch.tensor([[1, 5, 7]]))
    base, decoder = type(model.base_model).__name__, type(model.get_decoder()).__name__
    print(f"{family:8} base_model: {base}, get_decoder(): {decoder}, last_hidden_state: {hidden}")
    assert hidden == (family != "Llama4"), "this has changed"
    assert (model.base_model is model) == (model.get_decoder() is model) == (family == "Llama4"), "this has changed"
PY
