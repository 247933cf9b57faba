#!/usr/bin/env bash
# PEFT: a bf16 model loses most of a small LoRA update, merged into it or beside it, without a warning, `safe_merge=True`
# included.
#
# Expected  bf16 has 8 significant bits, so a merged weight is off by up to 0.4 %. The adapter was trained and evaluated on
#           this very bf16 model, its update is computed in fp32, and rounding errors go both ways: the merged model is the
#           same within noise.
# Happens   The 0.4 % are of the *weight*, and a LoRA's update is often smaller than that: a weight moves by a whole step of
#           bf16 or not at all. With an update of 0.3 % of the weights' size, half of the weights stay and the error is
#           half the update; at 0.1 % four fifths are lost. fp16 has three more bits and loses far less, fp32
#           nothing. `safe_merge=True` looks for NaN only.
#           Beside the model it is no other: a layer's output is rounded to bf16, the update is added in fp32, and the sum is
#           rounded to bf16 again, so that an output moves by a whole step or not at all. At 0.1 %, what moves adds up to
#           half of the update. Merged, errors of many weights meet in an output: they are twice as large there.
# Matters   An adapter that is good beside the model can be almost gone in it. Load the base in fp32 (or fp16) to merge, and
#           export from there. And a young adapter scores otherwise in bf16 than in fp32, with the same weights: a
#           validation loss says something of the precision too, and two of them are to be compared in one precision.
# Seen      2026-11-29: peft 0.21.2, torch 2.13.0 (CPU), Python 3.11.7, Linux. Weights drawn in bf16, rank 8. Error: size of
#           what is missing, in sizes of the update. What this script printed:
#             update of  0.1 % of the weights   bf16: error  80 %,  78 % unmoved   fp16: error 21 %   fp32: error 0 %
#             update of  0.3 % of the weights   bf16: error  49 %,  48 % unmoved   fp16: error  7 %   fp32: error 0 %
#             update of  1.0 % of the weights   bf16: error  17 %,  18 % unmoved   fp16: error  2 %   fp32: error 0 %
#             outputs at  0.1 %   bf16, beside the model:  53 % of the update, error 79 %   bf16, merged: error 175 %   fp32, beside: 100 %
#             outputs at  0.3 %   bf16, beside the model:  93 % of the update, error 49 %   bf16, merged: error  90 %   fp32, beside: 100 %
#             outputs at  1.0 %   bf16, beside the model: 100 % of the update, error 17 %   bf16, merged: error  29 %   fp32, beside: 100 %
#
# Installs the packages into a temporary folder, runs them on numbers of its own, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 peft==0.21.2 transformers==5.17.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python - <<'PY'
import warnings

import torch
from peft import LoraConfig, get_peft_model

warnings.simplefilter("error")  # a warning about lost precision would end this script


def merged(dtype, size):
    """Size of the missing part of the update, in sizes of the update, and the share of weights that did not move."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(512, 512, bias=False)
    linear.weight.data = torch.nn.init.normal_(linear.weight, std=0.02).data.to(torch.bfloat16).to(dtype)
    before = linear.weight.detach().double()
    model = get_peft_model(torch.nn.Sequential(linear), LoraConfig(r=8, target_modules=["0"], init_lora_weights=False))
    layer = model.base_model.model[0]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.dtype == b.dtype == torch.float32
    with torch.no_grad():
        b *= size * before.norm() / (b @ a * layer.scaling["default"]).norm()
        update = b.double() @ a.double() * layer.scaling["default"]
    moved = model.merge_and_unload(safe_merge=True)[0].weight.detach().double() - before
    return ((moved - update).norm() / update.norm()).item(), (moved == 0).double().mean().item()


def moved_outputs(dtype, size, merge):
    """Share of the update in a layer's outputs, along its own direction, and the size of the error, in sizes of it."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(512, 512, bias=False)
    linear.weight.data = torch.nn.init.normal_(linear.weight, std=0.02).data.to(torch.bfloat16).to(dtype)
    inputs, norm = torch.randn(256, 512).to(torch.bfloat16).to(dtype), linear.weight.detach().double().norm()
    model = get_peft_model(torch.nn.Sequential(linear), LoraConfig(r=8, target_modules=["0"], init_lora_weights=False))
    layer = model.base_model.model[0]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        b *= size * norm / (b @ a * layer.scaling["default"]).norm()
        wanted = inputs.double() @ (b.double() @ a.double() * layer.scaling["default"]).T
        with model.disable_adapter():
            before = model(inputs).double()
        found = (model.merge_and_unload() if merge else model)(inputs).double() - before
    share = (found * wanted).sum() / (wanted * wanted).sum()
    return share.item(), ((found - wanted).norm() / wanted.norm()).item()


for size, lost in ((0.001, 0.7), (0.003, 0.4), (0.01, 0.1)):
    (bf16, unmoved), (fp16, _), (fp32, _) = (merged(kind, size) for kind in (torch.bfloat16, torch.float16, torch.float32))
    print(
        f"update of {100 * size:4.1f} % of the weights   bf16: error {100 * bf16:3.0f} %, {100 * unmoved:3.0f} % unmoved   "
        f"fp16: error {100 * fp16:2.0f} %   fp32: error {100 * fp32:.0f} %"
    )
    assert bf16 > lost and fp16 < bf16 / 3 and fp32 < 1e-3, "changed"

for size, most in ((0.001, 0.7), (0.003, 0.97), (0.01, 1.01)):
    (beside, error), (_, merged_error) = (moved_outputs(torch.bfloat16, size, merge) for merge in (False, True))
    exact, _ = moved_outputs(torch.float32, size, merge=False)
    print(
        f"outputs at {100 * size:4.1f} %   bf16, beside the model: {100 * beside:3.0f} % of the update, error {100 * error:2.0f} %   "
        f"bf16, merged: error {100 * merged_error:3.0f} %   fp32, beside: {100 * exact:.0f} %"
    )
    assert beside < most and error < merged_error and abs(exact - 1) < 1e-3, "changed"
PY
