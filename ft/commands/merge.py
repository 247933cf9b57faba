"""`ft merge`: a trained model as full weights."""

import json as json_text
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import ConfigError
from engine.process.launcher import start
from ft.commands.trained import ModelArgument, reference_of
from ft.console import print_json, say
from ft.live import Plain
from ft.watch import follow_to_end, interrupts_wait

LIMIT = 0.1
"""Share of the update, by norm, that rounding may lose before another number format is proposed."""
DTYPE = "Number format of the weights: source (the base's), bf16, fp16 or fp32."


def merge(
    model: ModelArgument = None,
    dtype: Annotated[str, typer.Option("--dtype", metavar="FORMAT", help=DTYPE)] = "source",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="The folder to write; merged-RUN here if left out."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Merge a trained model into full weights. Stdout is the folder; ctrl-c leaves none."""
    from engine.export.merged import REPORT, dtype_of
    from engine.jobs.export import Export
    from engine.runs.directory.trained_model import TrainedModel

    options = {"dtype": dtype}
    dtype_of(options)
    reference = reference_of(model)
    TrainedModel.find(reference)
    out = (out or Path(f"merged-{Path(reference).name}")).expanduser().absolute()
    if os.path.lexists(out):
        raise ConfigError(f"{out} exists already.", "Give --out a new name, or remove what is there.")
    with interrupts_wait() as interrupted:
        run = Export(reference, "merged", out, options).create()
        say(f"Merging {Path(reference).name} …")
        code = follow_to_end(start(run), Plain(), interrupted)
    if code:
        raise typer.Exit(code)
    report = json_text.loads((out / REPORT).read_bytes())
    for line in lines(report):
        say(line)
    if json:
        print_json({"folder": str(out)} | report)
        return
    print(out)


def lines(report: dict[str, Any]) -> list[str]:
    """What is worth knowing of a merge."""
    found = [report["note"]]
    if report["untied"]:
        found.append(
            "The output layer is a matrix of its own now: what was trained differs from the embedding."
        )
    formats = " and ".join(report["dtypes"])
    files = len(report["files"])
    found.append(f"{report['bytes'] / 1e6:,.0f} MB in {formats}, {files} file{'s' if files > 1 else ''}.")
    return found + rounding(report)


def rounding(report: dict[str, Any]) -> list[str]:
    """The share of the update that rounding loses, and a format that loses less where it is much."""
    lost, worst = report["lost"], report["worst"]
    if not worst["tensor"]:
        return []
    said = [
        f"Rounding loses {lost:.1%} of the update ({worst['lost']:.1%} in {worst['tensor']}, the most of all tensors)."
    ]
    if lost > LIMIT:
        half, full = report["lost_in"]["fp16"], report["lost_in"]["fp32"]
        better = f"--dtype fp16 would lose {half:.1%}, " if half < min(lost, LIMIT) else ""
        said.append(
            f"That is more than {LIMIT:.0%}: {better}--dtype fp32 {full:.0%} in files of twice the size."
        )
    return said
