"""`ft chat`: a conversation with a trained model, or with a server, on the terminal."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine import paths
from engine.data.prompt_input import tools_in
from engine.data.sampling_input import sampling_of
from engine.data.types import Message
from engine.errors import FtError
from ft.commands.answering import answering
from ft.commands.chat_lines import next_text
from ft.commands.chat_session import HELP, ChatSession
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
from ft.console import say, show_error


def chat(
    model: ModelArgument = None,
    max_tokens: MaxTokens = 512,
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
    open_: Annotated[
        Path | None, typer.Option("--open", metavar="FILE", help="Continue the last conversation of a file.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the conversation after every answer.")
    ] = None,
    feedback: Annotated[
        Path | None,
        typer.Option("--feedback", metavar="FOLDER", help="Folder of rows that /good, /bad and /edit make."),
    ] = None,
) -> None:
    """Talk to a trained model. /help lists what else a line can do, ctrl-d leaves, ctrl-c cancels an answer.

    A backslash at the end of a line continues it, and three double quotes begin and end a text of many lines. With
    --tools, /tool TEXT gives the model the result of a function that it called.
    """
    sampling = sampling_of(
        {
            "max_tokens": max_tokens, "temperature": temperature, "seed": seed, "top_p": top_p, "top_k": top_k,
            "min_p": min_p, "repetition_penalty": repetition_penalty, "stop": stop,
        }
    )  # fmt: skip
    functions = tools_in(tools) if tools else ()
    with answering(model, base, compare, url, served, key) as sides:
        opening = (Message("system", system),) if system else ()
        session = ChatSession(sides, sampling, functions, opening, feedback or paths.home() / "feedback")
        if open_:
            session.open(str(open_))
        if save:
            session.save_to(save)
        say(f"{' and '.join(side.name for side in sides)}. {HELP}")
        while (text := next_text(sys.stdin)) is not None:
            try:
                session.take(text)
            except FtError as error:
                if not sys.stdin.isatty():
                    raise
                show_error(error)
