#!/usr/bin/env bash
# mlx-lm, OLMo: a folder that transformers has written ends the whole program; no exception of a usual kind is raised.
#
# Expected  `load_model` raises where it cannot load a folder, as it does for an architecture that it does not know, so
#           `except Exception` is enough for a program that tries it and falls back to another library.
# Happens   1. Its module for model_type "olmo" looks for the package ai2-olmo as it is imported, prints one line to
#              stdout where that is missing, and calls sys.exit(1). SystemExit passes `except Exception`: a server or an
#              app ends there.
#           2. It is listed among mlx-lm's models like any other, and the module is for the format of ai2-olmo: it wants
#              d_model and mlp_hidden_size, which the config of transformers' OLMo does not have. So its users could not
#              load their folder with that package either.
#           3. An unknown architecture raises ValueError.
# Matters   A tool that chooses MLX because mlx-lm has a module of that name is ended by it. Catch SystemExit, or leave
#           "olmo" out of what mlx-lm can do. (olmo2 and olmo3 are not concerned.)
# Seen      2026-11-30: mlx-lm 0.32.2, mlx 0.32.4 (CPU), transformers 5.17.0, Python 3.11.7, Linux.
#           What this script printed:
#             1. olmo: SystemExit(1), an Exception: False; printed: To run olmo install ai2-olmo: pip install ai2-olmo
#             2. listed among the models: True; keys that its ModelArgs wants and transformers' config lacks: 5
#             3. an unknown one: ValueError
#
# Installs the packages into a temporary folder, runs them on a tiny folder, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'mlx[cpu]==0.32.4' mlx-lm==0.32.2 transformers==5.17.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1
venv/bin/python -W ignore - <<'PY'
import ast
import contextlib
import io
import json
import pkgutil
from pathlib import Path

import mlx.core as mx
import mlx_lm.models
from mlx_lm.utils import load_model
from transformers import OlmoConfig

mx.set_default_device(mx.cpu)
config = OlmoConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
    pad_token_id=1, eos_token_id=2,
)
config.architectures = ["OlmoForCausalLM"]
config.save_pretrained("olmo")
mx.save_safetensors("olmo/model.safetensors", {"model.embed_tokens.weight": mx.zeros((64, 32))})


def ending_of(place):
    """How loading it ends, and what it prints."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            load_model(Path(place))
    except BaseException as error:
        return error, said.getvalue().strip()
    return None, said.getvalue().strip()


error, said = ending_of("olmo")
print(f"1. olmo: {error!r}, an Exception: {isinstance(error, Exception)}; printed: {said}")
assert isinstance(error, SystemExit) and "ai2-olmo" in said, "this has changed"

place = Path(mlx_lm.models.__path__[0])
listed = "olmo" in {module.name for module in pkgutil.iter_modules([str(place)])}
tree = ast.parse((place / "olmo.py").read_text())
arguments = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ModelArgs")
wanted = {node.target.id for node in arguments.body if isinstance(node, ast.AnnAssign) and node.value is None}
lacking = wanted - set(json.loads(Path("olmo/config.json").read_text()))
print(f"2. listed among the models: {listed}; keys that its ModelArgs wants and transformers' config lacks: {len(lacking)}")
assert listed and lacking, "this has changed"

Path("olmo/config.json").write_text(json.dumps(config.to_dict() | {"model_type": "unheard_of"}))
error, _ = ending_of("olmo")
print(f"3. an unknown one: {type(error).__name__}")
assert isinstance(error, ValueError), "this has changed"
PY
