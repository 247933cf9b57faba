#!/usr/bin/env bash
# transformers: whether packed rows see each other depends on use_cache, on a mask of ones, and on the attention's name.
#
# Expected  Two rows in one sequence, each with position_ids from 0: transformers looks for such restarts and keeps the
#           rows apart, in every mode. An attention mask of ones says "no padding", as leaving it out does. A boolean
#           4-D mask (True: may look) means the same under "sdpa" and under "eager".
# Happens   The rows are kept apart only without a mask *and* with use_cache=False. use_cache is true by default, in train()
#           too, and then the second row reads the first; with a mask of ones, which most collators make, it does as well.
#           Under "eager" a boolean 4-D mask is *added* to the scores as 0 and 1: it hides nothing, the later tokens
#           included. There is no warning.
# Matters   Training on packed rows then learns from other rows' text, and nothing in the log says so. Compare the logits of
#           a packed and a lone row before packing.
# Seen      2026-11-29: transformers 5.17.0, torch 2.13.0 (CPU), Python 3.11.7, Linux; a tiny random Llama in train().
#           What this script printed (how far the second row's logits are from those of the row alone):
#                                              sdpa             eager
#             no mask, use_cache=False         0.000 apart      0.000 apart
#             no mask, use_cache left out      0.234 LEAKS      0.234 LEAKS
#             mask of ones, use_cache=False    0.234 LEAKS      0.234 LEAKS
#             boolean 4-D mask                 0.000 apart      0.180 LEAKS
#             the same mask, 0 and -inf        0.000 apart      0.000 apart
#
# Installs the packages into a temporary folder, runs them on a tiny random model, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.17.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python - <<'PY'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

first, second = torch.arange(3, 9)[None], torch.arange(20, 25)[None]
packed = torch.cat([first, second], 1)
positions = torch.cat([torch.arange(6), torch.arange(5)])[None]
row = torch.tensor([0] * 6 + [1] * 5)
allowed = (row[:, None] == row) & torch.ones(11, 11).tril().bool()
added = torch.zeros(11, 11).masked_fill(~allowed, torch.finfo(torch.float32).min)
cases = {
    "no mask, use_cache=False": {"use_cache": False},
    "no mask, use_cache left out": {},
    "mask of ones, use_cache=False": {"attention_mask": torch.ones_like(packed), "use_cache": False},
    "boolean 4-D mask": {"attention_mask": allowed[None, None], "use_cache": False},
    "the same mask, 0 and -inf": {"attention_mask": added[None, None], "use_cache": False},
}


def distances(attention):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, attn_implementation=attention,
    )
    model = LlamaForCausalLM(config).train()
    assert model.config._attn_implementation == attention
    with torch.no_grad():
        alone = model(second).logits
        return [
            (model(packed, position_ids=positions, **options).logits[:, 6:] - alone).abs().max().item()
            for options in cases.values()
        ]


found = {attention: distances(attention) for attention in ("sdpa", "eager")}
leaks = {attention: [distance > 1e-3 for distance in row] for attention, row in found.items()}
print(f"{'':33}{'sdpa':17}eager")
for index, case in enumerate(cases):
    cells = [f"{found[kind][index]:.3f} {'LEAKS' if leaks[kind][index] else 'apart'}" for kind in ("sdpa", "eager")]
    print(f"{case:33}{cells[0]:17}{cells[1]}")
assert leaks == {"sdpa": [False, True, True, False, False], "eager": [False, True, True, True, False]}, "changed"
PY
