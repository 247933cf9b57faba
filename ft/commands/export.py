"""`ft export`: a trained model in the files of another program."""

import os
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import ConfigError
from engine.process.launcher import start
from ft.commands.trained import ModelArgument, reference_of
from ft.console import key_values, say
from ft.live import Plain
from ft.watch import follow_to_end, interrupts_wait


def export(
    model: ModelArgument = None,
    to: Annotated[
        str, typer.Option("--to", metavar="NAME", help="The exporter: mlx, or another package's.")
    ] = "mlx",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="The folder to write; NAME-RUN here if left out."),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the exporter; repeatable."),
    ] = None,
) -> None:
    """Write a trained model in the files of another program. Stdout is the folder; ctrl-c leaves none."""
    from engine.export.registry import exporter_named
    from engine.jobs.export import Export
    from engine.runs.directory.trained_model import TrainedModel

    exporter_named(to)
    reference = reference_of(model)
    TrainedModel.find(reference)
    out = (out or Path(f"{to}-{Path(reference).name}")).expanduser().absolute()
    if os.path.lexists(out):
        raise ConfigError(f"{out} exists already.", "Give --out a new name, or remove what is there.")
    with interrupts_wait() as interrupted:
        run = Export(reference, to, out, key_values(options or ())).create()
        say(f"Exporting {Path(reference).name} to {to} …")
        code = follow_to_end(start(run), Plain(), interrupted)
    if code:
        raise typer.Exit(code)
    print(out)
