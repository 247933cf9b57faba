"""llama.cpp's next-token probabilities for prompts of token ids, from a process that ends with its answer."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PLAIN = 40
"""A token of the tiny tokenizer that is one character."""
LogProbabilities = npt.NDArray[np.float32]


def next_token_log_probabilities(
    file: Path,
    prompts: Sequence[Sequence[int]],
    vocabulary: int,
    adapter: Path | None = None,
    scale: float = 1.0,
    context: int = 256,
) -> LogProbabilities:
    """`[prompts, vocabulary]`; -inf where a token is not among the likeliest that llama.cpp lists.

    An answer that is an end token, or a part of a character, comes without probabilities: so that it is neither,
    `PLAIN` is made the likeliest, which changes what is drawn and not what is listed. The adapter's scale is in each
    request and no prompt is cached: the server's own would answer from a mixture.
    """
    asked = {
        "file": str(file), "prompts": [list(map(int, prompt)) for prompt in prompts], "vocabulary": vocabulary,
        "adapter": adapter and str(adapter), "scale": scale, "context": context,
    }  # fmt: skip
    found = np.full((len(prompts), vocabulary), -np.inf, np.float32)
    for row, listed in zip(found, _asked(asked), strict=True):
        for id_, value in listed:
            row[id_] = value
    return found


def prompt_length(file: Path, messages: Sequence[Mapping[str, str]]) -> int:
    """Tokens of a conversation as llama.cpp's server renders and encodes it."""
    return int(_asked({"file": str(file), "messages": list(messages), "context": 256, "adapter": None}))


def _asked(question: Mapping[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def _main() -> None:
    import xllamacpp

    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = asked["file"]
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = asked["context"], 1, False
    parameters.fit_params = False
    parameters.verbosity = 1
    parameters.cpuparams.n_threads = 1
    if asked["adapter"]:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(asked["adapter"], asked["scale"])]
    server = xllamacpp.Server(parameters)
    if messages := asked.get("messages"):
        body = {"messages": messages, "max_tokens": 1, "cache_prompt": False}
        found = _posted(server, "/v1/chat/completions", body)["usage"]["prompt_tokens"]
    else:
        found = [_listed(server, asked, prompt) for prompt in asked["prompts"]]
    json.dump(found, answer)
    answer.flush()
    os._exit(0)  # its threads are not waited for


def _listed(server: Any, asked: Mapping[str, Any], prompt: Sequence[int]) -> list[list[float]]:
    """Ids and log-probabilities of the tokens that may follow a prompt."""
    body = {
        "prompt": prompt, "n_predict": 1, "n_probs": asked["vocabulary"], "temperature": 0.0,
        "cache_prompt": False, "post_sampling_probs": False, "logit_bias": [[PLAIN, 1000.0]],
    }  # fmt: skip
    if asked["adapter"]:
        body["lora"] = [{"id": 0, "scale": asked["scale"]}]
    [likeliest] = _posted(server, "/completion", body)["completion_probabilities"]
    return [[token["id"], token["logprob"]] for token in likeliest["top_logprobs"]]


def _posted(server: Any, path: str, body: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{server.listening_address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as reply:
        return json.load(reply)


if __name__ == "__main__":
    _main()
