"""`ft generate` and `ft chat`: what a trained run answers."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine import paths
from engine.client import Client
from engine.data.types import Message
from engine.errors import ConfigError
from engine.runs.run import Run
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


def generate(
    run: RunArgument = None,
    prompt: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="The prompt; - reads stdin.")] = "-",
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    base: Base = False,
    system: System = None,
) -> None:
    """Answer one prompt with a trained run. Stdout is the answer alone."""
    found = Run.open(run)
    if prompt == "-" and sys.stdin.isatty():
        say("Type the prompt, then ctrl-d.")
    text = _given() if prompt == "-" else prompt
    if not text.strip():
        raise ConfigError("The prompt is empty.", 'Give one: ft generate RUN --prompt "…"')
    messages = [*_opening(system), Message("user", text)]
    with Client(_log()) as client:
        for piece in client.generate(found, messages, max_tokens, temperature, seed, base):
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
) -> None:
    """Talk to a trained run. /new starts over, /exit or ctrl-d leaves, ctrl-c cancels an answer."""
    found = Run.open(run)
    messages = _opening(system)
    say(
        f"{'The untrained model of' if base else 'Run'} {found.id}. /new starts over, /exit or ctrl-d leaves."
    )
    with Client(_log()) as client:
        while (text := _ask()) is not None:
            if text == "/new":
                messages = _opening(system)
            elif text:
                messages.append(Message("user", text))
                answer = _stream(client, found, messages, max_tokens, temperature, seed, base)
                messages.append(Message("assistant", answer))


def _opening(system: str | None) -> list[Message]:
    return [Message("system", system)] if system else []


def _given() -> str:
    """What stdin holds. Raises ConfigError where it is no text."""
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
    messages: list[Message],
    max_tokens: int,
    temperature: float,
    seed: int,
    base: bool,
) -> str:
    """Print an answer as it comes; ctrl-c cancels it and keeps what there is."""
    pieces = client.generate(run, messages, max_tokens, temperature, seed, base)
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
