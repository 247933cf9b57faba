#!/usr/bin/env bash
# TRL's ORPO trainer: the loss on the chosen answer is taken over the prompt too, and over the tokens of the whole batch.
#
# Expected  ORPO (arXiv:2403.07691, eq. 1, 2 and 6) adds the odds ratio to the negative log-likelihood of the chosen answer given
#           its prompt, the mean over the answer's tokens; DPOTrainer, KTOTrainer and SFTTrainer (with prompt and completion) train
#           answers alone.
# Happens   The labels of that part are the whole sequence, prompt included, and the mean is over all tokens of all chosen rows. With
#           long prompts and short answers most of the loss is about prompts. The odds ratio itself is of the answers alone.
# Matters   The same recipe in another trainer gives another loss and other gradients; beta weighs the odds ratio against a
#           term that depends on how long the prompts are; a model is trained to say the users' turns.
# Seen      2026-12-01: trl 1.14.2, transformers 5.17.0, peft 0.21.2, torch 2.13.0 (CPU), Python 3.11.7, Linux.
#           What this script printed:
#             TRL's nll_loss         3.4578
#             over prompt and answer 3.4578
#             over the answer alone  3.5042
#
# Installs the packages into a temporary folder, trains nothing, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 trl==1.14.2 transformers==5.17.0 peft==0.21.2

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= TRL_EXPERIMENTAL_SILENCE=1
cat > look.py <<'PY'
import sys

import datasets
import tokenizers
import torch
import transformers
from torch.nn.functional import cross_entropy
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

words = ["<s>", "</s>", "<pad>", "<unk>", *(f"w{number}" for number in range(28))]
model = tokenizers.models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>")
raw = tokenizers.Tokenizer(model)
raw.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
)
transformers.set_seed(0)
network = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, pad_token_id=2
    )
)
row = {"prompt": "w1 w2 w3 w4 w5 w6 w7 w8 w9", "chosen": " w10 w11", "rejected": " w12 w13 w14"}
trainer = ORPOTrainer(
    model=network,
    args=ORPOConfig(
        output_dir="out", per_device_train_batch_size=1, report_to=[], remove_unused_columns=False, use_cpu=True, bf16=False
    ),
    train_dataset=datasets.Dataset.from_list([row]),
    processing_class=tokenizer,
)
batch = next(iter(trainer.get_train_dataloader()))
_, metrics = trainer.get_batch_loss_metrics(network, batch)
theirs = float(metrics["nll_loss"])
ids, answer = batch["chosen_input_ids"], batch["chosen_labels"]
with torch.no_grad():
    logits = network(ids).logits[0, :-1]
whole, own = (float(cross_entropy(logits, labels[0, 1:])) for labels in (ids, answer))
print(f"TRL's nll_loss         {theirs:.4f}")
print(f"over prompt and answer {whole:.4f}")
print(f"over the answer alone  {own:.4f}")
sys.exit(not (abs(theirs - whole) < 1e-4 < abs(theirs - own)))
PY
venv/bin/python look.py 2> log || { cat log; echo "changed"; exit 1; }
