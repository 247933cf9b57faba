#!/usr/bin/env bash
# mlx_lm.server: started with an adapter, it answers without it as soon as a request names the model.
#
# Expected  `mlx_lm.server --model M --adapter-path A` serves M with A on it. OpenAI's API wants a `model` in every request,
#           and M, as given on the command line and as listed by /v1/models, is its name.
# Happens   Only a request without `model`, or with the literal name "default_model", gets the adapter. One that names M loads
#           M once more, without A, and is answered by the base. The answer's `model` is M, so nothing shows it.
# Matters   OpenAI's client cannot leave `model` out, so whoever follows its documentation evaluates or ships the untrained
#           model.
# Seen      2026-11-30: mlx-lm 0.32.2, mlx 0.32.4 (CPU), transformers 5.17.0, Python 3.11.7, Linux.
#           What this script printed:
#             the base                               w54 w54 w54 w54 w54 w54
#             with the adapter, no model named       w43 w43 w43 w43 w35 w9
#             with the adapter, "default_model"      w43 w43 w43 w43 w35 w9
#             with the adapter, the model named      w54 w54 w54 w54 w54 w54
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
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models import llama
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

mx.set_default_device(mx.cpu)
mx.random.seed(0)
HIDDEN, WORDS = 32, ["<unk>", "<end>", *(f"w{number}" for number in range(62))]
CONFIG = {
    "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": len(WORDS),
    "num_attention_heads": 4, "num_key_value_heads": 4, "rms_norm_eps": 1e-5, "max_position_embeddings": 128,
    "rope_theta": 10000.0, "tie_word_embeddings": False, "eos_token_id": 1,
}


def write_model(folder):
    """A random model, and a tokenizer whose tokens are words."""
    folder.mkdir()
    model = llama.Model(llama.ModelArgs.from_dict(CONFIG))
    weights = {name: mx.random.normal(value.shape) * 0.3 for name, value in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<end>").save_pretrained(folder)


def write_adapter(folder):
    """A random LoRA of rank 4 on the query and value projections of both layers."""
    folder.mkdir()
    lora = {"keys": ["self_attn.q_proj", "self_attn.v_proj"], "rank": 4, "scale": 2.0, "dropout": 0.0}
    (folder / "adapter_config.json").write_text(
        json.dumps({"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": lora})
    )
    weights = {}
    for layer in range(2):
        for key in lora["keys"]:
            name = f"model.layers.{layer}.{key}"
            weights[f"{name}.lora_a"] = mx.random.normal((HIDDEN, 4))
            weights[f"{name}.lora_b"] = mx.random.normal((4, HIDDEN))
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)


def answers(options, names):
    """Greedy answers of a server with these options to one prompt, by the `model` in the request."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "mlx_lm", "server", "--port", str(port), *options]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return [asked(port, name) for name in names]
    finally:
        server.kill()
        server.wait()


def asked(port, name):
    body = {"prompt": "w1 w2 w3", "max_tokens": 6, "temperature": 0.0} | ({"model": name} if name else {})
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    for _ in range(240):
        try:
            with urllib.request.urlopen(request) as reply:
                found = json.load(reply)
                return found["choices"][0]["text"].strip(), found["model"]
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the server does not answer")


model, adapter = Path("model").resolve(), Path("adapter").resolve()
write_model(model)
write_adapter(adapter)
[(base, _)] = answers(["--model", str(model)], [str(model)])
(unnamed, _), (default, _), (named, said) = answers(
    ["--model", str(model), "--adapter-path", str(adapter)], [None, "default_model", str(model)]
)
print(f"the base                               {base}")
print(f"with the adapter, no model named       {unnamed}")
print(f"with the adapter, \"default_model\"      {default}")
print(f"with the adapter, the model named      {named}")
assert said == str(model)
assert unnamed == default != base, "the adapter changes nothing"
assert named == base, "this has changed: a request that names the model gets the adapter"
PY
