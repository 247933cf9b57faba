"""`ft generate`: the answer of a trained model, or of a server, to one prompt or conversation."""

import json as jsons
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.data.prompt_input import prompt_of, tools_in
from engine.data.sampling_input import sampling_of
from engine.data.types import Message, Prompt
from engine.errors import ConfigError
from engine.inference.answer import gathered
from engine.storage import regular_files
from ft.commands.answer_output import show
from ft.commands.answering import Answers, answering
from ft.commands.sampling_options import (
    Base,
    Compare,
    Key,
    MaxTokens,
    MinP,
    RepetitionPenalty,
    Seed,
    ServedModel,
    Stop,
    System,
    Temperature,
    Tools,
    TopK,
    TopP,
    Url,
)
from ft.commands.trained import ModelArgument
from ft.console import print_json, say


def generate(
    model: ModelArgument = None,
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="The prompt; - reads stdin.")] = "-",
    messages: Annotated[
        Path | None,
        typer.Option(
            "--messages",
            metavar="FILE",
            help="JSON: a conversation to answer, as `messages` in training rows.",
        ),
    ] = None,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.05,
    repetition_penalty: RepetitionPenalty = 1.0,
    stop: Stop = None,
    seed: Seed = 0,
    base: Base = False,
    compare: Compare = False,
    system: System = None,
    tools: Tools = None,
    url: Url = None,
    served: ServedModel = None,
    key: Key = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print text, reasoning, calls, tokens and finish reason as JSON.")
    ] = False,
) -> None:
    """Answer one prompt or conversation with a trained model. Stdout is the answer alone, stderr its reasoning."""
    sampling = sampling_of(
        {
            "max_tokens": max_tokens, "temperature": temperature, "seed": seed, "top_p": top_p, "top_k": top_k,
            "min_p": min_p, "repetition_penalty": repetition_penalty, "stop": stop,
        }
    )  # fmt: skip
    if messages and prompt != "-":
        raise ConfigError(
            "--prompt and --messages cannot be given together.", "Put the prompt into the file."
        )
    if prompt != "-":
        _text(prompt)  # before a model is looked for
    with answering(model, base, compare, url, served, key) as sides:
        said: Any = _json(messages) if messages else [{"role": "user", "content": _text(prompt)}]
        row = said if isinstance(said, dict) else {"messages": said}
        asked = _asked(row | ({"tools": [*tools_in(tools)]} if tools else {}), system)
        if json:
            found = {
                _label(side): gathered(side.pieces(asked.messages, sampling, asked.tools)) for side in sides
            }
            bodies = {label: answer.as_json() for label, answer in found.items()}
            print_json(bodies if compare else next(iter(bodies.values())))
            return
        for side in sides:
            if compare:
                print(f"── {_label(side)}: {side.name}", flush=True)
            show(side.pieces(asked.messages, sampling, asked.tools))


def _label(side: Answers) -> str:
    return "base" if getattr(side, "base", False) else "trained"


def _text(prompt: str) -> str:
    """The prompt, read from stdin where it is `-`. Raises ConfigError where it is empty."""
    if prompt == "-" and sys.stdin.isatty():
        say("Type the prompt, then ctrl-d.")
    text = _given() if prompt == "-" else prompt
    if not text.strip():
        raise ConfigError("The prompt is empty.", 'Give one: ft generate RUN --prompt "…"')
    return text


def _json(path: Path) -> Any:
    """Contents of a JSON file. Raises ConfigError."""
    try:
        return jsons.loads(regular_files.read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "It is a JSON file.") from error


def _asked(row: dict[str, Any], system: str | None) -> Prompt:
    """Messages and tools, a system message in front where one is given. Raises ConfigError."""
    asked = prompt_of(row)
    return replace(asked, messages=(Message("system", system), *asked.messages)) if system else asked


def _given() -> str:
    """Text from stdin. Raises ConfigError where it is not UTF-8."""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise ConfigError("The prompt is not UTF-8 text.", "Convert it to UTF-8.") from error
