#!/usr/bin/env bash
# PEFT: "ties" merges the matrices A and B of two adapters apart: the same two updates, with A larger and B smaller, merge to
# something else.
#
# Expected  The merge depends on what the adapters do to the weights, B·A·scale. With A four times as large and B a quarter,
#           an adapter is the same, and so is the merge.
# Happens   TIES (arXiv:2306.01708) is for changes of weights. add_weighted_adapter applies it to all A, and then to all B: it
#           prunes, takes majority signs and averages in each. How large A and B are, of which only the product means
#           anything to the model, decides what survives. "cat" gives the same result for both.
# Matters   Two tools that store the same adapter with other factors merge it into other models, and neither is TIES of the
#           updates. Prune and vote on merged weights, or use "cat".
# Seen      2026-11-29: peft 0.21.2, torch 2.13.0 (CPU), Python 3.11.7, Linux. Two random adapters of rank 4 on a layer of
#           32 x 32; what this script printed:
#             ties  the same two updates, A four times as large and B a quarter: results are 195.3% apart
#             cat   the same two updates, A four times as large and B a quarter: results are 0.0% apart
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


def merged(kind, shift):
    """The merge of two adapters, the first with its A times `shift` and its B divided by it, and the first's update."""
    torch.manual_seed(0)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=["0"], init_lora_weights=False)
    model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(32, 32, bias=False)), settings, "first")
    model.add_adapter("second", settings)
    layer = model.base_model.model[0]
    with torch.no_grad():
        layer.lora_A["first"].weight.mul_(shift)
        layer.lora_B["first"].weight.div_(shift)
        more = {} if kind == "cat" else {"density": 0.5}
        model.add_weighted_adapter(["first", "second"], [0.5, 0.5], "both", combination_type=kind, **more)
        return layer.get_delta_weight("both"), layer.get_delta_weight("first")


apart = {}
for kind in ("ties", "cat"):
    (one, update), (other, same) = merged(kind, 1), merged(kind, 4)
    assert torch.allclose(update, same, rtol=1e-5, atol=1e-6), "the first adapter's update is the same in both"
    apart[kind] = ((one - other).norm() / one.norm()).item()
    print(f"{kind:5} the same two updates, A four times as large and B a quarter: results are {apart[kind]:.1%} apart")
assert apart["ties"] > 0.2 and apart["cat"] < 1e-5, "ties or cat has changed"
PY
