#!/usr/bin/env bash
# PEFT: add_weighted_adapter(combination_type="linear") is not the weighted sum of what the adapters do.
#
# Expected  With weights 0.5 and 0.5 the new adapter changes the model by the mean of the two changes B·A·scale; the mean
#           of an adapter and itself is that adapter.
# Happens   "linear" adds up the A matrices and the B matrices, each times the root of its weight, and multiplies the sums:
#           (√w·B1 + √w·B2)(√w·A1 + √w·A2) has the cross terms B1·A2 and B2·A1, which nobody trained, and which are as
#           large as the right part. The mean of an adapter and itself is *twice* the adapter. "cat" is exact (its rank is
#           the sum of the ranks); "svd" is the best that fits into the rank.
# Matters   The average of several runs' adapters by "linear" is a model that none of them resembles. Use "cat".
# Seen      2026-11-29: peft 0.21.2, torch 2.13.0 (CPU), Python 3.11.7, Linux. Two random adapters of rank 4 on a layer of
#           32 x 32; what this script printed:
#             linear  mean of a and b: error  98.6 %, size 1.41   mean of a and a: error 100.0 %, size 2.00
#             svd     mean of a and b: error  45.0 %, size 0.89   mean of a and a: error   0.0 %, size 1.00
#             cat     mean of a and b: error   0.0 %, size 1.00   mean of a and a: error   0.0 %, size 1.00
#
# Installs the packages into a temporary folder, runs them on numbers of its own, ends with 1 where that has changed.
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

torch.manual_seed(0)
settings = LoraConfig(r=4, lora_alpha=8, target_modules=["0"], init_lora_weights=False)
model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(32, 32, bias=False)), settings, "first")
model.add_adapter("second", settings)
layer = model.base_model.model[0]


@torch.no_grad()
def compare(kind, *names):
    """Error and size of the mean of these adapters against the mean of what they do to the weight."""
    model.add_weighted_adapter(list(names), [0.5] * len(names), "mean", combination_type=kind)
    found = layer.get_delta_weight("mean")
    right = sum(layer.get_delta_weight(name) for name in names) * 0.5
    model.delete_adapter("mean")
    return ((found - right).norm() / right.norm()).item(), (found.norm() / right.norm()).item()


errors = {}
for kind in ("linear", "svd", "cat"):
    both, same = compare(kind, "first", "second"), compare(kind, "first", "first")
    print(
        f"{kind:7} mean of a and b: error {both[0]:6.1%}, size {both[1]:.2f}   "
        f"mean of a and a: error {same[0]:6.1%}, size {same[1]:.2f}".replace("%", " %")
    )
    errors[kind] = both[0], same[0]
assert errors["linear"][0] > 0.5 and abs(errors["linear"][1] - 1) < 1e-3, "linear has changed"
assert max(errors["cat"]) < 1e-5 and errors["svd"][1] < 1e-5, "cat or svd has changed"
PY
