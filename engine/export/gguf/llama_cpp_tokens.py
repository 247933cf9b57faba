"""llama.cpp's own tokens of texts, found in a process that ends with its answer.

    python -P -m engine.export.gguf.llama_cpp_tokens FILE < TEXTS > IDS

Both are JSON: a list of texts, a list of lists of ids. What llama.cpp prints goes to stderr.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from engine.errors import MachineError, ModelError

PATIENCE_S = 600
INSTALL = "pip install xllamacpp"


def llama_cpp_tokens(file: Path, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text in the vocabulary of a GGUF file, special tokens read as such, nothing added around it.

    Raises MachineError where xllamacpp is not installed, ModelError where llama.cpp does not load the file.
    """
    if find_spec("xllamacpp") is None:
        raise MachineError(
            "llama.cpp (xllamacpp) is not installed here, so the tokens are not proved.", INSTALL
        )
    command = [sys.executable, "-P", "-m", __name__, str(file)]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        command, input=json.dumps(texts), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        raise ModelError(f"llama.cpp does not load {file}: {last[0]}", "Export it again.")
    found: list[list[int]] = json.loads(done.stdout)
    return found


def _main(file: str) -> None:
    """Answer on a copy of stdout: llama.cpp prints on the first."""
    import xllamacpp

    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx, parameters.n_parallel, parameters.warmup, parameters.fit_params = 64, 1, False, False
    parameters.cpuparams.n_threads = 1
    server = xllamacpp.Server(parameters)  # it stops when nothing refers to it
    ids = []
    for text in json.load(sys.stdin):
        body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            ids.append(json.load(reply)["tokens"])
    json.dump(ids, answer)
    answer.flush()
    os._exit(0)  # its threads are not waited for


if __name__ == "__main__":
    _main(sys.argv[1])
