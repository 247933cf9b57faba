#!/usr/bin/env bash
# transformers: in a batch, one long row changes what the model says of the short rows beside it, where positions are
# scaled by `longrope` (Phi-3 128k, Phi-3.5, Phi-4-mini) or `dynamic`.
#
# Expected  Rows of a batch are independent: padded and masked, each gets the logits that it gets alone, up to rounding.
# Happens   The frequencies of the rotation are chosen once for the whole batch, from the largest position in it. One row
#           beyond the original context gives all rows the long factors; padding on the right counts as well. With scaling
#           that does not look at the length (`linear`, `yarn`, `llama3`), rows are independent.
# Matters   Scores of an evaluation, log-probabilities of a DPO pair and answers of a server that batches depend on who
#           else is in the batch, and so on batch size and the order of the rows.
# Seen      2026-11-30: transformers 5.17.0, torch 2.13.0 (CPU), Python 3.11.7, Linux.
#           What this script printed:
#             longrope  beside a row of 12 tokens: 3e-07 from alone; beside one of 40: 4e-01
#             dynamic   beside a row of 12 tokens: 3e-07 from alone; beside one of 40: 6e-02
#             yarn      beside a row of 12 tokens: 3e-07 from alone; beside one of 40: 3e-07
#
# Installs the packages into a temporary folder, runs them on tiny random models, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.17.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

ORIGINAL, WIDTH = 16, 4  # tokens of the original context, pairs of values that a head rotates
SMALL = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}
SCALED = {
    "longrope": {"short_factor": [1.0] * WIDTH, "long_factor": [8.0] * WIDTH},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0},
}


def model_of(kind):
    rope = {"rope_type": kind, "rope_theta": 10000.0, "original_max_position_embeddings": ORIGINAL, **SCALED[kind]}
    if kind == "longrope":
        config = Phi3Config(
            **SMALL, max_position_embeddings=128, original_max_position_embeddings=ORIGINAL, rope_parameters=rope
        )
    else:
        context = ORIGINAL if kind == "dynamic" else 4 * ORIGINAL
        config = LlamaConfig(**SMALL, max_position_embeddings=context, rope_parameters=rope)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(8)  # a new model's layers say too little for attention to matter
    return model


@torch.no_grad()
def far_from_alone(model, length):
    """Relative distance of the logits of a row of 10 tokens beside one of `length`, padded on the right, from alone."""
    draw = torch.Generator().manual_seed(1)
    short = torch.randint(3, 100, (1, 10), generator=draw)
    other = torch.randint(3, 100, (1, length), generator=draw)
    rows = torch.zeros(2, length, dtype=torch.long)
    rows[0, :10], rows[1] = short, other
    mask = torch.ones_like(rows)
    mask[0, 10:] = 0
    alone = model(input_ids=short).logits[0]
    beside = model(input_ids=rows, attention_mask=mask).logits[0, :10]
    return ((beside - alone).norm() / alone.norm()).item()


seen = {}
for kind in SCALED:
    model = model_of(kind)
    near, far = far_from_alone(model, 12), far_from_alone(model, 40)
    seen[kind] = (near < 1e-5, far < 1e-5)
    print(f"{kind:9} beside a row of 12 tokens: {near:.0e} from alone; beside one of 40: {far:.0e}")
assert seen == {"longrope": (True, False), "dynamic": (True, False), "yarn": (True, True)}, "this has changed"
PY
