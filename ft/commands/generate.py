"""`ft generate` and `ft chat`: what a trained run answers."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engine import paths
from engine.data.prompt_input import prompt_of, tools_in
from engine.data.types import Message, Prompt, Sampling
from engine.errors import ConfigError
from engine.runs.directory.run import Run
from engine.service.client import Client
from engine.storage import regular_files
from ft.console import say

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help="An id, a prefix of one, a path, or a checkpoint; the latest if left out."
    ),
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.0, help="0 answers greedily.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Fixes the answer where temperature is above 0.")]
Base = Annotated[bool, typer.Option("--base", help="Answer with the model as it was before training.")]
System = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="The system message.")]


Tools = Annotated[
    Path | None,
    typer.Option("--tools", metavar="FILE", help="JSON: a list of functions that the model may call."),
]
COMMANDS = "/new starts over, /exit or ctrl-d leaves."


def generate(
    run: RunArgument = None,
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
    seed: Seed = 0,
    base: Base = False,
    system: System = None,
    tools: Tools = None,
) -> None:
    """Answer one prompt or conversation with a trained run. Stdout is the answer alone."""
    found = Run.open(run)
    said: Any = _json(messages) if messages else [{"role": "user", "content": _text(prompt)}]
    if messages and prompt != "-":
        raise ConfigError(
            "--prompt and --messages cannot be given together.", "Put the prompt into the file."
        )
    row = said if isinstance(said, dict) else {"messages": said}
    asked = _asked(row | ({"tools": [*tools_in(tools)]} if tools else {}), system)
    with Client(_log()) as client:
        for piece in client.generate(
            found, asked.messages, Sampling(max_tokens, temperature, seed), tools=asked.tools, base=base
        ):
            sys.stdout.write(piece)
            sys.stdout.flush()
    sys.stdout.write("\n")


def chat(
    run: RunArgument = None,
    max_tokens: MaxTokens = 512,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    base: Base = False,
    system: System = None,
    tools: Tools = None,
) -> None:
    """Talk to a trained run. /new starts over, /exit or ctrl-d leaves, ctrl-c cancels an answer.

    With --tools, /tool TEXT gives the model the result of a function that it called.
    """
    found = Run.open(run)
    functions = tools_in(tools) if tools else ()
    opening = [Message("system", system)] if system else []
    said = [*opening]
    say(f"{'The untrained model of' if base else 'Run'} {found.id}. {COMMANDS}")
    with Client(_log()) as client:
        while (text := _ask()) is not None:
            if text == "/new":
                said = [*opening]
            elif text:
                result = text.removeprefix("/tool ") if text.startswith("/tool ") else None
                said.append(Message("user", text) if result is None else Message("tool", result))
                answer = _stream(
                    client, found, said, Sampling(max_tokens, temperature, seed), functions, base
                )
                said.append(Message("assistant", answer))


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
        return json.loads(regular_files.read_text(path))
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


def _ask() -> str | None:
    """The person's next line; None to leave."""
    try:
        if sys.stdin.isatty():
            import readline  # noqa: F401 - gives input() its line editing and history
        text = input("> " if sys.stdin.isatty() else "").strip()
    except (EOFError, KeyboardInterrupt):
        say("")
        return None
    return None if text in ("/exit", "/quit") else text


def _stream(
    client: Client,
    run: Run,
    messages: Sequence[Message],
    sampling: Sampling,
    tools: Sequence[Mapping[str, Any]],
    base: bool,
) -> str:
    """Print an answer as it comes; ctrl-c cancels it and keeps what there is."""
    pieces = client.generate(run, messages, sampling, tools=tools, base=base)
    answer = ""
    try:
        for piece in pieces:
            answer += piece
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        pieces.close()
        sys.stdout.write(" …")
    sys.stdout.write("\n")
    sys.stdout.flush()
    return answer


def _log() -> Path:
    return paths.cache() / "service.log"
