#!/usr/bin/env bash
# lm-eval gives a model whose weights are all NaN an ordinary accuracy: the share of questions whose first choice is right.
#
# Expected  Log-likelihoods of NaN are no result: an error, a warning, or an accuracy of 0 or NaN.
# Happens   The choice is numpy's argmax over the choices' log-likelihoods, and argmax takes the first NaN. So the model
#           answers every question with the first choice, `acc` and `acc_norm` alike. A yes/no task with two thirds "yes"
#           gives 0.67, four shuffled choices give 0.25, and nothing is said about NaN.
# Matters   A run that diverged, or an export that overflowed in fp16, can score like a weak model, or better than the model
#           before where labels are uneven. Look at the log-likelihoods, and at what one constant answer scores.
# Seen      2026-11-29: lm-eval 0.4.13, transformers 5.17.0, torch 2.13.0 (CPU), Python 3.11.7, Linux. A yes/no task of its
#           own, 16 of 24 answers "yes"; what this script printed:
#             trained                acc 1.00  acc_norm 1.00  log-likelihoods of the first row -0.00, -5.93
#             every weight is NaN    acc 0.67  acc_norm 0.67  log-likelihoods of the first row nan, nan
#
# Installs the packages (many: lm-eval needs scipy, pandas and more) into a temporary folder, runs them on a tiny random
# model and rows of its own, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lm_eval==0.4.13 torch==2.13.0 transformers==5.17.0 accelerate==1.15.0 datasets==4.8.5

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
venv/bin/python -W ignore - 2> log <<'PY' || { cat log; exit 1; }
import json

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = "<pad> <eos> question is it so ? answer : yes no a b c d e f".split()
word_level = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<pad>"))
word_level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_level, pad_token="<pad>", eos_token="<eos>")
asked = [(f"question : is it {letter} ?", int(letter in "ef")) for letter in "abcdef" * 4]
with open("rows.jsonl", "w") as file:
    file.writelines(json.dumps({"question": question, "label": label}) + "\n" for question, label in asked)
task = {
    "task": "yes_or_no",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}} answer :",
    "doc_to_target": "label",
    "doc_to_choice": ["yes", "no"],
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}


def score(title, model):
    results = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model.eval(), tokenizer=tokenizer, batch_size=8, device="cpu"),
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        verbosity="WARNING",
    )
    found = results["results"]["yes_or_no"]["acc,none"], results["results"]["yes_or_no"]["acc_norm,none"]
    likely = [choice[0] for choice in results["samples"]["yes_or_no"][0]["filtered_resps"]]
    shown = ", ".join(f"{value:.2f}" for value in likely)
    print(f"{title:22} acc {found[0]:.2f}  acc_norm {found[1]:.2f}  log-likelihoods of the first row {shown}")
    return found


torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )
)
texts = [f"{question} answer : {'no' if label else 'yes'}" for question, label in asked[:6]]
ids = tokenizer(texts, return_tensors="pt")["input_ids"]
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for _ in range(60):
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
trained = score("trained", model)
with torch.no_grad():
    for weight in model.parameters():
        weight.fill_(float("nan"))
broken = score("every weight is NaN", model)
assert trained == (1, 1) and all(abs(value - 16 / 24) < 1e-6 for value in broken), "changed"
PY
if grep -i '\bnan\b' log; then echo "lm-eval says something about NaN now"; exit 1; fi
