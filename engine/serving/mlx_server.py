"""mlx_lm.server behind our front: what it is started with, and what is passed on to it of a request."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.tokenization.template_lookup import DEFAULT
from engine.errors import ConfigError
from engine.models import adapter_files
from engine.serving import asking
from engine.serving.engines import LOCALHOST, Command
from engine.serving.loading import Wish, served_of
from engine.serving.refusals import Refused, unsupported, wrong
from engine.serving.schema import ChatRequest, CompletionRequest, parsed
from engine.serving.served import Served

OWN = "Use ft's own: --engine ft"
PASSED = (
    *("model", "messages", "prompt", "tools", "seed", "stream", "stream_options"),
    *("presence_penalty", "frequency_penalty"),
)
"""Keys of a request that are passed on as they are."""
SAME: Mapping[str, Any] = {"n": 1, "tool_choice": "auto", "response_format": {"type": "text"}}
"""Keys that mlx_lm.server ignores, and the value of each that changes nothing."""
LACKING = ("logprobs", "top_logprobs", "logit_bias")
"""Keys that it understands otherwise than OpenAI's API does."""


@dataclass(frozen=True)
class MlxServer:
    """A model's folder, an adapter in mlx-lm's layout on it, and how its prompts are written."""

    folder: Path
    adapter: Path | None
    served: Served
    most_prompt: int
    """Tokens of the longest prompt."""

    @staticmethod
    def of(
        wish: Wish, folder: Path, most_prompt: int, scratch: Path, heartbeat: Callable[[], None]
    ) -> "MlxServer":
        """The model on its base's folder; an adapter in PEFT's layout is written in mlx-lm's into `scratch`.

        Raises ConfigError or ModelError where mlx-lm would not load it, or would load something else.
        """
        from engine.backends.mlx.adapter_trial import computes_otherwise, readable
        from engine.export.mlx_adapter import write

        model, adapter = wish.model, wish.model.adapter
        if model.spec.add_tokens:
            raise ConfigError("--engine mlx: mlx-lm does not know the tokens that the run has added.", OWN)
        if computes_otherwise(folder):
            raise ConfigError(
                f"--engine mlx: mlx-lm has other layers or names than the model in {folder.name}.",
                f"{OWN}. Or convert the model first: ft models convert",
            )
        if adapter is not None and "peft_type" in adapter_files.read_settings(adapter):
            adapter = scratch / "adapter"
            adapter.mkdir()
            write(model, adapter, {}, heartbeat)
        served = served_of(wish.name, model, folder, None)
        return MlxServer(readable(folder, scratch / "model"), adapter, served, most_prompt)

    def command(self, port: int, slots: int, key: str) -> Command:
        """The server on this machine's `port`."""
        words = ["--model", str(self.folder), "--host", LOCALHOST, "--port", str(port)]
        words += ["--decode-concurrency", str(slots)]
        words += ["--adapter-path", str(self.adapter)] if self.adapter else []
        template = self.served.tokenizer.delivered.get(DEFAULT)
        words += ["--chat-template", template] if template else []
        given = json.dumps({"words": words, "key": key})
        return Command((sys.executable, "-P", "-m", "engine.serving.mlx_process"), given)

    def accepted(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What is passed on of a request: as our own server reads it, with all that it leaves out.

        Raises Refused for what mlx_lm.server would ignore or understand otherwise.
        """
        if path == "/v1/chat/completions":
            chat = parsed(ChatRequest, body)
            plan = asking.chat(chat, self.served, self.most_prompt)
            given = chat.model_dump(exclude_none=True)
        elif path == "/v1/completions":
            plain = parsed(CompletionRequest, body)
            if not isinstance(plain.prompt, str) or not plain.prompt:
                raise wrong("prompt", "`prompt` has to be one text: the engine mlx takes no others.")
            plan = asking.completion(plain, self.served, self.most_prompt)
            given = plain.model_dump(exclude_none=True)
        else:
            raise Refused(404, f"There is no {path[:200]} here.", None, "unknown_url")
        for name in (*SAME, *LACKING):
            value = given.get(name)
            if value is not None and value is not False and value != SAME.get(name):
                raise unsupported(name, "The engine mlx lacks it.")
        sampling = plan.answers[0].sampling
        return {name: given[name] for name in PASSED if name in given} | {
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "stop": [*sampling.stop, *self._ends],
        }

    @property
    def _ends(self) -> list[str]:
        """Tokens that end an answer, of which mlx-lm knows some."""
        tokenizer = self.served.tokenizer
        return sorted(tokenizer.decode([token], skip_special=False) for token in tokenizer.stop_ids)
