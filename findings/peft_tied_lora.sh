#!/usr/bin/env bash
# PEFT's ensure_weight_tying for LoRA shares memory, not parameters: one optimizer step moves twice, a merge adds twice.
#
# Expected  LoRA on `embed_tokens` of a model whose output layer is the same matrix: PEFT warns, and names
#           `ensure_weight_tying=True` as the remedy. With it, embedding and output layer have one A and one B, which count
#           once, move by the learning rate in Adam's first step, and are merged into the matrix once.
# Happens   The output layer gets parameters of its own that are transposed views of the embedding's memory. They are
#           listed (and counted, clipped and decayed) as further parameters, and the optimizer updates the same numbers
#           once for each: the first step moves twice the learning rate. merge_and_unload() adds the change to the shared
#           matrix once for the embedding and once more for the output layer; all it warns of, with the option as without,
#           is that tied layers are among the targets. Any .to(dtype) makes copies and ends the tie. Training has no warning.
# Matters   Small models have tied embeddings. The merged model is another one than the one that was trained and evaluated.
# Seen      2026-11-29: peft 0.21.2, transformers 5.17.0, torch 2.13.0 (CPU), Python 3.11.7, Linux.
#           What this script printed:
#             A and B                                        4 parameters in 2 pieces of memory
#             first step of Adam, in learning rates          2.00
#             the matrix after merging moved by              2.00 times the change that the adapter makes
#             logits of merged and unmerged model differ by  137 % of what the adapter does
#             still tied after .to(float64)                  False
#
# Installs the packages into a temporary folder, runs them on a tiny random model, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 peft==0.21.2 transformers==5.17.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


def wrapped():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=200, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )
    settings = LoraConfig(
        r=4, lora_alpha=4, target_modules=["embed_tokens"], ensure_weight_tying=True, task_type="CAUSAL_LM"
    )
    return get_peft_model(LlamaForCausalLM(config), settings)


def matrices(model):
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    return embedding.lora_embedding_B["default"], output.lora_A["default"].weight


model = wrapped()
ids = torch.arange(3, 20)[None]
with torch.no_grad(), model.disable_adapter():
    base = model.eval()(ids).logits
trained = [weight for weight in model.parameters() if weight.requires_grad]
pieces = len({weight.data_ptr() for weight in trained})
print(f"{'A and B':46} {len(trained)} parameters in {pieces} pieces of memory")

rate = 1e-3
optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
before = [weight.detach().clone() for weight in trained]
for step in range(30):
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step == 0:
        moved = max((weight - old).abs().max().item() for weight, old in zip(trained, before, strict=True)) / rate
print(f"{'first step of Adam, in learning rates':46} {moved:.2f}")

with torch.no_grad():
    unmerged = model(ids).logits
    embedding = model.get_input_embeddings()
    change, old = embedding.get_delta_weight("default").clone(), embedding.base_layer.weight.clone()
    merged = model.merge_and_unload()
    added = merged.get_input_embeddings().weight - old
    times = ((added * change).sum() / change.square().sum()).item()
    apart = ((merged(ids).logits - unmerged).norm() / (unmerged - base).norm()).item()
print(f"{'the matrix after merging moved by':46} {times:.2f} times the change that the adapter makes")
print(f"{'logits of merged and unmerged model differ by':46} {100 * apart:.0f} % of what the adapter does")

embedding_b, output_a = matrices(wrapped().to(torch.float64))
tied = embedding_b.data_ptr() == output_a.data_ptr()
print(f"{'still tied after .to(float64)':46} {tied}")
assert (len(trained), pieces, tied) == (4, 2, False) and abs(moved - 2) < 0.01 and abs(times - 2) < 0.01 and apart > 0.1, "changed"
PY
