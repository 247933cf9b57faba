"""`ft serve`: trained models for other programs, over HTTP."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import ConfigError
from engine.process.launcher import start
from ft.commands.trained import ModelArgument, reference_of
from ft.console import say
from ft.live import Plain
from ft.watch import STOPPED_EXIT, follow_to_end, interrupts_wait


def serve(
    model: ModelArgument = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="NAME=RUN",
            help="Another adapter on the same base, chosen by the request's model; repeatable.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of MODEL in requests; its run's or folder's if left out."),
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen on; another than this machine's needs an API key."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    slots: Annotated[int, typer.Option("--slots", min=1, max=1024, help="Answers written together.")] = 16,
    queue: Annotated[
        int, typer.Option("--queue", min=0, help="Answers that may wait for a slot; more get status 429.")
    ] = 256,
    engine: Annotated[
        str, typer.Option("--engine", help="ft, vllm, llama (for a GGUF), mlx; auto chooses and says why.")
    ] = "auto",
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Compute as ft generate does: on a CPU in fp32, where bf16 files are faster as bf16.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print events as JSON.")] = False,
) -> None:
    """Answer other programs over HTTP, as OpenAI's API does. ctrl-c stops it; answers get 10 s to end.

    With --adapter, the base answers too, under its own name.
    """
    from engine.jobs.serve import Serving

    reference = reference_of(model)
    adapters = {own: reference_of(one) for own, one in _pairs(adapter or ())}
    serving = Serving(reference, adapters, name, host, port, slots, queue, engine=engine, exact=exact)
    serving.check()
    with interrupts_wait() as interrupted:
        run = serving.create()
        say(f"Serving {Path(reference).name} …")
        code = follow_to_end(start(run), Plain(json), interrupted)
    if code not in (0, STOPPED_EXIT):  # being stopped is how a server ends well
        raise typer.Exit(code)


def _pairs(given: Sequence[str]) -> list[tuple[str, str]]:
    """Names and references of adapters. Raises ConfigError."""
    found: dict[str, str] = {}
    for one in given:
        name, sign, reference = one.partition("=")
        if not (sign and name and reference):
            raise ConfigError(
                f"--adapter {one}: it is not NAME=RUN.", "For example: --adapter german=orders-2"
            )
        if name in found:
            raise ConfigError(f"--adapter {name} is given twice.", "Give each adapter a name of its own.")
        found[name] = reference
    return [*found.items()]
