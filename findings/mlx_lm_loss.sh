#!/usr/bin/env bash
# mlx-lm: a row's loss counts the padding token after it, batches are not sorted by length, accumulation weights rows by
# their micro-batch, and one prompt that fills the window makes all weights NaN.
#
# Expected  The loss is the mean over a row's tokens up to its end-of-text token. Batches are made of rows of like length
#           ("sort by length", says the code). Accumulating micro-batches gives the gradient of the whole batch. A row
#           whose answer is cut off adds nothing.
# Happens   1. The mask goes one further than the row, and padding is token 0: each row also learns that token 0 follows
#           the end of the text. With answers of one word that is a third of the trained tokens.
#           2. CacheDataset.itemlen gives the number of *keys* of a row, so the order stays that of the file.
#           3. Accumulation averages the micro-batches' means: a micro-batch of 1 answer token counts as much as one of 30.
#           4. With mask_prompt, a batch whose prompts fill max_seq_length is 0 / 0; the step writes NaN into all weights,
#           and the adapter is saved like that.
# Matters   Losses can't be compared with those of other trainers, batches are mostly padding where lengths differ, and one
#           long row in a file makes a run worthless.
# Seen      2026-11-29: mlx-lm 0.32.2, mlx 0.32.4 (CPU), transformers 5.17.0, Python 3.11.7, Linux.
#           What this script printed:
#             1. an answer of 1 token and the end token: 3 tokens in the loss, their targets [7, 1, 0]
#             2. widths of batches of 2 from rows short, long, short, long: [65, 65]; of the same as a plain list: [33, 65]
#             3. 2 x 1 rows against 1 x 2: 136 % apart, with answers of like length 0 %
#             4. a prompt of 10 tokens in a window of 8: 11,360 of 11,360 weights are NaN, 11,360 are saved so
#
# Installs the packages into a temporary folder, runs them on a tiny random model, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'mlx[cpu]==0.32.4' mlx-lm==0.32.2 transformers==5.17.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python -W ignore - <<'PY'
import contextlib
import io

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten
from mlx_lm.models import llama
from mlx_lm.tuner.datasets import CacheDataset
from mlx_lm.tuner.trainer import TrainingArgs, default_loss, iterate_batches, train

mx.set_default_device(mx.cpu)
END = 1


class Rows:
    """What CacheDataset wraps: rows of a file, which `process` makes into tokens and the number that is not trained."""

    def __init__(self, *rows):
        self.rows = [{"prompt": prompt, "completion": completion} for prompt, completion in rows]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]

    def process(self, row):
        return row["prompt"] + row["completion"] + [END], len(row["prompt"])


def tiny():
    mx.random.seed(0)
    return llama.Model(
        llama.ModelArgs(
            model_type="llama", hidden_size=32, num_hidden_layers=1, intermediate_size=64, num_attention_heads=4,
            num_key_value_heads=2, rms_norm_eps=1e-5, vocab_size=64, tie_word_embeddings=True,
        )
    )


def batches(rows, size=1):
    return list(iterate_batches(rows, size, max_seq_length=128))


def step(rows, accumulation=1, size=1, window=64):
    """The weights after one step of plain gradient descent, and the gradient that it used."""
    model = tiny()
    before = dict(tree_flatten(model.parameters()))
    before = {name: mx.array(weight) for name, weight in before.items()}
    mx.eval(before)
    settings = TrainingArgs(
        batch_size=size, iters=accumulation, grad_accumulation_steps=accumulation, max_seq_length=window, steps_per_report=1000,
        steps_per_save=1000, adapter_file="adapter.safetensors",
    )
    with contextlib.redirect_stdout(io.StringIO()):
        train(model, optim.SGD(learning_rate=1.0), CacheDataset(rows), args=settings)
    after = dict(tree_flatten(model.parameters()))
    return after, {name: before[name] - after[name] for name in before}


def norm(tensors):
    return sum(mx.square(tensor).sum() for tensor in tensors.values()).item() ** 0.5


prompt, short, long = list(range(40, 50)), [7], list(range(2, 32))

[(batch, lengths)] = batches(CacheDataset(Rows((prompt, short))))
tokens = default_loss(tiny(), batch, lengths)[1].item()
first, last = lengths.tolist()[0]
targets = batch[0, first : last + 1].tolist()
print(f"1. an answer of 1 token and the end token: {tokens:.0f} tokens in the loss, their targets {targets}")

mixed = CacheDataset(Rows((prompt, short), (prompt, long), (prompt, short), (prompt, long)))
widths = sorted(batch.shape[1] for batch, _ in batches(mixed, 2))
as_list = sorted(batch.shape[1] for batch, _ in batches(list(mixed), 2))
print(f"2. widths of batches of 2 from rows short, long, short, long: {widths}; of the same as a plain list: {as_list}")

apart = []
for second in (short, long):
    rows = Rows((prompt, long[::-1]), (prompt, second))
    (_, accumulated), (_, whole) = step(rows, accumulation=2), step(rows, size=2)
    apart.append(norm({name: accumulated[name] - whole[name] for name in whole}) / norm(whole))
print(f"3. 2 x 1 rows against 1 x 2: {100 * apart[0]:.0f} % apart, with answers of like length {100 * apart[1]:.0f} %")

after, _ = step(Rows((prompt, short)), window=8)
spoiled = sum(mx.isnan(weight).sum().item() for weight in after.values())
saved = sum(mx.isnan(weight).sum().item() for weight in mx.load("adapter.safetensors").values())
everything = sum(weight.size for weight in after.values())
print(f"4. a prompt of 10 tokens in a window of 8: {spoiled:,} of {everything:,} weights are NaN, {saved:,} are saved so")

assert (tokens, targets) == (3, [7, END, 0]), "1 has changed"
assert (widths, as_list) == ([65, 65], [33, 65]), "2 has changed"
assert apart[0] > 0.2 and apart[1] < 0.01, "3 has changed"
assert saved > 0.9 * everything, "4 has changed"
PY
