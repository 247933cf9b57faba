"""llama.cpp in a process of its own: it answers one JSON line on stdin with one on stdout.

    python -P -m engine.parity.llama_cpp_process '{"file": …, "adapter": …, "context": …, "threads": …}'

The first line that it writes, `{}`, says that the model is loaded. Requests are `{"tokens": […], "likeliest": n}`,
`{"text": …}`, `{"messages": […]}` for the tokens of a prompt and `{"messages": […], "max_tokens": n}` for an answer.
What comes back with `error` says why there is none. What llama.cpp prints goes to stderr.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PATIENCE_S = 600
CERTAIN = 1000.0
"""Logits added to a token so that it is drawn, whatever the model says."""


def main() -> None:
    """Load the model that the argument names, then answer until stdin ends."""
    import xllamacpp

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.loads(sys.argv[1])
    parameters = xllamacpp.CommonParams()
    parameters.model.path = asked["file"]
    parameters.n_ctx, parameters.n_parallel = asked["context"], 1
    parameters.warmup, parameters.fit_params, parameters.verbosity = False, False, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = asked["threads"]
    if asked["adapter"]:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(asked["adapter"], 1.0)]
    server = xllamacpp.Server(parameters)
    answer = Answers(lambda path, body: _post(server.listening_address + path, body), bool(asked["adapter"]))
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer.to(json.loads(line))), file=answers, flush=True)
    os._exit(0)  # its threads are not waited for


class Answers:
    """Answers by llama.cpp's own HTTP server, which listens on this machine alone."""

    def __init__(self, post: Callable[[str, Mapping[str, Any]], Any], adapter: bool) -> None:
        self.post, self.adapter = post, adapter
        self.plain = self._ids("a")[-1]

    def to(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to a request."""
        try:
            if "tokens" in request:
                return self._likeliest(request["tokens"], request["likeliest"])
            if "text" in request:
                return {"ids": self._ids(request["text"])}
            if "max_tokens" in request:
                said = self.post(
                    "/v1/chat/completions", {"temperature": 0.0, "cache_prompt": False, **request}
                )
                return {"text": said["choices"][0]["message"]["content"]}
            return {"ids": self._ids(self.post("/apply-template", request)["prompt"])}
        except urllib.error.HTTPError as error:
            return {"error": error.read().decode("utf-8", "replace")[:500]}

    def _likeliest(self, tokens: Sequence[int], likeliest: int) -> Mapping[str, Any]:
        """The likeliest next tokens and their log-probabilities.

        The prompt is never cached and the adapter's scale is in the request, because the server's own would answer from
        a mixture. An end token, or a part of a character, comes without probabilities: so a plain token is drawn,
        which changes nothing of what is listed.
        """
        body = {
            "prompt": tokens, "n_predict": 1, "n_probs": likeliest, "temperature": 0.0, "cache_prompt": False,
            "post_sampling_probs": False, "logit_bias": [[self.plain, CERTAIN]],
        }  # fmt: skip
        if self.adapter:
            body["lora"] = [{"id": 0, "scale": 1.0}]
        [place] = self.post("/completion", body)["completion_probabilities"]
        listed = place["top_logprobs"]
        return {"ids": [each["id"] for each in listed], "logps": [each["logprob"] for each in listed]}

    def _ids(self, text: str) -> list[int]:
        body = {"content": text, "add_special": False, "parse_special": True}
        found: list[int] = self.post("/tokenize", body)["tokens"]
        return found


def _post(address: str, body: Mapping[str, Any]) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        return json.load(reply)


if __name__ == "__main__":
    main()
