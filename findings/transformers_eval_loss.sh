#!/usr/bin/env bash
# transformers' Trainer: eval_loss depends on per_device_eval_batch_size, by far; the training loss does not depend on its own.
#
# Expected  Loss is the mean over the trained tokens. For training this holds since accumulation counts tokens: four rows
#           as 1 x 4, 2 x 2 or 4 x 1 are the same loss. The evaluation of the same rows is the same number, whatever the
#           batch size, which is only a question of memory.
# Happens   Training passes the number of tokens of the whole step to the model; evaluation does not. Each batch's loss is
#           the mean over *its* tokens, and eval_loss the mean of these, each weighted by its number of rows. Where answers
#           differ in length, a batch of short ones counts as much as one of long ones.
# Matters   A validation loss can't be compared with that of a run on a larger GPU, nor with the training loss beside it, and
#           load_best_model_at_end and early stopping choose by it. exp(eval_loss) is not the perplexity.
# Seen      2026-11-29: transformers 5.17.0, accelerate 1.15.0, torch 2.13.0 (CPU), Python 3.11.7, Linux. One row with 39
#           trained tokens that the model knows, three with one that it does not know; what this script printed:
#             mean over the 42 trained tokens        0.308
#             training   in batches of 1, 2, 4 rows   0.308  0.308  0.308
#             evaluation in batches of 1, 2, 4 rows   3.026  2.228  0.308
#
# Installs the packages into a temporary folder, runs them on a tiny random model, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.17.0 accelerate==1.15.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python - <<'PY'
import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

transformers.logging.set_verbosity_error()
torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
)
known = list(range(3, 43))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for _ in range(30):
    ids = torch.tensor([known])
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
rows = [(known, 39), ([50, 51, 52], 1), ([53, 54, 55], 1), ([56, 57, 58], 1)]  # tokens, how many of them are trained


def batch(rows):
    """Padded at the right: fields of shape (rows, longest row)."""
    width = max(len(ids) for ids, _ in rows)
    fields = {"input_ids": [], "attention_mask": [], "labels": []}
    for ids, trained in rows:
        rest = width - len(ids)
        fields["input_ids"].append(ids + [0] * rest)
        fields["attention_mask"].append([1] * len(ids) + [0] * rest)
        fields["labels"].append([-100] * (len(ids) - trained) + ids[-trained:] + [-100] * rest)
    return {name: torch.tensor(values) for name, values in fields.items()}


def trainer(**settings):
    arguments = TrainingArguments(
        "out", learning_rate=0.0, max_steps=1, logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True,
        save_strategy="no", remove_unused_columns=False, **settings,
    )
    made = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, data_collator=batch)
    made.remove_callback(transformers.PrinterCallback)
    return made


total = count = 0
with torch.no_grad():
    for ids, trained in rows:
        logits = model.eval()(torch.tensor([ids])).logits[0, -trained - 1 : -1]
        total += cross_entropy(logits, torch.tensor(ids[-trained:]), reduction="sum").item()
        count += trained
right = total / count
print(f"mean over the {count} trained tokens        {right:.3f}")
losses = {"training": [], "evaluation": []}
for size in (1, 2, 4):
    run = trainer(per_device_train_batch_size=size, gradient_accumulation_steps=4 // size)
    run.train()
    losses["training"].append(run.state.log_history[0]["loss"])
    losses["evaluation"].append(trainer(per_device_eval_batch_size=size).evaluate()["eval_loss"])
for name, found in losses.items():
    print(f"{name:10} in batches of 1, 2, 4 rows   " + "  ".join(f"{loss:.3f}" for loss in found))
assert all(abs(loss - right) < 1e-3 for loss in losses["training"]), "the training loss has changed"
one, two, four = losses["evaluation"]
assert one > two + 0.5 > four + 1 and abs(four - right) < 1e-3, "the evaluation loss has changed"
PY
